"""A cluster: the same run, with its pieces done by Ray, by SLURM or by processes of this machine.

``python examples/cluster.py IMAGES ray`` (or ``slurm``, or ``processes``) prints the verdict, which does not
depend on who did the work. Stop it when you like: the same command goes on, with any of the three.
"""

import sys
from pathlib import Path

import torch

import understudy

EXECUTORS = {
    "processes": {},  # one for each GPU or core
    "ray": {"workers": 16},  # the cluster at RAY_ADDRESS, or a Ray on this machine
    "slurm": {"workers": 16, "slurm": ["time=240", "partition=gpu"]},  # an array of jobs of four hours
}


def main(
    images: str, executor: str, out: Path = Path("runs/cluster"), **sections: dict[str, object]
) -> dict[str, object]:
    settings = understudy.build(
        understudy.defaults_for(images),
        {"data": {"source": images}, "compute": {"executor": executor, **EXECUTORS[executor]}},
        sections,
    )
    results = understudy.run(settings, out, device="cuda" if torch.cuda.is_available() else "cpu")
    print(results["verdict"]["sentence"])
    return results


if __name__ == "__main__":  # workers import this file
    main(*sys.argv[1:3])
