"""A connection to Ray, and the part of its CPUs and GPUs that each worker gets."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from understudy.core.errors import InputError, first_line
from understudy.core.executors.executor import Terms, check_names_known
from understudy.core.provenance import environment
from understudy.core.settings import ComputeSettings
from understudy.core.threads import num_cores

_COMPARED = ("Python", "understudy", "torch", "diffusers", "transformers")
"""Versions in which actors must agree with this process, because images would differ otherwise."""


_PATIENCE = 10.0  # seconds to wait for an answer


@final
@dataclass(frozen=True, kw_only=True)
class Share:
    """What each worker gets.

    Attributes:
        workers: number of actors.
        cpus, gpus: of each actor.
        threads: of each actor.
    """

    workers: int
    cpus: int
    gpus: float
    threads: int


def connect(terms: Terms) -> Any:
    """The module ``ray``, connected to the cluster that is named, or to a Ray on this machine alone.

    Raises:
        InputError: if Ray is not installed, the cluster cannot be reached, or it has another version of Ray.
    """
    check_names_known()
    if importlib.util.find_spec("ray") is None:
        raise InputError("--executor ray needs Ray: pip install 'understudy[ray]'")
    os.environ.setdefault(
        "RAY_worker_niceness", "0"
    )  # like worker processes; Ray would give its own less time
    ray: Any = importlib.import_module("ray")  # slow to import, and missing in most installations
    if ray.is_initialized():
        return ray
    address = terms.compute.ray_address or os.environ.get("RAY_ADDRESS")
    _check_answers(address)
    alone = {} if address else {"num_cpus": num_cores(), "include_dashboard": False}
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **alone)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise InputError(
            f"cannot use Ray at {address or 'this machine'} ({first_line(error)}): check that the address is "
            f"right and that the cluster runs Ray {ray.__version__} and the same Python"
        ) from error
    there = {name: int(number) for name, number in ray.cluster_resources().items() if name in ("CPU", "GPU")}
    size = " and ".join(f"{number} {name}s" for name, number in sorted(there.items()))
    terms.say(f"ray: {f'the cluster at {address}' if address else 'started on this machine'}, {size}")
    return ray


def _check_answers(address: str | None) -> None:
    """Check that something listens at an address, because Ray tries for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except OSError as error:
        raise InputError(
            f"nothing answers at the address of Ray, {address} ({error}): check it, and that Ray runs there"
        ) from error


def share_of(ray: Any, compute: ComputeSettings, device: str) -> Share:
    """How the cluster is divided between workers.

    Raises:
        InputError: if it has fewer CPUs or GPUs than the workers need.
    """
    there = ray.cluster_resources()
    cpus, gpus = int(there.get("CPU", 0)), float(there.get("GPU", 0))
    if device == "cuda":
        workers = compute.workers or int(gpus / compute.gpus_per_worker)
        if not 0 < workers * compute.gpus_per_worker <= gpus:
            needed = max(workers, 1) * compute.gpus_per_worker
            raise InputError(
                f"{max(workers, 1)} workers need {needed:g} GPUs, but Ray has {gpus:g}: give fewer "
                "--workers, or --device cpu"
            )
        return Share(workers=workers, cpus=1, gpus=compute.gpus_per_worker, threads=max(1, cpus // workers))
    if device != "cpu":
        raise InputError(
            f"Ray divides CPUs and NVIDIA's GPUs, but the device is {device!r}: give --device cuda or cpu"
        )
    workers = compute.workers or max(1, cpus // (compute.threads or 1))
    threads = compute.threads or max(1, cpus // workers)
    if workers * threads > cpus:
        raise InputError(
            f"{workers} workers with --threads {threads} need {workers * threads} CPUs, but "
            f"Ray has {cpus}: give fewer --workers or --threads"
        )
    return Share(workers=workers, cpus=threads, gpus=0, threads=threads)


def check_alike(found: Sequence[Mapping[str, Any]], device: str) -> None:
    """Check that actors would make the same images as this process.

    Args:
        found: what each actor says about itself.
        device: torch device.

    Raises:
        InputError: naming the first node that has other versions, or no such device.
    """
    here = environment("cpu")
    versions = {"Python": here["python"], **here["versions"]}
    for one in found:
        if not one["has_device"]:
            raise InputError(
                f"the Ray worker on node {one['node']} has no GPU that torch can use: give --device cpu"
            )
        for name in _COMPARED:
            if (there := one["versions"].get(name)) != versions[name]:
                raise InputError(
                    f"the Ray worker on node {one['node']} has {name} {there}, but this process has "
                    f"{versions[name]}: images would differ; install the same version on all nodes"
                )
