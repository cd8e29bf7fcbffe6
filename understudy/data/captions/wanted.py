"""What a setting that names a model for captions must name, and the error if it names something else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from understudy.core.errors import InputError
from understudy.core.hub import hub_file, why_not_found


@final
@dataclass(frozen=True)
class WantedModel:
    """A kind of model.

    Attributes:
        must: setting and kind, such as ``captions.model must be an image-to-text model``.
        otherwise: what to do instead.
    """

    must: str
    otherwise: str

    def error(self, name: str, error: Exception) -> InputError:
        """The error for a model that cannot be used, with the reason."""
        return InputError(f"{self.must}, got {name!r}: {why_not_found(error)}; {self.otherwise}")

    def check(self, name: str) -> None:
        """Check that a folder or the hub has a model with this name, without loading it.

        Raises:
            InputError: if neither has.
        """
        try:
            if not Path(name).exists():
                hub_file(name, "config.json")
        except (OSError, ValueError) as error:
            raise self.error(name, error) from error
