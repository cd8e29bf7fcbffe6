"""How large a pipeline is, without loading it."""

from __future__ import annotations

from pathlib import Path

from understudy.core.weight_files import weights_in
from understudy.generators.foreign import DENOISERS
from understudy.generators.load import GENERATORS
from understudy.generators.settings import CHECKPOINTS

_LARGE = 200_000_000  # bytes of the denoiser's weights: between `mini` (16 MB) and Stable Diffusion (1.7 GB)


def is_large(name: str) -> bool:
    """Whether a generator is a pipeline whose denoiser has at least 200 MB of weights.

    Args:
        name: ``generator.name``. A pipeline on the hub counts as large: nothing is read there, and small ones
            are for tests. Of a folder, the files with weights decide.
    """
    folder = Path(name)
    if name in GENERATORS:
        return False
    if not folder.exists():
        return name.count("/") == 1
    if folder.is_file():
        return folder.suffix in CHECKPOINTS and folder.stat().st_size >= _LARGE
    files = [path for part in DENOISERS if (folder / part).is_dir() for path in weights_in(folder / part)]
    plain = [path for path in files if ".fp16" not in path.suffixes] or files  # not the same weights twice
    return sum(path.stat().st_size for path in plain) >= _LARGE
