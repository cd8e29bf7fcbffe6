"""Who works in a folder is told without locking it."""

import os
import platform

import pytest

from understudy.core.lock import FolderLock
from understudy.core.lock_holder import holder_of


def test_the_holder_of_a_lock_is_told_without_taking_it(tmp_path):
    assert holder_of(tmp_path) is None
    with FolderLock(tmp_path):
        holder = holder_of(tmp_path)
        assert (holder.process, holder.machine, holder.is_alive) == (os.getpid(), platform.node(), True)
    assert holder_of(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "is_alive"),
    [
        (f"process 999999999 on {platform.node()}", False),
        ("process 1 on another-machine", None),
    ],
)
def test_the_holder_may_be_dead_or_elsewhere(text, is_alive, tmp_path):
    (tmp_path / ".lock").write_text(text)
    assert holder_of(tmp_path).is_alive is is_alive


def test_a_process_that_began_after_the_lock_was_taken_is_not_its_holder(tmp_path):
    lock = tmp_path / ".lock"
    lock.write_text(f"process {os.getpid()} on {platform.node()}")
    os.utime(lock, (1_000_000, 1_000_000))
    assert holder_of(tmp_path).is_alive is False


@pytest.mark.parametrize("text", ["", "process", "process x on y", "\x00\xff"])
def test_a_lock_file_that_names_nobody_has_no_holder(text, tmp_path):
    (tmp_path / ".lock").write_text(text)
    assert holder_of(tmp_path) is None
