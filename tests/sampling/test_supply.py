import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import AnyGenerator, Loaded
from tiny_job import Listener
from tiny_jobs import terms

from understudy.data.labelled_set import LabelledSet
from understudy.sampling.draw import Drawer
from understudy.sampling.plan import Planner
from understudy.sampling.settings import DrawSettings
from understudy.sampling.supply import Supply


class Numbered(AnyGenerator):
    """Draws images that say who they are; counts them."""

    image_size = 2

    def __init__(self, available=None):
        super().__init__(available=available)
        self.drawn = []

    def draw(self, rows, sources, tokens=None):
        self.drawn += [row.id for row in rows]
        return np.stack(
            [np.full((3, 2, 2), hashlib.sha256(row.id.encode()).digest()[0], np.uint8) for row in rows]
        )


@pytest.fixture
def supply(train):
    """Makes one in a folder."""

    def make(folder, artist, observer=None):
        planner = Planner(
            train=train, generator=artist, settings=DrawSettings(), prompt_names=("a cat", "a dog"), seed=0
        )
        return Supply(
            Path(folder),
            lambda: planner,
            Drawer(networks=Loaded(artist), number=0, train=train, batch_size=3),
            part_size=2,
            device="cpu",
            terms=terms(Path(folder)),
            observer=observer or Listener(),
        )

    return make


def numbers(images, label):
    return [
        number for number, own in zip(images.provenance("number"), images.labels, strict=True) if own == label
    ]


def pictures(images):
    return {name: images.encoded(index) for index, name in enumerate(images.ids)}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(any), min_size=1, max_size=4))
def test_images_do_not_depend_on_earlier_requests(supply, tmp_path_factory, asked):
    shared, artist = tmp_path_factory.mktemp("shared"), Numbered()
    source = supply(shared, artist)
    for counts in asked:
        images = source.first(np.array(counts))
        assert [numbers(images, label) for label in (0, 1)] == [list(range(count)) for count in counts]
    alone = supply(tmp_path_factory.mktemp("alone"), Numbered()).first(np.array(asked[-1]))
    assert pictures(images) == pictures(alone)
    assert len(artist.drawn) == len(set(artist.drawn)) == sum(np.max(asked, axis=0)) == source.drawn, (
        "nothing is drawn twice, or in vain"
    )


def test_counts_of_zero_are_refused(supply, tmp_path):
    with pytest.raises(ValueError, match="at least one image, got zeros"):
        supply(tmp_path, Numbered()).first(np.array([0, 0]))


def test_another_process_finds_the_images_on_disk(supply, tmp_path):
    first, artist = supply(tmp_path, Numbered()), Numbered()
    first.first(np.array([2, 1]))
    before = first.first(np.array([4, 2]))
    again = supply(tmp_path, artist).first(np.array([4, 2]))
    assert isinstance(again, LabelledSet)
    assert pictures(again) == pictures(before)
    assert artist.drawn == []


def test_a_round_that_was_begun_is_drawn_as_it_was_planned(supply, tmp_path):
    """Whoever goes on after a kill may want more or less: the part files must still fit their plan."""

    class Killed(Numbered):
        def draw(self, rows, sources, tokens=None):
            if len(self.drawn) >= 2:
                raise KeyboardInterrupt
            return super().draw(rows, sources, tokens)

    with pytest.raises(KeyboardInterrupt):
        supply(tmp_path, Killed()).first(np.array([4, 3]))
    artist = Numbered()
    images = supply(tmp_path, artist).first(np.array([1, 5]))
    assert [numbers(images, label) for label in (0, 1)] == [[0], [0, 1, 2, 3, 4]]
    assert len(artist.drawn) == 7 - 2 + 2
    assert sorted(path.name for path in (tmp_path / "plan").iterdir()) == [
        "round-00",
        "round-00.json",
        "round-01",
        "round-01.json",
    ]


def test_no_more_than_are_available_are_asked_for(supply, tmp_path):
    images = supply(tmp_path, Numbered(np.array([3, 1]))).first(np.array([2, 5]))
    assert images.counts.tolist() == [2, 1]


def test_the_bar_shows_each_round(supply, tmp_path):
    listener = Listener()
    source = supply(tmp_path / "synthetic", Numbered(), observer=listener)
    source.first(np.array([2, 2]))
    source.first(np.array([3, 2]))
    assert listener.bars == {
        "draw round-00": {"done": 4, "total": 4},
        "draw round-01": {"done": 1, "total": 1},
    }
