"""The state of an adaptation: what a checkpoint holds."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from understudy.adaptation.settings import AdaptSettings
from understudy.core.errors import InputError
from understudy.core.files import readable, write_atomically
from understudy.functional.learning_curve import fall_of_second_half
from understudy.functional.weight_average import power_decay, power_exponent

_WARMUP_STEPS = 20
PLATEAU = 0.01
"""Share by which the second half of all steps lowers the validation loss, below which it is at a plateau."""
_FIRST_SAVED = 60.0  # seconds after which the first checkpoint is written, however few steps were taken
_LONGEST_UNSAVED = 600.0  # seconds without a checkpoint afterwards
_FROM_START = "remove it, and the same command adapts from the first step again"


@final
class State:
    """Parameters, their average, the best average so far, the optimiser and the validation losses.

    Args:
        parameters: what is trained.
        settings: of the adaptation.
        checkpoint: file to save to; if it exists, the state is the one that it holds.
        scaler: of the loss.

    Raises:
        InputError: if the checkpoint cannot be read.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        settings: AdaptSettings,
        checkpoint: Path,
        scaler: torch.amp.GradScaler,
    ) -> None:
        self.parameters = parameters
        self.settings = settings
        self.scaler = scaler
        self._checkpoint = checkpoint
        # On a GPU, one kernel instead of several for each parameter.
        is_fused = parameters[0].device.type != "cpu" or None
        self._optimizer = torch.optim.AdamW(
            parameters, lr=settings.learning_rate, weight_decay=1e-2, fused=is_fused
        )
        self.average = [parameter.detach().clone() for parameter in parameters]
        self.best = [value.clone() for value in self.average]
        self._curve: list[tuple[int, float]] = []
        self.step = 0
        self._patience, self._saved = _FIRST_SAVED, time.monotonic()
        self.knows_images = True  # checkpoints of earlier versions were made without
        if checkpoint.exists():
            with readable(checkpoint, mend=_FROM_START):
                stored = torch.load(checkpoint, weights_only=True, map_location="cpu")
            self._restore(stored)

    def update(self, loss: float) -> None:
        """Step the optimiser with the accumulated gradients, then update the average.

        The average forgets faster during the first steps.

        Raises:
            InputError: if the loss is not finite.
        """
        if not math.isfinite(loss):
            raise InputError(
                f"the adaptation loss is {loss} at step {self.step + 1}: lower adapt.learning_rate"
            )
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * min(1.0, (self.step + 1) / _WARMUP_STEPS)
        self.scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.scaler.step(self._optimizer)
        self.scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        decay = self._decay()
        for average, parameter in zip(self.average, self.parameters, strict=True):
            average.lerp_(parameter.detach(), 1 - decay)

    def _decay(self) -> float:
        """Share of the average that this step keeps."""
        if self.settings.ema_length is None:
            return min(self.settings.ema_decay, self.step / (self.step + 10))
        return power_decay(self.step, power_exponent(self.settings.ema_length))

    def note_validation(self, loss: float) -> None:
        """Add a validation loss to the curve, and keep the average if the loss is the lowest so far."""
        if not self._curve or loss < min(value for _, value in self._curve):
            self.best = [value.clone() for value in self.average]
        self._curve.append((self.step, loss))

    @property
    def is_validated(self) -> bool:
        """Whether the validation loss is measured after this step."""
        settings = self.settings
        return self.step % settings.validate_every == 0 or self.step in {settings.steps, settings.num_steps}

    @property
    def end(self) -> str | None:
        """Why the training ends at this step: ``steps``, ``plateau`` or ``max_steps``; None if it goes on."""
        if self.step < min(self.settings.steps, self.settings.num_steps):
            return None
        if self.settings.until == "steps" or not self.settings.num_steps:
            return "steps"
        steps, losses = zip(*self._curve, strict=True)
        fall = fall_of_second_half(steps, losses) if steps[-1] == self.step else None
        if fall is not None and fall < PLATEAU:
            return "plateau"
        return "max_steps" if self.step >= self.settings.num_steps else None

    @property
    def kept(self) -> list[Tensor]:
        """The result: the average with the lowest validation loss, or the last one."""
        return self.average if self.settings.keeps_last else self.best

    @property
    def is_worth_saving(self) -> bool:
        """Whether the settings want a checkpoint after this step, or the last one is long ago."""
        is_late = time.monotonic() - self._saved >= self._patience
        return is_late or self.step % self.settings.checkpoint_every == 0

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "parameters": [parameter.detach() for parameter in self.parameters],
            "average": self.average,
            "best": self.best,
            "optimizer": self._optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "curve": self._curve,
            "step": self.step,
            "knows_images": self.knows_images,
        }
        write_atomically(self._checkpoint, lambda path: torch.save(state, path))
        self._patience, self._saved = _LONGEST_UNSAVED, time.monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        assign(self.parameters, state["parameters"])
        device = self.parameters[0].device
        self.average, self.best = (
            [value.to(device) for value in state[name]] for name in ("average", "best")
        )
        self._optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self._curve, self.step = [(step, loss) for step, loss in state["curve"]], state["step"]
        self.knows_images = state.get("knows_images", False)

    def report(self) -> dict[str, Any]:
        """The course of the training and the weights that are kept, for ``report.json``."""
        last, best = self._curve[-1], min(self._curve, key=lambda entry: entry[1])
        step, loss = last if self.settings.keeps_last else best
        count = sum(parameter.numel() for parameter in self.parameters)
        return {
            "method": self.settings.method,
            "distribution": self.settings.distribution,
            "steps": self.step,
            **({"end": self.end} if self.settings.until == "plateau" else {}),
            "best_step": step,
            "val_loss_before": self._curve[0][1],
            "val_loss_after": loss,
            "curve": self._curve,
            "trained_parameters": count if self.settings.num_steps else 0,
        }


def assign(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    """Set parameters in place."""
    with torch.no_grad():  # and not in ``.data``, whose changes torch does not count
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
