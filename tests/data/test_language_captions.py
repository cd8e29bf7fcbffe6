"""Captions of a language model: tiny real ones, and answers of every kind."""

from __future__ import annotations

import gc
import json
import socket
import time
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_language_models import CHAT, save_language_model

from understudy.core.errors import InputError
from understudy.data.captions import language
from understudy.data.captions.captions import caption_sets, captions_of
from understudy.data.captions.language import Request, vary_captions
from understudy.data.captions.language_model import LanguageModel
from understudy.data.settings import CaptionSettings

WORDS = ("striped zebra", "ant", "cow")
LABELS = np.array([0, 1, 2, 1, 1, 0, 2])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of models by kind; ``chat`` has a chat template, ``bare`` no token for padding."""
    root = tmp_path_factory.mktemp("models")
    return {
        "llama": str(save_language_model("llama", root / "llama")),
        "chat": str(save_language_model("qwen2", root / "chat", chat=CHAT)),
        "bare": str(save_language_model("llama", root / "bare", pad=False)),
    }


@pytest.fixture
def vary(tmp_path):
    def run(model, *, labels=LABELS, given=None, seed=0, folder="captions", **settings):
        return vary_captions(
            labels,
            WORDS,
            given,
            settings=CaptionSettings(source="language-model", language_model=str(model), **settings),
            folder=tmp_path / folder,
            device="cpu",
            seed=seed,
        )

    return run


class Answers:
    """Stands for a loaded model, with answers that real ones give."""

    def __init__(self, answer):
        self.write, self.asked = answer, []

    def answer(self, requests, *, max_new_tokens):
        self.asked += requests
        return [self.write(each) for each in requests]


@pytest.fixture
def answering(monkeypatch):
    def use(answer):
        model = Answers(answer)
        monkeypatch.setattr(LanguageModel, "load", lambda *_, **__: model)
        return model

    return use


# What becomes of an answer


@pytest.mark.parametrize(
    ("answer", "caption"),
    [
        ("A cow in the rain.", "A cow in the rain"),
        ("\n\n  A   cow\tin the rain\nAnother cow", "A cow in the rain"),
        ('"A cow at night"', "A cow at night"),
        ("\u201cA cow at night.\u201d", "A cow at night"),
        ("1. A cow at night\n2. A cow by day", "A cow at night"),
        ("- **A cow at night**", "A cow at night"),
        ("Here is a caption of a cow:\nCaption: A cow on a road", "A cow on a road"),
        ("Caption: 'A cow on a road'", "A cow on a road"),
        ("A COW on a road", "A COW on a road"),
        ("a cow " + "very " * 30 + "far away", "a cow very very very very"),
        ("A cowboy by the fire", ""),  # other words that begin with those for the class
        ("Two cows by day", "Two cows by day"),
        ("", ""),
        ("...", ""),
        ("Sure, here you are:", ""),
        ("A dog on a road", ""),
        ("cow", ""),
        ("A cow <|im_end|>", ""),
        ('{"caption": "a cow"}', ""),
        ("\U0001f42e\U0001f42e\U0001f42e", ""),
        ("Write a caption of a picture that shows cow alone", ""),
    ],
)
def test_an_answer_becomes_a_caption(answer, caption):
    request = Request("cow", "Write a caption of a picture that shows cow alone, at night.")
    assert request.caption(answer, max_words=6) == caption


def test_the_kind_of_a_class_need_not_be_named():
    request = Request("crane (bird)", "?")
    assert request.caption("a crane by a lake", max_words=9) == "a crane by a lake"
    assert request.caption("a bird by a lake", max_words=9) == ""


@given(st.text(), st.integers(3, 30))
def test_a_caption_is_one_line_that_names_the_class_or_nothing(answer, max_words):
    caption = Request("cow", "?").caption(answer, max_words=max_words)
    assert caption == "" or "cow" in caption.casefold()
    assert len(caption.split()) <= max_words
    assert caption == " ".join(caption.split())
    named = Request("cow", "?").caption(f"a cow and {answer}", max_words=max_words)
    assert Request("cow", "?").caption(named, max_words=max_words) in ("", named)


# Requests and captions


def test_images_of_a_class_take_turns(answering, vary):
    model = answering(lambda text: f"a {'cow ant striped zebra'} {len(model.asked)} {hash(text)}")
    captions = vary("any", per_class=2, batch_size=1)
    assert len(model.asked) == len(set(model.asked)) == 2 + 2 + 2
    assert captions[1] == captions[4] != captions[3]
    assert len(set(captions)) == 6
    assert all("at most 20 words" in text for text in model.asked)


def test_requests_follow_from_the_seed(answering, vary):
    model = answering(lambda text: text)
    asked = []
    for number, seed in enumerate((0, 0, 1)):
        model.asked = []
        vary("any", seed=seed, folder=str(number))
        asked.append(model.asked)
    assert asked[0] == asked[1] != asked[2]


def test_a_model_that_writes_the_prompt_back_leaves_plain_prompts(answering, vary):
    answering(lambda text: text)
    assert vary("any") == [""] * len(LABELS)
    answering(lambda text: "a cow, an ant, a striped zebra in the rain")
    captions = vary("any", folder="same")
    assert [bool(each) for each in captions] == [True, True, True, False, False, False, False], (
        "no duplicates"
    )


def test_given_captions_are_varied_and_kept_where_the_answer_is_not_usable(answering, vary):
    given_captions = [f"photo {number}" for number in range(len(LABELS))]
    model = answering(lambda text: "an ant on a road" if "photo 3" in text else "no")
    captions = vary("any", given=given_captions)
    assert captions == [*given_captions[:3], "an ant on a road", *given_captions[4:]]
    assert len(model.asked) == len(LABELS)
    assert sum("photo 6" in text for text in model.asked) == 1


def test_a_class_without_images_is_not_asked_for(answering, vary):
    model = answering(lambda text: text)
    assert vary("any", labels=np.array([1, 1])) == ["", ""]
    assert len(model.asked) == 2


# Real models


@pytest.mark.parametrize("kind", ["llama", "chat", "bare"])
def test_a_real_model_answers_the_same_in_every_batch(kind, models):
    model = LanguageModel.load(models[kind], device="cpu")
    requests = ["a red cat", "the old dog by the road in rain .", "cow"]
    together = model.answer(requests, max_new_tokens=6)
    assert together == [model.answer([each], max_new_tokens=6)[0] for each in requests]
    assert together == LanguageModel.load(models[kind], device="cpu").answer(requests, max_new_tokens=6)
    assert all("[" not in each.replace("[UNK]", "") for each in together)


def test_the_chat_template_is_used(models):
    model = LanguageModel.load(models["chat"], device="cpu")
    assert model._as_chat("a cat") == "[BOS] user : a cat [BOS]"


def test_answers_are_kept_and_taken_up(models, vary, tmp_path, monkeypatch):
    monkeypatch.setattr(language, "_PART", 4)
    whole = vary(models["llama"], batch_size=3)
    parts = sorted((tmp_path / "captions").iterdir())
    assert [part.name for part in parts] == ["part-00000.jsonl", "part-00001.jsonl"]
    parts[1].unlink()
    assert vary(models["llama"]) == whole
    rows = [json.loads(line) for line in parts[0].read_text().splitlines()]
    rows[0]["caption"] = "a striped zebra at night"
    parts[0].write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert vary(tmp_path / "gone")[0] == "a striped zebra at night", (
        "with all parts there, no model is needed"
    )
    with pytest.raises(
        InputError, match=r"of these 4 requests, but has captions of other requests: remove it"
    ):
        vary(models["llama"], seed=1)


def test_sets_get_captions_and_the_model_is_freed(models, small_set, tmp_path, monkeypatch):
    networks, load = [], LanguageModel.load

    def noting(*values, **named):
        model = load(*values, **named)
        networks.append(weakref.ref(model.model))
        return model

    monkeypatch.setattr(LanguageModel, "load", noting)
    sets = [small_set.select(range(7)), small_set.select(range(7, 12)).with_split("val")]
    settings = CaptionSettings(source="language-model", language_model=models["chat"], per_class=2)
    found = caption_sets(sets, WORDS, settings, folder=tmp_path / "captions", device="cpu")
    assert [len(captions_of(data)) for data in found] == [7, 5]
    gc.collect()
    assert [network() for network in networks] == [None]


def _without_tokenizer(folder):
    save_language_model("llama", folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def _clip(folder):
    from tiny import save_tiny_clip

    save_tiny_clip(folder)


def _bert(folder):
    from transformers import BertConfig, BertForMaskedLM

    BertForMaskedLM(
        BertConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=8
        )
    ).save_pretrained(folder)


def _damaged(folder):
    save_language_model("llama", folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_without_tokenizer, ""),
        (_clip, "this is a 'clip' model"),
        (_bert, r"this is a 'bert' model \(BertForMaskedLM\), which writes no text"),
        (
            lambda folder: save_language_model("bart", folder),
            "this 'bart' model has an encoder and a decoder",
        ),
        (lambda folder: folder.mkdir(), ""),
        (lambda folder: None, "nothing is at this path"),
        (_damaged, ""),
    ],
)
def test_what_is_no_language_model_is_refused(make, message, vary, tmp_path):
    make(tmp_path / "model")
    with pytest.raises(
        InputError, match=rf"captions\.language_model must be a language model, got .*{message}.*Qwen2\.5"
    ):
        vary(tmp_path / "model")


def test_a_chat_template_that_does_not_fit(vary, tmp_path):
    save_language_model("llama", tmp_path / "model", chat="{{ raise_exception('no user here') }}")
    with pytest.raises(InputError, match=r"must answer a request, got '.*model': no user here; give"):
        vary(tmp_path / "model")


def test_a_hub_name_without_a_network_fails_in_seconds(vary, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    start = time.monotonic()
    with pytest.raises(
        InputError, match=r"got 'someone/model': .*the hub cannot be reached; give the folder"
    ):
        vary("someone/model")
    assert time.monotonic() - start < 20
