"""Whether the weights of a pipeline fit into memory, that of this machine and of its GPU."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path

from understudy.core.device_memory import free_bytes
from understudy.core.errors import InputError
from understudy.core.host_memory import free_host_bytes
from understudy.core.weight_files import READ_WEIGHTS, shapes_in, weights_in
from understudy.generators.foreign import CHECKPOINT_PARTS, DENOISERS, INDEX
from understudy.generators.pipeline_kind import files_of, is_flow, stated
from understudy.generators.settings import GeneratorSettings

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def check_room(settings: GeneratorSettings) -> None:
    """Check that the weights of a pipeline fit into the free memory of this machine.

    Otherwise the system ends the process without a message.

    Args:
        settings: of the generator.

    Raises:
        InputError: if they do not fit.
    """
    need = bytes_of_weights(settings)
    free = free_host_bytes()
    if need > free:
        raise InputError(
            f"the pipeline {settings.name} needs at least {need / 1e9:.1f} GB of memory for its weights, but "
            f"{free / 1e9:.1f} GB are free: close other programs, use another machine, or choose a smaller "
            "pipeline"
        )


def check_device_room(settings: GeneratorSettings, device: str) -> None:
    """Check that the weights fit into the free memory of the device, before they are read.

    Args:
        settings: of the generator. With ``cpu_offload``, only the denoiser has to stay there.
        device: torch device; nothing is checked on a CPU.

    Raises:
        InputError: if they do not fit.
    """
    if (free := free_bytes(device)) is None:
        return
    need = bytes_of_weights(settings, on_device=True)
    if need > free:
        raise InputError(
            f"the pipeline {settings.name} needs at least {need / 1e9:.1f} GB on the device {device!r} for "
            f"its weights in {settings.precision}, and more to draw, but {free / 1e9:.1f} GB are free: "
            f"{less_memory(settings, device)}"
        )


def less_memory(settings: GeneratorSettings, device: str, *, drawing: bool = False) -> str:
    """What to do if a generator does not fit into memory, without what is set already or would be refused.

    Args:
        settings: of the generator.
        device: torch device.
        drawing: whether the weights fit, but not what drawing needs in addition.
    """
    others = "end other programs on the device"
    if settings.name == "class_conditional":  # no pipeline
        return f"set a lower generator.resolution or fewer generator.channels, or {others}"
    ways = []
    if settings.precision == "float32":
        # Text encoders of such pipelines (T5, Gemma) have numbers that float16 cannot hold.
        half = "bfloat16" if is_flow(settings.name) else "float16"
        ways.append(f"set generator.precision={half}, which halves the weights")
    if not settings.cpu_offload and not device.startswith("cpu"):
        ways.append(
            "set generator.cpu_offload=true, which keeps all networks but the denoiser in main memory"
        )
    if drawing and not settings.vae_tiling:
        ways.append("set generator.vae_tiling=true")
    if drawing:
        ways.append("set a lower generator.resolution")
    return f"{'; '.join([*ways, others])}; or choose a smaller pipeline"


def bytes_of_weights(settings: GeneratorSettings, *, on_device: bool = False) -> float:
    """Bytes of memory that the weights of a pipeline take, at least; 0 if the hub has not sent them yet.

    Args:
        settings: of the generator.
        on_device: count only what stays on the device, which with ``cpu_offload`` is the denoiser.
    """
    path = files_of(settings.name) or Path(settings.name)
    only_denoiser = on_device and settings.cpu_offload
    if path.is_file():
        parts = ("UNet",) if only_denoiser else tuple(CHECKPOINT_PARTS)
        numbers = _numbers_in_checkpoint(path, parts)
    else:
        loaded = _networks_of(path, settings) if path.is_dir() else ()
        parts = tuple(name for name in loaded if name in DENOISERS) if only_denoiser else loaded
        numbers = sum(_numbers_in_folder(path / name) for name in parts)
    return numbers * _BYTES[settings.precision]


def _networks_of(folder: Path, settings: GeneratorSettings) -> tuple[str, ...]:
    """The parts of a pipeline that are loaded, by its index; none if there is no index."""
    index = stated(str(folder), INDEX) or {}
    left_out = {
        "safety_checker": not settings.safety_checker,
        "image_encoder": settings.image_encoder is not None,
        "vae": settings.autoencoder is not None,
    }
    return tuple(
        name
        for name, kind in index.items()
        # A part that was left out when the pipeline was saved, such as T5 of SD3, is [null, null].
        if isinstance(kind, list) and kind and all(kind) and not left_out.get(name)
    )


def _numbers_in_checkpoint(checkpoint: Path, parts: Collection[str]) -> float:
    """How many numbers some networks in a single file have, without a moving average of them."""
    starts = tuple(start for part in parts for start in CHECKPOINT_PARTS[part])
    shapes = shapes_in(checkpoint).items()
    return float(sum(math.prod(shape) for name, shape in shapes if name.startswith(starts)))


def _numbers_in_folder(folder: Path) -> float:
    """How many numbers the weights of a network have; 0 if there are none.

    The same weights may lie there in several variants, and in one piece beside several.
    """
    forms: dict[str, float] = {}
    for file in weights_in(folder):
        if READ_WEIGHTS.match(file.name):
            form = re.sub(r"-\d+(?=-of-)", "", file.name)  # the pieces of a file belong together
            forms[form] = forms.get(form, 0.0) + _numbers_in_file(file)
    return min(forms.values(), default=0.0)


def _numbers_in_file(file: Path) -> float:
    shapes = [shape for shape in shapes_in(file).values() if shape]
    if not shapes:  # a PyTorch file that cannot be mapped into memory; most of these have 32 bits
        return file.stat().st_size / _BYTES["float32"]
    return float(sum(map(math.prod, shapes)))
