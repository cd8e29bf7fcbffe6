"""A hub on this machine that takes uploads as the real one does, over HTTP and from the real client."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from huggingface_hub import constants

TOKEN = "hf_good"  # noqa: S105 - of the stand-in alone


@dataclass
class Repository:
    """A repository of the stand-in: whether it is private, and its files by path."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Hub:
    """The state of the stand-in.

    Attributes:
        address: its URL.
        repositories: by kind and name, such as ``datasets/me/pets``.
        requests: method and path of each request.
        fails: status that paths with a word get instead of an answer.
    """

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    fails: dict[str, int] = field(default_factory=dict)

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
        if not (found := re.match(r"/api/((?:models|datasets)/[^/]+/[^/?]+)(/[a-z]+)?", path)):
            return 404, {"error": path}
        key, action = found[1], found[2]
        repository = self.repositories[key]
        if action == "/preupload":
            files = [file["path"] for file in json.loads(body)["files"]]
            return 200, {
                "files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files]
            }
        if action == "/commit":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    repository.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return 200, {"commitUrl": f"{self.address}/{key}/commit/0a", "commitOid": "0a", "hookOutput": ""}
        siblings = [
            {"rfilename": path, "size": len(content), "blobId": blob(content)}
            for path, content in repository.files.items()
        ]
        return 200, {"id": key, "sha": "0a", "private": repository.private, "siblings": siblings}


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
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status = 401
            given = (status, {"error": "no"}) if status else state.answer(self.command, self.path, body)
            content = json.dumps(given[1]).encode()
            self.send_response(given[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815 - the name of the base class

        def log_message(self, *values: object) -> None:
            """Print nothing."""

    with serving(Answer) as state.address:
        monkeypatch.setattr(constants, "ENDPOINT", state.address)
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
