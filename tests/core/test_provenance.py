"""Records of the environment can be stored."""

import json
import subprocess
import sys

from understudy.core.provenance import environment


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
