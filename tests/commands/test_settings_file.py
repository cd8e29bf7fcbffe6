"""A settings file as DATA: what wins, where its paths lead, and how a wrong one is refused."""

import re
import shutil

import pytest
from tiny_job import write_pets

from understudy.commands.chosen import (
    arms_of,
    command_with,
    run_folder,
    settings_of,
    time_limit,
    whole_runs,
)
from understudy.commands.options import Options
from understudy.commands.settings_file import opened
from understudy.core.errors import InputError
from understudy.pipeline.folder import RunFolder
from understudy.settings import build, to_yaml

GIVEN = frozenset({"data"})


@pytest.fixture
def here(tmp_path, monkeypatch, pets):
    """An empty working directory with images in ``pets``."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pets, tmp_path / "pets")
    return tmp_path


def read(path, text, **given):
    """The options of a command whose DATA is a file with this text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return opened(Options(str(path), given=GIVEN | given.keys(), **given))


def test_a_file_has_what_the_command_line_has(here):
    from_file = read(
        here / "s.yaml",
        "preset: quick\nrecipe: latent-prior\nseed: 3\ndata: {source: pets, shots: 2, skip_bad: true}\n"
        "draw: {times: 4}\ncompare: {arms: [real, mixed]}\n",
    )
    words = {"preset": "quick", "recipe": "latent-prior", "seed": 3, "shots": 2, "skip_bad": True}
    words |= {"override": ["draw.times=4"], "arms": "real,mixed"}
    plain = opened(Options(str(here / "pets"), given=GIVEN | words.keys(), **words))
    assert settings_of(from_file) == settings_of(plain)
    assert arms_of(from_file) == ("real", "mixed")


def test_other_data_stay_as_they_are(here):
    for data in ("digits", "pets", "images.zip", "org/name"):
        options = Options(data)
        assert opened(options) is options
    (here / "x.yaml").mkdir()
    assert opened(Options("x.yaml")).data == "x.yaml", "a folder holds images, whatever its name"


def test_the_command_line_wins(here):
    text = "preset: quick\nseed: 3\ndata: {source: digits, shots: 2}\ndraw: {times: 4}\nadapt: {steps: 9}\n"
    words = {"preset": "standard", "seed": 0, "shots": 5, "times": "2", "override": ["adapt.steps=7"]}
    settings = settings_of(read(here / "s.yaml", text, **words))
    assert (settings.seed, settings.data.shots, settings.draw.times, settings.adapt.steps) == (0, 5, 2, 7)
    assert settings.compare.steps == build({"data": {"source": "digits"}}).compare.steps


def test_a_preset_of_several_runs_counts(here):
    options = read(here / "s.yaml", "preset: thorough\ndata: {source: pets}\n")
    assert whole_runs(options, None, None) == 5
    assert run_folder(options, None)[0].as_posix() == "runs/pets", "named after the images"


def test_what_the_file_gives_is_not_cut(here):
    options = read(here / "s.yaml", "data: {source: pets}\nadapt: {steps: 50}\n")
    assert "adapt.steps" in time_limit(options, "2h", 1).given


def test_the_next_command_has_the_file(here):
    options = read(here / "s.yaml", "data: {source: pets}\n", shots=3)
    assert command_with("run", options) == f"understudy run {here / 's.yaml'} --shots 3"


def test_a_section_of_comments_is_empty(here):
    options = read(here / "s.yaml", "data:\n  source: pets\nadapt:\n  # steps: 9\n")
    assert settings_of(options) == settings_of(Options(str(here / "pets"))).model_copy(
        update={"data": settings_of(options).data}
    )


def test_a_byte_order_mark_is_no_key(here):
    assert read(here / "s.yaml", "\ufeffdata: {source: pets}\n").data == str(here / "pets")


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("../pets", "pets"),
        ("digits", "digits"),
        ("../digits", "./digits"),
        ("org/name", "org/name"),
        ("gone", "conf/gone"),
    ],
)
def test_paths_are_relative_to_the_folder_of_the_file(source, wanted, here):
    (here / "digits").mkdir()
    (here / "conf").mkdir()
    (here / "conf" / "s.yaml").write_text(
        f"data: {{source: {source}, class_names: names.txt}}\n"
        "shift: {measure: true, tests: {sketches: ../sketches}}\ngenerator: {adapters: []}\n"
    )
    options = opened(Options("conf/s.yaml"))
    assert options.data == wanted
    assert options.sections["data"]["class_names"] == "conf/names.txt"
    assert options.sections["shift"]["tests"] == {"sketches": "sketches"}


def test_beside_the_working_directory_paths_stay_as_written(here):
    (here / "s.yaml").write_text("data: {source: ./pets, class_names: ../names.txt}\n")
    options = opened(Options("s.yaml"))
    assert (options.data, options.sections["data"]["class_names"]) == ("./pets", "../names.txt")


def test_paths_that_are_absolute_or_at_home_lead_there(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    assert read(here / "conf" / "a.yaml", f"data: {{source: {here / 'pets'}}}\n").data == str(here / "pets")
    assert read(here / "conf" / "b.yaml", "data: {source: ~/pets}\n").data == str(here / "pets")


def test_a_linked_folder_is_followed(here):
    (here / "far" / "away").mkdir(parents=True)
    write_pets(here / "far" / "pets")
    (here / "conf").symlink_to(here / "far" / "away")
    (here / "conf" / "s.yaml").write_text("data: {source: ../pets}\n")
    found = opened(Options("conf/s.yaml")).data
    assert (here / found).samefile(here / "far" / "pets")


def test_a_generator_in_a_folder_lies_beside_the_file(here, tiny_pipeline_folder):
    shutil.copytree(tiny_pipeline_folder, here / "conf" / "pipeline")
    text = "data: {source: ../pets}\ngenerator: {name: NAME}\n"
    for name, wanted in (("pipeline", "conf/pipeline"), ("mini", "mini"), ("org/name", "org/name")):
        (here / "conf" / "s.yaml").write_text(text.replace("NAME", name))
        assert opened(Options("conf/s.yaml")).sections["generator"]["name"] == wanted


REFUSED = {
    "empty": ("", "must be a mapping of settings, such as 'data: {source: photos}', got nothing"),
    "comments": ("# data:\n", "must be a mapping of settings, .* got nothing"),
    "list": ("- data\n- source\n", "must be a mapping of settings, .* got a list"),
    "text": ("pets\n", "must be a mapping of settings, .* got a str"),
    "number": ("3\n", "must be a mapping of settings, .* got a int"),
    "tabs": ("data:\n\tsource: pets\n", "must be readable YAML, .*indent with spaces"),
    "brackets": ("data: {source: pets\n", "must be readable YAML, got an error: "),
    "two documents": ("data: {source: pets}\n---\nseed: 1\n", "must be readable YAML, got an error: "),
    "duplicate": (
        "data: {source: pets}\nseed: 1\nseed: 2\n",
        "the key 'seed' occurs twice, in lines 2 and 3",
    ),
    "no data": ("seed: 1\n", "must name the images, .* but has no data.source: add it"),
    "no source": ("data: {shots: 2}\n", "must name the images, .* but has no data.source: add it"),
    "empty source": ("data: {source: ' '}\n", "must name the images"),
    "empty section": ("data:\n", "must name the images"),
    "plain data": (
        "data: pets\n",
        "s.yaml: setting 'data' must be a section with settings, such as data.source",
    ),
    "list of sections": ("data: [source, pets]\n", "s.yaml: setting 'data' must be a section"),
    "source of a list": ("data: {source: [pets]}\n", "s.yaml: setting 'data.source': .* string"),
    "unknown section": (
        "data: {source: pets}\ndrow: {}\n",
        "s.yaml: unknown setting 'drow'; known here: seed, ",
    ),
    "unknown key": (
        "data: {source: pets}\ndraw: {time: 2}\n",
        "unknown setting 'draw.time'; .*did you mean draw.times",
    ),
    "wrong type": (
        "data: {source: pets}\ndraw: {times: many}\n",
        "s.yaml: setting 'draw.times': .* got 'many'",
    ),
    "truth": ("data: {source: pets}\nseed: yes\n", "setting 'seed': input should be no truth value"),
    "range": ("data: {source: pets, shots: 0}\n", "setting 'data.shots': .* greater than or equal to 1"),
    "idle": (
        "data: {source: pets, subset: 1}\n",
        "s.yaml: data.subset has no effect while data.shots is None",
    ),
    "preset": (
        "preset: fast\ndata: {source: pets}\n",
        "s.yaml: unknown preset 'fast'; known: quick, standard",
    ),
    "recipe": (
        "recipe: [adapted]\ndata: {source: pets}\n",
        r"s.yaml: recipe must be one of adapted, .* got \['",
    ),
    "null preset": ("preset:\ndata: {source: pets}\n", "s.yaml: preset must be one of .* got None"),
    "missing images": ("data: {source: gone}\n", "no file or folder at 'gone'"),
    "other file": ("data: {source: s.yaml}\n", "s.yaml must be a folder, or a .zip"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_wrong_file_is_refused_with_the_reason(command, case, here, understudy):
    text, message = REFUSED[case]
    (here / "s.yaml").write_text(text)
    code, _, errors = understudy(command, "s.yaml")
    assert code == 2
    assert re.search(message, errors.replace("\n", " "))
    assert sorted(path.name for path in here.iterdir()) == ["pets", "s.yaml"]


@pytest.mark.parametrize(
    "content",
    ["data: {source: pets}".encode("utf-16"), "data: {source: kätzchen}".encode("latin-1"), b"\xff\0"],
)
def test_another_encoding_is_refused(content, here):
    (here / "s.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"s.yaml must be text in UTF-8, .*: save it as UTF-8"):
        opened(Options("s.yaml"))


def test_control_characters_are_refused(here):
    (here / "s.yaml").write_bytes(b"data: {source: pets}\0")
    with pytest.raises(InputError, match=r"s.yaml must be readable YAML, got an error: "):
        opened(Options("s.yaml"))


def test_a_missing_file_says_how_to_write_one(here):
    (here / "broken.yml").symlink_to("nowhere")
    for name in ("gone.yaml", "gone/x.YAML", "broken.yml"):
        with pytest.raises(InputError, match=rf"no settings file {name}: .*understudy init DATA --to {name}"):
            opened(Options(name))


def test_a_source_relative_to_the_working_directory_is_refused(here):
    with pytest.raises(InputError, match=r"nothing is at conf/pets, only at pets: write ../pets"):
        (here / "conf").mkdir()
        (here / "conf" / "s.yaml").write_text("data: {source: pets}\n")
        opened(Options("conf/s.yaml"))


def test_files_of_runs_and_studies_name_their_folder(here):
    settings = build({"data": {"source": "pets"}})
    RunFolder.open(here / "run", settings)
    (here / "run" / "stages").mkdir()
    (here / "study.yaml").write_text(f"kind: steps\npoints: [1]\nsettings: {{}}\n# {to_yaml(settings)[:0]}")
    with pytest.raises(InputError, match=r"belongs to the run run: continue it with 'understudy run run'"):
        opened(Options("run/settings.yaml"))
    with pytest.raises(InputError, match=r"study.yaml belongs to the study \.: go on with the command"):
        opened(Options("study.yaml"))
    with pytest.raises(InputError, match=r"s.yaml: data.source must be images, got the run .*run"):
        read(here / "s.yaml", "data: {source: run}\n")


def test_a_folder_with_that_name_is_read_as_images(here, understudy):
    (here / "x.yaml").mkdir()
    code, _, errors = understudy("validate", "x.yaml")
    assert code == 2
    assert "x.yaml" in errors
