"""Captions that make a prompt too long: users are told at once, those of a model lose their last words."""

import json

import pyarrow.parquet as pq
import pytest
from tiny_job import SECTIONS, tiny_settings, write_pets
from tiny_language_models import CHAT, save_language_model

from understudy.commands.validate import validate
from understudy.core.errors import InputError
from understudy.data.captions.captions import captions_of, with_captions
from understudy.data.load import load_splits
from understudy.pipeline.caption_length import about_plain_prompts, fitting_captions
from understudy.pipeline.run import run
from understudy.settings import build

LONG = " ".join(["fluffy"] * 400)
PROMPTS = {
    "adapt": {"method": "none", "prompt": "photo of {class}, {caption}"},
    "draw": {"prompt": "{class}, {caption}"},
}


@pytest.fixture
def settings(tmp_path, tiny_pipeline_folder):
    def make(captions):
        return tiny_settings(
            write_pets(tmp_path / "pets"), tiny_pipeline_folder, captions=captions, **PROMPTS
        )

    return make


def test_a_captions_file_is_refused_before_anything_is_written(settings, tmp_path):
    file = tmp_path / "captions.jsonl"
    splits = load_splits(settings({}).data, seed=0)
    names = [name for data in (splits.train, splits.val) for name in data.ids]
    rows = [{"id": name, "caption": LONG if name == names[3] else "a pet"} for name in names]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = settings({"source": "file", "file": str(file)})
    for act in (lambda: validate(job), lambda: run(job, tmp_path / "run")):
        with pytest.raises(
            InputError, match=r"a prompt must have at most .* tokens.*shorten the prompt or the caption"
        ):
            act()
    assert not (tmp_path / "run").exists()


def test_captions_of_a_model_lose_their_last_words(settings):
    job = settings({"source": "model", "model": "nobody/nothing"})
    splits = load_splits(job.data, seed=0)
    captions = [LONG if index == 2 else "a pet" for index in range(len(splits.train))]
    sets = [with_captions(splits.train, captions)]
    (fitting,), sentence = fitting_captions(sets, job, splits.prompt_names)
    found = captions_of(fitting)
    assert found[:2] + found[3:] == captions[:2] + captions[3:]
    assert LONG.startswith(found[2])
    assert 0 < len(found[2].split()) < 400
    assert sentence.startswith(f"1 of {len(captions)} captions made prompts too long")
    assert fitting_captions([fitting], job, splits.prompt_names) == ([fitting], "")


def test_plain_prompts_are_counted(settings):
    job = settings({"source": "language-model", "language_model": "nobody/nothing"})
    splits = load_splits(job.data, seed=0)
    captions = [["a cat at night", ""][label] for label in splits.train.labels]
    sets = [with_captions(splits.train, captions), with_captions(splits.val, ["a pet"] * len(splits.val))]
    (told,) = about_plain_prompts(sets, job)
    number, total = captions.count(""), len(splits.train) + len(splits.val)
    assert told.startswith(f"warning: captions: captions.language_model wrote nothing usable for {number} of")
    assert told.endswith(f"{total} images, which have plain prompts without a caption; classes: dog")
    assert about_plain_prompts(sets[1:], job) == about_plain_prompts(sets, settings({})) == ()


def test_a_run_draws_with_captions_of_a_language_model(tiny_pipeline_folder, tmp_path):
    """The tiny model writes noise, so prompts are plain, but for the answers that are put into its place."""
    model = save_language_model("llama", tmp_path / "model", chat=CHAT)
    captions = {"source": "language-model", "language_model": str(model), "per_class": 2, "max_words": 4}
    job = tiny_settings(
        write_pets(tmp_path / "pets"),
        tiny_pipeline_folder,
        captions=captions,
        adapt={"method": "none"},
        draw={**SECTIONS["draw"], "prompt": "photo of {class}, {caption}"},
    )
    assert "ready" in validate(job).words, "loads no language model"
    out = tmp_path / "run"
    load = run(job, out, until="load")["load"]
    assert any(note.startswith("warning: captions: captions.language_model wrote") for note in load["notes"])
    (part,) = (out / "data" / "captions").iterdir()
    rows = [json.loads(line) for line in part.read_text().splitlines()]
    assert len(rows) == 4
    cats = [row for row in rows if "shows cat" in row["id"]]
    for row, when in zip(cats, ("night", "noon"), strict=True):
        row["caption"] = f"a cat at {when}"
    part.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (out / "stages" / "load.json").unlink()
    run(job, out, until="draw")
    plan = pq.read_table(out / "synthetic" / "plan" / "round-00").to_pylist()
    assert {(row["class_name"], row["prompt"]) for row in plan} == {
        ("cat", "photo of cat, a cat at night"),
        ("cat", "photo of cat, a cat at noon"),
        ("dog", "photo of dog"),
    }


@pytest.mark.parametrize(("method", "is_refused"), [("full", True), ("none", False)])
def test_adapting_on_captions_of_no_image_is_refused(method, is_refused, settings, tmp_path):
    captions = {"source": "language-model", "language_model": str(tmp_path)}
    job = build(settings(captions).model_dump(mode="json"), {"adapt": {"method": method}})
    if is_refused:
        with pytest.raises(
            InputError, match=r"adapt\.prompt must not contain {caption} .*keep it in draw\.prompt"
        ):
            validate(job)
    else:
        assert validate(job).rows
