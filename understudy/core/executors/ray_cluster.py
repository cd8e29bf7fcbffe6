"""A connection to Ray, and the part of its CPUs and GPUs that each worker gets."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import socket
from dataclasses import dataclass
from typing import Any, final

from understudy.core.errors import InputError, first_line
from understudy.core.executors.executor import Terms, check_names_known
from understudy.core.settings import ComputeSettings
from understudy.core.threads import num_cores

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
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray would give its workers less time than others get
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
        InputError: if its nodes have not enough CPUs or GPUs for the workers.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = (sum(float(node.get(kind, 0)) for node in nodes) for kind in ("CPU", "GPU"))
    if device == "cuda":
        each = compute.gpus_per_worker
        if each > 1 and each != int(each):
            raise InputError(f"--gpus-per-worker must be a whole number above 1, got {each:g}")
        places = sum(int(min(node.get("GPU", 0) / each, node.get("CPU", 0))) for node in nodes)
        workers = compute.workers or max(1, places)
        threads = compute.threads or max(1, int(cpus) // workers)
        share = Share(workers=workers, cpus=1, gpus=each, threads=threads)
        need, have = f"{each:g} GPUs and a CPU", f"{gpus:g} GPUs and {cpus:g} CPUs"
    elif device == "cpu":
        threads = compute.threads or (max(1, int(cpus) // compute.workers) if compute.workers else 1)
        places = sum(int(node.get("CPU", 0) / threads) for node in nodes)
        share = Share(workers=compute.workers or max(1, places), cpus=threads, gpus=0, threads=threads)
        need, have = f"{threads} CPUs (--threads)", f"{cpus:g} CPUs"
    else:
        raise InputError(
            f"Ray divides CPUs and NVIDIA's GPUs, but the device is {device!r}: give --device cuda or cpu"
        )
    if share.workers > places:
        raise InputError(
            f"each of {share.workers} workers needs {need} on one node, but Ray has {have} on "
            f"{len(nodes)} nodes: give fewer --workers"
        )
    return share
