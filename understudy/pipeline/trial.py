"""A trial of a generator before a run begins: what a pipeline's configuration does not tell, this does."""

from __future__ import annotations

from dataclasses import replace

import torch

from understudy.core.errors import InputError, first_line
from understudy.core.micro_batch import is_out_of_memory
from understudy.generators.generator import Generator, PlanRow, adaptable
from understudy.generators.prompts import fill, read_templates
from understudy.generators.room import less_memory
from understudy.settings import Settings


@torch.no_grad()
def try_generator(generator: Generator, settings: Settings, words: str) -> None:
    """Draw one image in two steps, and compute one training residual.

    Args:
        generator: ready to be adapted.
        settings: of the run.
        words: a prompt.

    Raises:
        InputError: with the reason why the generator cannot do that.
    """
    draw = settings.draw
    row = PlanRow.from_noise(words, sampler=draw.sampler, steps=2, guidance_scale=draw.guidance_scale)
    negative, *_ = read_templates(draw.negative_prompt, needs_class=False)  # some pipelines take none
    row = replace(row, negative_prompt=fill(negative, words=words, caption=""))
    model, size = adaptable(generator), generator.image_size
    try:
        image = generator.draw([row], None)
        x0 = model.encode_images(torch.full((1, 3, size, size), 128, dtype=torch.uint8))
        residual = model.denoising_residual(
            x0,
            torch.ones_like(x0),
            torch.tensor([len(model.snr) // 2], device=x0.device),
            model.encode_prompts([words]),
        )
    except InputError:
        raise
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        reason = first_line(error)
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise InputError(
                f"the generator {settings.generator.name} needs more memory than the device has, even for "
                f"one image of {size} pixels ({reason}): "
                f"{less_memory(settings.generator, str(model.device), drawing=True)}"
            ) from error
        raise InputError(
            f"the generator {settings.generator.name} cannot draw an image or compute its loss: {reason}: "
            "choose another one"
        ) from error
    if not torch.isfinite(residual).all():
        raise InputError(
            f"the loss of the generator {settings.generator.name} must be finite, got {residual.mean():g}: "
            f"choose another one{_or_precise(settings)}"
        )
    if not image.any():  # not a number becomes black
        raise InputError(
            f"the generator {settings.generator.name} must draw pictures, but they are black, as if numbers "
            "overflow or its weights are damaged: set generator.precision=float32, lower "
            "draw.guidance_scale, or choose another one"
        )


def _or_precise(settings: Settings) -> str:
    """What else to try if numbers overflow; nothing more in float32."""
    is_float32 = settings.generator.precision == "float32"
    adapters = ", or leave generator.adapters out" if settings.generator.adapters else ""
    return adapters if is_float32 else f"{adapters}, or generator.precision=float32"
