"""Records of the environment and of memory."""

import json
import subprocess
import sys

import numpy as np
import pytest

from understudy.core.provenance import environment, forget_peak_memory, peak_memory_gb


def test_the_environment_is_json():
    json.dumps(environment("cpu"))


def test_a_module_is_recorded_as_it_was_called(tmp_path):
    """``python benchmarks/some.py`` would not find its imports, ``python -m benchmarks.some`` does."""
    (tmp_path / "package").mkdir()
    code = "from understudy.core.provenance import _command\nprint(_command())\n"
    (tmp_path / "package" / "some.py").write_text(code)
    for words, expected in (
        (["-m", "package.some", "--out", "a b"], "python -m package.some --out 'a b'"),
        (["package/some.py"], "python some.py"),
    ):
        called = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert called.stdout.strip() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets the peak of a process")
def test_the_peak_is_that_since_it_was_forgotten():
    forget_peak_memory()
    before = peak_memory_gb()
    np.ones(5 * 10**7).sum()  # 0.4 GB that are returned
    assert peak_memory_gb() - before == pytest.approx(0.4, abs=0.05)
    forget_peak_memory()
    assert peak_memory_gb() == pytest.approx(before, abs=0.05)
