"""What workers on other machines must have in common with the process that starts the run."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

from understudy.core.errors import InputError
from understudy.core.executors.executor import Terms
from understudy.core.provenance import environment

_NOT_COMPARED = ("pyarrow", "scikit-learn")
"""Recorded packages that decide neither images nor trainings; all others must have the same version."""


@final
@dataclass(frozen=True, kw_only=True)
class Demands:
    """What a worker must have.

    Attributes:
        versions: of Python and of packages, by name.
        device: torch device.
        needs: files and folders outside of the run that jobs load; absolute paths.
    """

    versions: Mapping[str, str]
    device: str
    needs: tuple[Path, ...]

    @classmethod
    def of(cls, terms: Terms) -> Self:
        """What workers of these terms must have to do the same as this process."""
        return cls(versions=_versions(), device=terms.device, needs=terms.needs)

    def found_here(self) -> dict[str, Any]:
        """What the machine of this process has: name of the node, versions, device, and files it lacks."""
        import torch  # slow to import; commands that only list names do not need it

        return {
            "node": platform.node(),
            "versions": _versions(),
            "has_device": self.device == "cpu" or torch.cuda.is_available(),
            "lacks": [str(path) for path in self.needs if not path.exists()],
        }

    def check(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Check that workers would do the same as the process that starts the run.

        Args:
            found: what :meth:`found_here` says in each worker.

        Raises:
            InputError: naming the first node that has other versions, no such device, or lacks a file.
        """
        for one in found:
            worker = f"the worker on node {one['node']}"
            if not one["has_device"]:
                raise InputError(f"{worker} has no GPU that torch can use: give --device cpu")
            for name, version in self.versions.items():
                if (there := one["versions"].get(name)) != version:
                    raise InputError(
                        f"{worker} has {name} {there}, but the run was started with {version}: results would "
                        "differ; install the same version on all nodes"
                    )
            if one["lacks"]:
                raise InputError(
                    f"{worker} has no {one['lacks'][0]}, which it would load: copy it to the same path on "
                    "every node, or give the name on the hub if it has one"
                )


def _versions() -> dict[str, str]:
    here = environment("cpu")
    found = {"Python": here["python"], **here["versions"]}
    return {name: version for name, version in found.items() if name not in _NOT_COMPARED}
