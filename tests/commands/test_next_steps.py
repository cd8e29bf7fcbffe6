"""The commands that a report prints work for its run, as they are."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from tiny_job import OPTIONS, write_pets

from understudy.report.next_steps import ADVICE, next_steps

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]


def test_every_command_that_is_printed_after_a_run_works(understudy, tiny_pipeline_folder, monkeypatch):
    """Only the folder NEW has to be there: the labelled images that the user is asked for."""
    write_pets("my pets")
    write_pets("NEW", seed=1)
    words = [
        "run",
        "my pets",
        "--generator",
        str(tiny_pipeline_folder),
        "--arms",
        "real,synthetic,mixed",
        *OPTIONS,
    ]
    words += ["--set", "curate.score=none", "--out", "my run"]
    # Scores are left out, so that their threshold has no effect.
    words = [word for at, word in enumerate(words) if "curate.threshold" not in "".join(words[at : at + 2])]
    monkeypatch.setattr(sys, "argv", ["understudy", *words])
    code, out, err = understudy(*words)
    assert code == 0, err
    results = json.loads(Path("my run", "results.json").read_text(encoding="utf-8"))
    steps = next_steps(results, most=len(ADVICE))
    assert steps[0].name == "small test set" and not steps[0].is_complete
    assert out.splitlines()[-1] == steps[0].says
    found = {step.name: shlex.split(step.command)[1:] for step in steps}
    assert {"small test set", "validation images", "one choice", "number of images"} <= set(found)
    for name, command in found.items():
        code, _, err = understudy(*command)
        assert code == 0, (name, err)
