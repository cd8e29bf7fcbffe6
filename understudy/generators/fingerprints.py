"""Fingerprints of pipelines, hashed once per process for weights that come unchanged from the same files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import final

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from torch import nn

from understudy.core.weight_files import WEIGHTS
from understudy.generators.foreign import INDEX
from understudy.generators.generator import fingerprint_of
from understudy.generators.settings import GeneratorSettings

_FileState = tuple[Path, int, int]
_known: dict[tuple[GeneratorSettings, tuple[_FileState, ...]], str] = {}


@final
class Fingerprint:
    """The fingerprint of the networks of a generator, which takes seconds for a GB of weights.

    A run loads its generator several times from the same files. Their paths, sizes and times of change stand
    for the weights, as long as no network has changed since it was loaded.

    Torch does not count changes made through ``weight.data``, and peft merges low-rank updates in this way.
    Such a merge shows only because it leaves other names of tensors behind. Code that changes ``weight.data``
    under the same names must not rely on this class.

    Args:
        networks: as they were loaded, in the order of :func:`fingerprint_of`.
        settings: which files they were read from, and how.
    """

    def __init__(self, networks: Sequence[nn.Module], settings: GeneratorSettings) -> None:
        self._loaded = _versions(networks)
        files = _files_of(settings)
        self._key = None if files is None else (settings, files)

    def is_current(self, networks: Sequence[nn.Module]) -> bool:
        """Whether neither the networks nor their files have changed since they were loaded."""
        is_known = self._key is not None and _files_of(self._key[0]) == self._key[1]
        return is_known and _versions(networks) == self._loaded

    def of(self, networks: Sequence[nn.Module]) -> str:
        """SHA-256 over the present weights of the networks, shortened."""
        if self._key is None or _versions(networks) != self._loaded:
            return fingerprint_of(networks)
        if self._key not in _known:
            _known[self._key] = fingerprint_of(networks)
        return _known[self._key]


def _versions(networks: Iterable[nn.Module]) -> list[tuple[str, int, int, int]]:
    """Name, identity, place in memory and number of changes in place of every tensor.

    Networks that were offloaded in between lie elsewhere, and count as changed.
    """
    return [
        (name, id(value), value.data_ptr(), value._version)
        for network in networks
        for name, value in network.state_dict(keep_vars=True).items()
    ]


def _files_of(settings: GeneratorSettings) -> tuple[_FileState, ...] | None:
    """Path, size and time of change of each file with weights; None if it is unknown where they are."""
    read = [*settings.adapters]
    others = [(name, "config.json", None) for name in (settings.image_encoder, settings.autoencoder)]
    for name, index, revision in [(settings.name, INDEX, settings.revision), *others]:
        if name is None:
            continue
        path = Path(name)
        if not path.exists():
            try:
                kept = try_to_load_from_cache(name, index, revision=revision)
            except HFValidationError:  # a folder that has been moved away has no name of the hub
                return None
            if not isinstance(kept, str):
                return None
            path = Path(kept).parent
        read.append(path)
    return tuple(
        (file.resolve(), file.stat().st_size, file.stat().st_mtime_ns)
        for path in read
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.suffix in WEIGHTS and file.is_file()
    )
