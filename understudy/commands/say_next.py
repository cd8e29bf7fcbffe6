"""What a run ends with: the most important advice of its report, and the command for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.commands import printing
from understudy.report.next_steps import next_steps


def say_next(results: Mapping[str, Any]) -> None:
    """Print the first next step, and its command if the results tell how the run was started.

    Args:
        results: content of ``results.json``; empty in those of several processes that have none.
    """
    for step in next_steps(results, most=1) if results else ():
        printing.say(step.says)
        if step.is_complete:
            printing.say(f"next: {step.command}", is_path=True)
