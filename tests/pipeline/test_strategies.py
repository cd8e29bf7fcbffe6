"""The settings of an arm with its strategies, before anything is drawn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_job import Listener, tiny_settings, write_pets

from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.strategies import arm_settings, as_many_as_real, gap_arms
from understudy.settings import build


def test_without_tuning_the_settings_of_an_arm_need_no_images(tmp_path, tiny_pipeline_folder):
    pets = write_pets(tmp_path / "pets")
    settings = tiny_settings(pets, tiny_pipeline_folder)
    run = Run(RunFolder(tmp_path / "run", settings), "cpu", Listener())
    assert run.training_settings("mixed@refresh") == settings.compare


ROLES = ["filtered", "fresh", "filtered+fresh", "diverse", "matched"]


DRAWS = st.one_of(
    st.fixed_dictionaries(
        {"noise_scale": st.sampled_from([1.0, 1.1, 1.2]), "guidance_scale": st.sampled_from([1.0, 2.0])}
    ),
    st.fixed_dictionaries({"strength": st.sampled_from([0.15, 0.5])}),
    st.just({"start_snr": 0.5}),
    st.just({"guidance_scale": 2.0, "negative_prompt": "blurred"}),
)


SECTIONS = st.sampled_from(
    [
        {},
        {"curate": {"score": "confidence", "select": "matched", "firewall": "drop"}},
        {"scale": {"times": [1, 2, 4], "stop_below": 0.01}},
        {"generator": {"name": "class_conditional"}},
    ]
)


def plain(*layers):
    return as_many_as_real(build({"data": {"source": "digits"}}, *layers))


@given(DRAWS, SECTIONS, st.integers(1, 100))
def test_every_set_of_the_gap_differs_from_the_plain_one(draw, sections, shots):
    """Whatever the run draws; and what fits the run fits each set of the gap."""
    base = plain({"draw": draw}, sections)
    arms = gap_arms(base, shots=shots)
    assert [role for role in arms if role != "diverse"] == [role for role in ROLES if role != "diverse"]
    for role, arm in arms.items():
        changed = arm_settings(arm, base, shots=shots).settings
        assert (changed != base) == (role != "fresh"), (
            "fresh images are drawn like all others, but trained on otherwise"
        )


@pytest.mark.parametrize(
    ("layer", "is_there"),
    [
        ({}, True),
        ({"draw": {"noise_scale": 1.1}}, False),
        ({"draw": {"noise_scale": 1.1, "guidance_scale": 2.0}}, True),
        ({"draw": {"strength": 0.5}}, False),
        ({"generator": {"name": "folder", "images": ["a"]}}, False),
    ],
    ids=["plain", "as-diverse-as-it-gets", "guided", "from-real", "ready-made"],
)
def test_more_varied_images_are_left_out_where_there_are_none(layer, is_there):
    assert ("diverse" in gap_arms(plain(layer), shots=60)) == is_there
