"""Captions that make a prompt too long: users are told at once, those of a model lose their last words."""

import json

import pytest
from tiny_job import tiny_settings, write_pets

from understudy.commands.validate import validate
from understudy.core.errors import InputError
from understudy.data.captions.captions import captions_of, with_captions
from understudy.data.load import load_splits
from understudy.pipeline.caption_length import fitting_captions
from understudy.pipeline.run import run

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
