"""LoRA and textual-inversion files of other programs, merged into a pipeline when it is loaded."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from understudy.core.errors import InputError, first_line
from understudy.core.weight_files import TORCH, shapes_in, weights_in
from understudy.generators.foreign import MERGED_LORAS, describe
from understudy.generators.pipeline_index import LOADING_ERRORS
from understudy.generators.silence import diffusers_logs_nothing

_LORA_LAYER = re.compile(r"lora(_A|[._]down|_linear_layer\.down)(\.|$)")
"""In the names of weights: one for each layer that a LoRA changes."""


_MISMATCH = re.compile(r"size mismatch for (\S+?): .*?torch\.Size\((\[.*?\])\).*?torch\.Size\((\[.*?\])\)")


def merge_adapters(pipeline: Any, paths: Sequence[Path]) -> None:
    """Add LoRAs at full strength to the weights of a pipeline, and embeddings to its vocabulary.

    Args:
        pipeline: of diffusers, on the CPU.
        paths: files, or folders with one file each, that :func:`understudy.generators.foreign.check_merged`
            has accepted.

    Raises:
        InputError: for an adapter that was made for another pipeline, or that would execute code.
    """
    for path in paths:
        file = path if path.is_file() else weights_in(path)[0]
        add = _fuse if describe(path)[0] in MERGED_LORAS else _add_token
        try:
            with diffusers_logs_nothing():
                add(pipeline, file)
        except LOADING_ERRORS as error:
            if isinstance(error, OSError) and file.suffix in TORCH:
                raise InputError(
                    f"the adapter {file} cannot be read without executing code in it, which is never done: "
                    "convert it to safetensors with the program that made it"
                ) from error
            raise _does_not_fit(pipeline, file, _reason(error)) from error


def _fuse(pipeline: Any, file: Path) -> None:
    pipeline.load_lora_weights(str(file))
    networks = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    # diffusers leaves layers out that a network does not have, and only logs it.
    found = sum(isinstance(module, BaseTunerLayer) for network in networks for module in network.modules())
    stored = sum(bool(_LORA_LAYER.search(name)) for name in shapes_in(file))
    if found < stored:
        raise _does_not_fit(pipeline, file, f"the pipeline has only {found} of its {stored} layers")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()


def _add_token(pipeline: Any, file: Path) -> None:
    if "text_encoder_2" in pipeline.components or not hasattr(pipeline, "load_textual_inversion"):
        raise InputError(
            f"the embedding {file} needs a pipeline whose only text encoder is CLIP, Stable Diffusion 1.x or "
            f"2.x, got {type(pipeline).__name__}: leave it out of generator.adapters"
        )
    shapes = shapes_in(file)
    name = file.stem if "emb_params" in shapes else None  # kohya's files do not name their token
    with torch.random.fork_rng(devices=[]):  # new rows are random until they are overwritten
        # load_textual_inversion would resize too, with a costly fit of the distribution of random rows.
        rows = sum(math.prod(shape[:-1]) for shape in shapes.values() if shape)
        size = len(pipeline.tokenizer) + rows
        pipeline.text_encoder.resize_token_embeddings(size, mean_resizing=False)
        pipeline.load_textual_inversion(str(file), token=name)


def _reason(error: BaseException) -> str:
    """What does not fit: the first layer of another width if torch lists them, else what the error says."""
    found = _MISMATCH.findall(str(error))
    if not found:
        return first_line(error)
    layer, stored, wanted = found[0]
    return f"{len(found)} weights have another shape, such as {layer} with {stored} instead of {wanted}"


def _does_not_fit(pipeline: Any, file: Path, reason: str) -> InputError:
    return InputError(
        f"the adapter {file} must be made for a pipeline like this {type(pipeline).__name__}, but it does "
        f"not fit: {reason}: leave it out of generator.adapters, or give the pipeline that it was made for"
    )
