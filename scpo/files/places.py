"""Places: a path on this machine, or a URI of a bucket."""

import os
from pathlib import Path

SCHEMES = {  # how a URI tells pyarrow to send a small object in one request, or to give up
    "s3": "allow_delayed_open=true",
    "gs": "retry_limit_seconds=5",
}
Place = Path | str  # a local folder, or the URI of a remote one


def is_remote(place: Place) -> bool:
    """Tell whether a place is a URI of an object store."""
    return str(place).split("://")[0] in SCHEMES and "://" in str(place)


def below(place: Place, *names: str) -> Place:
    """Return a place inside another."""
    if is_remote(place):
        return "/".join([str(place).rstrip("/"), *names])
    return Path(place).joinpath(*names)


def absolute(place: Place) -> str:
    """Return a place as text that means the same in another process."""
    return str(place) if is_remote(place) else str(Path(place).resolve())


def home() -> Path:
    """Return the folder of this node for what can be fetched again: SCPO_HOME or ~/.cache/scpo."""
    return Path(os.environ.get("SCPO_HOME") or Path.home() / ".cache" / "scpo")
