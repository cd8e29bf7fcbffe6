"""Solvers of the reverse process, from diffusers, by the names that plans use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, final

from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from understudy.core.errors import InputError
from understudy.core.registry import Registry

Kind = Literal["diffusion", "flow matching", "edm"]
"""Stable Diffusion 1, 2 and XL; Stable Diffusion 3; ``class_conditional``."""


@final
@dataclass(frozen=True)
class Sampler:
    """A solver for one kind of noise schedule.

    Attributes:
        build: makes it from the configuration of a pipeline's own scheduler.
        kind: of noise schedule.
    """

    build: Callable[[Any], Any]
    kind: Kind = "diffusion"


SAMPLERS: Registry[Sampler] = Registry("sampler")

# Every grid begins at the last timestep, as a start from pure noise must; the spacing that some pipelines carry
# ("leading") begins a whole step lower. DDIM takes equal steps of T / N, which only "trailing" agrees with.
SAMPLERS.register("unipc", summary="UniPC, second order (Zhao et al. 2023); 15 to 30 steps")(
    Sampler(partial(UniPCMultistepScheduler.from_config, timestep_spacing="linspace"))
)
SAMPLERS.register("dpm++", summary="DPM-Solver++, second order (Lu et al. 2022); 15 to 30 steps")(
    Sampler(partial(DPMSolverMultistepScheduler.from_config, timestep_spacing="linspace"))
)
SAMPLERS.register("ddim", summary="DDIM, deterministic (Song et al. 2021); 30 to 100 steps")(
    Sampler(partial(DDIMScheduler.from_config, timestep_spacing="trailing"))
)
SAMPLERS.register("ddpm", summary="ancestral sampling (Ho et al. 2020); 100 steps and more")(
    Sampler(partial(DDPMScheduler.from_config, timestep_spacing="linspace"))
)
SAMPLERS.register("flow-euler", summary="Euler, for flow matching (Esser et al. 2024), as Stable Diffusion 3; 20 to 40 steps")(
    Sampler(FlowMatchEulerDiscreteScheduler.from_config, "flow matching")
)
SAMPLERS.register("edm", summary="DPM-Solver++ on the noise levels of EDM (Karras et al. 2022), for class_conditional; 15 to 30 steps")(
    Sampler(EDMDPMSolverMultistepScheduler.from_config, "edm")
)


def build_sampler(name: str, config: Any, *, kind: Kind = "diffusion") -> Any:
    """A solver on the noise schedule of a pipeline.

    Args:
        name: a key of ``SAMPLERS``.
        config: the configuration of the pipeline's own scheduler.
        kind: of the noise schedule that the generator was trained on.

    Raises:
        InputError: for an unknown name, or a sampler for another kind of generator. UniPC and DPM-Solver++ of diffusers know flow
            matching, but its pipelines cannot start from an image with them.
    """
    sampler = SAMPLERS[name]
    if sampler.kind != kind:
        fitting = ", ".join(other for other in SAMPLERS if SAMPLERS[other].kind == kind)
        raise InputError(f"draw.sampler must be one for {kind}, as the generator is, got {name!r}: take {fitting}")
    return sampler.build(config)
