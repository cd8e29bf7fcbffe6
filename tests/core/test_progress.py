"""Progress of long loops."""

import io

import pytest
from rich.console import Console

from understudy.core import progress
from understudy.core.progress import Terminal


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def lines_of(clock, pace, *, total, first=0):
    """What a log file gets from a loop with so many steps a second; ``first`` are found done."""
    out = io.StringIO()
    with Terminal(Console(file=out, width=40)).bar("compare", total=total, unit="steps") as advance:
        if first:
            advance(first)
        for _ in range(total - first):
            clock.now += 1 / pace
            advance(1)
    return out.getvalue().splitlines()


def test_a_log_file_gets_a_line_a_minute(clock):
    assert lines_of(clock, 8, total=1300) == [
        "compare: 481 of 1,300 steps, 8.0 steps/s, about 2 min left",
        "compare: 961 of 1,300 steps, 8.0 steps/s, about 42 s left",
    ]


def test_short_loops_say_nothing_and_the_end_has_no_line_of_its_own(clock):
    assert lines_of(clock, 8, total=480) == []
    assert lines_of(clock, 64, total=500) == []
    assert lines_of(clock, 1 / 64, total=2) == []


def test_slow_steps_give_a_line_each(clock):
    assert lines_of(clock, 1 / 128, total=4) == [
        "compare: 2 of 4 steps, 128 s for each, about 4 min left",
        "compare: 3 of 4 steps, 128 s for each, about 2 min left",
    ]


def test_steps_that_finish_nothing_say_nothing(clock):
    """Trials of tuning count whole trainings, each of many steps."""
    out = io.StringIO()
    with Terminal(Console(file=out)).bar("tune", total=3, unit="trainings") as advance:
        for _ in range(3):
            for amount in (0, 0, 1):
                clock.now += 64
                advance(amount)
    assert [line.split(",")[0] for line in out.getvalue().splitlines()] == [
        "tune: 1 of 3 trainings",
        "tune: 2 of 3 trainings",
    ]


def test_the_speed_leaves_out_what_was_done_before(clock):
    first, *_ = lines_of(clock, 1, total=10_000, first=9_800)
    assert first == "compare: 9,860 of 10,000 steps, 1.0 steps/s, about 2 min left"


def test_a_terminal_shows_a_bar_and_no_lines(clock):
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True)
    with Terminal(console).bar("draw", total=3, unit="images") as advance:
        for _ in range(3):
            clock.now += 100
            advance(1)
    assert "left" in out.getvalue()
    assert "about" not in out.getvalue()
