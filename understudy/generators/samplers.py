"""Solvers of the reverse process, from diffusers, by the names that plans use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from understudy.registry import Registry

SAMPLERS: Registry[Callable[[Any], Any]] = Registry("sampler")

# Every grid begins at the last timestep, as a start from pure noise must; the spacing that some pipelines carry
# ("leading") begins a whole step lower. DDIM takes equal steps of T / N, which only "trailing" agrees with.
SAMPLERS.register("unipc", summary="UniPC, second order (Zhao et al. 2023); 15 to 30 steps")(
    partial(UniPCMultistepScheduler.from_config, timestep_spacing="linspace")
)
SAMPLERS.register("dpm++", summary="DPM-Solver++, second order (Lu et al. 2022); 15 to 30 steps")(
    partial(DPMSolverMultistepScheduler.from_config, timestep_spacing="linspace")
)
SAMPLERS.register("ddim", summary="DDIM, deterministic (Song et al. 2021); 30 to 100 steps")(
    partial(DDIMScheduler.from_config, timestep_spacing="trailing")
)
SAMPLERS.register("ddpm", summary="ancestral sampling (Ho et al. 2020); 100 steps and more")(
    partial(DDPMScheduler.from_config, timestep_spacing="linspace")
)


def build_sampler(name: str, config: Any) -> Any:
    """A solver on the noise schedule of a pipeline.

    Args:
        name: a key of ``SAMPLERS``.
        config: the configuration of the pipeline's own scheduler.

    Raises:
        InputError: for an unknown name.
    """
    return SAMPLERS[name](config)
