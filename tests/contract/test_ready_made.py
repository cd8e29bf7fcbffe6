"""What every generator of ready-made images must keep; a new one is tested by being registered."""

import numpy as np
import pytest
from tiny_job import write_pets

from understudy.core.config import check_effect
from understudy.core.errors import InputError
from understudy.generators.load import GENERATORS, load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.pipeline.strategies import arm_settings
from understudy.report.licences import sources
from understudy.sampling.settings import DrawSettings
from understudy.settings import build
from understudy.training.strategies import STRATEGIES

DIGITS = {"data": {"source": "digits"}}
NAMES = [name for name in GENERATORS if name != "stable-diffusion"]  # stands for all pipelines
READY_MADE = [name for name in NAMES if GeneratorSettings.model_construct(name=name).is_ready_made]
DRAWING = ["diverse", "real-guidance", "several-generators"]


@pytest.fixture
def settings_of(tmp_path):
    """Settings of a run with a generator."""

    def settings(name, *layers):
        images = {"images": [str(write_pets(tmp_path / "gan", 1))]} if name == "folder" else {}
        return build(DIGITS, {"generator": {"name": name, **images}}, *layers)

    return settings


@pytest.mark.parametrize("name", NAMES)
def test_images_are_ready_made_where_no_network_can_be_adapted(name, settings_of):
    settings = settings_of(name).generator
    generator = load_generator(settings, device="cpu")
    assert settings.is_ready_made == (not hasattr(generator, "save_adapter"))


@pytest.mark.parametrize("name", READY_MADE)
@pytest.mark.parametrize("key", DrawSettings.names_deciding("pixels"))
def test_a_setting_of_drawing_is_refused(key, name, settings_of):
    value = {"strength": 0.5, "start_snr": 0.5}.get(key)
    if value is not None:
        with pytest.raises(InputError, match="ready-made images, which cannot be adapted, guided or started"):
            settings_of(name, {"draw": {key: value}})
        return
    with pytest.raises(InputError, match=f"draw.{key} has no effect while"):
        check_effect(settings_of(name), [f"draw.{key}"])


@pytest.mark.parametrize("name", READY_MADE)
@pytest.mark.parametrize("strategy", [*DRAWING, "retrieved", "unadapted"])
def test_a_strategy_that_changes_drawing_is_refused(strategy, name, settings_of):
    with pytest.raises(InputError, match=f"^the strategy '{strategy}' .*: leave it out"):
        arm_settings(f"synthetic@{strategy}", settings_of(name), shots=2)


@pytest.mark.parametrize("strategy", [*DRAWING, "unadapted", "agreement-filter", "refresh"])
@pytest.mark.parametrize("order", [1, -1])
def test_retrieved_images_go_with_strategies_that_do_not_draw(strategy, order):
    arm = "@".join(["synthetic", *["retrieved", strategy][::order]])
    settings = build(DIGITS, {"draw": {"noise_scale": 1.05, "adapter_scale": 0.5}})
    if strategy in ("agreement-filter", "refresh"):
        assert arm_settings(arm, settings, shots=2).settings.generator.is_ready_made
        return
    with pytest.raises(InputError, match="leave it out|use only one of them|only one control"):
        arm_settings(arm, settings, shots=2)


def test_no_arm_has_two_controls():
    controls = [name for name in STRATEGIES if STRATEGIES[name].is_control]
    with pytest.raises(InputError, match="only one control, got 'retrieved' and 'unadapted' in 'bridged@"):
        arm_settings("@".join(["bridged", *controls]), build(DIGITS), shots=2)


@pytest.mark.parametrize("name", READY_MADE)
def test_a_card_names_images_and_no_weights(name, settings_of):
    (_, source) = sources(settings_of(name))
    assert source.role == "ready-made images"
    assert source.name == {"folder": "gan"}.get(name, name)


@pytest.mark.parametrize("name", ["folder"])
def test_users_can_state_the_licence_of_their_images(name, settings_of):
    settings = settings_of(name, {"generator": {"licence": "cc-by-4.0"}})
    check_effect(settings, ["generator.licence"])
    load_generator(settings.generator, device="cpu")
    assert [source.licence for source in sources(settings)] == [None, "cc-by-4.0"]


def test_nothing_states_the_licence_of_rendered_characters(settings_of):
    with pytest.raises(InputError, match="generator.licence has no effect while generator.name is 'glyphs'"):
        check_effect(settings_of("glyphs"), ["generator.licence"])


def test_ready_made_images_are_the_same_with_all_settings_of_a_run(settings_of):
    """A control draws the same images whatever the run's images are drawn with."""
    plain = arm_settings("synthetic@retrieved", settings_of("mini"), shots=2).settings
    varied = {"draw": {"prompt": "a {class} in ink", "steps": 5, "guidance_scale": 2.0, "strength": 0.75}}
    found = arm_settings("synthetic@retrieved", settings_of("mini", varied), shots=2).settings
    assert (found.generator, found.draw) == (plain.generator, plain.draw)
    assert np.all([not found.draw.starts_from_real, found.draw.prompt == DrawSettings().prompt])
