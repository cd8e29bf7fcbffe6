"""The samplers of diffusers, by the names that settings and plans use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

from understudy.core.errors import InputError
from understudy.core.registry import Registry

Kind = Literal["diffusion", "flow matching", "edm"]
"""Noise schedules: of Stable Diffusion 1, 2 and XL; of 3, FLUX.1 and Sana; of ``class_conditional``."""


@final
@dataclass(frozen=True)
class Sampler:
    """A solver for one kind of noise schedule.

    Attributes:
        scheduler: name of its class in diffusers.
        spacing: how the solver places its timesteps; None keeps the setting of the pipeline's scheduler.
        kind: the noise schedule that it integrates.
    """

    scheduler: str
    spacing: str | None = None
    kind: Kind = "diffusion"

    def build(self, config: Any) -> Any:
        """The scheduler of diffusers, with the configuration ``config`` of the pipeline's scheduler."""
        import diffusers  # slow to import; `understudy list` needs only the names

        options = {} if self.spacing is None else {"timestep_spacing": self.spacing}
        return getattr(diffusers, self.scheduler).from_config(config, **options)


SAMPLERS: Registry[Sampler] = Registry("sampler")

# Every grid begins at the last timestep, because drawing starts from pure noise. The spacing "leading", the
# default of some pipelines, begins a whole step lower. DDIM takes equal steps of T / N, which only "trailing"
# gives.
SAMPLERS.register("unipc", summary="UniPC, second order (Zhao et al. 2023); 15 to 30 steps")(
    Sampler("UniPCMultistepScheduler", "linspace")
)
SAMPLERS.register("dpm++", summary="DPM-Solver++, second order (Lu et al. 2022); 15 to 30 steps")(
    Sampler("DPMSolverMultistepScheduler", "linspace")
)
SAMPLERS.register("ddim", summary="DDIM, deterministic (Song et al. 2021); 30 to 100 steps")(
    Sampler("DDIMScheduler", "trailing")
)
SAMPLERS.register("ddpm", summary="ancestral sampling (Ho et al. 2020); at least 100 steps")(
    Sampler("DDPMScheduler", "linspace")
)
SAMPLERS.register("lcm", summary="for LCM-LoRA and other consistency models (Luo et al. 2023); 2 to 8 steps")(
    Sampler("LCMScheduler")
)
SAMPLERS.register(
    "flow-euler",
    summary="Euler, for flow matching (Esser et al. 2024): Stable Diffusion 3, FLUX.1, Sana; 20 to 40 steps",
)(Sampler("FlowMatchEulerDiscreteScheduler", kind="flow matching"))
SAMPLERS.register(
    "edm",
    summary="DPM-Solver++ for class_conditional, a kind of EDM (Karras et al. 2022); 15 to 30 steps",
)(Sampler("EDMDPMSolverMultistepScheduler", kind="edm"))


def build_sampler(name: str, config: Any, *, kind: Kind = "diffusion") -> Any:
    """Build a sampler for the noise schedule of a pipeline.

    Args:
        name: a key of ``SAMPLERS``.
        config: configuration of the pipeline's scheduler.
        kind: the noise schedule that the generator was trained on.

    Raises:
        InputError: for an unknown name, or a sampler for another kind of schedule. UniPC and DPM-Solver++ of
            diffusers can integrate flow matching, but the pipelines cannot start from an image with them.
    """
    sampler = SAMPLERS[name]
    if sampler.kind != kind:
        fitting = ", ".join(other for other in SAMPLERS if SAMPLERS[other].kind == kind)
        raise InputError(
            f"draw.sampler must be one for {kind}, as the generator needs, got {name!r}: choose {fitting}"
        )
    return sampler.build(config)
