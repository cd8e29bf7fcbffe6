import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.errors import InputError
from understudy.pipeline.checks import check_names
from understudy.pipeline.strategies import effective_settings
from understudy.settings import build
from understudy.training.arms import find_arm
from understudy.training.settings import CompareSettings, Phase
from understudy.training.strategies import STRATEGIES, split_name, strength_by_shots

DIGITS = {"data": {"source": "digits"}}


def test_strategies_follow_the_name_of_an_arm():
    arm = find_arm("mixed@soft-labels@aux-batch-norm", CompareSettings())
    assert arm.name == "mixed@soft-labels@aux-batch-norm"
    assert arm.phases == (Phase(data="mixed", soft_labels=0.5, auxiliary_batch_norm="both", real_share=0.5),)
    assert arm.summary.startswith("real and synthetic images in one set; ")


def test_phases_of_real_images_stay_as_they_are():
    phases = find_arm("bridged@soft-labels", CompareSettings()).phases
    assert phases == (Phase(data="synthetic", soft_labels=0.5), Phase(data="real"))


def test_own_arms_have_strategies_too():
    settings = CompareSettings(
        arms=("real", "mine@refresh"), own_arms={"mine": (Phase(data="synthetic", mixup=0.2),)}
    )
    assert find_arm("mine@refresh", settings).phases == (
        Phase(data="synthetic", mixup=0.2, refresh_every=1.0),
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("synthetic@refreshh", r"unknown strategy 'refreshh'; known: .*\(did you mean 'refresh'\?\)"),
        (
            "synthetic@refresh@refresh",
            "each strategy must be named once in an arm, got 'synthetic@refresh@refresh'",
        ),
        ("synthetics@refresh", "unknown arm 'synthetics'"),
        ("real@refresh", "got 'real@refresh': choose another arm than 'real'"),
        ("synthetic@", "unknown strategy ''"),
        ("synthetic@two-stream", "needs real and synthetic images in one phase, such as mixed@two-stream"),
        ("mixed@protoaug@two-stream", "'protoaug' and 'two-stream' of the arm .* both set real_share"),
        ("mixed@two-stream@protoaug", "'two-stream' and 'protoaug' of the arm .* both set real_share"),
        ("mixed@aux-batch-norm@refresh@protoaug", "'aux-batch-norm' and 'protoaug' .* both set real_share"),
    ],
)
def test_bad_names_of_arms_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        find_arm(name, CompareSettings())


def test_strategies_that_agree_on_a_value_fit_each_other():
    """Both make half of every batch real."""
    (phase,) = find_arm("mixed@two-stream@aux-batch-norm", CompareSettings()).phases
    assert (phase.real_share, phase.synthetic_weight, phase.auxiliary_batch_norm) == (0.5, 1.0, "both")


def test_the_order_of_strategies_does_not_matter():
    """All pairs that fit an arm give the same phases in both orders."""
    names = [name for name in STRATEGIES if STRATEGIES[name].change_phases is not None]
    fitting = 0
    for arm, (first, second) in itertools.product(
        ("synthetic", "mixed", "bridged"), itertools.permutations(names, 2)
    ):
        try:
            phases = find_arm(f"{arm}@{first}@{second}", CompareSettings()).phases
        except InputError:
            with pytest.raises(InputError):
                find_arm(f"{arm}@{second}@{first}", CompareSettings())
        else:
            fitting += 1
            assert phases == find_arm(f"{arm}@{second}@{first}", CompareSettings()).phases
    assert fitting > len(names)


def test_a_phase_that_a_strategy_does_not_fit_is_refused():
    settings = CompareSettings(
        arms=("real", "mine@aux-batch-norm"), own_arms={"mine": (Phase(data="mixed", batch_norm="frozen"),)}
    )
    with pytest.raises(InputError, match="auxiliary_batch_norm has no effect with batch_norm 'frozen'"):
        find_arm("mine@aux-batch-norm", settings)


def test_late_layers_come_last():
    assert [phase.layers for phase in find_arm("synthetic@late-layer", CompareSettings()).phases] == [
        "full",
        "late-layer",
    ]
    phases = find_arm("bridged@late-layer", CompareSettings()).phases
    assert phases == (Phase(data="synthetic"), Phase(data="real", layers="late-layer"))


@pytest.mark.parametrize(
    ("shots", "strength"), [(16, 0.15), (8, 0.20), (4, 0.35), (2, 0.40), (1, 0.50), (1000, 0.15)]
)
def test_the_schedule_of_real_guidance_is_the_papers(shots, strength):
    assert strength_by_shots(shots) == pytest.approx(strength)


@given(st.integers(1, 100))
def test_fewer_images_leave_more_to_the_generator(shots):
    assert strength_by_shots(shots + 1) <= strength_by_shots(shots)


def test_real_guidance_executes_a_step_at_least():
    changed = effective_settings(
        "synthetic@real-guidance", build(DIGITS, {"draw": {"steps": 4}}), shots=16
    ).settings
    assert int(changed.draw.strength * changed.draw.steps) == 1


@pytest.mark.parametrize(
    ("layer", "strategy", "message"),
    [
        (
            {},
            "agreement-filter",
            "has no effect: the run already does this for every arm; remove '@agreement-filter'",
        ),
        (
            {},
            "confidence-filter@clip-filter",
            "'confidence-filter' and 'clip-filter' of the arm .* both set curate.score: use only one of them",
        ),
        ({}, "coverage@matched", "both set curate.select"),
        ({}, "diverse@real-guidance", "both set draw.noise_scale"),
        ({"generator": {"name": "folder", "images": ["a"]}}, "diverse", "ready-made images have none"),
        ({"draw": {"strength": 0.5}}, "diverse", "here drawing starts from real images"),
        (
            {"adapt": {"method": "none"}},
            "several-generators",
            "needs generators that the run adapts with different seeds",
        ),
        (
            {"generator": {"name": "folder", "images": ["a"]}},
            "real-guidance",
            "draws from noised real images, but ready-made images are not drawn",
        ),
        (
            {"generator": {"name": "folder", "images": ["a"]}},
            "several-generators",
            "adapts generators, but ready-made images have none",
        ),
    ],
)
def test_a_run_that_a_strategy_does_not_fit_is_refused(layer, strategy, message):
    with pytest.raises(InputError, match=message):
        effective_settings(f"synthetic@{strategy}", build(DIGITS, layer), shots=4)


@pytest.mark.parametrize("strength", [0.15, 0.5])
def test_names_are_checked_without_the_number_of_images(strength):
    """``real-guidance`` with 16 images or with one; whether it changes anything depends on the images."""
    check_names(
        build(DIGITS, {"draw": {"strength": strength}, "compare": {"arms": ["real", "mixed@real-guidance"]}})
    )


@pytest.mark.parametrize("section", ["compare", "membership"])
def test_strategies_that_cannot_be_combined_are_refused_by_name(section):
    settings = build(DIGITS, {section: {"arms": ["real", "mixed@coverage@matched"]}})
    with pytest.raises(
        InputError,
        match="'coverage' and 'matched' of the arm 'mixed@coverage@matched' both set curate.select",
    ):
        check_names(settings)


def test_what_finished_stages_used_is_not_checked_again(tmp_path):
    """Earlier versions trained arms that are refused today, and encoders are moved away."""
    arms = {
        "equal_steps": True,
        "own_arms": {"mine": [{"data": "real", "share": 0.5}]},
        "arms": ["real", "mine"],
    }
    settings = build(DIGITS, {"compare": arms})
    with pytest.raises(InputError, match="the share of its only phase has no effect"):
        check_names(settings)
    check_names(settings, finished=["compare"])
    settings = build(DIGITS, {"fidelity": {"encoder": str(tmp_path / "moved")}})
    with pytest.raises(InputError, match="unknown encoder"):
        check_names(settings, finished=["fidelity"])
    check_names(settings, finished=["fidelity", "memorisation"])


def test_names_are_split():
    assert split_name("bridged++") == ("bridged++", ())
    assert len(STRATEGIES.summary("refresh")) > 10
    assert np.isfinite(strength_by_shots(0))
