"""Uploads to a stand-in of the hub, by the real client; every refusal is one sentence."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_stand_in import Repository, hub, log_out
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st

from understudy.core import hub_upload
from understudy.core.errors import InputError
from understudy.core.hub_upload import check_repository, check_token, upload


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files" / "data").mkdir(parents=True)
    (tmp_path / "files" / "README.md").write_text("---\nlicense: mit\n---\n\n# Pets\n")
    (tmp_path / "files" / "data" / "a.bin").write_bytes(bytes(range(256)))
    return tmp_path / "files"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize(("kind", "page"), [("dataset", "datasets/me/pets"), ("model", "me/pets")])
def test_all_files_arrive(
    kind: str, page: str, public: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(monkeypatch) as there:
        assert upload(folder, "me/pets", kind=kind, public=public) == f"{there.address}/{page}"  # type: ignore[arg-type]
        repository = there.repositories[f"{kind}s/me/pets"]
        assert (repository.files, repository.private) == (contents(folder), not public)
        assert repository.large == {"data/a.bin"}


def test_an_interrupted_upload_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(monkeypatch) as there:
        there.fails["/commit/"] = 403
        with pytest.raises(InputError, match="cannot upload to me/pets: the hub refuses access"):
            upload(folder, "me/pets", kind="model", public=False)
        del there.fails["/commit/"]
        repository = there.repositories["models/me/pets"]
        assert repository.files == {}
        repository.files |= {".gitattributes": b"*.bin lfs\n", "data/a.bin": bytes(range(256))}
        upload(folder, "me/pets", kind="model", public=False)
        assert {".gitattributes": b"*.bin lfs\n"} | contents(folder) == repository.files


def test_an_upload_goes_on_after_large_files_have_arrived(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("model.safetensors", "part.parquet", "shard.tar", "0.png"):
        (folder / "data" / name).write_bytes(name.encode() * 100)
    with hub(monkeypatch) as there:
        there.fails["/commit/"] = 503
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        with pytest.raises(InputError, match="the hub answers with the error 503: try again later"):
            upload(folder, "me/pets", kind="dataset", public=False)
        repository = there.repositories["datasets/me/pets"]
        assert (repository.files, len(there.stored)) == ({}, 5)
        del there.fails["/commit/"]
        before = len(there.requests)
        upload(folder, "me/pets", kind="dataset", public=False)
        assert repository.files == contents(folder)
        assert not [request for request in there.requests[before:] if "/storage/" in request], "sent twice"
        upload(folder, "me/pets", kind="dataset", public=False)  # finds its own large files by their digest
        (folder / "data" / "0.png").write_bytes(b"another picture")
        with pytest.raises(InputError, match=r"holds other files, data/0\.png"):
            upload(folder, "me/pets", kind="dataset", public=False)


@pytest.mark.parametrize("fails", [{"objects/batch": 403}, {"/storage/": 403}])
def test_a_refusal_of_large_files_is_a_sentence(
    fails: dict[str, int], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(monkeypatch) as there:
        there.fails |= fails
        with pytest.raises(
            InputError, match=r"^cannot upload to me/pets: the hub refuses access \(403\)"
        ) as caught:
            upload(folder, "me/pets", kind="model", public=False)
        assert "\n" not in str(caught.value)
        assert there.repositories["models/me/pets"].files == {}


@pytest.mark.parametrize("file", ["README.md", "model.safetensors"])
def test_a_repository_with_other_files_is_left_alone(
    file: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(monkeypatch) as there:
        there.repositories["models/me/pets"] = Repository(private=True, files={file: b"theirs"})
        with pytest.raises(
            InputError, match=f"me/pets exists on the hub and holds other files, {file}: choose another name"
        ):
            upload(folder, "me/pets", kind="model", public=False)
        assert there.repositories["models/me/pets"].files == {file: b"theirs"}


@pytest.mark.parametrize(
    ("public", "message"),
    [(False, "is public: give --public, or choose"), (True, "is private: leave --public out, or choose")],
)
def test_an_empty_repository_that_others_can_see_is_not_filled(
    public: bool, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(monkeypatch) as there:
        there.repositories["models/me/pets"] = Repository(private=public)
        with pytest.raises(InputError, match=message):
            upload(folder, "me/pets", kind="model", public=public)


def test_files_in_large_storage_are_compared_by_their_digest(folder: Path) -> None:
    path = folder / "data" / "a.bin"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for sha256, same in ((digest, True), ("0" * 64, False)):
        file = SimpleNamespace(lfs=SimpleNamespace(sha256=sha256), blob_id="of the pointer")
        assert hub_upload._has(path, file) is same


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ({"create": 401}, r"the hub refuses access \(401\): log in again with 'hf auth login', or correct"),
        ({"create": 403}, r"the hub refuses access \(403\): use a token that may write to this owner"),
        ({"create": 429}, r"the hub has had too many requests \(429\): wait a few minutes"),
        ({"create": 502}, "the hub answers with the error 502: try again later"),
        ({"preupload": 403}, r"the hub refuses access \(403\): use a token that may write to this owner"),
        ({"commit": 404}, "the hub answers with the error 404: try again later"),
    ],
)
def test_every_refusal_is_a_sentence(
    fails: dict[str, int], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(monkeypatch) as there:
        there.fails |= fails
        with pytest.raises(InputError, match=f"^cannot upload to me/pets: {message}") as caught:
            upload(folder, "me/pets", kind="dataset", public=False)
    assert "\n" not in str(caught.value)


def test_a_token_that_the_hub_does_not_know(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(monkeypatch) as there:
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        with pytest.raises(InputError, match=r"the hub refuses access \(401\): log in again"):
            upload(folder, "me/pets", kind="dataset", public=False)
        assert there.repositories == {}


def test_a_hub_that_cannot_be_reached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_any")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nothing answers
    with pytest.raises(InputError, match=r"^cannot upload to me/pets: the hub cannot be reached$"):
        upload(folder, "me/pets", kind="dataset", public=False)


def test_a_machine_that_must_not_ask_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_any")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set, and forbids to ask the hub: unset it"):
        upload(folder, "me/pets", kind="dataset", public=False)


def test_nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_out(monkeypatch, tmp_path)
    with pytest.raises(
        InputError, match="logged in: log in with 'hf auth login', or set HF_TOKEN to a token"
    ):
        check_token()
    monkeypatch.setenv("HF_TOKEN", "hf_any")
    check_token()


@pytest.mark.parametrize(
    "name",
    [
        *("", "pets", "/", "me/", "/pets", "me/pets/more", "me//pets", "datasets/me/pets", "me/my pets"),
        *("me/-pets", "me/pets.", "me/pe--ts", "me/pe..ts", "me/pets.git", "mé/pets", "me/" + "x" * 94),
        *("me/pets\n", "me\\pets", "me/pets@main", "https://huggingface.co/me/pets"),
    ],
)
def test_what_is_no_name_of_a_repository(name: str) -> None:
    with pytest.raises(InputError, match="a place on the hub must be hub:ORG/NAME, .* got 'hub:"):
        check_repository(name)


@pytest.mark.parametrize("name", ["me/pets", "M.e_1/p-e.t_s", "_/_", "me/" + "x" * 93])
def test_names_of_repositories(name: str) -> None:
    check_repository(name)


@given(st.text(max_size=30) | st.from_regex(r"[\w.-]{0,20}/[\w.-]{0,20}", fullmatch=True))
def test_a_name_that_passes_is_one_for_the_client(name: str) -> None:
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        check_repository(name)
    except InputError:
        return
    validate_repo_id(name)
