"""Warnings about a generator that learns from scratch for too few steps, before and after it has learned."""

import pytest

from understudy.data.image_kind import Look
from understudy.pipeline.learning_from_scratch import about_learning_from_scratch, after_learning_from_scratch
from understudy.settings import build

NOISE, HARDLY = "even digits are noise", "photographs of 64 pixels hardly showed their class"


def of(*, steps=600, generator="class_conditional", resolution=64, **adapt):
    chosen = {"name": generator} | ({"resolution": resolution, "patch": 4} if resolution else {})
    return build({"data": {"source": "digits"}, "generator": chosen, "adapt": {"steps": steps, **adapt}})


def before(settings, kind="photographs"):
    return " ".join(about_learning_from_scratch(Look(kind=kind, is_grey=False, side=64), settings))


@pytest.mark.parametrize(
    ("steps", "kind", "resolution", "why"),
    [
        (1, "characters", None, NOISE),
        (499, "photographs", 64, NOISE),
        (500, "characters", None, None),
        (500, "photographs", 32, None),
        (500, "photographs", 64, HARDLY),
        (2000, "photographs", 128, HARDLY),
        (2001, "photographs", 64, None),
    ],
)
def test_too_few_steps_are_pointed_out_in_the_settings_and_after_the_run(steps, kind, resolution, why):
    settings = of(steps=steps, until="steps", resolution=resolution)
    told, after = before(settings, kind), after_learning_from_scratch(steps, kind, settings)
    if why is None:
        assert "learns for" not in told and after is None
    else:
        assert f"learns for at most {steps:,} steps" in told and why in told
        assert f"learned for {steps:,} steps" in after and why in after


def test_a_plateau_may_end_earlier_than_the_settings_allow():
    settings = of(steps=600, until="plateau", max_steps=3000)
    assert before(settings) == ""
    assert HARDLY in after_learning_from_scratch(1200, "photographs", settings)
    assert after_learning_from_scratch(3000, "photographs", settings) is None


@pytest.mark.parametrize("limit", [None, 1000, 5000])
def test_the_steps_that_are_advised_are_allowed(limit):
    until = {} if limit is None else {"until": "plateau", "max_steps": limit}
    told = after_learning_from_scratch(700, "photographs", of(**until))
    assert "--set adapt.steps=4000" in told
    assert ("adapt.max_steps=null" in told) == (limit == 1000)
    lifted = {"max_steps": None} if limit == 1000 else {}
    assert of(**(until | lifted | {"steps": 4000})).adapt.num_steps >= 4000


def test_other_generators_and_ready_adapters_need_no_steps(tmp_path):
    assert after_learning_from_scratch(1, "photographs", of(generator="mini", resolution=None)) is None
    settings = of(adapter=str(tmp_path))
    assert before(settings) == "" and after_learning_from_scratch(1, "photographs", settings) is None
