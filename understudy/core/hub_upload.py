"""Upload a folder to a repository on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from understudy.core.errors import InputError, first_line
from understudy.core.hub import refusal
from understudy.core.listing import listed

Kind = Literal["dataset", "model"]
_MADE_BY_THE_HUB = (".gitattributes",)
_NAME = re.compile(r"\w([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)
_FORBIDDEN = re.compile(r"--|\.\.|\.git$")


def check_repository(name: str) -> None:
    """Check that a repository on the hub can have a name; asks no hub.

    Raises:
        InputError: if it is not ``owner/name``, or has other characters than the hub allows.
    """
    if len(name) > 96 or not _NAME.fullmatch(name) or _FORBIDDEN.search(name):
        raise InputError(
            "a place on the hub must be hub:ORG/NAME, an owner and a repository, such as hub:mine/pets, with "
            f"at most 96 letters, digits, single '-' or '.', and '_', got {f'hub:{name}'!r}"
        )


def check_token() -> None:
    """Check that there is a token to upload with; whether the hub accepts it is found out later.

    Raises:
        InputError: if there is none.
    """
    if not get_token():
        raise InputError(
            "the hub takes files only from users who are logged in: log in with 'hf auth login', or set "
            "HF_TOKEN to a token that may write"
        )


def upload(folder: Path, name: str, *, kind: Kind, public: bool) -> str:
    """Create a repository and upload all files of a folder into it.

    If the repository exists, and all its files are among those of the folder with the same content, an
    interrupted upload goes on.

    Args:
        folder: the files.
        name: of the repository, ``owner/name``.
        kind: of the repository.
        public: whether everybody may see it.

    Returns:
        The address of its page.

    Raises:
        InputError: if the hub does not take the files, or the repository holds other files or is not
            ``public`` as asked.
    """
    api = HfApi()
    try:
        if not _is_created(api, name, kind=kind, public=public):
            _check_goes_on(api, name, folder, kind=kind, public=public)
        api.upload_folder(
            repo_id=name, repo_type=kind, folder_path=folder, commit_message="Export of an understudy run"
        )
    except InputError:
        raise
    except Exception as error:  # the libraries for the network raise errors of any kind
        # An error while a large file is sent comes wrapped in another one.
        cause = error.__cause__ if type(error) is RuntimeError else None
        why = _why_not_taken(cause if isinstance(cause, Exception) else error)
        raise InputError(f"cannot upload to {name}: {why}") from error
    return f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"


def _is_created(api: HfApi, name: str, *, kind: Kind, public: bool) -> bool:
    """Create a repository; returns False if there is one with this name already."""
    try:
        api.create_repo(name, repo_type=kind, private=not public)
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
        return False
    return True


def _check_goes_on(api: HfApi, name: str, folder: Path, *, kind: Kind, public: bool) -> None:
    """Check that an existing repository holds nothing but a part of an upload of the same files."""
    info: Any = api.repo_info(name, repo_type=kind, files_metadata=True)
    others = [
        file.rfilename
        for file in info.siblings or ()
        if file.rfilename not in _MADE_BY_THE_HUB and not _has(folder / file.rfilename, file)
    ]
    if others:
        raise InputError(
            f"{name} exists on the hub and holds other files, {listed(others, most=3)}: choose another name, "
            "or remove that repository first"
        )
    if bool(info.private) is public:
        seen, option = ("private", "leave --public out") if public else ("public", "give --public")
        raise InputError(f"{name} exists on the hub and is {seen}: {option}, or choose another name")


def _has(path: Path, file: Any) -> bool:
    """Whether a path is a file with the content of one on the hub, which tells its digest."""
    if not path.is_file():
        return False
    if file.lfs is not None:
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == str(file.lfs.sha256)
    # git names a content by the digest of this; such files are small.
    blob = b"blob %d\0" % path.stat().st_size + path.read_bytes()
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == str(file.blob_id)


def _why_not_taken(error: Exception) -> str:
    """Why the hub did not take the files, in words."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and forbids to ask the hub: unset it"
    if status == 403:
        return (
            "the hub refuses access (403): use a token that may write to this owner ('hf auth login' or "
            "HF_TOKEN), or choose another owner"
        )
    if isinstance(error, ValueError) and status is None:
        return first_line(error)
    return f"the hub {refusal(error)}"
