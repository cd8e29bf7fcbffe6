"""Files on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError


def hub_file(name: str, file: str) -> Path:
    """A file of a repository on the hub, from the cache if the hub cannot be reached or does not give it.

    The hub is asked once. Libraries that load from it ask six times, which takes half a minute or more.

    Args:
        name: of the repository, ``owner/model``.
        file: path of the file in the repository.

    Raises:
        RepositoryNotFoundError: if the hub has no such repository, or it is private or gated; and the cache
            does not have the file.
        EntryNotFoundError: if the repository has no such file.
        LocalEntryNotFoundError: if the hub cannot be reached, and the file is not in the cache.
        ValueError: if the name cannot be one of a repository.
    """
    url = hf_hub_url(name, file)
    try:
        get_hf_file_metadata(url)
    except EntryNotFoundError:
        raise
    except RepositoryNotFoundError:
        # Also for a repository that needs a token: whoever has its files may use them without asking again.
        kept = try_to_load_from_cache(name, file)
        if not isinstance(kept, str):
            raise
        return Path(kept)
    except Exception:  # noqa: BLE001 - the libraries for the network raise errors of any kind
        return Path(hf_hub_download(name, file, local_files_only=True))
    return Path(hf_hub_download(name, file))
