"""Long lists in messages and on the terminal: ten entries, and how many more there are."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from understudy.adaptation.adapter import check_tokens
from understudy.commands.compare_runs import _check_same_classes, _Finished
from understudy.commands.validate import shown_classes
from understudy.core.errors import InputError
from understudy.core.files import write_json
from understudy.core.listing import listed, shortened
from understudy.data.captions.file import read_captions
from understudy.data.class_names import read_class_names, words_in_prompts
from understudy.data.export import export
from understudy.data.labelled_set import LabelledSet
from understudy.data.labels import find_classes
from understudy.data.settings import DataSettings
from understudy.data.sources.layout import find_places
from understudy.data.splits import stratified_split, take_shots
from understudy.generators.class_conditional import ClassConditionalGenerator
from understudy.generators.settings import GeneratorSettings

NUMBER = 2000
NAMES = tuple(f"class {number:04}" for number in range(NUMBER))
SETTINGS = DataSettings(source="SET")


def labelled(names: tuple[str, ...] = NAMES) -> LabelledSet:
    """One image of a single colour per class."""
    data = io.BytesIO()
    Image.new("RGB", (2, 2)).save(data, "PNG")
    files = [data.getvalue()] * len(names)
    paths = {"source_path": [f"{name}/1.png" for name in names]}
    return LabelledSet.from_images(
        files, np.arange(len(names)), class_names=names, split="train", provenance=paths
    )


@given(st.lists(st.text("ab", min_size=1), max_size=30), st.integers(1, 12))
def test_entries_and_the_number_of_others_are_all_there_is(names: list[str], most: int) -> None:
    for entries in (
        listed(names, most=most).replace(" and ", ", and ").split(", "),
        shortened(names, most=most),
    ):
        entries = [entry for entry in entries if entry]
        more = re.fullmatch(r"and ([0-9]+) more", entries[-1]) if entries else None
        assert entries[: len(names)][:most] == names[:most]
        assert len(entries) - bool(more) + (int(more[1]) if more else 0) == len(names)


def places(*paths: str) -> object:
    return find_places([tuple(path.split("/")) for path in paths], "SET", SETTINGS)


def small_classes(folder: Path) -> object:
    labels = np.arange(NUMBER)
    return stratified_split(NAMES, labels, {"val": 0.2, "test": 0.2}, class_names=NAMES, seed=0)


def few_lines(folder: Path) -> object:
    (folder / "names.txt").write_text("a cat\n")
    return read_class_names(folder / "names.txt", NAMES)


def unknown_class(folder: Path) -> object:
    (folder / "names.txt").write_text(
        "".join(f"x{name}: a cat\n" for name in NAMES[:-1]) + f"{NAMES[-1]}: a\n"
    )
    return read_class_names(folder / "names.txt", NAMES)


def captions(folder: Path) -> object:
    (folder / "captions.csv").write_text("file_name,text\nx,y\n")
    return read_captions(folder / "captions.csv", [labelled()], others=())


def tokens(folder: Path) -> object:
    write_json(folder / "report.json", {"method": "textual-inversion", "tokens": []})
    return check_tokens(folder, NAMES)


def other_classes(folder: Path) -> object:
    runs = [_Finished(None, {"data": {"classes": names}}) for names in (NAMES, NAMES[:2])]  # type: ignore[arg-type]
    for run in runs:
        object.__setattr__(run, "folder", type("Folder", (), {"path": folder}))
    return _check_same_classes(*runs)


def same_words(folder: Path) -> object:
    generator = ClassConditionalGenerator(GeneratorSettings(name="class_conditional"), device="cpu")
    return generator.learn_classes([*NAMES, NAMES[0]], seed=0)


REFUSED: list[Callable[[Path], object]] = [
    *(small_classes, few_lines, unknown_class, captions, tokens, other_classes, same_words),
    lambda folder: take_shots(labelled(), 2, seed=0),
    lambda folder: find_classes(NAMES, ("cat", "dog"), SETTINGS),
    lambda folder: find_classes([*NAMES, *(name.upper() for name in NAMES)], None, SETTINGS),
    lambda folder: find_classes([3, *NAMES], None, SETTINGS),
    lambda folder: export(labelled(tuple(f"{name}?" for name in NAMES)), folder / "to", form="folder"),
    lambda folder: places("train/a/1.png", "test/a/1.png", *(f"{name}/1.png" for name in NAMES)),
]


@pytest.mark.parametrize("refused", REFUSED)
def test_messages_about_2000_classes_are_short(refused: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        refused(tmp_path)
    assert len(str(error.value)) < 1500
    assert re.search(r"and 1,9[0-9][0-9] more", str(error.value)) or "such as 3 and" in str(error.value)


def test_notes_about_2000_classes_are_short() -> None:
    for words in (["cat"] * NUMBER, [str(number) for number in range(NUMBER)]):
        for note in words_in_prompts(NAMES, NAMES, words):
            assert len(note) < 600
            assert re.search(r"and 1,9[0-9][0-9] more", note)


def test_validate_shows_ten_classes(understudy, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    images, labels = [], []
    num_classes = 30
    for number in range(3 * num_classes):
        data = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(data, "BMP")
        images.append(data.getvalue())
        labels.append(NAMES[number % num_classes])
    for split in range(3):
        part = slice(split * num_classes, (split + 1) * num_classes)
        columns = {"image": images[part], "label": labels[part]}
        pq.write_table(pa.table(columns), tmp_path / f"{('train', 'val', 'test')[split]}.parquet")
    words = ["validate", tmp_path, "--set", "data.near_duplicate_distance=-1"]
    code, out, err = understudy(*words)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) < 32, "ten classes, and a few sentences"
    assert re.search(r"and 20 more +│ +│ 20 +│ 20 +│ 20", out)


def test_a_table_of_up_to_ten_classes_is_whole() -> None:
    rows = [(name, name, 3, 1, 1) for name in NAMES[:12]]
    assert shown_classes(rows[:10]) == rows[:10]
    assert shown_classes(rows) == [*rows[:10], ("and 2 more", "", "6", "2", "2")]
    rows = [(name, name, 3, 1, 1) for name in NAMES]
    assert shown_classes(rows)[10:] == [("and 1,990 more", "", "5,970", "1,990", "1,990")]
