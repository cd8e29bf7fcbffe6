"""Runs with learned tokens, stage by stage: recipes, few shots, adapters made before, checks beforehand."""

import json
import re
from contextlib import contextmanager

import pyarrow.parquet as pq
import pytest
import safetensors.torch
from tiny_job import Listener, adapter_of, tiny_settings, tree

from understudy.commands.preview import preview
from understudy.commands.validate import validate
from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.run import run
from understudy.recipes import RECIPES
from understudy.settings import build

pytestmark = pytest.mark.usefixtures("plain_report")

TOKENS = {"style-inversion": ["S*"], "textual-inversion": ["S*-0", "S*-1"], "neutral-token": ["S*"]}


def settings_of(recipe, pets, generator, **sections):
    return build(tiny_settings(pets, generator, **RECIPES[recipe]).model_dump(mode="json"), sections)


@pytest.mark.slow
def test_the_whole_job_with_a_few_shots(pets, tiny_pipeline_folder, tmp_path, monkeypatch):
    """Adaptation decodes the shots, and validation images; no other image of the train split is even in the
    run folder.
    """
    settings = settings_of(
        "style-inversion",
        pets,
        tiny_pipeline_folder,
        data={"shots": 2},
        compare={"arms": ["real", "synthetic"]},
    )
    run(settings, tmp_path / "run", until="load")
    pixels, decoded = LabelledSet.pixels, []
    with monkeypatch.context() as patch:
        patch.setattr(
            LabelledSet,
            "pixels",
            lambda data, size: decoded.append((data.split, *data.ids)) or pixels(data, size),
        )
        run(settings, tmp_path / "run", until="adapt")
    shots, val = (
        LabelledSet.load(tmp_path / "run" / "data" / f"{split}.parquet") for split in ("train", "val")
    )
    assert shots.counts.tolist() == [2, 2]
    assert {name for split, *ids in decoded if split == "train" for name in ids} == set(shots.ids)
    assert {name for split, *ids in decoded if split != "train" for name in ids} <= set(val.ids)

    results = run(settings, tmp_path / "run")
    assert results["adaptation"]["method"] == "style-inversion"
    assert results["adaptation"]["tokens"] == ["S*"]
    assert results["adaptation"]["trained_parameters"] == 16
    rows = pq.read_table(tmp_path / "run" / "synthetic" / "plan" / "round-00").to_pylist()
    assert {row["prompt"] for row in rows} == {
        f"A {name} photo in the style of S*" for name in ("cat", "dog")
    }
    assert {row["adapter"] for row in rows} == {results["adaptation"]["fingerprint"]}


@pytest.mark.slow
def test_a_term_in_the_features_of_two_networks(pets, tiny_pipeline_folder, tmp_path):
    """The second one is what arms start from; a generator without an image encoder needs no other."""
    term = {"distribution": "drawn", "distribution_steps": 1, "drawn_images": 4, "drawn_steps": 2}
    found = {}
    for names in (("generator",), ("generator", "backbone"), ("backbone",)):
        adapt = {"method": "lora", "rank": 2, "distribution_encoders": names, **term}
        compare = {"backbone": "mini", "pretrained": True}
        settings = tiny_settings(pets, tiny_pipeline_folder, adapt={**adapt, "steps": 2}, compare=compare)
        found[names] = run(settings, tmp_path / "+".join(names), until="adapt")["adapt"]["fingerprint"]
    assert len(set(found.values())) == 3


@pytest.mark.parametrize("recipe", ["textual-inversion", "neutral-token"])
def test_what_it_is_compared_with(recipe, pets, tiny_pipeline_folder, tmp_path):
    listener, settings = Listener(), settings_of(recipe, pets, tiny_pipeline_folder)
    records = run(settings, tmp_path / "made", until="draw", observer=listener)
    steps = 0 if recipe == "neutral-token" else 4
    assert records["adapt"]["tokens"] == TOKENS[recipe]
    assert listener.bars["adapt"] == {"done": steps, "total": steps}
    assert (
        sorted(safetensors.torch.load_file(tmp_path / "made" / "adapter" / "learned_embeds.safetensors"))
        == TOKENS[recipe]
    )
    rows = pq.read_table(tmp_path / "made" / "synthetic" / "plan" / "round-00").to_pylist()
    tokens = [*TOKENS[recipe] * 2][:2]
    assert {row["prompt"] for row in rows} == {
        f"A {name} photo in the style of {tokens[i]}" for i, name in enumerate(("cat", "dog"))
    }

    adapter = {"adapt": {"adapter": str(tmp_path / "made" / "adapter")}}
    run(build(settings.model_dump(mode="json"), adapter), tmp_path / "used", until="draw")
    assert tree(tmp_path / "used" / "synthetic") == tree(tmp_path / "made" / "synthetic")
    other = settings_of(recipe, pets, tiny_pipeline_folder, adapt={**adapter["adapt"], "token": "<x>"})
    with pytest.raises(
        InputError,
        match=re.escape(f"was made with the tokens {', '.join(TOKENS[recipe])}, but this run has the tokens"),
    ):
        run(other, tmp_path / "other")
    with pytest.raises(
        InputError, match=f"was made with adapt.method={recipe}, but this run has adapt.method=full: give"
    ):
        run(tiny_settings(pets, tiny_pipeline_folder, **adapter), tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("recipe", TOKENS)
def test_a_preview_draws_with_the_token_as_it_begins(recipe, pets, tiny_pipeline_folder, tmp_path):
    settings = settings_of(recipe, pets, tiny_pipeline_folder)
    estimate = preview(settings, tmp_path / "sheet.png").estimate
    assert (estimate.seconds["adapt"] == 0) == (recipe == "neutral-token")
    assert (tmp_path / "sheet.png").stat().st_size > 100
    assert len(validate(settings).rows) == 2


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"draw": {"prompt": "a photo of {class}"}}, "a prompt must have {token}, got 'a photo of {class}'"),
        ({"adapt": {"prompt": "photographs"}}, "a prompt must have {token}, got 'a photo of {class}'"),
        ({"draw": {"negative_prompt": "{token}", "guidance_scale": 2.0}}, "got '{token}': leave it out"),
        ({"adapt": {"method": "lora"}}, "{token} may occur only in adapt.prompt and draw.prompt"),
        ({"adapt": {"token": "x"}}, "adapt.token must be new to the tokenizer, got 'x'"),
        (
            {
                "draw": {"prompt": "{class} {token} {token} {token}"},
                "adapt": {"token": "s*", "num_vectors": 8},
            },
            "at most 24 tokens",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_the_folder_is_made(
    sections, message, pets, tiny_pipeline_folder, tmp_path
):
    settings = settings_of("style-inversion", pets, tiny_pipeline_folder, **sections)
    for attempt in (validate, lambda settings: run(settings, tmp_path / "run")):
        with pytest.raises(InputError, match=re.escape(message)):
            attempt(settings)
    assert not (tmp_path / "run").exists()


def test_prompts_without_a_class_name_where_every_class_has_its_own_token(
    pets, tiny_pipeline_folder, tmp_path
):
    nameless = {"adapt": {"prompt": "a photo of {token}"}, "draw": {"prompt": "a photo of {token}"}}
    run(
        settings_of("textual-inversion", pets, tiny_pipeline_folder, **nameless),
        tmp_path / "run",
        until="draw",
    )
    rows = pq.read_table(tmp_path / "run" / "synthetic" / "plan" / "round-00").to_pylist()
    assert {(row["label"], row["prompt"]) for row in rows} == {(0, "a photo of S*-0"), (1, "a photo of S*-1")}
    with pytest.raises(InputError, match=r"a prompt must have \{class\}, got 'a photo of \{token\}'"):
        run(settings_of("style-inversion", pets, tiny_pipeline_folder, **nameless), tmp_path / "other")


def test_a_long_prompt_of_a_caption_shows_before_adaptation(pets, tiny_pipeline_folder, tmp_path):
    """Captions are known after load; the token's embeddings count along with them."""
    lines = [
        json.dumps({"file_name": f"{name}/{i}.png", "caption": "x x x x x x x"})
        for name in ("cat", "dog")
        for i in range(12)
    ]
    (tmp_path / "captions.jsonl").write_text("\n".join(lines))
    settings = settings_of(
        "style-inversion",
        pets,
        tiny_pipeline_folder,
        captions={"source": "file", "file": str(tmp_path / "captions.jsonl")},
        adapt={"token": "s*", "num_vectors": 9},
        draw={"prompt": "{class}, {caption}, {token} {token}"},
    )
    with pytest.raises(InputError, match=r"a prompt must have at most 24 tokens, .*, got \d\d for 'cat, x x"):
        run(settings, tmp_path / "run")
    assert not (tmp_path / "run" / "adapter").exists()


class Impatient(Listener):
    """Stops the run after three steps."""

    @contextmanager
    def bar(self, text, *, total, unit):
        with super().bar(text, total=total, unit=unit) as advance:

            def stop_at_three(amount):
                advance(amount)
                if self.bars[text]["done"] == 3:
                    raise KeyboardInterrupt

            yield stop_at_three


def test_a_resumed_adaptation_fills_its_bar(finished, pets, tiny_pipeline_folder, tmp_path):
    settings, again = tiny_settings(pets, tiny_pipeline_folder), Listener()
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "run", until="adapt", observer=Impatient())
    run(settings, tmp_path / "run", until="adapt", observer=again)
    assert again.bars["adapt"] == {"done": 4, "total": 4}
    assert adapter_of(tmp_path / "run") == adapter_of(finished[0])


def test_a_network_that_learned_for_too_few_steps_is_pointed_out(tmp_path):
    settings = build(
        {
            "data": {"source": "digits", "shots": 2},
            "generator": {"name": "class_conditional", "patch": 4, "channels": [48, 48]},
            "adapt": {"steps": 2, "until": "steps", "batch_size": 4, "validation_pairs": 8},
        }
    )
    told = Listener()
    run(settings, tmp_path / "run", until="adapt", observer=told)
    assert any(
        "warning: 'class_conditional' learned for 2 steps: with fewer than 500" in line for line in told.lines
    )
