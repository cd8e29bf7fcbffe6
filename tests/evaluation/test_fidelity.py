"""Fidelity of sets whose faults are known, against closed forms and against the formulas alone."""

import json

import numpy as np
import pytest

from understudy.core.errors import InputError
from understudy.evaluation.fidelity import MEASURES, EncodedImages, measure_fidelity
from understudy.functional.coverage import density_and_coverage
from understudy.functional.diversity import vendi_score
from understudy.functional.frechet import frechet_distance, mean_and_root

NAMES = ("cat", "dog")
DIM = 6


def _images(num, *, shift=0.0, scale=1.0, seed=0, apart=4.0):
    """``num`` images of each of two classes."""
    labels = np.arange(2 * num) % 2
    features = np.random.default_rng(seed).normal(shift, scale, size=(2 * num, DIM)) + apart * labels[:, None]
    return EncodedImages(features.astype(np.float32), labels)


def _measure(real, held_out, synthetic, **options):
    defaults = {"class_names": NAMES, "neighbours": 3, "num_resamples": 40, "max_bytes": 1e6, "seed": 0}
    return measure_fidelity(real, held_out, synthetic, **(defaults | options))


def _value(found, name, role="value"):
    return found["measures"][name][role]["mean"]


@pytest.fixture(scope="module")
def ordinary():
    return _measure(_images(150), _images(60, seed=1), _images(60, seed=2))


def test_the_section_is_what_results_json_takes(ordinary):
    assert json.loads(json.dumps(ordinary, allow_nan=False)) == ordinary
    assert ordinary["images"] == {"real": 300, "held_out": 120, "synthetic": 120}
    assert (ordinary["compared"], ordinary["neighbours"], ordinary["warnings"]) == (120, 3, [])
    assert list(ordinary["measures"]) == list(MEASURES)
    for name, measured in ordinary["measures"].items():
        assert measured["better"] == MEASURES[name]
        for part in (measured, *measured["per_class"].values()):
            for role in ("value", "floor"):
                assert part[role]["low"] <= part[role]["mean"] <= part[role]["high"], name
        assert {one["images"] for one in measured["per_class"].values()} == {60} and list(
            measured["per_class"]
        ) == list(NAMES)


def test_figures_of_all_images_are_those_of_the_formulas():
    """With as many synthetic as held-out images nothing is chosen."""
    real, held_out, synthetic = _images(80), _images(50, seed=1), _images(50, seed=2, shift=0.3)
    found = _measure(real, held_out, synthetic)
    for role, other in (("value", synthetic), ("floor", held_out)):
        expected = {
            "frechet_distance": frechet_distance(
                *mean_and_root(real.features), *mean_and_root(other.features)
            ),
            "density": density_and_coverage(real.features, other.features, k=3)[0],
            "coverage": density_and_coverage(real.features, other.features, k=3)[1],
            "vendi_score": vendi_score(other.features),
        }
        assert {name: _value(found, name, role) for name in expected} == pytest.approx(expected, rel=1e-6)
    cats = [mean_and_root(part.of_class(0).features) for part in (real, synthetic)]
    cat = found["measures"]["frechet_distance"]["per_class"]["cat"]["value"]["mean"]
    assert cat == pytest.approx(frechet_distance(*cats[0], *cats[1]), rel=1e-6)


def test_images_like_the_held_out_ones_reach_the_floor(ordinary):
    for name in MEASURES:
        value, floor = (ordinary["measures"][name][role] for role in ("value", "floor"))
        assert value["low"] < floor["high"] and floor["low"] < value["high"], name


def test_faults_show_in_their_measures(ordinary):
    real, held_out = _images(150), _images(60, seed=1)
    shifted = _measure(real, held_out, _images(60, seed=2, shift=2.0))
    narrow = _measure(real, held_out, _images(60, seed=2, scale=0.3))
    for name in ("frechet_distance", "kid", "mmd", "cmmd"):
        assert shifted["measures"][name]["value"]["low"] > shifted["measures"][name]["floor"]["high"], name
    # The other distances hardly react to spread if classes are far apart.
    for name in ("frechet_distance", "mmd"):
        assert _value(narrow, name) > _value(ordinary, name)
    assert _value(shifted, "frechet_distance") == pytest.approx(4 * DIM, rel=0.25)
    assert _value(shifted, "precision") < 0.5 and _value(shifted, "density") < 0.5
    assert _value(narrow, "density") > 1.5 and _value(narrow, "precision") > 0.95
    assert _value(narrow, "recall") < 0.3 and _value(narrow, "coverage") < 0.7


@pytest.mark.parametrize("role", ["value", "floor"])
def test_distances_within_classes_are_means_over_classes(role):
    """With as many synthetic as held-out images, all are measured, as within each class."""
    found = _measure(_images(40), _images(30, seed=1), _images(30, seed=2, shift=0.3))["measures"]
    for name in ("kid", "cmmd"):  # the kernel of mmd follows the images of the class there
        classes = [found[name]["per_class"][c][role]["mean"] for c in NAMES]
        assert found[name]["within_classes"][role]["mean"] == pytest.approx(
            np.mean(classes), rel=1e-4, abs=1e-6
        )
    for name in ("kid", "mmd", "cmmd"):
        interval = found[name]["within_classes"][role]
        assert interval["low"] < interval["mean"] < interval["high"]
    assert not any("within_classes" in found[name] for name in ("frechet_distance", "recall"))


def test_distances_within_classes_do_not_depend_on_class_shares():
    real, held_out = _images(60), _images(40, seed=1)
    other = _images(80, seed=2)
    fewer = other.select((other.labels == 0) | (np.arange(160) < 60))
    found = _measure(real, held_out, fewer)
    assert not found["same_shares"] and _measure(real, held_out, other)["same_shares"]
    for name in ("kid", "mmd"):
        value, floor = (found["measures"][name]["within_classes"][role] for role in ("value", "floor"))
        assert value["low"] < floor["high"] and floor["low"] < value["high"]
        at_once = found["measures"][name]
        assert at_once["value"]["low"] > at_once["floor"]["high"]  # for their shares alone


@pytest.mark.parametrize("lacking", [0, 1, 2])
def test_a_class_with_one_image_has_no_distance_within(lacking):
    sets = [_images(20, seed=seed) for seed in range(3)]
    first = np.flatnonzero(sets[lacking].labels == 1)[0]
    sets[lacking] = sets[lacking].select((sets[lacking].labels == 0) | (np.arange(40) == first))
    assert _measure(*sets)["measures"]["kid"]["within_classes"] is None


def test_a_missing_class_shows_overall_and_has_no_figures():
    real, held_out = _images(150), _images(60, seed=1)
    half = _images(120, seed=2).of_class(0)
    found = _measure(real, held_out, half)
    assert _value(found, "recall") < 0.6 and _value(found, "coverage") < 0.6
    assert (
        found["measures"]["frechet_distance"]["value"]["low"]
        > found["measures"]["frechet_distance"]["floor"]["high"]
    )
    assert (
        found["measures"]["kid"]["per_class"]["dog"] is None
        and found["measures"]["kid"]["per_class"]["cat"]["images"] == 60
    )
    (warning,) = found["warnings"]
    assert warning.startswith(
        "no figures of class dog: fidelity.neighbours=3 needs 4 real train, held-out and synthetic images "
        "of a class"
    )


def test_many_synthetic_images_are_compared_in_subsets_of_the_size_of_the_floor():
    real, held_out = _images(150), _images(40, seed=1)
    many, few = (_measure(real, held_out, _images(num, seed=2)) for num in (200, 40))
    assert many["compared"] == few["compared"] == 80
    # These depend on the number of images.
    for name in ("frechet_distance", "recall", "coverage", "vendi_score"):
        interval = few["measures"][name]["value"]
        assert interval["low"] < _value(many, name) < interval["high"], name
    for name in ("frechet_distance", "vendi_score", "density"):
        widths = [
            found["measures"][name]["value"]["high"] - found["measures"][name]["value"]["low"]
            for found in (many, few)
        ]
        assert widths[0] < widths[1], name


def test_more_held_out_than_synthetic_images():
    found = _measure(_images(150), _images(100, seed=1), _images(30, seed=2))
    assert found["compared"] == 60 and found["images"]["held_out"] == 200
    assert found["warnings"] == [
        "fewer than 50 images are compared of the classes cat, dog: figures of a class are rough there"
    ]


def test_results_repeat_and_do_not_depend_on_block_size():
    sets = _images(40), _images(30, seed=1), _images(70, seed=2)
    first, again, small = (_measure(*sets, max_bytes=size) for size in (1e6, 1e6, 5e3))
    assert first == again
    for name in MEASURES:
        assert _value(small, name) == pytest.approx(_value(first, name), rel=1e-3, abs=1e-5)
    assert first != _measure(*sets, seed=1)


def test_intervals_cover_the_truth():
    """The shift of two Gaussians far apart, whose Fréchet distance is hardly biased; 20 draws, 95% each."""
    held = 0
    for seed in range(20):
        real, held_out, synthetic = (
            _images(60, seed=3 * seed + part, shift=3.0 * (part == 2), apart=0.0) for part in range(3)
        )
        interval = _measure(real, held_out, synthetic, class_names=("cat",))["measures"]["frechet_distance"][
            "value"
        ]
        held += interval["low"] - 0.5 <= 9 * DIM <= interval["high"]
    assert held >= 16


def test_small_samples_are_named():
    real, held_out, synthetic = _images(6), _images(3, seed=1), _images(3, seed=2)
    found = _measure(real, held_out, synthetic)
    assert [warning.split(":")[0] for warning in found["warnings"]] == [
        "6 images are compared with 12 real ones, with 6 features each",
        "only 6 images are compared",
        "no figures of the classes cat, dog",
    ]
    assert found["measures"]["vendi_score"]["per_class"] == {"cat": None, "dog": None}


def test_many_classes_are_not_all_listed():
    names = [f"c{label}" for label in range(13)]
    labels = np.arange(52) % 13
    parts = [EncodedImages(np.random.default_rng(seed).normal(size=(52, 2)), labels) for seed in range(3)]
    assert (
        "no figures of the classes c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 3 more"
        in _measure(*parts, class_names=names, neighbours=5)["warnings"][-1]
    )


def test_a_class_of_equal_images_has_no_figures():
    real = _images(20)
    real.features[real.labels == 1] = 7
    found = _measure(real, _images(20, seed=1), _images(20, seed=2))
    assert (
        found["measures"]["mmd"]["per_class"]["dog"] is None
        and "no figures of class dog" in found["warnings"][-1]
    )


def test_arguments_are_checked():
    good = _images(20)
    with pytest.raises(
        InputError,
        match=r"fidelity\.neighbours=40 needs at least 41 images of each kind, got 40 real train, 40 "
        r"held-out, 40",
    ):
        _measure(good, good, good, neighbours=40)
    with pytest.raises(
        InputError,
        match=r"got 40 real train, 0 held-out, 40 synthetic: lower fidelity\.neighbours, or set "
        r"fidelity\.measure=f",
    ):
        _measure(good, EncodedImages(good.features[:0], good.labels[:0]), good)
    with pytest.raises(InputError, match=r"from one encoder.*\(40, 2\) for synthetic images"):
        _measure(good, good, EncodedImages(good.features[:, :2], good.labels))
    with pytest.raises(InputError, match="features of held-out images must be finite"):
        _measure(good, EncodedImages(good.features * np.float32(np.inf), good.labels), good)
    with pytest.raises(InputError, match="features of real train images must differ, got 40 equal ones"):
        _measure(EncodedImages(np.ones_like(good.features), good.labels), good, good)


@pytest.mark.parametrize("subsets", [1, 5])
def test_intervals_of_neighbour_measures_cover_other_real_images(subsets):
    """40 worlds: intervals over the synthetic images alone, or over subsets as if each had real images of its
    own, hold too few.
    """
    found = [
        _measure(
            *(
                _images(num, seed=3 * seed + part, shift=0.3 * part, apart=0.0)
                for part, num in enumerate((75, 30, 30 * subsets))
            ),
            num_resamples=1,
        )
        for seed in range(40)
    ]
    for name in ("precision", "recall", "density", "coverage"):
        intervals = [world["measures"][name]["value"] for world in found]
        mean = np.mean([one["mean"] for one in intervals])
        assert np.mean([one["low"] <= mean <= one["high"] for one in intervals]) >= 0.92, name
