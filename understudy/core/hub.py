"""Files on the Hugging Face hub, and networks of transformers from there or from a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from understudy.core.errors import first_line
from understudy.core.listing import listed
from understudy.core.weight_files import fault_in


def hub_file(name: str, file: str, *, revision: str | None = None) -> Path:
    """A file of a repository on the hub, from the cache if the hub cannot be reached or does not give it.

    The hub is asked once. Libraries that load from it ask six times, which takes half a minute or more.

    Args:
        name: of the repository, ``owner/model``.
        file: path of the file in the repository.
        revision: branch, tag or commit; ``main`` if not given.

    Raises:
        RevisionNotFoundError: if the repository has no such revision.
        RepositoryNotFoundError: if the hub has no such repository, or it is private or gated; and the cache
            does not have the file.
        EntryNotFoundError: if the repository has no such file.
        LocalEntryNotFoundError: if the hub cannot be reached or refuses access, and the file is not in the
            cache.
        ValueError: if the name cannot be one of a repository.
    """
    url = hf_hub_url(name, file, revision=revision)
    try:
        get_hf_file_metadata(url)
    except (EntryNotFoundError, RevisionNotFoundError):
        raise
    except RepositoryNotFoundError:
        # Also for a repository that needs a token: whoever has its files may use them without asking again.
        kept = try_to_load_from_cache(name, file, revision=revision)
        if not isinstance(kept, str):
            raise
        return Path(kept)
    except Exception as error:  # noqa: BLE001 - the libraries for the network raise errors of any kind
        try:
            return Path(hf_hub_download(name, file, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError as missing:
            raise missing from error  # says why the hub was not asked or did not answer
    return Path(hf_hub_download(name, file, revision=revision))


@contextmanager
def hub_asked_once(name: str, *, file: str = "README.md", kind: str = "model") -> Iterator[None]:
    """Let libraries read from their caches alone in a block, if the hub does not answer one question.

    They would ask five times or more, with longer and longer pauses.

    Args:
        name: of the repository, ``owner/model``.
        file: a file that it is asked for; it need not exist.
        kind: ``model`` or ``dataset``.

    Raises:
        LocalEntryNotFoundError: instead of an OSError of the block if the hub did not answer; says why.
    """
    refusal: Exception | None = None
    try:
        get_hf_file_metadata(hf_hub_url(name, file, repo_type=kind))
    except (EntryNotFoundError, RepositoryNotFoundError):
        pass
    except Exception as error:  # noqa: BLE001 - the libraries for the network raise errors of any kind
        refusal = error
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or refusal is not None
    try:
        yield
    except OSError as error:
        if refusal is None:
            raise
        raise LocalEntryNotFoundError(str(error)) from refusal
    finally:
        constants.HF_HUB_OFFLINE = before


def why_not_found(error: BaseException) -> str:
    """Why neither a folder nor the hub gave a file, in words; for other errors their first line."""
    if isinstance(error, HFValidationError):
        return "nothing is at this path, which cannot be a hub name either"
    may_be_a_path = isinstance(error, LocalEntryNotFoundError | RepositoryNotFoundError)
    if may_be_a_path and not isinstance(error, GatedRepoError | RevisionNotFoundError):
        return f"nothing is at this path, and {why_not_given(error)}"
    return why_not_given(error)


def why_not_given(error: BaseException) -> str:
    """Why the hub did not give a file, in words; for other errors their first line."""
    if isinstance(error, LocalEntryNotFoundError):
        return f"the hub {refusal(error.__cause__)}"
    if isinstance(error, GatedRepoError):
        return "the hub asks you to accept its terms: do so on its page, and log in with 'hf auth login'"
    if isinstance(error, RevisionNotFoundError):
        return "on the hub it has no such branch, tag or commit"
    if isinstance(error, RepositoryNotFoundError):
        return "the hub has no such name, unless it is private ('hf auth login')"
    return first_line(error).rstrip(".")


def refusal(error: BaseException | None) -> str:
    """What the hub did instead of what it was asked for, after the words "the hub"."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status in (401, 403):
        return f"refuses access ({status}): log in again with 'hf auth login', or correct HF_TOKEN"
    if status == 429:
        return "has had too many requests (429): wait a few minutes, or log in with 'hf auth login'"
    return "cannot be reached" if status is None else f"answers with the error {status}: try again later"


def load_network(kind: Any, name: str, **options: Any) -> Any:
    """Load a network of transformers, all of it.

    transformers gives weights that are not in the files random values, and only prints a table.

    Args:
        kind: class of transformers with ``from_pretrained``.
        name: folder or hub name.
        options: further arguments of ``from_pretrained``.

    Raises:
        ValueError: naming the damaged file or the missing weights.
        OSError: if there are no files; and other errors of transformers.
    """
    folder = Path(name)
    if (folder / "config.json").is_file() and (fault := fault_in(folder)):
        raise ValueError(fault)
    network, found = kind.from_pretrained(name, output_loading_info=True, **options)
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"{kind.__name__} needs weights that it does not have: {listed(missing, most=3)}")
    return network
