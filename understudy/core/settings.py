"""How much of the machine a run may use, and where it is tracked."""

from __future__ import annotations

from understudy.core.config import Section, setting, unless, when


class TrackSettings(Section):
    """Experiment trackers, to which a run sends its settings, figures and a picture while it goes on."""

    to: tuple[str, ...] = setting((), decides="nothing", registry="core.tracker:TRACKERS")
    """Trackers, as `[tensorboard]`. By default nothing is sent anywhere."""
    project: str = setting("understudy", min_length=1, decides="nothing", needs=unless("track.to", ()))
    """The project (Weights & Biases) or experiment (MLflow) that the run belongs to."""


class ComputeSettings(Section):
    """How much of the machine a run may use; results do not depend on it, except by rounding."""

    threads: int | None = setting(None, ge=1, decides="nothing")
    """Threads for drawing, adaptation and prediction, in each worker; at most, and if not set, one per core
    that a process may use. Their number changes images by rounding."""
    executor: str = setting("auto", decides="nothing", registry="core.executors.do:EXECUTORS")
    """Who draws parts of the plan, trains classifiers and so on; a run may be resumed with another one."""
    workers: int | None = setting(None, ge=1, decides="nothing", needs=unless("compute.executor", "local"))
    """Workers of the executor; with `auto`, trainings of classifiers side by side on a CPU, each in a process
    with one thread. If not set, one per core, on this machine as far as memory allows, or one per GPU;
    `slurm` needs it."""
    gpus_per_worker: float = setting(
        1.0, gt=0, decides="nothing", needs=when("compute.executor", "ray", "slurm")
    )
    """GPUs of each worker if the device is a GPU; with `ray` also a fraction, for workers that share one."""
    ray_address: str | None = setting(None, decides="nothing", needs=when("compute.executor", "ray"))
    """Address of a Ray cluster; if not set, that in `RAY_ADDRESS`, or else this machine alone."""
    slurm: tuple[str, ...] = setting((), decides="nothing", needs=when("compute.executor", "slurm"))
    """Parameters of SLURM jobs: `time` in minutes, which must be given, and others, as `partition=gpu`."""

    @property
    def is_here(self) -> bool:
        """Whether work that uses all threads is done in the process of the run."""
        return self.executor in ("auto", "local")
