"""The progress of a run in its folder, for other processes."""

import json
from itertools import pairwise

import pytest

from understudy.core import progress_file
from understudy.core.progress_file import PROGRESS_FILE, ProgressFile, read_progress


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_file, "time", clock)
    return clock


def test_it_writes_between_begin_and_end_alone(tmp_path):
    progress = ProgressFile(tmp_path / "run")
    progress.say("read the images")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    progress.begin()
    progress.say("go")
    assert [message["text"] for message in read_progress(tmp_path / "run")["messages"]] == [
        "read the images",
        "go",
    ]
    progress.end()
    progress.say("and more")
    assert list((tmp_path / "run").iterdir()) == []


def test_it_is_written_once_a_second_at_most(tmp_path, clock, monkeypatch):
    writes = []
    monkeypatch.setattr(progress_file, "write_json", lambda path, value: writes.append(clock.now))
    progress = ProgressFile(tmp_path)
    progress.begin()
    with progress.bar("draw", total=100, unit="images") as advance:
        for _ in range(100):
            clock.now += 0.1
            advance(1)
    assert len(writes) == 10  # the first report at once
    assert min(later - earlier for earlier, later in pairwise(writes)) >= 0.99
    clock.now -= 3600
    with progress.bar("draw", total=1, unit="images") as advance:
        advance(1)
    assert len(writes) == 11  # a clock that is set back does not silence it


def test_a_bar_holds_what_speed_and_time_left_follow_from(tmp_path, clock):
    progress = ProgressFile(tmp_path)
    progress.begin()
    with progress.bar("draw", total=50, unit="images") as advance:
        advance(20)  # found on disk
        clock.now += 5
        with progress.bar("inside", total=1, unit="steps"):
            advance(10)
            bars = read_progress(tmp_path)["bars"]
    assert [bar["text"] for bar in bars] == ["draw", "inside"]
    assert {name: bars[0][name] for name in ("done", "total", "began", "first")} == {
        "done": 30,
        "total": 50,
        "began": 1000.0,
        "first": 20,
    }


def test_figures_go_on_after_a_stop_and_repeated_steps_count_once(tmp_path, clock):
    def adapt(steps):
        progress = ProgressFile(tmp_path)
        progress.begin()
        with progress.bar("adapt", total=9, unit="steps") as advance:
            for step in steps:
                clock.now += 2
                progress.measured("adapt", {"val_loss": step / 10}, step=step)
                advance(1)
            return read_progress(tmp_path)["bars"][0]["measured"]

    with pytest.raises(KeyboardInterrupt):
        stop = iter((1, 2, 3))

        def stopping():
            yield from stop
            raise KeyboardInterrupt

        adapt(stopping())
    assert adapt((3, 4)) == {"val_loss": [[1, 0.1], [2, 0.2], [3, 0.3], [4, 0.4]]}


def test_a_folder_that_cannot_be_written_to_stops_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(progress_file, "write_json", full)
    progress = ProgressFile(tmp_path)
    progress.begin()
    progress.say("still here")
    progress.end()


BAR = (
    '{"written": 1, "messages": [], "bars": [{"text": "adapt", "unit": "steps", "done": 1, "first": 0, '
    '"began": null, %s}]}'
)


def test_numbers_in_quotes_are_numbers(tmp_path):
    """Somebody may have edited the file; figures of later steps can be added all the same."""
    (tmp_path / PROGRESS_FILE).write_text(BAR % '"total": "9", "measured": {"loss": [["1", "0.5"]]}')
    progress = ProgressFile(tmp_path)
    progress.begin()
    with progress.bar("adapt", total=9, unit="steps") as advance:
        progress.measured("adapt", {"loss": 0.25}, step=2)
        advance(2)
        progress.say("now")
        (bar,) = read_progress(tmp_path)["bars"]
    assert bar["measured"] == {"loss": [[1, 0.5], [2, 0.25]]}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"written": "x", "bars": [], "messages": []}',
        '{"written": 1, "bars": 3, "messages": []}',
        '{"written": 1, "bars": [{}], "messages": []}',
        '{"written": 1, "bars": [], "messages": ["x"]}',
        '{"written": 1, "bars": [{"text": "a", "unit": "b", "total": 1}], "messages": []}',
        BAR % '"total": Infinity, "measured": {}',
        BAR % '"total": 1, "measured": []',
        BAR % '"total": 1, "measured": {"loss": [[1]]}',
        BAR % '"total": 1, "measured": {"loss": [["a", 1]]}',
        BAR % '"total": "many", "measured": {}',
        "\xff",
    ],
)
def test_a_damaged_file_says_nothing(content, tmp_path):
    (tmp_path / PROGRESS_FILE).write_text(content)
    assert read_progress(tmp_path) == {}
    progress = ProgressFile(tmp_path)
    progress.begin()
    progress.say("new")
    assert len(json.loads((tmp_path / PROGRESS_FILE).read_text())["messages"]) == 1
