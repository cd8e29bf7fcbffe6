import functools
import importlib
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from report_sample import Sample, make_sample

from understudy.data.labelled_set import LabelledSet
from understudy.report.gallery import tiles_uri

FIGURES = {
    "accuracy": ("accuracy_bars", "difference_intervals"),
    "gap": ("gap_bar", "sweep_curve"),
    "making": ("loss_curve",),
    "membership": ("roc_figure",),
    "memorisation": ("distance_figure",),
    "mistakes": ("confusion_matrix",),
    "scale": ("scale_curves",),
    "shift": ("corruption_panel",),
    "study_page": ("point_curves",),
    "training": ("convergence",),
}


@pytest.fixture(scope="session")
def sample() -> Sample:
    return make_sample()


@pytest.fixture(scope="session")
def unhelpful() -> Sample:
    """Three classes, and synthetic images that do not help."""
    return make_sample(num_classes=3, helps=False)


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that read the words of a page: its figures take longer than all else."""
    for place, names in FIGURES.items():
        for name in names:
            monkeypatch.setattr(f"understudy.report.{place}.{name}", lambda *_, **__: "")


@functools.cache
def once(draw: Callable[..., object]) -> Callable[..., object]:
    """The same function, which draws equal figures once."""
    drawn: dict[bytes, object] = {}

    def remembered(*values: object, **named: object) -> object:
        key = pickle.dumps((values, named))
        if key not in drawn:
            drawn[key] = draw(*values, **named)
        return drawn[key]

    return remembered


_tiles: dict[tuple[Any, ...], tuple[LabelledSet, str]] = {}


def tiles_once(data: LabelledSet, indices: list[int], tile: int, **how: int) -> str:
    """Pages show the same images of the same set; the set is kept, so that no other one gets its number."""
    key = id(data), tuple(indices), tile, *how.values()
    if key not in _tiles:
        _tiles[key] = data, tiles_uri(data, indices, tile, **how)
    return _tiles[key][1]


@pytest.fixture(scope="module", autouse=True)
def equal_figures_are_drawn_once() -> Iterator[None]:
    """Pages of a module differ in few sections, and the figures of the others take longest."""
    with pytest.MonkeyPatch.context() as patch:
        for place, names in FIGURES.items():
            module = importlib.import_module(f"understudy.report.{place}")
            for name in names:
                patch.setattr(module, name, once(getattr(module, name)))
        patch.setattr("understudy.report.gallery.tiles_uri", tiles_once)
        yield
