"""A hub on this machine that takes uploads as the real one does, over HTTP and from the real client."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from huggingface_hub import constants

TOKEN = "hf_good"  # noqa: S105 - of the stand-in alone


LARGE = (".safetensors", ".parquet", ".tar", ".png", ".bin")
"""Ends of the names of files that go into the large storage, as on the real hub."""


@dataclass
class Repository:
    """A repository of the stand-in.

    Attributes:
        private: whether it is.
        files: content of its files by path.
        large: which of them are in the large storage.
    """

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)


@dataclass
class Hub:
    """The state of the stand-in.

    Attributes:
        address: its URL.
        repositories: by kind and name, such as ``datasets/me/pets``.
        requests: method and path of each request.
        fails: status that paths with a word get instead of an answer.
        stored: contents in the large storage by their digest.
    """

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    fails: dict[str, int] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON of the answer to a request."""
        if path == "/api/repos/create":
            asked = json.loads(body)
            key = f"{asked['type']}s/{asked['organization']}/{asked['name']}"
            if key in self.repositories:
                return 409, {"error": f"You already created this {asked['type']} repo"}
            self.repositories[key] = Repository(private=asked["visibility"] == "private")
            return 200, {"url": f"{self.address}/{key.removeprefix('models/')}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": list(map(self._offer, json.loads(body)["objects"]))}
        if path.startswith("/storage/"):
            return self._store(path.removeprefix("/storage/"), body)
        if not (found := re.match(r"/api/((?:models|datasets)/[^/]+/[^/?]+)(/[a-z]+)?", path)):
            return 404, {"error": path}
        key, action = found[1], found[2]
        repository = self.repositories[key]
        if action == "/preupload":
            files = [file["path"] for file in json.loads(body)["files"]]
            return 200, {"files": [{"path": path, **how_to_send(path)} for path in files]}
        if action == "/commit":
            self._commit(repository, body)
            return 200, {"commitUrl": f"{self.address}/{key}/commit/0a", "commitOid": "0a", "hookOutput": ""}
        siblings = [
            described(path, content, is_large=path in repository.large)
            for path, content in repository.files.items()
        ]
        return 200, {"id": key, "sha": "0a", "private": repository.private, "siblings": siblings}

    def _commit(self, repository: Repository, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                repository.files[value["path"]] = self.stored[value["oid"]]
                repository.large.add(value["path"])

    def _offer(self, one: dict[str, Any]) -> dict[str, Any]:
        """Where to send a content, unless the large storage has it."""
        if one["oid"] in self.stored:
            return one
        return one | {"actions": {"upload": {"href": f"{self.address}/storage/{one['oid']}"}}}

    def _store(self, digest: str, content: bytes) -> tuple[int, Any]:
        if hashlib.sha256(content).hexdigest() != digest:
            return 400, {"error": "another content"}
        self.stored[digest] = content
        return 200, {}


def how_to_send(path: str) -> dict[str, Any]:
    """Whether a file goes into the large storage."""
    return {"uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}


def described(path: str, content: bytes, *, is_large: bool) -> dict[str, Any]:
    """What the hub tells about a file; for git, one in the large storage is a text that points there."""
    if not is_large:
        return {"rfilename": path, "size": len(content), "blobId": blob(content)}
    digest = hashlib.sha256(content).hexdigest()
    pointer = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()
    )
    lfs = {"sha256": digest, "size": len(content), "pointerSize": len(pointer)}
    return {"rfilename": path, "size": len(content), "blobId": blob(pointer), "lfs": lfs}


def blob(content: bytes) -> str:
    """The name that git gives to the content of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@contextmanager
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Start a hub whose only valid token is ``TOKEN``, and let the client ask it."""
    state = Hub()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            state.requests.append(f"{self.command} {self.path}")
            status = next((code for word, code in state.fails.items() if word in self.path), None)
            needs_token = not self.path.startswith("/storage/")  # addresses there are secrets themselves
            if needs_token and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status = 401
            given = (status, {"error": "no"}) if status else state.answer(self.command, self.path, body)
            content = json.dumps(given[1]).encode()
            self.send_response(given[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST  # noqa: N815 - the names of the base class

        def log_message(self, *values: object) -> None:
            """Print nothing."""

    with serving(Answer) as state.address, warnings.catch_warnings():
        # How the client hands large files to its own library for the network.
        warnings.filterwarnings("ignore", "Use 'content=<...>' to upload", DeprecationWarning)
        monkeypatch.setattr(constants, "ENDPOINT", state.address)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # else it asks for a storage of its own
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield state


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on this machine, which answers as the handler does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def log_out(monkeypatch: pytest.MonkeyPatch, folder: Any) -> None:
    """Let the client find no token."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_TOKEN_PATH", "HF_STORED_TOKENS_PATH"):
        monkeypatch.setattr(constants, name, str(folder / name))
