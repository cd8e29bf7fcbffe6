"""Times of what grew with the square of the images, and of the report of many: for :mod:`benchmarks.speed`.

Each measurement is a script that runs with the package of either version and prints its CPU seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_LEAKS = """
import sys, time
import numpy as np
from understudy.data.leaks import Fingerprints, near_duplicates
rng, count = np.random.default_rng(0), int(sys.argv[1])
codes = rng.integers(0, 2**64, count, dtype=np.uint64)
levels = rng.integers(0, 256, (count, 256), dtype=np.uint8)
names = np.array([f"{index:064x}" for index in range(2 * count)])
turned = rng.integers(0, 2**64, count, dtype=np.uint64)
turned[::100] = codes[::100] ^ np.uint64(5)  # one in a hundred has a partner; the others are unrelated
a = Fingerprints(tuple(names[:count]), tuple(names[:count]), codes, levels)
b = Fingerprints(tuple(names[count:]), tuple(names[count:]), turned, levels)
start = time.process_time()
pairs = near_duplicates(a, b, max_distance=2)
seconds = time.process_time() - start
assert len(pairs) == count // 100 and all(bits == 2 for *_, bits in pairs)
print(seconds)
"""
_SPLITS = """
import sys, time
import numpy as np
from understudy.data.splits import stratified_split
count, classes = int(sys.argv[1]), int(sys.argv[2])
labels = np.arange(count) % classes
names = [str(label) for label in range(classes)]
ids = [f"real-{index:012x}" for index in range(count)]
start = time.process_time()
stratified_split(ids, labels, {"val": 0.1, "test": 0.2}, class_names=names, seed=0)
print(time.process_time() - start)
"""
_COPIES = """
import sys, time
import numpy as np
from scipy.ndimage import zoom
from understudy.functional.copies import nearest_copies
count = int(sys.argv[1])
images = zoom(np.random.default_rng(0).random((2 * count, 8, 8), dtype=np.float32), (1, 4, 4), order=1)
start = time.process_time()
nearest_copies(images[:count], images[count:])
print(time.process_time() - start)
"""
_REPORT = """
import sys, time
from pathlib import Path
sys.path.append(sys.argv[1])
from report_sample import make_sample, smooth_images
sample = make_sample(num_classes=2)
names, count = sample.train.class_names, int(sys.argv[3])
big = type(sample)(
    results=sample.results, settings=sample.settings, confusions={},
    train=smooth_images(count // 5, "train", names), synthetic=smooth_images(count, "synthetic", names),
)
sample.write(Path(sys.argv[2]))  # imports and fonts come before
start = time.process_time()
big.write(Path(sys.argv[2]))
print(time.process_time() - start)
"""


def printed(tree: Path, script: str, *words: object) -> list[float]:
    """The numbers in the last line that a script prints, with the package of a source tree and one thread."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-c", script, *map(str, words)]
    done = subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True, text=True)
    return [float(number) for number in done.stdout.splitlines()[-1].split()]


def _seconds(tree: Path, script: str, *words: object) -> float:
    return printed(tree, script, *words)[-1]


def leak_seconds(tree: Path, count: int) -> float:
    """Near copies between two splits of ``count`` images each."""
    return _seconds(tree, _LEAKS, count)


def split_seconds(tree: Path, count: int, classes: int) -> float:
    """Dividing ``count`` images of ``classes`` classes into three splits."""
    return _seconds(tree, _SPLITS, count, classes)


def copy_seconds(tree: Path, count: int) -> float:
    """Nearest train images of ``count`` images among ``count`` train images."""
    return _seconds(tree, _COPIES, count)


def report_seconds(tree: Path, page: Path, count: int) -> float:
    """Writing the report of ``count`` synthetic images and a fifth as many real ones."""
    return _seconds(tree, _REPORT, tree / "tests" / "report", page, count)
