"""The hub is asked once, and what is in the cache is used if it does not answer."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_stand_in import serving
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tiny import save_tiny_image_encoder
from transformers import CLIPVisionModel, CLIPVisionModelWithProjection

from understudy.core.errors import InputError
from understudy.core.hub import hub_file, load_network
from understudy.data.settings import DataSettings
from understudy.data.sources.hub import HubSource
from understudy.evaluation.encoders import load_encoder
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.training.backbones import build_backbone
from understudy.training.settings import CompareSettings


@contextmanager
def hub(
    monkeypatch: pytest.MonkeyPatch, cache: Path, *, status: int, code: str = "", said: str = ""
) -> Iterator[list[str]]:
    """A hub on this machine that always gives one answer; yields the requests that it has got."""
    requests: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            requests.append(self.path)
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", said)
            self.end_headers()

        def log_message(self, *values: object) -> None:
            """Print nothing."""

    with serving(Answer) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        yield requests


def test_a_hub_that_fails_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with hub(monkeypatch, tmp_path, status=503) as requests:
        with pytest.raises(LocalEntryNotFoundError):
            hub_file("owner/model", "config.json")
        assert requests == ["/owner/model/resolve/main/config.json"]
        with pytest.raises(
            InputError, match="nothing is at this path, and the hub answers with the error 503: try again"
        ):
            load_generator(GeneratorSettings(name="owner/model"), device="cpu")
        assert len(requests) == 2


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, r"the hub refuses access \(401\): log in again"),
        (429, r"the hub has had too many requests \(429\): wait a few minutes"),
        (503, "the hub answers with the error 503: try again later"),
    ],
)
def test_libraries_that_ask_again_and_again_read_only_their_caches(
    status: int, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backbone = CompareSettings(backbone="test_resnet.r160_in1k")

    def load_dataset(name: str, config: str | None) -> None:
        assert constants.HF_HUB_OFFLINE
        raise FileNotFoundError(name)

    # It is no requirement of the package.
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))  # type: ignore[arg-type]
    with hub(monkeypatch, tmp_path, status=status) as requests:
        for number, ask in enumerate(
            (
                lambda: load_encoder("timm:test_resnet"),
                lambda: build_backbone(backbone, 2, rng_seed=0),
                lambda: HubSource().open("owner/images", DataSettings(source="owner/images")),
            ),
            start=1,
        ):
            with pytest.raises(InputError, match=said):
                ask()
            assert len(requests) == number
    assert not constants.HF_HUB_OFFLINE


def test_a_network_of_transformers_is_loaded_whole(tmp_path: Path) -> None:
    save_tiny_image_encoder(tmp_path)
    load_network(CLIPVisionModelWithProjection, str(tmp_path))
    CLIPVisionModel.from_pretrained(tmp_path).save_pretrained(tmp_path)  # has no projection
    with pytest.raises(ValueError, match=r"needs weights that it does not have: visual_projection\.weight"):
        load_network(CLIPVisionModelWithProjection, str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.safetensors in .* is an empty file"):
        load_network(CLIPVisionModelWithProjection, str(tmp_path))


@pytest.mark.parametrize(
    ("status", "code"), [(503, ""), (401, ""), (403, "GatedRepo"), (404, "RepoNotFound")]
)
def test_a_file_in_the_cache_is_used_if_the_hub_does_not_give_it(
    status: int, code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository = tmp_path / "models--owner--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0a1b")
    kept = repository / "snapshots" / "0a1b" / "config.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    with hub(monkeypatch, tmp_path, status=status, code=code):
        assert hub_file("owner/model", "config.json") == kept


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("RepoNotFound", RepositoryNotFoundError, "nothing is at this path, and the hub has no such name"),
        ("GatedRepo", RepositoryNotFoundError, "the hub asks you to accept its terms: do so on its page"),
        ("EntryNotFound", EntryNotFoundError, "owner/model on the hub has no model_index.json"),
        ("RevisionNotFound", RevisionNotFoundError, "has no such branch, tag or commit"),
    ],
)
def test_what_the_hub_lacks_is_said(
    code: str, kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with hub(monkeypatch, tmp_path, status=403 if code == "GatedRepo" else 404, code=code) as requests:
        with pytest.raises(kind):
            hub_file("owner/model", "config.json")
        with pytest.raises(InputError, match=message):
            load_generator(GeneratorSettings(name="owner/model", revision="v2"), device="cpu")
        assert requests == [
            f"/owner/model/resolve/{file}" for file in ("main/config.json", "v2/model_index.json")
        ]


@pytest.mark.parametrize(
    ("status", "code", "said", "message"),
    [
        (
            401,
            "",
            "Invalid credentials in Authorization header",
            r"the hub refuses access \(401\): log in again with 'hf auth login', or correct HF_TOKEN",
        ),
        (403, "", "Forbidden", r"the hub refuses access \(403\): log in again with 'hf auth login'"),
        (401, "RepoNotFound", "", "the hub has no such name, unless it is private"),
        (403, "GatedRepo", "", "the hub asks you to accept its terms: do so on its page, and log in with"),
        (404, "RepoNotFound", "", "the hub has no such name, unless it is private"),
        (404, "RevisionNotFound", "", "no such branch, tag or commit; correct generator.revision, or leave"),
        (429, "", "", r"the hub has had too many requests \(429\): wait a few minutes, or log in"),
        (500, "", "", "the hub answers with the error 500: try again later"),
    ],
)
def test_every_answer_of_the_hub_is_a_sentence(
    status: int,
    code: str,
    said: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    understudy: Callable[..., tuple[int, str, str]],
) -> None:
    with hub(monkeypatch, tmp_path, status=status, code=code, said=said):
        for option in ("generator.revision=v2", "generator.variant=fp16"):
            exit_code, out, err = understudy(
                "validate", "digits", "--generator", "owner/model", "--set", option
            )
            assert (exit_code, out) == (2, "")
            assert err.startswith("error: cannot load the generator 'owner/model': ")
            assert re.search(message, " ".join(err.split()))


def test_a_hub_that_cannot_be_reached_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, understudy: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"  # where nothing answers
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    began = time.monotonic()
    code, _, err = understudy("validate", "digits", "--generator", "owner/model")
    assert code == 2
    assert "nothing is at this path, and the hub cannot be reached; give a word of" in " ".join(err.split())
    assert time.monotonic() - began < 15  # the libraries would ask again for a minute and a half
