"""What Ray would be sent of a submission: the request, the files and the size of the package.

Ray's own packer makes the package, so that nothing is guessed; it is then thrown away.
"""

import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray._private.runtime_env.packaging import create_package

from cluster.access.connection import resolve_address
from cluster.jobs.submission import Submission


@dataclass(frozen=True)
class Package:
    """A packed working directory.

    Attributes:
        files: Relative paths, sorted.
        packed_bytes: Size of the package, in bytes.
    """

    files: tuple[str, ...]
    packed_bytes: int


def list_package(working_dir: Path, excludes: Sequence[str]) -> Package:
    """Return what would be sent of a folder; .gitignore files in it count as well.

    Args:
        working_dir: The folder.
        excludes: Patterns in .gitignore syntax.
    """
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "package.zip")
        create_package(
            str(working_dir), package, include_gitignore=True, excludes=list(excludes), logger=None
        )
        with zipfile.ZipFile(package) as archive:
            names = sorted(name for name in archive.namelist() if not name.endswith("/"))
        return Package(tuple(names), package.stat().st_size)


def describe_submission(submission: Submission, address: str | None) -> dict[str, Any]:
    """Return what `submit` would send, and where; the values of variables are left out.

    Args:
        submission: The job.
        address: See `cluster.access.connection.resolve_address`.

    Raises:
        ValueError: The address does not begin with http:// or https://.
        RuntimeError: The environment names another address.
    """
    package = list_package(submission.working_dir, submission.excludes)
    hidden = {name: f"the value of {name} here" for name in submission.env_names}
    return {
        "address": resolve_address(address),
        "request": submission.request(hidden),
        "package": {"packed_bytes": package.packed_bytes, "files": list(package.files)},
    }
