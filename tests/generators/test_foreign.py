"""Adapters of other programs are recognised by their files, and the message says how to use them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import safetensors.numpy
import torch
from diffusers import StableDiffusionPipeline
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from understudy.adaptation.adapter import check_adapter
from understudy.core.errors import InputError
from understudy.generators.foreign import MERGED_LORAS, describe
from understudy.generators.load import check_generator
from understudy.generators.settings import GeneratorSettings

PLACES = (
    "down_blocks.0.attentions.1",
    "mid_block.attentions.0",
    "up_blocks.3.resnets.2",
    "transformer_blocks.7",
)
LAYERS = ("to_q", "to_out.0", "ff.net.0.proj", "conv1")


def kohya(layer: str, kind: str, network: str = "unet") -> dict[str, int]:
    name = f"lora_{network}_{layer.replace('.', '_')}"
    return {f"{name}.{kind}_down.weight": 2, f"{name}.{kind}_up.weight": 2, f"{name}.alpha": 0}


def text_encoder(layer: str) -> dict[str, int]:
    return {f"lora_te1_{layer.replace('.', '_')}.lora_down.weight": 2}


def lycoris(layer: str) -> dict[str, int]:
    name = f"lora_unet_{layer.replace('.', '_')}"
    return {f"{name}.hada_w1_a": 2, f"{name}.hada_w1_b": 2, f"{name}.alpha": 0}


def diffusers(layer: str, *, old: bool) -> dict[str, int]:
    ends = ("lora.down", "lora.up") if old else ("lora_A", "lora_B")
    return {f"unet.{layer}.{end}.weight": 2 for end in ends}


def peft(layer: str) -> dict[str, int]:
    return {f"base_model.model.{layer}.lora_A.weight": 2}


def denoiser(layer: str) -> dict[str, int]:
    return {f"{layer}.weight": 2, "conv_in.weight": 4}


def checkpoint(layer: str) -> dict[str, int]:
    return {f"model.diffusion_model.{layer}.weight": 2, "first_stage_model.encoder.conv_in.weight": 4}


KINDS: dict[str, list[Callable[[str], dict[str, int]]]] = {
    "a kohya LoRA": [
        lambda layer: kohya(layer, "lora"),
        lambda layer: kohya(layer, "lora", "transformer"),
        lambda layer: kohya(layer, "lora", "prior_unet"),
        text_encoder,
    ],
    "a LyCORIS adapter": [lycoris],
    "a LoRA of diffusers": [
        lambda layer: diffusers(layer, old=True),
        lambda layer: diffusers(layer, old=False),
    ],
    "a LoRA of peft": [peft],
    "a denoiser that was fine-tuned as a whole": [denoiser],
    "a whole Stable Diffusion checkpoint": [checkpoint],
    "a set of unknown weights": [
        lambda layer: {f"double_blocks.0.{layer}.weight": 2},
        lambda layer: {f"model.diffusion_model.double_blocks.0.{layer}.weight": 2},
        lambda layer: {f"encoder.{layer}.weight": 2},
    ],
}
MAKERS = [(kind, maker) for kind, makers in KINDS.items() for maker in makers]


@given(
    st.sampled_from(MAKERS),
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(LAYERS)).map(".".join), min_size=1, max_size=4
    ),
    st.text("abcXYZ_-", min_size=1, max_size=8),
    st.booleans(),
)
def test_weights_are_known_by_their_names(
    kind: tuple[str, Callable[[str], dict[str, int]]], layers: list[str], name: str, in_folder: bool
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.safetensors"
        dimensions = {key: value for layer in layers for key, value in kind[1](layer).items()}
        tensors = {key: np.zeros((1,) * value, np.float32) for key, value in dimensions.items()}
        safetensors.numpy.save_file(tensors, path)
        what, how = describe(Path(folder) if in_folder else path)
    assert what == kind[0]
    assert "--generator" in how


@given(st.dictionaries(st.text("<>abc*", min_size=1, max_size=6), st.integers(1, 2), min_size=1, max_size=3))
def test_embeddings_of_tokens_are_known(dimensions: dict[str, int]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "mine.safetensors"
        tensors = {key: np.zeros((1,) * value, np.float32) for key, value in dimensions.items()}
        safetensors.numpy.save_file(tensors, path)
        assert describe(path)[0] == "an embedding of textual inversion"


@pytest.mark.parametrize(
    ("shapes", "is_embedding"),
    [
        ({"<a>": (4,), "<b>": (2, 4)}, True),
        ({"clip_l": (2, 4), "clip_g": (2, 6)}, True),
        ({"<a>": (4,), "<b>": (5,)}, False),
        ({"<a>": ()}, False),
        ({"<a>": (1, 2, 4)}, False),
        ({"encoder_weight": (4, 4), "bias": (4,)}, False),
        ({"weight": (4, 4)}, False),
    ],
)
def test_embeddings_are_vectors_of_one_length(
    shapes: dict[str, tuple[int, ...]], is_embedding: bool, tmp_path: Path
) -> None:
    path = tmp_path / "mine.safetensors"
    safetensors.numpy.save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, path)
    wanted = "an embedding of textual inversion" if is_embedding else "a set of unknown weights"
    assert describe(path)[0] == wanted


def test_another_part_of_a_pipeline_is_no_lora(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    tensors = {"encoder.to_q.lora_A.weight": np.zeros((1, 1), np.float32)}
    safetensors.numpy.save_file(tensors, tmp_path / "diffusion_pytorch_model.safetensors")
    message = r"is a set of unknown weights \(AutoencoderKL\): load their pipeline in diffusers"
    with pytest.raises(InputError, match=message):
        check_adapter(tmp_path, method="lora")


def put(name: str, content: str = "{}") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return write


def weights(name: str) -> Callable[[Path], None]:
    return lambda folder: torch.save({"encoder.weight": torch.zeros(2, 2)}, folder / name)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (put("adapter_config.json", '{"peft_type": "LOHA"}'), "is a LOHA of peft: fuse it"),
        (put("unet/config.json", '{"_class_name": "UNet2DConditionModel"}'), "fine-tuned as a whole: load"),
        (put("config.json", '{"_class_name": "SD3Transformer2DModel"}'), "fine-tuned as a whole: load"),
        (put("model_index.json"), "is a whole pipeline of diffusers: give it with --generator"),
        (put("settings.yaml"), "is the folder of a run: give .*adapter, its adapter"),
        (put("checkpoint.pt"), "is an adapter that is not finished"),
        (
            put("images.json"),
            "is an adapter of understudy without its file report.json: copy the whole folder",
        ),
        (put("class_conditional/classes.json"), "without its file report.json: copy the whole folder again"),
        (put("visual_projection.safetensors"), "without its file report.json: copy the whole folder again"),
        (put("README.md", "tags:\n- diffusion\n- understudy\n"), "without its file report.json: copy the w"),
        (weights("learned_embeds.bin"), "is an embedding of textual inversion: give it"),
        (weights("pytorch_lora_weights.bin"), "is a LoRA of diffusers: give it"),
        (weights("x.ckpt"), "is a set of unknown weights: load their pipeline in diffusers, add them to it"),
        (
            weights("x.pt"),
            "is a set of unknown weights: .* give its folder with --generator; or give RUN/ada",
        ),
        (put("unet/config.json", "["), "is a folder without an adapter: give RUN/adapter"),
    ],
)
def test_folders_are_known_by_their_files(
    write: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    write(tmp_path)
    with pytest.raises(InputError, match=f"must be the folder of an adapter that understudy made.*{message}"):
        check_adapter(tmp_path, method="lora")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unet/config.json", "a denoiser that was fine-tuned as a whole"),
        ("pytorch_lora_weights.safetensors", "a LoRA of diffusers"),
        ("learned_embeds.safetensors", "an embedding of textual inversion"),
    ],
)
def test_what_could_be_ours_without_a_report_gets_both_ways(name: str, expected: str, tmp_path: Path) -> None:
    if name.endswith(".json"):
        put(name, '{"_class_name": "UNet2DConditionModel"}')(tmp_path)
    else:
        safetensors.numpy.save_file({"encoder.weight": np.zeros((2, 2), np.float32)}, tmp_path / name)
    what, how = describe(tmp_path)
    assert what == expected
    assert how.endswith("; or, if understudy made it, copy its whole folder again, with report.json")


def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"but nothing is at .*nowhere: give RUN/adapter of a finished run"):
        check_adapter(tmp_path / "nowhere", method="lora")


def test_what_diffusers_writes_is_known(tiny_pipeline_folder: Path, tmp_path: Path) -> None:
    unet = StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder).unet
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"]))
    layers = get_peft_model_state_dict(unet)
    StableDiffusionPipeline.save_lora_weights(tmp_path / "lora", unet_lora_layers=layers)
    torch.save({"<mine>": torch.zeros(4)}, tmp_path / "learned_embeds.bin")
    assert describe(tmp_path / "lora")[0] == "a LoRA of diffusers"
    assert describe(tmp_path / "learned_embeds.bin")[0] == "an embedding of textual inversion"
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    assert describe(tmp_path / "lora")[0] == "a LoRA of peft"


def test_a_lora_as_generator_gets_the_advice_of_a_lora_as_adapter(tmp_path: Path) -> None:
    """Alone or in a folder, in the form of every program."""
    makers = [(kind, maker) for kind, maker in MAKERS if "LoRA" in kind or "LyCORIS" in kind]
    for number, (kind, maker) in enumerate(makers):
        how = "give it with" if kind in MERGED_LORAS else "fuse it into its pipeline with"
        file = tmp_path / str(number) / "style.safetensors"
        file.parent.mkdir()
        shapes = maker("mid_block.attentions.0.to_q")
        tensors = {key: np.zeros((1,) * value, np.float32) for key, value in shapes.items()}
        safetensors.numpy.save_file(tensors, file)
        for path in (file, file.parent):
            with pytest.raises(InputError, match=rf"{number}.* is {kind}: {how}"):
                check_generator(GeneratorSettings(name=str(path)))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (put("adapter_config.json"), "file, but .* is a LoRA of peft: fuse it"),
        (weights("pytorch_lora_weights.bin"), "file, but .* is a LoRA of diffusers: give it"),
        (weights("learned_embeds.bin"), "file, but .* is an embedding of textual inversion: give it"),
        (put("unet/config.json", '{"_class_name": "UNet2DConditionModel"}'), "fine-tuned as a whole: load"),
        (put("report.json", '{"method": "lora"}'), "is an adapter of understudy: give --set adapt.adapter="),
        (put("images.json"), "is an adapter of understudy without its file report.json: copy the whole"),
        (put("snapshots/0a1b/model_index.json"), "is a folder above one: give .*snapshots.0a1b$"),
        (put("x.txt"), "is a folder without model_index.json: give a folder that save_pretrained"),
    ],
)
def test_folders_that_are_no_pipeline_are_known_by_their_files(
    write: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    write(tmp_path)
    with pytest.raises(InputError, match=f"the generator must be a diffusers pipeline.*{message}"):
        check_generator(GeneratorSettings(name=str(tmp_path)))


def test_a_run_as_generator(tmp_path: Path) -> None:
    put("settings.yaml")(tmp_path)
    put("adapter/report.json", '{"method": "lora"}')(tmp_path)
    with pytest.raises(InputError, match=r"is the folder of a run: give --set adapt.adapter=.*adapter, and"):
        check_generator(GeneratorSettings(name=str(tmp_path)))


def test_parts_of_a_pipeline_and_a_lora_beside_one(tiny_pipeline_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_pipeline_folder, tmp_path / "pipeline")
    check_generator(GeneratorSettings(name=str(folder)))
    (folder / "pytorch_lora_weights.safetensors").touch()
    with pytest.raises(InputError, match=r"in its folder lies a LoRA, pytorch_lora.*, which .*: give it"):
        check_generator(GeneratorSettings(name=str(folder)))
    (folder / "model_index.json").unlink()
    with pytest.raises(InputError, match=r"a pipeline without its model_index.json: copy this file too"):
        check_generator(GeneratorSettings(name=str(folder)))
