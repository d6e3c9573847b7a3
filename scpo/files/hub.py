"""The Hugging Face hub: commits and files of models, and its errors in one line.

Addresses, token, cache and offline mode are huggingface_hub's own settings: HF_ENDPOINT, HF_TOKEN,
HF_HOME, HF_HUB_OFFLINE. A commit never changes, so its files are fetched once; where
the hub does not answer, the cache serves only what it holds whole.
"""

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
from huggingface_hub import constants, resolve_revision, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

from scpo.files.places import first_line

OWN_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)  # the hub is not to blame
ROW_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
REFUSALS = (GatedRepoError, RevisionNotFoundError, RepositoryNotFoundError)


def is_data_set_name(path: str | Path) -> bool:
    """Tell whether a path that is not there has the form OWNER/NAME of a data set.

    A name with the ending of a file of rows is a file's.
    """
    text = str(path)
    is_file = text.lower().endswith(ROW_ENDINGS) or Path(text).exists()
    return not is_file and _NAME.fullmatch(text) is not None


def resolve_commit(name: str, revision: str | None = None) -> str:
    """Return the commit of a model's branch, tag or commit; None for the default branch.

    Raises:
        FileNotFoundError: The hub has no such model or revision, or is offline and the cache has
            none.
        PermissionError: The model is gated.
        ConnectionError: The hub does not answer, and the cache has no commit.
    """
    with explain_hub_errors("model", name, revision):
        return str(resolve_revision(name, revision=revision).resolved)


def download_model(name: str, commit: str, patterns: Sequence[str]) -> Path:
    """Return this machine's folder of a model at a commit, downloading what its cache lacks.

    `patterns` select the files ("*.json").

    Raises:
        FileNotFoundError, PermissionError, ConnectionError: As of `resolve_commit`; the next call
            fetches only the files that did not arrive.
    """
    with explain_hub_errors("model", name, commit):
        return Path(snapshot_download(name, revision=commit, allow_patterns=list(patterns)))


@contextmanager
def explain_hub_errors(kind: str, name: str, revision: str | None = None) -> Iterator[None]:
    """Turn an error of the hub's clients into one line that says what to do.

    The message names the kind ("model" or "data set"), OWNER/NAME and the revision.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError: As of `resolve_commit`.
    """
    whole = f"{name}@{revision}" if revision else name
    try:
        yield
    except (HFValidationError, httpx2.InvalidURL) as error:
        raise FileNotFoundError(
            f"{whole!r:.200} is no name of a {kind} on the hub (OWNER/NAME): {first_line(error)}"
        ) from error
    except (RevisionResolutionError, httpx2.HTTPError, OSError) as error:
        if getattr(error, "errno", None) in OWN_DISK:
            raise
        refusal = error.__cause__ if isinstance(error.__cause__, REFUSALS) else error
        if isinstance(refusal, REFUSALS):
            raise _refusal(kind, name, revision, refusal) from error
        if isinstance(error, FileNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            raise FileNotFoundError(
                f"The {kind} {whole}: {first_line(error)} Check the spelling; for a private or "
                "gated one set HF_TOKEN, or run `hf auth login`."
            ) from error
        raise _no_answer(kind, whole, error) from error


def _refusal(kind: str, name: str, revision: str | None, error: Exception) -> OSError:
    hub = constants.ENDPOINT
    if isinstance(error, GatedRepoError):
        return PermissionError(
            f"The {kind} {name} is gated. Accept its terms at {hub}/{name}, and give the token of "
            "that account: set HF_TOKEN, or run `hf auth login`."
        )
    if isinstance(error, RevisionNotFoundError):
        return FileNotFoundError(
            f"The {kind} {name} has no revision {revision!r} on the hub. Give a branch, tag or "
            "whole commit hash that it has."
        )
    return FileNotFoundError(
        f"There is no folder {name}, and no {kind} of that name at {hub}, or it is private. Check "
        "the spelling; for a private one set HF_TOKEN, or run `hf auth login`."
    )


def _no_answer(kind: str, whole: str, error: Exception) -> OSError:
    """Return the error for a hub that is offline, does not answer, or breaks off."""
    cache = constants.HF_HUB_CACHE
    if constants.is_offline_mode():
        return FileNotFoundError(
            f"The {kind} {whole} must be in the cache {cache}, because HF_HUB_OFFLINE is set, but "
            "it is not, or not whole. Unset HF_HUB_OFFLINE, or name a local folder."
        )
    return ConnectionError(
        f"The {kind} {whole} could not be fetched from {constants.ENDPOINT}: {first_line(error)} "
        "Try again: files that arrived whole are kept. Without a network, download it elsewhere "
        "and name its folder."
    )
