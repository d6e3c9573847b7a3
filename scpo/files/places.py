"""Places: a folder of this machine, or the URI of one in an object store.

`scpo doctor` sends this file to nodes that may lack this package and its dependencies, so it
imports the standard library only, and pyarrow where a place is opened.
"""

import os
import re
import tempfile
from pathlib import Path
from typing import Any

SCHEMES = ("s3", "gs")
Place = Path | str  # a local folder, or the URI of a remote one

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_CONNECT_S, _SILENCE_S = 3, 4  # of a quick attempt: until a connection, and between bytes
_RETRY_S = 5
_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.10"
_LONGEST_SOCKET = 107  # bytes, of the system
_LONGEST = 300  # characters of a store's or hub's own words


def is_remote(place: Place) -> bool:
    """Return whether a place is a URI of an object store.

    Raises:
        ValueError: It is a URI of another kind, which would become a folder named `http:`.
    """
    uri = _URI.match(str(place))
    if uri and uri[1] not in SCHEMES:
        raise ValueError(
            f"{place} must be a folder of this machine, s3:// or gs://; a model may be OWNER/NAME "
            "of the hub."
        )
    return uri is not None


def local_folder(place: Place) -> Path:
    """Return a folder that is written on this machine.

    Raises:
        ValueError: It is a URI, which would become a folder named `s3:`.
    """
    path = Path(place)
    if begins_as_uri(path):
        raise ValueError(
            f"A local folder must be given, but got the URI {place}. Write to a folder and copy "
            "it there."
        )
    return path


def begins_as_uri(path: Path) -> bool:
    """Tell whether a path was made of a URI, of whose `//` it has kept one slash."""
    return bool(path.parts) and re.fullmatch(r"[A-Za-z][\w+.-]+:", path.parts[0]) is not None


def below(place: Place, *names: str) -> Place:
    """Return the path or URI of what is inside a place."""
    if is_remote(place):
        return "/".join([str(place).rstrip("/"), *names])
    return Path(place).joinpath(*names)


def absolute(place: Place) -> str:
    """Return a place as text that is valid in another process: a URI or an absolute path."""
    return str(place) if is_remote(place) else str(Path(place).resolve())


def home() -> Path:
    """Return the folder of this node for what can be fetched again: SCPO_HOME or ~/.cache/scpo."""
    return Path(os.environ.get("SCPO_HOME") or Path.home() / ".cache" / "scpo")


def shorten_ray_temp() -> str | None:
    """Give Ray a short folder where its sockets would have too long names; return it, or None."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # nosec B108  # Ray's
    if len(os.fsencode(folder)) + len(_SOCKET) <= _LONGEST_SOCKET:
        return None
    short = tempfile.mkdtemp(prefix="scpo-", dir="/tmp")  # nosec B108  # of mode 0700
    os.environ["RAY_TMPDIR"] = short
    return os.environ["RAY_TMPDIR"]


def open_store(place: Place, *, attempts: int | None = 2) -> tuple[Any, str]:
    """Return pyarrow's file system of a place, and the path in it.

    A place is a local path, s3://, gs:// or another URI that pyarrow reads. `attempts` says how
    often a request to S3 is tried before it fails, a few seconds each; None for pyarrow's own
    limits, which suit long transfers: minutes without an answer.

    Raises:
        OSError: pyarrow cannot open it.
    """
    from pyarrow.fs import AwsStandardS3RetryStrategy, FileSystem, S3FileSystem

    uri = str(place)
    scheme, _, path = uri.partition("://")
    if scheme == "gs":
        uri += f"{'&' if '?' in uri else '?'}retry_limit_seconds={_RETRY_S}"
    elif scheme == "s3" and "?" not in uri and attempts is None:
        uri += "?allow_delayed_open=true"  # a small object in one request
    if scheme != "s3" or "?" in uri:
        system, path = FileSystem.from_uri(uri)
        return system, str(path)
    settings: dict[str, Any] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        settings["scheme"], _, settings["endpoint_override"] = endpoint.partition("://")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None and not endpoint:
        region = FileSystem.from_uri(f"s3://{path.partition('/')[0]}")[0].region
    system = S3FileSystem(
        region=region,
        connect_timeout=_CONNECT_S,
        request_timeout=_SILENCE_S,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=attempts),
        **settings,
    )
    return system, path.rstrip("/")


def first_line(error: BaseException) -> str:
    """Return the first line of an error, as a sentence of at most 300 characters."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return f"{line[:_LONGEST]}..." if len(line) > _LONGEST else f"{line.rstrip('.')}."
