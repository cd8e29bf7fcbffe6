"""Where networks come from, what they start as, and what is refused."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import safetensors.torch
import timm
import torch
from tiny_sets import RECIPE, squares

import understudy
from understudy.core.errors import InputError
from understudy.training.backbones import (
    BACKBONES,
    build_backbone,
    check_backbone,
    pretrained_classifier,
    seeded_globals,
)
from understudy.training.fit import fit_arm
from understudy.training.settings import CompareSettings

# One real, small example of each entry.
EXAMPLES = {
    "folder": CompareSettings(
        backbone=str(Path(understudy.__file__).parent / "generators/mini/letters_resnet")
    ),
    "mini": CompareSettings(backbone="mini"),
    "photo": CompareSettings(backbone="photo", resolution=96),
    "timm": CompareSettings(backbone="test_resnet.r160_in1k", pretrained=False, resolution=32),
}


def _state(backbone):
    return backbone.model.state_dict()


def _equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_every_entry_has_an_example():
    assert set(EXAMPLES) == set(BACKBONES)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_contract(name):
    backbone = build_backbone(EXAMPLES[name], 5, rng_seed=1)
    assert {value.dtype for value in backbone.model.parameters()} == {torch.float32}
    pixels = torch.randint(0, 256, (4, 3, backbone.input_size, backbone.input_size), dtype=torch.uint8)
    x = backbone.normalise(pixels)
    low, high = (
        (torch.tensor([value] * 3) - torch.tensor(backbone.mean)) / torch.tensor(backbone.std)
        for value in (0.0, 1.0)
    )
    assert (x.amin(dim=(0, 2, 3)) >= low).all()
    assert (x.amax(dim=(0, 2, 3)) <= high).all()
    assert backbone.model(x).shape == (4, 5)
    rebuilt = timm.create_model(backbone.architecture, num_classes=5, **backbone.model_args)
    assert rebuilt.state_dict().keys() == _state(backbone).keys()


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_only_the_seed_decides(name):
    with torch.random.fork_rng(devices=[]):
        state = torch.get_rng_state()
        first = _state(build_backbone(EXAMPLES[name], 5, rng_seed=1))
        assert torch.equal(state, torch.get_rng_state())
        torch.rand(10)
        assert _equal(first, _state(build_backbone(EXAMPLES[name], 5, rng_seed=1)))
        assert not _equal(first, _state(build_backbone(EXAMPLES[name], 5, rng_seed=2)))


def test_mini_starts_from_its_weights():
    one, other = (_state(build_backbone(EXAMPLES["mini"], 5, rng_seed=seed)) for seed in (1, 2))
    assert {key for key in one if not torch.equal(one[key], other[key])} == {"fc.weight", "fc.bias"}
    blank = _state(build_backbone(CompareSettings(backbone="mini", pretrained=False), 5, rng_seed=1))
    assert not torch.equal(one["conv1.0.weight"], blank["conv1.0.weight"])


def test_resolution():
    assert build_backbone(CompareSettings(resolution=48), 5, rng_seed=0).input_size == 48
    assert (
        build_backbone(CompareSettings(backbone="test_resnet", pretrained=False), 5, rng_seed=0).input_size
        == 160
    )
    fixed = build_backbone(
        CompareSettings(backbone="test_vit", pretrained=False, resolution=64), 5, rng_seed=0
    )
    assert fixed.model_args == {"img_size": 64}
    assert fixed.model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 5)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file(tmp_path, suffix):
    with seeded_globals(7):
        source = timm.create_model("test_resnet", num_classes=9).state_dict()
    path = tmp_path / f"weights{suffix}"
    safetensors.torch.save_file(source, path) if suffix == ".safetensors" else torch.save(
        {"state_dict": source}, path
    )
    loaded = _state(build_backbone(CompareSettings(backbone="test_resnet", weights=path), 5, rng_seed=0))
    assert {key for key in source if not torch.equal(source[key], loaded[key])} == {"fc.weight", "fc.bias"}
    same_size = _state(build_backbone(CompareSettings(backbone="test_resnet", weights=path), 9, rng_seed=0))
    assert {key for key in source if not torch.equal(source[key], same_size[key])} == {"fc.weight", "fc.bias"}
    keeping = CompareSettings(backbone="test_resnet", weights=path, keep_head=True)
    assert _equal(source, _state(build_backbone(keeping, 9, rng_seed=0)))
    with pytest.raises(
        InputError, match="needs a pretrained head for the 5 classes of the data, got a head for 9"
    ):
        build_backbone(keeping, 5, rng_seed=0)
    assert _equal(
        source, _state(pretrained_classifier(CompareSettings(backbone="test_resnet", weights=path)))
    )


def test_a_folder_is_a_backbone(tmp_path):
    """What understudy itself has trained, as a start."""
    classifier = fit_arm(
        "real", train=squares("train"), synthetic=None, settings=RECIPE, seed=0, device="cpu"
    )
    classifier.save(tmp_path)
    settings = CompareSettings(backbone=str(tmp_path))
    start = _state(build_backbone(settings, 5, rng_seed=0))
    trained = _state(classifier.backbone)
    assert {key for key in trained if not torch.equal(trained[key], start[key])} == {"fc.weight", "fc.bias"}
    assert _equal(trained, _state(pretrained_classifier(settings)))
    assert _equal(
        trained, _state(build_backbone(settings.model_copy(update={"keep_head": True}), 3, rng_seed=0))
    )
    assert pretrained_classifier(settings.model_copy(update={"pretrained": False})) is None
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(
        InputError, match=r"compare\.backbone must be .*, but model\.safetensors in .* damaged"
    ):
        check_backbone(settings)


@pytest.fixture
def network_folder(tmp_path):
    return shutil.copytree(EXAMPLES["folder"].backbone, tmp_path / "network")


def edit_cfg(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"] |= changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"std": [0.5, 0.0, 0.5]}, "must state how images are prepared, values above 0 as std"),
        ({"mean": [0.5]}, r"three numbers each as mean and std, got size 32, mean \(0.5,\)"),
        ({"input_size": [3, 0, 0]}, "a whole number of pixels as size"),
        ({"mean": [0.5, "x", 0.5]}, "three numbers each"),
    ],
)
def test_a_preparation_of_images_that_is_impossible_is_refused(changes, message, network_folder):
    edit_cfg(network_folder, **changes)
    with pytest.raises(InputError, match=message):
        build_backbone(CompareSettings(backbone=str(network_folder)), 5, rng_seed=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value, network_folder, tmp_path):
    path = network_folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["conv1.0.weight"][0] = value
    safetensors.torch.save_file(weights, path)
    message = r"network must be finite, but conv1\.0\.weight hold"
    with pytest.raises(InputError, match=message):
        build_backbone(CompareSettings(backbone=str(network_folder)), 5, rng_seed=0)
    weights = timm.create_model("test_resnet").state_dict()
    weights["bn1.weight"][0] = value
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    settings = CompareSettings(backbone="test_resnet", weights=tmp_path / "w.safetensors")
    with pytest.raises(
        InputError, match=r"compare\.weights=.*w\.safetensors must be finite, but bn1\.weight"
    ):
        build_backbone(settings, 5, rng_seed=0)


@pytest.mark.parametrize("ending", ["conv1.weight", "bn1.bias", "bn1.running_var"])
@pytest.mark.parametrize("num_classes", [5, 26])  # 26 as in the folder, for which timm itself finds it
def test_missing_weights_are_never_left_random(num_classes, ending, network_folder):
    path = network_folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    name = next(name for name in weights if name.startswith("layer") and name.endswith(ending))
    others = {key: value for key, value in weights.items() if key != name}
    safetensors.torch.save_file(others, path)
    with pytest.raises(InputError, match=rf"compare\.backbone must be a folder with a timm model .*{name}"):
        build_backbone(CompareSettings(backbone=str(network_folder)), num_classes, rng_seed=0)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "an empty file: download"), (b"<html>", "a web page in place"), (b"x", "damaged or cut short")],
    ids=["empty", "page", "text"],
)
def test_damaged_weights_are_named_before_a_run(suffix, content, message, tmp_path):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"compare\.weights must be .*w{suffix} is {message}"):
        check_backbone(CompareSettings(backbone="test_resnet", weights=path))


def test_a_folder_without_a_network_names_the_missing_file(network_folder):
    (network_folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"but .*network has no weights, such as model\.safetensors: copy"):
        check_backbone(CompareSettings(backbone=str(network_folder)))
    (network_folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"compare\.backbone must be a folder .*network has no config\.json"):
        check_backbone(CompareSettings(backbone=str(network_folder)))


def test_weights_that_do_not_fit(tmp_path):
    path = tmp_path / "weights.safetensors"
    source = timm.create_model("test_resnet", num_classes=9).state_dict()
    removed = sorted(key for key in source if key.startswith("layer4."))
    kept = {key: value for key, value in source.items() if key not in removed} | {
        "extra": torch.zeros(1),
        "conv1.0.weight": torch.zeros(1),
    }
    safetensors.torch.save_file(kept, path)
    with pytest.raises(
        InputError,
        match=rf"{len(removed)} missing: layer4.*1 unexpected: extra; 1 of another shape: conv1.0.weight",
    ):
        build_backbone(CompareSettings(backbone="test_resnet", weights=path), 5, rng_seed=0)
    path.write_bytes(b"not a network")
    with pytest.raises(InputError, match="damaged or cut short"):
        build_backbone(CompareSettings(backbone="test_resnet", weights=path), 5, rng_seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet-18", "pretrained": False}, "did you mean resnet18"),
        ({"backbone": "qqqqqqqqq"}, "list_models"),
        ({"backbone": "timm"}, "must be 'mini', the name of a timm model or a folder"),
        ({"backbone": "coatnet_0_224"}, "no pretrained weights for 'coatnet_0_224'"),
        (
            {"backbone": "test_resnet", "weights": "missing.pth"},
            "must be an existing .safetensors or .pth file",
        ),
        (
            {"backbone": "test_resnet", "weights": "here.pth", "pretrained": False},
            "needs compare.pretrained=true",
        ),
        ({"backbone": "mini", "weights": "here.pth"}, "comes with weights"),
        (
            {"backbone": "mini", "pretrained": False, "keep_head": True},
            "keep_head needs compare.pretrained=true",
        ),
    ],
)
def test_refused_before_anything_is_loaded(changes, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.pth").touch()
    with pytest.raises(InputError, match=message):
        check_backbone(CompareSettings.model_validate(changes))


def test_without_the_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match=r"the hub cannot be reached.*compare\.weights=FILE or compare\.pretrained=false"
    ):
        build_backbone(CompareSettings(backbone="test_resnet"), 5, rng_seed=0)


def test_mini_is_a_plain_timm_folder():
    backbone = build_backbone(EXAMPLES["mini"], 5, rng_seed=0)
    json.dumps(backbone.model_args)
    assert timm.is_model(backbone.architecture)
