"""Broken inputs of every kind: the command line refuses them with exit code 2 and a message, no traceback.

Each family writes its inputs into the current folder and yields commands that must be refused. What the
messages say is tested beside the code that raises them; damaged files of a run and of a study are in
``tests/pipeline/test_damaged_files.py`` and ``tests/commands/test_study.py``.
"""

import gzip
import io
import json
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import two_classes
from tiny_job import OPTIONS, tiny_settings, write_pets

from understudy import cli
from understudy.core.config import flatten
from understudy.pipeline.folder import RunFolder
from understudy.settings import build, to_yaml

EXPLORE = os.environ.get("HYPOTHESIS_PROFILE") == "explore"
BINARY = bytes(range(256)) * 4
"""Neither text nor any known format."""


@pytest.fixture
def understudy(understudy, monkeypatch):
    """The same command line, but Typer makes its parser once, which takes longer than most refusals."""
    parser = typer.main.get_command(cli.app)
    monkeypatch.setattr("typer.main.get_command", lambda app: parser)
    return understudy


def wrong_outcome(understudy, words):
    """What is wrong with the answer to broken input; None if it is refused in the right way."""
    try:
        code, out, err = understudy(*words)
    except Exception as error:  # noqa: BLE001 - this is what the sweep looks for
        return f"traceback: {type(error).__name__}: {error}"[:500]
    if code != 2 or "Traceback" in out + err or not err.startswith(("error: ", "Usage: ")):
        return f"exit code {code}: {out[-300:]}{err[-300:]}"
    if not err.partition(": ")[2].strip() or err.partition(": ")[2].strip() == "None":
        return "an empty message"
    return None


def swept(understudy, commands):
    """The commands that are not refused as they should be, with what happened."""
    answers = [(words, wrong_outcome(understudy, words)) for words in commands]
    return [(" ".join(map(str, words))[:300], wrong) for words, wrong in answers if wrong]


# Families: each writes files, and yields the words of commands.

VALUES = (
    "[1, {a: 2}]",
    "{a: {b: 1}}",
    "2022-99-99",
    "!!python/name:os.system",
    "[",
    "-1",
    ".nan",
    "''",
    "&a [*a]",
)


def setting_values():
    """Every setting with values of wrong types, three each (all with `make explore`)."""
    keys = list(flatten(build({"data": {"source": "x"}}).model_dump(mode="json")))
    for number, key in enumerate(keys):
        values = VALUES if EXPLORE else [VALUES[(number + step) % len(VALUES)] for step in (0, 3, 6)]
        yield from (["validate", "nowhere", "--set", f"{key}={value}"] for value in values)


def odd_settings():
    """Keys and values that are no settings at all."""
    for text in (
        "=1",
        "a",
        "a.b.c.d.e=1",
        ".=1",
        "draw..times=1",
        "draw.times.x=1",
        "=",
        "draw={1: 2}",
        "1=1",
    ):
        yield ["validate", "nowhere", "--set", text]
    for text in (
        "draw=&a {times: *a}",
        "compare.own_arms={1: [{data: real}]}",
        "compare={null: 1}",
        "seed=1e999",
    ):
        yield ["validate", "nowhere", "--set", text]
    yield ["validate", "nowhere", "--set", "draw.times=" + "[" * 5000]
    yield ["validate", "nowhere", "--set", "draw.times=" + "9" * 5000]
    yield ["validate", "nowhere", "--set", "draw.prompt=a\0b"]
    yield ["validate", "a\0b"]
    yield ["validate", "x" * 5000]


def options():
    """Every option of every command with values that it cannot have; the data do not exist."""
    for name, command in typer.main.get_command(cli.app).commands.items():
        first = {"list": [], "study": ["volume", "nowhere"], "compare-runs": ["nowhere", "nowhere"]}
        for option in command.params:
            if option.param_type_name != "option" or option.opts[0] in ("--help",):
                continue
            for value in ("", "-1", "a,,b", "=", "\udcff", "nan") if EXPLORE else ("", "a,,=\udcff"):
                yield [name, *first.get(name, ["nowhere"]), option.opts[0], value]


ARMS = {
    "empty": "",
    "null": "null",
    "number": "3",
    "list": "[{data: real}]",
    "tab": "mine:\n\t- data: real\n",
    "twice": "mine: [{data: real}]\nmine: [{data: synthetic}]\n",
    "twice inside": "mine: [{data: real, data: synthetic}]",
    "no phases": "mine: []",
    "phase is text": "mine: [real]",
    "phase is null": "mine: [null]",
    "unknown key": "mine: [{data: real, speed: 3}]",
    "unknown data": "mine: [{data: reality}]",
    "wrong type": "mine: [{data: real, steps: many}]",
    "negative": "mine: [{data: real, steps: -4}]",
    "known name": "real: [{data: synthetic}]",
    "bad name": "'a/b': [{data: real}]",
    "number as key": "1: {2: 3}",
    "list as key": "[1, 2]: [{data: real}]",
    "loop": "mine: &a [*a]",
    "loop of mappings": "mine: [&a {data: *a}]",
    "deep": "mine: " + "[" * 3000,
    "date": "mine: 2022-99-99",
    "two documents": "mine: [{data: real}]\n---\nyours: [{data: real}]\n",
    "python": "mine: !!python/object:os.system x",
    "anchor": "mine: *unknown",
    "control": "mine: [{data: real\x07}]",
}


def arms_files():
    """Arms files that are no YAML, or not of arms."""
    for number, text in enumerate(ARMS.values()):
        Path(f"{number}.yaml").write_text(text)
        yield ["validate", "digits", "--arms-file", f"{number}.yaml"]
    yield from bad_text_files(["validate", "digits", "--arms-file"])


def bad_text_files(words):
    """Commands that end with the name of a text file that is none."""
    Path("binary.txt").write_bytes(BINARY)
    Path("sixteen.txt").write_text("a cat\na dog\n", encoding="utf-16")
    Path("folder.txt").mkdir(exist_ok=True)
    Path("loop.txt").symlink_to("loop.txt")
    for name in (
        "binary.txt",
        "sixteen.txt",
        "folder.txt",
        "loop.txt",
        "missing.txt",
        "missing/x.txt",
        "a\0b",
        "",
    ):
        yield [*words, name]
    Path("loop.txt").unlink()


NAMES = {
    "empty": "",
    "one line": "a cat\n",
    "three lines": "a cat\na dog\na bird\n",
    "the same class twice": "cat: a cat\ncat: a dog\n",
    "unknown class": "cat: a cat\nbird: a dog\n",
    "no words": "cat:\ndog: a dog\n",
    "two kinds": "cat | animal | pet\na dog\n",
    "half with classes": "dog\na cat\n",
}


def names_files():
    """Class names files that do not fit."""
    write_pets("pets")
    for number, text in enumerate(NAMES.values()):
        Path(f"{number}.txt").write_text(text)
        yield ["validate", "pets", "--class-names", f"{number}.txt"]
    yield from bad_text_files(["validate", "pets", "--class-names"])


def captions_files():
    """Captions files that do not fit; the folder of the images is right."""
    write_pets("pets")
    words = ["validate", "pets", "--set", "captions.source=file", "--set", "draw.prompt={caption} of {class}"]
    contents = {
        "csv": (
            "",
            "file_name,caption",
            "file_name,caption\ncat/0.png,x\n",
            "a,b\n1,2\n",
            '"',
            "file_name\n\n",
        ),
        "jsonl": (
            "",
            "[",
            "{}",
            "[]",
            '{"file_name": 1, "text": 2}',
            "[" * 5000,
            '{"file_name": "x", "text": "\\ud800"}',
        ),
        "txt": ("cat/0.png x",),
    }
    for suffix, texts in contents.items():
        for number, text in enumerate(texts):
            Path(f"{number}.{suffix}").write_text(text)
            yield [*words, "--set", f"captions.file={number}.{suffix}"]
    for suffix in ("csv", "jsonl"):
        Path(f"binary.{suffix}").write_bytes(BINARY)
        Path(f"folder.{suffix}").mkdir()
        for name in ("binary", "folder", "missing"):
            yield [*words, "--set", f"captions.file={name}.{suffix}"]


def prompt_files():
    """Files with prompts that are none, and prompts that cannot be filled."""
    write_pets("pets")
    for value in (
        "missing.txt",
        "{",
        "{class",
        "{klass}",
        "{0}",
        "{class!r}",
        "{class.__class__}",
        "a cat",
        "{caption}",
    ):
        yield ["validate", "pets", "--set", f"draw.prompt='{value}'"]
    Path("prompts.txt").write_text("{class}\n{\n")
    yield ["validate", "pets", "--set", "draw.prompt=prompts.txt"]
    Path("empty.txt").write_text("\n")
    yield ["validate", "pets", "--set", "draw.prompt=empty.txt"]
    Path("binary.txt").write_bytes(BINARY)
    yield ["validate", "pets", "--set", "draw.prompt=binary.txt"]


def folders():
    """Folders without images of at least two classes."""
    for name in ("empty", "a/b/c", "classes/cat", "classes/dog", "texts/cat", "texts/dog", "flat", "one/cat"):
        Path(name).mkdir(parents=True)
    for name in ("cat", "dog"):
        Path("texts", name, "1.txt").write_text("a cat")
    for index, name in enumerate(
        ("flat/1.png", "flat/2.png", "one/cat/1.png", "one/cat/2.png", "picture.png")
    ):
        Path(name).write_bytes(picture(index))
    write_pets("stray")
    Path("stray/3.png").write_bytes(picture(9))
    write_pets("mixed/train")
    shutil.copytree("mixed/train/cat", "mixed/dog")
    write_pets("only_test/test")
    write_pets("same/cat")
    shutil.copytree("same/cat/cat", "same/dog")
    write_pets("tiny", per_class=2)
    Path("loop").mkdir()
    Path("loop/again").symlink_to("..")
    for name in (
        *[
            "empty",
            "a",
            "classes",
            "texts",
            "flat",
            "one",
            "stray",
            "mixed",
            "only_test",
            "same",
            "tiny",
            "loop",
        ],
        "picture.png",
    ):
        yield ["validate", name]
    yield ["validate", "/dev/null"]
    yield ["validate", "missing/deeper"]
    yield ["validate", "picture.png/deeper"]
    yield ["validate", "~nobody/pets"]
    yield ["validate", "https://example.org/pets.zip"]


def picture(seed=0, form="PNG"):
    data = io.BytesIO()
    Image.open(io.BytesIO(two_classes(1, seed=seed).encoded(0))).save(data, form)
    return data.getvalue()


def damaged_images():
    """One file among good ones that cannot be read."""
    files = {
        form: picture(form=form) for form in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "PPM")
    }
    bad = {f"half.{form.lower()}": data[: len(data) // 2] for form, data in files.items()}
    bad |= {"empty.png": b"", "binary.png": BINARY, "text.jpg": b"a cat", "zeros.png": bytes(500)}
    bad |= {"pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n"}
    bad |= {"page.jpg": b"<!DOCTYPE html><html>404</html>", "packed.png": gzip.compress(files["PNG"])}
    bad |= {"head.png": files["PNG"][:33], "half.heic": b"\0\0\0\x18ftypheic" + bytes(99)}
    for name, data in bad.items():
        write_pets(name, per_class=3)
        Path(name, "cat", name).write_bytes(data)
        yield ["validate", name]
    write_pets("link", per_class=3)
    Path("link/cat/link.png").symlink_to("nothing.png")
    yield ["validate", "link"]


def archives():
    """Zip, tar and Parquet files that were cut, or hold something else."""
    write_pets("pets")
    shutil.make_archive("whole", "zip", "pets")
    data = two_classes(24)
    images = [{"bytes": data.encoded(index), "path": None} for index in range(24)]
    labels = [("cat", "dog")[label] for label in data.labels]
    pq.write_table(pa.table({"image": images, "label": labels}), "whole.parquet")
    with tarfile.open("whole.tar", "w") as archive:
        for index in range(24):
            add(archive, f"{index}.png", data.encoded(index))
            add(archive, f"{index}.cls", labels[index].encode())
    for suffix in ("zip", "tar", "parquet"):
        whole = Path(f"whole.{suffix}").read_bytes()
        cut = {
            "half": whole[: len(whole) // 2 + 77],
            "start": whole[:100],
            "tail": whole[len(whole) // 2 + 77 :],
            "zeros": whole[:600] + bytes(len(whole) - 600),
            "empty": b"",
            "binary": BINARY,
            "page": b"<!DOCTYPE html><html>404</html>",
            "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n",
            "packed": gzip.compress(whole),
        }
        for name, content in cut.items():
            Path(f"{name}.{suffix}").write_bytes(content)
            yield ["validate", f"{name}.{suffix}"]
        Path(f"folder.{suffix}").mkdir()
        yield ["validate", f"folder.{suffix}"]


def add(archive, name, content):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def tables():
    """Parquet files with other columns and types, and tars with other parts."""
    data = two_classes(6)
    files = [data.encoded(index) for index in range(6)]
    names = ["cat", "dog"] * 3
    contents = {
        "no-image": {"label": names},
        "no-label": {"image": files},
        "no-rows": {"image": pa.array([], pa.binary()), "label": pa.array([], pa.string())},
        "no-columns": {},
        "nulls": {"image": pa.nulls(6), "label": pa.nulls(6)},
        "numbers": {"image": [1, 2, 3, 4, 5, 6], "label": names},
        "fractions": {"image": files, "label": [0.5] * 6},
        "dates": {"image": files, "label": pa.array([0] * 6, pa.date32())},
        "lists": {"image": [[data] for data in files], "label": names},
        "structs": {"image": files, "label": [{"a": 1}] * 6},
        "paths": {"image": ["nowhere.png"] * 6, "label": names},
        "outside": {"image": ["../../../../etc/passwd"] * 6, "label": names},
    }
    for name, columns in contents.items():
        pq.write_table(pa.table(columns), f"{name}.parquet")
        yield ["validate", f"{name}.parquet"]
    parts = {
        "no-label": [("1.png", files[0]), ("2.png", files[1])],
        "no-image": [("1.cls", b"cat"), ("2.cls", b"dog")],
        "bad-json": [("1.png", files[0]), ("1.json", b"{"), ("2.png", files[1]), ("2.json", b"[" * 5000)],
        "bad-names": [("classes.txt", b"\xff\xfe"), ("1.png", files[0]), ("1.cls", b"0")],
        "bad-info": [("dataset_info.json", b"[]"), ("1.png", files[0]), ("1.cls", b"0")],
        "bad-label": [("1.png", files[0]), ("1.cls", b"\xff\xfe"), ("2.png", files[1]), ("2.cls", b"")],
        "nothing": [],
    }
    for name, entries in parts.items():
        with tarfile.open(f"{name}.tar", "w") as archive:
            for entry in entries:
                add(archive, *entry)
        yield ["validate", f"{name}.tar"]
    for name, entries in {"nothing": [], "texts": [("cat/1.txt", "x"), ("dog/1.txt", "y")]}.items():
        with zipfile.ZipFile(f"{name}.zip", "w") as archive:
            for entry in entries:
                archive.writestr(*entry)
        yield ["validate", f"{name}.zip"]


def generators():
    """Generators and ready-made images that are none."""
    write_pets("pets")
    for name in ("empty", "index", "list"):
        Path(name).mkdir()
    Path("index/model_index.json").write_text("{")
    Path("list/model_index.json").write_text("[]")
    Path("weights.safetensors").write_bytes(BINARY)
    Path("half").mkdir()
    Path("half/cat").mkdir()
    Path("half/cat/1.png").write_bytes(picture()[:60])
    for name in ("empty", "index", "list", "weights.safetensors", "pets", "nowhere", "", ".", "a b"):
        yield ["validate", "pets", "--generator", name]
    for name in ("empty", "nowhere", "half", "weights.safetensors", "pets/cat", "digits"):
        yield ["validate", "pets", "--generator", "folder", "--set", f"generator.images=[{name}]"]


def adapters():
    """Adapters of other programs, and folders that hold none."""
    write_pets("pets")
    for name in ("empty", "words", "number", "cut", "other/unet"):
        Path(name).mkdir(parents=True)
    Path("words/report.json").write_text("{")
    Path("number/report.json").write_text('{"method": 3}')
    Path("cut/report.json").write_text('{"method": "full"}')
    Path("cut/x.safetensors").write_bytes(BINARY)
    Path("other/unet/config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    Path("style.safetensors").write_bytes(BINARY)
    names = ("nowhere", "empty", "words", "number", "cut", "other", "style.safetensors", "pets", "/dev/null")
    for command in (["validate", "pets"], ["preview", "pets"], ["run", "pets"]):
        yield from ([*command, "--set", f"adapt.adapter={name}"] for name in names)


def further_test_sets():
    """Test sets that an evaluation cannot use, named for a run that is still to come."""
    write_pets("pets")
    write_pets("birds")
    Path("birds/cat").rename("birds/bird")
    Path("empty").mkdir()
    for text in ("x=nowhere", "x=empty", "x=birds", "x=", "=birds", "birds", "a/b=birds", "x=digits"):
        yield ["evaluate", "pets", "--test", text, *OPTIONS]
    for words in (
        ["--corruptions", "mud"],
        ["--corruptions", "noise,,"],
        ["--test", "x=pets", "--test", "x=pets"],
    ):
        yield ["evaluate", "pets", *words, *OPTIONS]


def measurements():
    """Values that commands on runs cannot use, on images."""
    write_pets("pets")
    for words in (
        "gap pets --strengths 2",
        "gap pets --strengths 0.5,0.5,x",
        "audit pets --of nobody",
        "audit pets --shadows 1",
        "audit pets --rates 7",
        "audit pets --rates x",
        "audit pets --target everything",
        "audit pets --epsilon -3",
        "study volume pets --points many",
        "study volume pets --points -1",
        "study guidance pets --points nan",
        "study shots pets --points 0.5",
        "study prompts pets --points nowhere.txt",
        "study colours pets",
        "study volume pets --repeats 0",
        "study volume pets --out pets",
        "preview pets --to pets",
        "preview pets --to nowhere/\0",
        "run pets --times 0",
        "run pets --times 1,x",
        "run pets --times inf",
        "run pets --arms ,",
        "run pets --arms real,real",
        "run pets --out pets",
        "run pets --shots 99",
        "run pets --threads 0",
        "run pets --workers -1",
        "compare-runs pets pets",
        "export pets --to new",
        "report pets",
    ):
        yield words.split(" ")


def stored_settings():
    """``settings.yaml`` of a run, damaged in ways that leave it YAML, or nearly."""
    whole = to_yaml(tiny_settings("pets", "mini"))
    texts = {
        "tab": whole.replace("\n  ", "\n\t", 1),
        "twice": whole + "seed: 3\n",
        "twice inside": whole.replace("draw:\n", "draw:\n  steps: 3\n"),
        "two documents": whole + "---\nseed: 1\n",
        "cut": whole[: len(whole) // 2],
        "cut at a line": whole[: whole.index("\nadapt:")],
        "loop": whole + "extra: &a [*a]\n",
        "mark": "\ufeff\x00" + whole,
        "nothing": "\n",
    }
    for number, text in enumerate(texts.values()):
        Path(f"old{number}").mkdir()
        Path(f"old{number}/settings.yaml").write_text(text)
        yield from ([command, f"old{number}"] for command in ("run", "report", "gap", "audit"))
        yield ["compare-runs", f"old{number}", f"old{number}"]
        yield ["run", "digits", "--out", f"old{number}"]
    Path("binary").mkdir()
    Path("binary/settings.yaml").write_bytes(BINARY)
    Path("folder/settings.yaml").mkdir(parents=True)
    for name in ("binary", "folder"):
        yield from ([command, name] for command in ("run", "report", "gap"))


FAMILIES = (
    *(setting_values, odd_settings, options, arms_files, names_files, captions_files, prompt_files, folders),
    *(damaged_images, archives, tables, generators, adapters, further_test_sets, measurements),
    stored_settings,
)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_broken_input_is_refused_without_a_traceback(family, understudy):
    assert swept(understudy, family()) == []


# Random texts and bytes in the place of every small file.

TEXTS = st.one_of(
    st.text(max_size=60),
    st.binary(max_size=60).map(lambda data: data.decode("latin-1")),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ).map(json.dumps),
    st.text("mine:[]{}&*!-? \n\t'\"|>%@`0123456789datreslynhic,#", max_size=60),
)
FILES = {
    "arms.yaml": ["validate", "digits", "--arms-file"],
    "settings.yaml": ["report", "."],
    "study.yaml": ["study", "volume", "nowhere", "--out", "."],
}


@settings(
    max_examples=1000 if EXPLORE else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=st.sampled_from(sorted(FILES)), text=TEXTS)
@example(name="arms.yaml", text="mine: &a [*a]")
def test_no_text_in_a_file_of_settings_is_a_traceback(name, text, understudy):
    for other in FILES:
        Path(other).unlink(missing_ok=True)
    Path(name).write_bytes(text.encode("utf-8", "surrogatepass"))
    words = FILES[name]
    assert wrong_outcome(understudy, [*words, name] if name == "arms.yaml" else words) is None


def test_a_run_that_lacks_everything_but_its_settings(understudy):
    RunFolder.open(Path("old"), tiny_settings("nowhere", "mini"))
    commands = [
        [name, "old"] for name in ("run", "adapt", "draw", "curate", "compare", "report", "gap", "audit")
    ]
    assert (
        swept(understudy, [*commands, ["export", "old", "--to", "new"], ["compare-runs", "old", "old"]]) == []
    )
