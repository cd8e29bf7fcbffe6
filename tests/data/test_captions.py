from __future__ import annotations

import json
import unicodedata
from dataclasses import replace

import pytest
from data_pictures import write_folder
from tiny_captioners import BUILDERS, save_captioner

from understudy.core.errors import InputError
from understudy.data.captions import model as caption_model
from understudy.data.captions.captions import CAPTIONS, caption_sets, captions_of
from understudy.data.captions.file import read_captions
from understudy.data.captions.model import CaptionModel
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import load_splits
from understudy.data.settings import CaptionSettings, DataSettings

WORDS = ("striped zebra", "ant", "cow")


@pytest.fixture(scope="module")
def captioners(tmp_path_factory) -> dict[str, str]:
    return {kind: str(save_captioner(kind, tmp_path_factory.mktemp(kind))) for kind in BUILDERS}


@pytest.fixture
def sets(small_set: LabelledSet) -> list[LabelledSet]:
    return [small_set.select(range(7)), small_set.select(range(7, 12)).with_split("val")]


@pytest.fixture
def captioned(sets, tmp_path):
    """Captions of the sets, one list."""

    def run(*, others=(), device="cpu", **settings):
        found = caption_sets(
            sets,
            WORDS,
            CaptionSettings(**settings),
            folder=tmp_path / "captions",
            device=device,
            others=others,
        )
        assert [(data.ids, data.split) for data in found] == [(data.ids, data.split) for data in sets]
        return [caption for data in found for caption in captions_of(data)]

    return run


@pytest.fixture
def from_file(captioned, tmp_path):
    def run(text, *, name="captions.csv", others=()):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return captioned(source="file", file=tmp_path / name, others=others)

    return run


def ids(sets):
    return [name for data in sets for name in data.ids]


def csv_of(names, header="id,caption"):
    return header + "\n" + "".join(f"{name},picture {name[-2:]}\n" for name in names)


# The column


def test_sources_are_known():
    assert list(CAPTIONS) == ["class-name", "file", "language-model", "model", "none"]


def test_none_changes_nothing(sets, tmp_path):
    found = caption_sets(sets, WORDS, CaptionSettings(), folder=tmp_path, device="cpu")
    assert all(new is old for new, old in zip(found, sets, strict=True))
    assert captions_of(found[1]) == [""] * 5


def test_class_name_is_the_words_for_the_class(captioned):
    assert captioned(source="class-name") == [*WORDS] * 4


def test_captions_are_stored_and_replaced(sets, tmp_path):
    once = caption_sets(sets, WORDS, CaptionSettings(source="class-name"), folder=tmp_path, device="cpu")
    twice = caption_sets(
        once, ("x", "y", "z"), CaptionSettings(source="class-name"), folder=tmp_path, device="cpu"
    )
    twice[1].save(tmp_path / "val.parquet")
    assert captions_of(LabelledSet.load(tmp_path / "val.parquet")) == ["y", "z", "x", "y", "z"]
    assert captions_of(LabelledSet.concatenate([sets[0], twice[0].select([])])) == [""] * 7


def test_unknown_source(captioned):
    with pytest.raises(InputError, match=r"unknown caption source 'modal'; known: .*did you mean 'model'"):
        captioned(source="modal")


def test_test_images_are_sealed(small_set, tmp_path):
    with pytest.raises(InputError, match=r"captioning needs a train or val set, got a test set"):
        caption_sets([small_set.with_split("test")], WORDS, CaptionSettings(), folder=tmp_path, device="cpu")


# Files


@pytest.mark.parametrize("header", ["id,caption", "caption,extra,id", "id,text", "text,id,file_name"])
def test_csv(sets, from_file, header):
    cells = {"extra": "9", "file_name": "elsewhere.png"}
    rows = [
        ",".join(
            cells.get(column, name if column == "id" else f'" a  ""{name}"",\nhere "')
            for column in header.split(",")
        )
        for name in reversed(ids(sets))
    ]
    assert from_file("\ufeff" + "\r\n".join([header, *rows, ""])) == [
        f'a "{name}", here' for name in ids(sets)
    ]


@pytest.mark.parametrize("name", ["captions.jsonl", "captions.NDJSON"])
def test_json_lines(sets, from_file, name):
    lines = [
        json.dumps({"id": key, "caption": f"ein Bär\u2028 {key}"}, ensure_ascii=False) for key in ids(sets)
    ]
    assert from_file("\n\n".join(lines), name=name) == [f"ein Bär {key}" for key in ids(sets)]


def test_file_names_are_paths_in_the_image_folder(tmp_path):
    """The form of a Hugging Face metadata.jsonl in the folder's root; the test split's lines are known by id
    or by path.
    """
    root = write_folder(tmp_path / "pets", {"cat": 6, "dog": 6})
    splits = load_splits(DataSettings(source=str(root)), seed=0)
    paths = [path.relative_to(root).as_posix() for path in root.rglob("*.png")]
    file = tmp_path / "metadata.jsonl"
    file.write_text("".join(json.dumps({"file_name": path, "text": f"see {path}"}) + "\n" for path in paths))
    settings = CaptionSettings(source="file", file=file)
    for others in (splits.test.ids, splits.test.provenance("source_path")):
        (train, val) = caption_sets(
            [splits.train, splits.val], ("a", "b"), settings, folder=tmp_path, device="cpu", others=others
        )
        assert captions_of(train) == [f"see {path}" for path in train.provenance("source_path")]
        assert len(val) > 0
    with pytest.raises(
        InputError, match=rf"but {len(splits.test)} in the file are not in the source \((cat|dog)/\d\.png"
    ):
        caption_sets([splits.train, splits.val], ("a", "b"), settings, folder=tmp_path, device="cpu")


def test_file_names_are_ids_where_there_are_no_paths(small_set, tmp_path):
    bare = replace(small_set, columns=small_set.columns.drop_columns(["source_path"]))
    (tmp_path / "c.csv").write_text(csv_of(bare.ids, "file_name,text"))
    (found,) = caption_sets(
        [bare], WORDS, CaptionSettings(source="file", file=tmp_path / "c.csv"), folder=tmp_path, device="cpu"
    )
    assert captions_of(found) == [f"picture {name[-2:]}" for name in bare.ids]


def test_other_known_images_may_be_named(sets, from_file):
    assert len(from_file(csv_of([*ids(sets), "test-1"]), others={"test-1"})) == 12


def test_missing_and_extra_images_are_listed(sets, from_file):
    text = csv_of([*ids(sets)[6:], "other-1", "other-2"])
    with pytest.raises(
        InputError,
        match=r"6 of 12 have no caption \(train-00000000, (train-\d+, ){4}train-\d+\) and 2 .*\(other-1, "
        r"other-2\)",
    ):
        from_file(text)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.json", "{}", r"must be \.csv, \.jsonl, \.ndjson, got .*c\.json"),
        ("c.csv", b"id,caption\na,\xff\n", r"c\.csv must be UTF-8 text"),
        ("c.csv", "", r"must have a caption for every image, but is empty"),
        ("c.csv", "id,caption\n", r"but is empty"),
        (
            "c.csv",
            "train-00000000,a cat\nx,a dog\n",
            r"a column id or file_name and a column caption or text, got train-00000000, a cat",
        ),
        ("c.csv", "id,title\nx,a dog\n", r"a column caption or text, got id, title"),
        (
            "c.csv",
            "id,caption\na,b\na,c\n",
            r"line 3: every image must have one caption, but 'a' has a second one here",
        ),
        ("c.csv", "id,caption\na,b\nc,   \n", r"line 3: caption must be a text that is not empty, got '   '"),
        ("c.csv", "id,caption\n,b\n", r"line 2: id must be a text"),
        (
            "c.csv",
            "id,caption\na,a cat, sitting\n",
            r"line 2: must have 2 fields like the header, got 3: put captions that contain commas",
        ),
        ("c.csv", 'id,caption\na,"open\n', r"line 2: must be CSV, but: unexpected end"),
        ("c.jsonl", '{"id": "a", "caption": "b"}\n{"id": ', r"line 2: must be JSON, but: Expecting value"),
        ("c.jsonl", '["a", "b"]', r"line 1: must be a JSON object, got \[\"a\""),
        ("c.jsonl", '{"id": 5, "caption": "b"}', r"line 1: id must be a text that is not empty, got 5"),
        (
            "c.jsonl",
            '{"id": "a", "caption": "b"}\n{"id": "c"}',
            r"line 2: caption must be a text that is not empty, got None",
        ),
        ("c.jsonl", '{"id": "a"}', r"a column caption or text, got id"),
    ],
)
def test_file_errors(from_file, name, text, message):
    with pytest.raises(InputError, match=message):
        from_file(text, name=name)


def test_file_that_is_not_there(captioned, tmp_path):
    with pytest.raises(InputError, match=r"gone\.csv cannot be read: No such file"):
        captioned(source="file", file=tmp_path / "gone.csv")


def test_file_must_be_given(sets, tmp_path):
    settings = CaptionSettings.model_construct(source="file", file=None)
    with pytest.raises(InputError, match=r"needs a file with captions: set captions\.file"):
        caption_sets(sets, WORDS, settings, folder=tmp_path, device="cpu")


# Models


@pytest.mark.parametrize("kind", list(BUILDERS))
def test_captions_depend_on_the_image_alone(captioners, small_set, kind):
    """Also not on the batch: greedy captions of a batch are those of its images one at a time."""
    model = CaptionModel.load(captioners[kind], device="cpu")
    images = [small_set.image(index) for index in range(6)]
    together = model.describe(images, max_new_tokens=5)
    assert together == [model.describe([image], max_new_tokens=5)[0] for image in images]
    assert together == CaptionModel.load(captioners[kind], device="cpu").describe(images, max_new_tokens=5)
    assert len(set(together)) > 1
    assert all(0 < len(text.split()) <= 5 and "<" not in text and "[" not in text for text in together)
    assert all(len(text.split()) <= 2 for text in model.describe(images, max_new_tokens=2))


def test_captions_do_not_depend_on_parts(captioners, captioned, sets, tmp_path, monkeypatch):
    settings = {"source": "model", "model": captioners["blip"], "max_new_tokens": 4}
    whole = captioned(**settings)
    (tmp_path / "captions" / "part-00000.jsonl").unlink()
    monkeypatch.setattr(caption_model, "_PART", 5)
    assert captioned(**settings, batch_size=2) == whole
    files = sorted((tmp_path / "captions").iterdir())
    assert [file.name for file in files] == ["part-00000.jsonl", "part-00001.jsonl", "part-00002.jsonl"]
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert rows == [{"id": name, "caption": caption} for name, caption in zip(ids(sets), whole, strict=True)]


def test_finished_parts_are_taken_up(captioners, captioned, tmp_path, monkeypatch):
    monkeypatch.setattr(caption_model, "_PART", 5)
    settings = {"source": "model", "model": captioners["blip"], "max_new_tokens": 4}
    whole = captioned(**settings)
    marked = tmp_path / "captions" / "part-00000.jsonl"
    marked.write_text(
        "".join(
            json.dumps(json.loads(line) | {"caption": "kept"}) + "\n"
            for line in marked.read_text().splitlines()
        )
    )
    (tmp_path / "captions" / "part-00001.jsonl").unlink()
    assert captioned(**settings) == ["kept"] * 5 + whole[5:]
    # With all parts there, the model is not needed.
    assert captioned(source="model", model=str(tmp_path / "gone")) == ["kept"] * 5 + whole[5:]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"id": "other", "caption": "x"}\n',
            r"part-00000\.jsonl must hold the captions of these 12 images, but has captions of other images",
        ),
        (
            '{"id": "other"',
            r"part-00000\.jsonl must hold captions of an earlier attempt, but it cannot be read",
        ),
        ("[]\n", r"cannot be read"),
    ],
)
def test_foreign_parts(captioned, tmp_path, text, message):
    (tmp_path / "captions").mkdir()
    (tmp_path / "captions" / "part-00000.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        captioned(source="model")


def test_models_that_cannot_be_loaded(captioned, tmp_path):
    from transformers import BertConfig, BertModel

    network = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "vocab_size": 8,
    }
    BertModel(BertConfig(**network)).save_pretrained(tmp_path / "bert")
    for name in ("bert", "gone"):
        with pytest.raises(
            InputError, match=rf"must be an image-to-text model, got .*{name}.*captions\.source=file"
        ):
            captioned(source="model", model=str(tmp_path / name))


def test_model_without_a_tokenizer(captioned, tmp_path):
    save_captioner("vision-encoder-decoder", tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    (tmp_path / "model" / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match=r"must be an image-to-text model, got .*model"):
        captioned(source="model", model=str(tmp_path / "model"))


def test_a_model_that_needs_a_question(captioners, captioned, monkeypatch):
    from transformers import BlipForConditionalGeneration

    def generate(self, **inputs):
        raise ValueError("You must specify input_ids\nor more")

    monkeypatch.setattr(BlipForConditionalGeneration, "generate", generate)
    with pytest.raises(
        InputError,
        match=r"from its pixels alone, got '.*': You must specify input_ids; .*captions\.source=file",
    ):
        captioned(source="model", model=captioners["blip"])


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_file_names_are_compared_however_their_accents_are_stored(forms, tmp_path):
    of_folders, of_file = forms
    names = [unicodedata.normalize(of_folders, name) for name in ("café", "thé")]
    root = write_folder(tmp_path / "set", dict.fromkeys(names, 6))
    splits = load_splits(DataSettings(source=str(root)), seed=0)
    paths = [path.relative_to(root).as_posix() for path in root.rglob("*.png")]
    file = tmp_path / "metadata.csv"
    file.write_text(unicodedata.normalize(of_file, csv_of(paths, "file_name,text")))
    for others in (splits.test.ids, splits.test.provenance("source_path")):
        found = read_captions(file, [splits.train, splits.val], others=others)
        assert len(found) == len(splits.train) + len(splits.val)
