"""Files appear whole or not at all."""

import numpy as np
import pytest

from understudy.core.files import write_arrays, write_atomically, write_text


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"


def test_arrays_come_back_whatever_their_names(tmp_path):
    arrays = {
        "file": np.arange(3),
        "allow_pickle": np.array([True]),
        "mixed@refresh": np.array(1.5),
        "text": np.array("{}"),
    }
    write_arrays(tmp_path / "some.npz", arrays)
    with np.load(tmp_path / "some.npz") as loaded:
        assert {name: loaded[name].tolist() for name in loaded} == {
            name: values.tolist() for name, values in arrays.items()
        }
    assert [path.name for path in tmp_path.iterdir()] == ["some.npz"]
