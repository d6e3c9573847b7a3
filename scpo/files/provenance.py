"""What a record needs to be traced: versions of what ran, the commit of the code, the time."""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RECORDED_PACKAGES = ("scpo", "torch", "transformers", "ray", "deepspeed", "optuna", "numpy")


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a result."""
    packages = {name: _version_of(name) for name in RECORDED_PACKAGES}
    return {"python": platform.python_version(), **packages}


def source_commit() -> str | None:
    """Return the git commit of this code, with `+` when files differ from it; None outside git."""
    folder = Path(__file__).resolve().parent
    commands = (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    outputs = []
    for command in commands:
        try:
            run = subprocess.run(  # nosec B607  # git, wherever it is
                ["git", *command], cwd=folder, capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if run.returncode != 0:
            return None
        outputs.append(run.stdout.strip())
    return outputs[0] + ("+" if outputs[1] else "")


def utc_now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def _version_of(name: str) -> str:
    """Return a package's version, looked up once: a lane asks twice for every trial."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
