"""What a time limit cuts: never more than needed, nothing that was given, and nothing below its floor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import two_classes

from understudy.commands.time_plan import (
    SIZES,
    TimeLimit,
    cuts_between,
    plan_within,
    with_share,
    with_sizes_of,
)
from understudy.core.errors import InputError
from understudy.recipes import PRESETS
from understudy.sampling.plan import quotas
from understudy.settings import build

TRAIN = two_classes(20, size=8)
FLOORS = {"mini": 100, "class_conditional": 500}
FEW_SEEDS = {"compare": {"num_seeds": 3}}
NAMES = [f"{section}.{name}" for section, names in SIZES.items() for name in names]


def numbers(settings):
    """Seeds, steps of classifiers, steps of adaptation, images."""
    return (
        settings.compare.num_seeds,
        settings.compare.steps,
        settings.adapt.num_steps,
        int(quotas(TRAIN, settings.draw).sum()),
    )


def cost(settings):
    """Seconds at a made-up pace."""
    seeds, steps, adapting, images = numbers(settings)
    return 10 + 0.05 * seeds * steps + 0.2 * adapting + 0.1 * images


def cut(settings, limit, given_names=()):
    limit = TimeLimit(seconds=limit, given=given_names)
    return plan_within(limit, settings, train=TRAIN, cost=cost)


@st.composite
def runs(draw):
    """Settings of runs of every size."""
    adapt = {"steps": draw(st.integers(1, 3000))}
    if draw(st.booleans()):
        adapt |= {"until": "plateau", "max_steps": adapt["steps"] + draw(st.integers(0, 9000))}
    images = draw(
        st.one_of(
            st.builds(lambda count: {"per_class": count}, st.integers(1, 500)),
            st.builds(
                lambda times, least: {"times": times, "min_per_class": least},
                st.floats(0.1, 100),
                st.integers(1, 500),
            ),
        )
    )
    compare = {"steps": draw(st.integers(2, 3000)), "num_seeds": draw(st.integers(3, 6))}
    name = draw(st.sampled_from(sorted(FLOORS)))
    return build(
        {"data": {"source": "digits"}, "generator": {"name": name}},
        {"adapt": adapt, "draw": images, "compare": compare},
    )


@given(runs(), st.floats(0, 1), st.floats(0, 1), st.sets(st.sampled_from(NAMES), max_size=3))
def test_a_plan_fits_and_more_time_never_cuts_more(settings, one, other, kept):
    few_seeds = settings if "compare.num_seeds" in kept else build(settings.model_dump(), FEW_SEEDS)
    smallest = with_share(few_seeds, 0.0, given=kept, train=TRAIN)
    limits = sorted(cost(smallest) + share * (cost(settings) - cost(smallest)) for share in (one, other))
    short, long = (cut(settings, limit, kept) for limit in limits)
    for plan, limit in ((short, limits[0]), (long, limits[1])):
        assert cost(plan) <= limit
        assert [_value(plan, name) for name in kept] == [_value(settings, name) for name in kept]
    for row in zip(*map(numbers, (smallest, short, long, settings)), strict=True):
        assert list(row) == sorted(row)
    before, (seeds, steps, adapting, images) = numbers(settings), numbers(smallest)
    assert seeds >= 3
    assert steps >= min(100, before[1])
    assert adapting >= min(FLOORS[settings.generator.name], before[2])
    assert images >= min(2 * 50, before[3])
    with pytest.raises(InputError, match="is too short: the smallest run, with"):
        cut(settings, 0.99 * cost(smallest), kept)


def _value(settings, name):
    section, _, field = name.partition(".")
    return getattr(getattr(settings, section), field)


def test_seeds_are_cut_first_and_then_all_numbers_in_proportion():
    settings = build({"data": {"source": "digits"}}, PRESETS["thorough"])
    assert numbers(settings) == (5, 1500, 2000, 1000)
    seconds = cost(settings)
    fewer = cut(settings, seconds - 1)
    assert cuts_between(settings, fewer, TRAIN) == ["5 -> 4 seeds"]
    assert numbers(cut(settings, seconds / 2)) == (3, 890, 1100, 580)
    assert cut(settings, seconds) == settings


def test_what_the_message_names():
    settings = build({"data": {"source": "digits"}, "compare": {"steps": 400}, "draw": {"per_class": 70}})
    told = (
        "a time limit of 10s is too short: the smallest run, with 3 seeds, 100 adaptation steps, 400 "
        "classifier steps, 100 images and the given compare.steps, takes about 1m40s"
    )
    with pytest.raises(InputError, match=told):
        cut(settings, 10, ["compare.steps", "data.source"])


@pytest.mark.parametrize(
    ("sections", "kept"),
    [
        ({"adapt": {"method": "none"}}, "adapt"),
        ({"adapt": {"adapter": "somewhere"}}, "adapt"),
        (
            {
                "compare": {
                    "arms": ["mine"],
                    "own_arms": {"mine": [{"data": "real", "steps": 300}]},
                    "equal_steps": False,
                }
            },
            "compare",
        ),
    ],
    ids=["not adapted", "ready adapter", "phases with lengths of their own"],
)
def test_what_would_not_save_time_stays(sections, kept):
    settings = build({"data": {"source": "digits"}}, sections)
    smallest = with_share(settings, 0.0, given=(), train=TRAIN)
    assert getattr(smallest, kept) == getattr(settings, kept)
    assert smallest != settings


def test_steps_that_compare_drawn_images_are_kept():
    """Such a term needs a generator that draws the classes already."""
    adapt = {"distribution": "moments", "distribution_steps": 40}
    settings = build({"data": {"source": "digits"}, "adapt": adapt})
    assert with_share(settings, 0.0, given=(), train=TRAIN).adapt.steps == 140


def test_a_run_that_was_begun_keeps_its_numbers():
    settings = build({"data": {"source": "digits"}}, PRESETS["thorough"])
    begun = cut(settings, cost(settings) / 3)
    assert with_sizes_of(settings, begun, given=()) == begun
    other = with_sizes_of(settings, begun, given=["adapt.steps"])
    assert (other.adapt.steps, other.compare) == (2000, begun.compare)


@pytest.mark.parametrize("seconds", [0, -5, float("nan"), float("inf"), 10**9])
def test_limits_that_nobody_means(seconds):
    with pytest.raises(InputError, match="must be above 0 and at most a year, got"):
        TimeLimit(seconds=seconds)
