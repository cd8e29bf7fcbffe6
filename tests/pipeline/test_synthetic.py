"""The four settings of the firewall, from a supply of ready-made images of which some are copies."""

import numpy as np
import pytest
from tiny import two_classes
from tiny_job import SECTIONS

from understudy.core.executors.executor import Terms
from understudy.core.progress import Silent
from understudy.curation.settings import CurateSettings
from understudy.data.labelled_set import encode
from understudy.pipeline.classifiers import Classifiers
from understudy.pipeline.generators import Generators
from understudy.pipeline.synthetic import SyntheticSets
from understudy.settings import build

_PER_CLASS = 4


@pytest.fixture
def sets(train, val, tmp_path):
    """Eight images of each class, of which the first cat and the third dog are copies."""
    made = two_classes(16, seed=9)
    pixels = made.pixels(16)
    pixels[0], pixels[5] = train.pixels(16)[0], train.pixels(16)[1][:, :, ::-1]
    for index, label in enumerate(made.labels):
        path = tmp_path / "made" / made.class_names[label] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(pixels[index]))
    settings = build(
        {
            "data": {"source": "pets"},
            "generator": {"name": "folder", "images": [str(tmp_path / "made")]},
            "adapt": {"method": "none"},
            "compare": SECTIONS["compare"],
        }
    )
    shared = {"settings": settings, "train": train, "val": val}
    named = {"prompt_names": train.class_names, "device": "cpu"}
    cache = tmp_path / "features.safetensors"
    generators = Generators(
        folder=tmp_path / "adapter", feature_cache=cache, observer=Silent(), **shared, **named
    )
    terms = Terms(root=tmp_path, compute=settings.compute, device="cpu")
    classifiers = Classifiers(folder=tmp_path / "arms", test=val, terms=terms, **shared, **named)
    return SyntheticSets(
        folder=tmp_path / "synthetic",
        generators=generators,
        classifiers=classifiers,
        observer=Silent(),
        terms=terms,
        **shared,
    )


def fill(sets, firewall, *, per_class=_PER_CLASS, **changes):
    curate = CurateSettings(score="none", firewall=firewall, **changes)
    return sets.fill(np.full(2, per_class), sets.settings.model_copy(update={"curate": curate}))


@pytest.mark.parametrize(
    ("firewall", "drawn", "kept", "flagged", "rejected"),
    [
        ("off", 8, 8, 0, {}),
        ("flag", 8, 8, 2, {}),
        ("redraw", 10, 8, 0, {"copy": 2}),
        ("drop", 8, 6, 0, {"copy": 2}),
    ],
)
def test_copies_are_kept_replaced_or_left_out(firewall, drawn, kept, flagged, rejected, sets):
    filled = fill(sets, firewall)
    assert len(filled.drawn) >= drawn
    assert filled.rounds == 1 + (firewall == "redraw")
    assert len(filled.images) == kept
    assert sum(map(bool, filled.images.provenance("flag"))) == flagged
    assert filled.decisions.rejections == rejected
    if firewall == "off":
        assert set(filled.images.provenance("nearest_id")) == {""}
        assert filled.images.provenance("nearest_distance") == [None] * 8


def test_the_search_is_shared(sets):
    fill(sets, "flag")
    assert sets.copies is sets.copies
    assert sets.copies.threshold.images == len(sets.train) + len(sets.val)


def test_images_are_chosen_after_the_last_refill(sets, monkeypatch):
    """Classifiers that choose images are trained once, on what all rounds of drawing gave."""
    trained_on, seen = Classifiers.trained_on, []

    def counted(classifiers, synthetic):
        seen.append(len(synthetic))
        return trained_on(classifiers, synthetic)

    monkeypatch.setattr(Classifiers, "trained_on", counted)
    filled = fill(sets, "redraw", per_class=2, select="deliberate", rounds=2)
    assert (filled.rounds, len(filled.images)) == (2, 4)
    assert seen == [2]
