import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.config import (
    check_effect,
    facts_of,
    given_names,
    parse_override,
    section_in,
    sections_in,
)
from understudy.core.errors import InputError
from understudy.recipes import PRESETS, RECIPES
from understudy.sampling.settings import DrawSettings
from understudy.settings import (
    Settings,
    build,
    check_registered,
    differing_keys,
    from_yaml,
    may_change,
    to_yaml,
    with_earlier_defaults,
)

DIGITS = {"data": {"source": "digits"}}


@settings(deadline=None, max_examples=40)  # the first example loads what the others find loaded
@given(
    st.integers(0, 2**31),
    st.floats(0.01, 100),
    st.sampled_from(["unipc", "ddim"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20),
    st.one_of(st.none(), st.integers(1, 50)),
)
def test_yaml_round_trip(seed, times, sampler, prompt, shots):
    settings = build(
        DIGITS,
        {
            "seed": seed,
            "draw": {"times": times, "sampler": sampler, "prompt": prompt},
            "data": {"shots": shots},
        },
    )
    assert from_yaml(to_yaml(settings)) == settings


def test_later_layers_win_key_by_key():
    settings = build(DIGITS, {"draw": {"times": 2, "steps": 9}}, {"draw": {"times": 3}})
    assert (settings.draw.times, settings.draw.steps) == (3, 9)


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("recipe", list(RECIPES))
def test_every_preset_with_every_recipe_is_valid(name, recipe):
    build(PRESETS[name], RECIPES[recipe], DIGITS)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("draw.tims=3", r"unknown setting 'draw.tims'; known here: per_class, times,.* mean draw.times\?"),
        ("draw.learning_rate=1", r"\(did you mean adapt.learning_rate or compare.learning_rate\?\)"),
        ("drw.steps=3", r"unknown setting 'drw'; known here: seed, data,.* \(did you mean draw\?\)"),
        ("draw.steps=true", "setting 'draw.steps': input should be no truth value .*, got True"),
        ("draw.times=yes", "setting 'draw.times': input should be no truth value"),
        (
            "scale.times=[1, true]",
            r"setting 'scale.times': input should be no truth value .*, got \[1, True\]",
        ),
        ("seed=9999999999999999999999", "setting 'seed': input should be less than 9223372036854775808, got"),
        ("colour=red", r"unknown setting 'colour'; known here: seed, data,"),
        (
            "draw.strength=0",
            r"'draw.strength' must be above 0 and at most 1, or a list of such numbers, got 0",
        ),
        ("draw.strength=[0.5, 1.5]", r"at most 1, or a list of such numbers, got 1.5"),
        ("draw.strength=[]", r"setting 'draw.strength' must be above 0 and at most 1, or a list"),
        ("draw.of_classes={cat: true}", r"setting 'draw.of_classes.cat'"),
        ("draw.of_classes={cat: 1.5}", r"setting 'draw.of_classes.cat'"),
        ("draw.strength=[0.5, 0.02]", r"setting 'draw': strength 0.02 of 20 steps leaves no step to execute"),
        ("compare.num_seeds=2", r"setting 'compare.num_seeds': .*greater than or equal to 3, got 2"),
        ("adapt.steps=many", r"setting 'adapt.steps': .*integer.* got 'many'"),
        ("draw=3", r"setting 'draw' must be a section with settings, such as draw.per_class, got 3"),
        ("draw.strength=0.02", r"setting 'draw': strength 0.02 of 20 steps leaves no step to execute"),
        (
            "draw={negative_prompt: ugly, guidance_scale: 1}",
            r"setting 'draw': negative_prompt has no effect at guidance_scale 1",
        ),
        (
            "compare.arms=[real, mixed, real]",
            r"setting 'compare': compare.arms must differ, got real, mixed, real",
        ),
    ],
)
def test_bad_values_are_named(override, message):
    with pytest.raises(InputError, match=message):
        build(DIGITS, parse_override(override))


@pytest.mark.parametrize(
    ("layer", "cause"),
    [
        ({"adapt": {"method": "none", "steps": 7}}, "adapt.steps has no effect while adapt.method is 'none'"),
        (
            {"adapt": {"method": "full", "targets": ["attention"]}},
            "adapt.targets has no effect while adapt.method is 'full'",
        ),
        ({"adapt": {"max_steps": 9}}, "adapt.max_steps has no effect while adapt.until is 'steps'"),
        (
            {"adapt": {"ema_length": 0.1, "ema_decay": 0.9}},
            "adapt.ema_decay has no effect while adapt.ema_length is 0.1",
        ),
        ({"draw": {"per_class": 3, "times": 9}}, "draw.times has no effect while draw.per_class is 3"),
        (
            {"curate": {"score": "none", "threshold": 0.9}},
            "curate.threshold has no effect while curate.score is 'none'",
        ),
        ({"draw": {"pairing": "random"}}, "draw.pairing has no effect while draw.strength is 1.0"),
        ({"draw": {"exemplars": 4}}, "draw.exemplars has no effect while draw.exemplar_weight is 0.0"),
        (
            {"adapt": {"distribution_weight": 0.1}},
            "adapt.distribution_weight has no effect while adapt.distribution is 'none'",
        ),
        (
            {"adapt": {"distribution": "batch-mean", "classes_per_batch": 2}},
            "classes_per_batch has no effect while adapt.distribution is",
        ),
        (
            {"adapt": {"distribution": "moments", "distribution_encoders": ["backbone"]}},
            "adapt.distribution_encoders has no effect while adapt.distribution is 'moments'",
        ),
        (
            {"captions": {"batch_size": 2}},
            "captions.batch_size has no effect while captions.source is 'none'",
        ),
        (
            {"visual": {"kind": "per-image", "images": 2}},
            "visual.images has no effect while visual.kind is 'per-image'",
        ),
        ({"scale": {"arms": ["mixed"]}}, "scale.arms has no effect while scale.times is"),
        (
            {"adapt": {"method": "none"}, "generator": {"gradient_checkpointing": True}},
            "gradient_checkpointing has no effect",
        ),
        (
            {"adapt": {"adapter": ".", "steps": 3}},
            "adapt.steps has no effect while adapt.adapter is '.'",
        ),
        ({"adapt": {"num_vectors": 3}}, "adapt.num_vectors has no effect while adapt.method is 'full'"),
        (
            {"adapt": {"method": "lora", "initial_word": "style"}},
            "adapt.initial_word has no effect while adapt.method is 'lora'",
        ),
        (
            {"adapt": {"method": "none", "token": "<x>"}},
            "adapt.token has no effect while adapt.method is 'none'",
        ),
        (
            {"adapt": {"method": "style-inversion", "rank": 3}},
            "adapt.rank has no effect while adapt.method is 'style-inversion'",
        ),
        (
            {"adapt": {"method": "textual-inversion", "classes_per_batch": 2}},
            "classes_per_batch has no effect while adapt.method is",
        ),
        (
            {"adapt": {"method": "style-inversion"}, "draw": {"adapter_scale": 1.0}},
            "draw.adapter_scale has no effect while adapt.meth",
        ),
        (
            {"adapt": {"method": "neutral-token", "steps": 3}},
            "adapt.steps has no effect while adapt.method is 'neutral-token'",
        ),
        (
            {"adapt": {"method": "neutral-token"}, "generator": {"gradient_checkpointing": True}},
            "gradient_checkpointing has no effect while adapt.method is 'neutral-token'",
        ),
        (
            {"adapt": {"method": "style-inversion", "adapter": ".", "num_vectors": 2}},
            "adapt.num_vectors has no effect while adapt.a",
        ),
    ],
)
def test_settings_without_effect_are_refused(layer, cause):
    with pytest.raises(InputError, match=cause):
        check_effect(build(DIGITS, layer), given_names(layer))


def test_a_missing_path_is_named_before_what_it_makes_idle(tmp_path):
    layer = {"adapt": {"adapter": str(tmp_path / "nowhere"), "steps": 7}}
    with pytest.raises(
        InputError, match="adapt.adapter must be a path that exists, but nothing is at .*nowhe"
    ):
        check_effect(build({"data": {"source": "digits"}}, layer), given_names(layer))
    layer["adapt"]["adapter"] = str(tmp_path)
    with pytest.raises(InputError, match="adapt.steps has no effect while adapt.adapter is"):
        check_effect(build({"data": {"source": "digits"}}, layer), given_names(layer))


def test_settings_with_effect_are_not():
    layer = {"adapt": {"method": "lora", "rank": 3}, "draw": {"times": 2}, "curate": {"threshold": 0.1}}
    check_effect(build(DIGITS, layer), given_names(layer))
    for adapt in (
        {"method": "style-inversion", "token": "<x>", "num_vectors": 2, "initial_word": "style", "steps": 3},
        {
            "method": "neutral-token",
            "token": "<x>",
            "num_vectors": 2,
            "initial_word": "style",
            "prompt": "{class} {token}",
        },
        {"method": "style-inversion", "token": "<x>", "adapter": "there"},
    ):
        check_effect(build(DIGITS, {"adapt": adapt}), given_names({"adapt": adapt}))


def test_the_source_is_required():
    with pytest.raises(InputError, match="setting 'data.source' is required"):
        build({"data": {}})


def test_yaml_that_is_no_mapping():
    with pytest.raises(InputError, match="must be a YAML mapping, got list"):
        from_yaml("- 1")


def written_before_the_plateau(**adapt):
    """``settings.yaml`` of ``class_conditional``, by a version without the settings named here."""
    command = {"generator": {"name": "class_conditional"}, "adapt": adapt}
    written = yaml.safe_load(to_yaml(build(DIGITS, command)))
    for name in ("until", "max_steps", "ema_length", "augmentation_probability"):
        del written["adapt"][name]
    return yaml.safe_dump(written)


def test_a_run_of_an_earlier_version_adapts_as_it_began():
    """Today's defaults of the generator are a plateau within 10,000 steps, and another average."""
    stored = from_yaml(written_before_the_plateau())
    adapt = stored.adapt
    assert (adapt.until, adapt.ema_length, adapt.ema_decay, adapt.num_steps) == ("steps", None, 0.995, 2000)
    assert "until: steps\n" in to_yaml(stored)
    command = build(DIGITS, {"generator": {"name": "class_conditional"}})
    assert (command.adapt.until, command.adapt.num_steps) == ("plateau", 10000)
    assert differing_keys(stored, with_earlier_defaults(command, stored)) == {}
    assert with_earlier_defaults(command, command) == command


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"generator": {"name": "mini"}}, "generator.name is 'mini'"),
        (
            {"generator": {"name": "class_conditional"}, "adapt": {"augmentation": "none"}},
            "adapt.augmentation is 'none'",
        ),
    ],
)
def test_a_probability_of_augmentation_needs_a_network_that_is_conditioned_on_it(changes, cause):
    name = "adapt.augmentation_probability"
    with pytest.raises(InputError, match=f"{name} has no effect while {cause}"):
        check_effect(build(DIGITS, changes, {"adapt": {"augmentation_probability": 0.1}}), [name])


def test_what_the_user_gives_is_no_default_of_an_earlier_version():
    stored = from_yaml(written_before_the_plateau())
    other = build(
        DIGITS, {"generator": {"name": "class_conditional"}, "adapt": {"ema_length": 0.2, "steps": 9}}
    )
    found = differing_keys(stored, with_earlier_defaults(other, stored))
    assert found == {"adapt.steps": (2000, 9), "adapt.ema_length": (None, 0.2)}


def test_differing_keys_have_dotted_names():
    one, two = build(DIGITS), build(DIGITS, {"draw": {"times": 2}, "seed": 1})
    assert differing_keys(one, two) == {"seed": (0, 1), "draw.times": (1.0, 2.0)}


def test_guidance_needs_a_generator_that_was_adapted_with_it():
    with pytest.raises(
        InputError,
        match="needs a generator adapted with image features, got adapt.method 'none'",
    ):
        build(DIGITS, {"visual": {"kind": "per-image"}, "adapt": {"method": "none"}})
    with pytest.raises(
        InputError,
        match="visual.kind 'sampled' needs a generator adapted with .* got adapt.method 'neutral-token'",
    ):
        build(DIGITS, {"visual": {"kind": "sampled"}, "adapt": {"method": "neutral-token"}})
    with pytest.raises(
        InputError, match="both to adapt and to draw, or for neither, got kind 'none' and draw_kind 'sampled'"
    ):
        build(DIGITS, {"visual": {"draw_kind": "sampled"}})


def test_numbers_of_single_classes_do_not_fit_sets_that_are_multiples():
    with pytest.raises(
        InputError, match=r"in which draw.of_classes cannot hold, got \{'cat': 5\}: leave one"
    ):
        build({"data": {"source": "digits"}, "draw": {"of_classes": {"cat": 5}}, "scale": {"times": [1, 2]}})


def test_tokens_are_not_applied_in_part():
    with pytest.raises(
        InputError,
        match="draw.adapter_scale must be 1 with adapt.method 'style-inversion', got 0.5: a token cannot",
    ):
        build(DIGITS, {"draw": {"adapter_scale": 0.5}, "adapt": {"method": "style-inversion"}})


@pytest.mark.parametrize("token", ["", "a b", "{class}"])
def test_names_of_tokens(token):
    with pytest.raises(InputError, match="setting 'adapt.token': string should match pattern"):
        build(DIGITS, {"adapt": {"token": token}})


def test_the_token_of_each_class():
    by_method = {
        method: build(DIGITS, {"adapt": {"method": method}}).adapt
        for method in ("full", "style-inversion", "textual-inversion")
    }
    assert {method: adapt.tokens(3) for method, adapt in by_method.items()} == {
        "full": ("", "", ""),
        "style-inversion": ("S*", "S*", "S*"),
        "textual-inversion": ("S*-0", "S*-1", "S*-2"),
    }


def test_two_ways_to_say_where_drawing_starts():
    with pytest.raises(InputError, match="strength and start_snr set the same thing, got 0.5 and 0.07"):
        build(DIGITS, {"draw": {"strength": 0.5, "start_snr": 0.07}})
    with pytest.raises(
        InputError, match="strength and start_snr set the same thing, got .0.5, 1.0. and 0.07"
    ):
        build(DIGITS, {"draw": {"strength": [0.5, 1], "start_snr": 0.07}})


@pytest.mark.parametrize(
    "section", [{"draw": {"times": float("inf")}}, {"scale": {"times": [1.0, float("inf")]}}]
)
def test_numbers_are_finite(section):
    with pytest.raises(InputError, match="finite"):
        build(DIGITS, section)


def test_what_decides_how_an_image_looks():
    """Names of folders in run folders follow from these names and their order."""
    assert DrawSettings.names_deciding("pixels") == (
        *("prompt", "negative_prompt", "sampler", "steps", "guidance_scale"),
        *("strength", "start_snr", "exemplar_weight", "exemplars", "exemplar_every"),
        *("noise_scale", "pairing", "adapter_scale", "precision"),
    )


def test_what_may_change_when_a_run_is_resumed():
    names = [
        f"{name}.{key}"
        for name, section in build(DIGITS)
        if name != "seed"
        for key in type(section).model_fields
    ]
    stages = tuple(name for name, section in build(DIGITS) if name != "seed" and section.addable)
    assert {name for name in names if may_change(name) and not name.startswith(stages)} == {
        *("data.licence", "data.memory", "data.remember", "generator.licence"),
        *("generator.attention_slicing", "generator.vae_slicing"),
        *("generator.cpu_offload", "generator.gradient_checkpointing"),
        *("captions.batch_size", "adapt.micro_batch", "adapt.checkpoint_every", "draw.batch_size"),
        "curate.stop_at_chance",
        *("compute.threads", "compute.executor", "compute.workers", "compute.gpus_per_worker"),
        *("compute.ray_address", "compute.slurm"),
        *("track.to", "track.project"),
    }
    assert all(may_change(name) for name in names if name.startswith(stages))
    assert may_change("shift.tests.mine")
    assert not may_change("seed")
    assert not may_change("compare.own_arms.mine")


def all_fields():
    waiting, fields = [Settings], {}
    while waiting:
        section = waiting.pop()
        for name, field in section.model_fields.items():
            fields[f"{section.__name__}.{name}"] = field
            waiting += [inner] if (inner := section_in(field)) else []
    return fields


def test_needs_are_about_settings_that_exist():
    settings = build(DIGITS)
    for name, field in all_fields().items():
        for need in facts_of(field).needs:
            section, _, key = need.setting.partition(".")
            assert hasattr(getattr(settings, section), key), name
            assert isinstance(need.holds(settings), bool), name


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"draw": {"sampler": "unipcs"}}, r"unknown sampler 'unipcs'.*\(did you mean 'unipc'"),
        (
            {"visual": {"kind": "per-image", "draw_kind": "sampld"}},
            "unknown kind of visual guidance 'sampld'",
        ),
        ({"shift": {"corruptions": ["blur", "fog"]}}, "unknown corruption 'fog'"),
        ({"compare": {"published": "imagenet0"}}, "unknown data set with published baselines 'imagenet0'"),
        (
            {"compare": {"arms": ["mine"], "own_arms": {"mine": [{"data": "real", "schedule": "cosin"}]}}},
            "unknown schedule 'cosin'",
        ),
    ],
)
def test_names_must_be_registered(layer, message):
    with pytest.raises(InputError, match=message):
        check_registered(build(DIGITS, layer))


def test_every_registry_exists():
    """Each is looked up with the default of its setting, so a module that moved is found here."""
    check_registered(build(DIGITS, {"visual": {"kind": "per-image", "draw_kind": "sampled"}}))
    assert len({facts_of(field).registry for field in all_fields().values()}) == 14  # one of them is None
    assert len(list(sections_in(build(DIGITS)))) == 17
