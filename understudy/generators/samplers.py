"""Solvers of the reverse process, from diffusers, by the names that plans use."""

from __future__ import annotations

from typing import Any

from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from understudy.registry import Registry

SAMPLERS: Registry[type[Any]] = Registry("sampler")
SAMPLERS.register("unipc", summary="UniPC, second order (Zhao et al. 2023); 15 to 30 steps")(UniPCMultistepScheduler)
SAMPLERS.register("dpm++", summary="DPM-Solver++, second order (Lu et al. 2022); 15 to 30 steps")(DPMSolverMultistepScheduler)
SAMPLERS.register("ddim", summary="DDIM, deterministic (Song et al. 2021); 30 to 100 steps")(DDIMScheduler)
SAMPLERS.register("ddpm", summary="ancestral sampling (Ho et al. 2020); 100 steps and more")(DDPMScheduler)


def build_sampler(name: str, config: Any) -> Any:
    """A solver on the noise schedule of a pipeline.

    Evenly spaced timesteps from the last to the first: a start from pure noise must begin at the last timestep, where
    the spacing that some pipelines carry ("leading") begins a whole step lower.

    Args:
        name: a key of ``SAMPLERS``.
        config: the configuration of the pipeline's own scheduler.

    Raises:
        InputError: for an unknown name.
    """
    return SAMPLERS[name].from_config(config, timestep_spacing="linspace")
