"""Files with weights are read without executing them, and damaged ones are named with what to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, final

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from understudy.adaptation.adapter import check_adapter
from understudy.core.errors import InputError
from understudy.core.weight_files import damage, shapes_in
from understudy.generators.foreign import describe
from understudy.generators.load import check_generator, load_generator
from understudy.generators.settings import GeneratorSettings

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
DAMAGES = {
    "empty": (b"", "an empty file: download it again, or copy it again from where it came from"),
    "page": (
        b"\n<!DOCTYPE html><title>Sign in</title>",
        "a web page in place of the file: download it again,.* log in",
    ),
    "pointer": (POINTER, "a pointer of Git LFS in place of the file: fetch the file with 'git lfs pull'"),
    "zeros": (bytes(4096), "damaged or cut short: download it again"),
    "text": (b"Entry not found", "damaged or cut short: download it again"),
}


def saved(path: Path, content: Any = None, *, legacy: bool = False) -> Path:
    content = {"conv_in.weight": torch.zeros(4, 4)} if content is None else content
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", ["style.safetensors", "style.pt", "x.ckpt", "pytorch_lora_weights.bin"])
def test_damaged_weights_are_named_as_generator_and_as_adapter(name: str, kind: str, tmp_path: Path) -> None:
    content, message = DAMAGES[kind]
    (tmp_path / name).write_bytes(content)
    for path, place in ((tmp_path / name, name), (tmp_path, f"a folder in which {name}")):
        with pytest.raises(InputError, match=f"{place} is {message}"):
            check_generator(GeneratorSettings(name=str(path)))
        with pytest.raises(InputError, match=f"{place} is {message}"):
            check_adapter(path, method="lora")


@pytest.mark.parametrize("part", ["unet", "transformer"])
def test_a_damaged_denoiser_in_a_folder_is_named(part: str, tmp_path: Path) -> None:
    (tmp_path / part).mkdir()
    (tmp_path / part / "x.safetensors").write_bytes(POINTER)
    assert (
        describe(tmp_path)[0]
        == f"a folder in which {part}/x.safetensors is a pointer of Git LFS in place of the file"
    )


@given(share=st.floats(0, 1, exclude_max=True), suffix=st.sampled_from([".safetensors", ".pt"]))
def test_a_file_cut_anywhere_is_damaged(
    share: float, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = saved(tmp_path_factory.mktemp("cut") / f"x{suffix}")
    assert damage(path) is None
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert damage(path) is not None


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("parameters", [False, True], ids=["tensor", "ParameterDict"])
def test_an_embedding_of_the_web_ui_is_known(legacy: bool, parameters: bool, tmp_path: Path) -> None:
    vectors: Any = {"*": torch.zeros(2, 8)}
    if parameters:
        vectors = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors["*"])})
    embedding = {
        "string_to_token": {"*": 265},
        "string_to_param": vectors,
        "name": "my-cat",
        "step": 1000,
        "sd_checkpoint": None,
    }
    path = saved(tmp_path / "my-cat.pt", embedding, legacy=legacy)
    assert describe(path)[0] == "an embedding of textual inversion"
    with pytest.raises(
        InputError, match="my-cat.pt is an embedding of textual inversion: give it with --set"
    ):
        check_generator(GeneratorSettings(name=str(path)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"<cat>": torch.zeros(8)}, "an embedding of textual inversion"),
        ({"lora_unet_mid.lora_down.weight": torch.zeros(2, 2)}, "a kohya LoRA"),
        ({"state_dict": {"model.diffusion_model.x": torch.zeros(2)}}, "a whole Stable Diffusion checkpoint"),
        ({"conv_in.weight": torch.zeros(2)}, "a denoiser that was fine-tuned as a whole"),
        ({"encoder.weight": torch.zeros(2, 2)}, "a set of unknown weights"),
        ([torch.zeros(2)], "a set of unknown weights"),
    ],
)
def test_files_of_pytorch_are_known_by_their_names(content: Any, expected: str, tmp_path: Path) -> None:
    assert describe(saved(tmp_path / "x.ckpt", content))[0] == expected


@final
class Trap:
    """Whoever executes the pickle of an instance writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_checkpoint_is_not_executed(legacy: bool, tmp_path: Path) -> None:
    """As in the first checkpoints of Stable Diffusion, which hold objects of PyTorch Lightning."""
    content = {"state_dict": {"model.diffusion_model.x": torch.zeros(2)}, "callbacks": Trap(tmp_path / "ran")}
    path = saved(tmp_path / "sd-v1-4.ckpt", content, legacy=legacy)
    assert describe(path)[0] == "a whole Stable Diffusion checkpoint"
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "ran").exists()


def test_shapes_are_those_of_the_tensors(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}
    for name in ("x.safetensors", "x.pt"):
        assert shapes_in(saved(tmp_path / name, tensors)) == {"a": (2, 3), "b": (4,)}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("unet/diffusion_pytorch_model.safetensors", kind) for kind in DAMAGES),
        ("model_index.json", "page"),
        ("unet/config.json", "empty"),
        ("text_encoder/model.safetensors", "pointer"),
        ("scheduler/scheduler_config.json", "text"),
        ("tokenizer/tokenizer.json", "zeros"),
    ],
)
def test_a_damaged_file_in_a_pipeline_is_named(
    name: str, kind: str, tiny_pipeline_folder: Path, tmp_path: Path
) -> None:
    content, message = DAMAGES[kind]
    folder = shutil.copytree(tiny_pipeline_folder, tmp_path / "pipeline")
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=f"pipeline must be complete, but {name} in it is {message}"):
        load_generator(GeneratorSettings(name=str(folder)), device="cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unet/config.json", "its folder unet has no JSON file"),
        ("text_encoder/config.json", "its folder text_encoder has no JSON file"),
        ("scheduler/scheduler_config.json", "its folder scheduler has no JSON file"),
        ("vae/diffusion_pytorch_model.safetensors", "its folder vae has no weights"),
        ("text_encoder/model.safetensors", "its folder text_encoder has no weights"),
    ],
)
def test_a_missing_file_in_a_pipeline_is_named(
    name: str, message: str, tiny_pipeline_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_pipeline_folder, tmp_path / "pipeline")
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"pipeline must be complete, but {message}: copy the whole folder"):
        load_generator(GeneratorSettings(name=str(folder)), device="cpu")


def test_a_damaged_file_that_is_not_read_does_no_harm(tiny_pipeline_folder: Path, tmp_path: Path) -> None:
    """Pointers of the files that were not fetched lie beside those that were."""
    folder = shutil.copytree(tiny_pipeline_folder, tmp_path / "pipeline")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(POINTER)
    load_generator(GeneratorSettings(name=str(folder)), device="cpu")
    (folder / "vae" / "config.json").unlink()
    with pytest.raises(InputError, match="its folder vae has no JSON file"):
        load_generator(GeneratorSettings(name=str(folder)), device="cpu")
