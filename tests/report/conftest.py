import functools
import importlib
import pickle
from collections.abc import Callable, Iterator

import pytest
from report_sample import Sample, make_sample

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


@pytest.fixture(scope="module", autouse=True)
def equal_figures_are_drawn_once() -> Iterator[None]:
    """Pages of a module differ in few sections, and the figures of the others take longest."""
    with pytest.MonkeyPatch.context() as patch:
        for place, names in FIGURES.items():
            module = importlib.import_module(f"understudy.report.{place}")
            for name in names:
                patch.setattr(module, name, once(getattr(module, name)))
        yield
