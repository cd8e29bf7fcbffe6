"""What a preview says about disk and memory that a run lacks."""

import shutil
from collections import namedtuple

import pytest

from understudy.commands.cost import Estimate
from understudy.commands.room_for_run import what_does_not_fit
from understudy.core.host_memory import ImageMemory

USAGE = namedtuple("USAGE", "total used free")


@pytest.fixture(autouse=True)
def _default_memory():
    yield
    ImageMemory().use()


def found(**megabytes):
    return Estimate(seconds={"draw": 1.0}, images=10, images_per_second=1.0, **megabytes)


def test_all_that_fits_is_not_mentioned():
    assert what_does_not_fit(found(disk_mb=0.1), decoded_mb=0.1) == []


@pytest.mark.parametrize(("repeats", "is_told"), [(1, False), (3, True)])
def test_a_disk_that_is_too_small_is_told_with_both_sizes(repeats, is_told, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: USAGE(0, 0, 5e9))
    told = what_does_not_fit(found(disk_mb=1500.0, real_mb=500.0), decoded_mb=0.0, repeats=repeats)
    expected = (
        "warning: the run writes about 6.0 GB, but 5.0 GB are free on the disk of this folder: give --out"
    )
    assert [line.startswith(expected) for line in told] == [True] * is_told


@pytest.mark.parametrize("processes", [1, 2])
def test_images_that_do_not_fit_into_memory_are_told(processes, monkeypatch):
    ImageMemory(gigabytes=2 * processes).use()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: USAGE(0, 0, 4e9))
    told, *warned = what_does_not_fit(found(disk_mb=0.0), decoded_mb=2500.0, processes=processes)
    assert len(warned) == (processes > 1)
    assert warned == [] or "take 5.0 GB for 2 processes, but 4.0 GB are free in" in warned[0]
    assert "decoded images take 2.5 GB, more than the 2.0 GB that they may fill (data.memory)" in told
