"""Shows what `submit_job` would send: the request, the files and the size of the package.

Ray has no public function that packs a working directory, so this file, the only one here, uses a
private one. The package is thrown away.
"""

import importlib
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from cluster.access.connection import resolve_address
from cluster.jobs.submission import Submission

_PACKER = "ray._private.runtime_env.packaging"


def describe_submission(submission: Submission, address: str | None) -> dict[str, Any]:
    """Return what `submit_job` would send, and where; the values of variables are left out.

    Raises:
        ValueError: The address does not begin with http:// or https://.
        RuntimeError: The environment names another address.
    """
    files, packed_bytes = list_package(submission.working_dir, submission.excludes)
    hidden = {name: f"the value of {name} here" for name in submission.env_names}
    return {
        "address": resolve_address(address),
        "request": submission.request(hidden),
        "package": {"packed_bytes": packed_bytes, "files": files},
    }


def list_package(working_dir: Path, excludes: Sequence[str]) -> tuple[list[str], int]:
    """Return the files of a folder that would be sent, sorted, and the package's size in bytes.

    Patterns and the .gitignore files in the folder exclude files.

    Raises:
        RuntimeError: This version of Ray packs in another way.
    """
    try:
        create_package = importlib.import_module(_PACKER).create_package
    except (ImportError, AttributeError) as error:
        raise RuntimeError(
            f"`scpo submit --dry-run` needs the packer of Ray 2.60, but Ray {ray.__version__} has "
            'moved it. Run: pip install "ray[default]==2.60.0"; or submit without --dry-run.'
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "package.zip")
        create_package(
            str(working_dir), package, include_gitignore=True, excludes=list(excludes), logger=None
        )
        with zipfile.ZipFile(package) as archive:
            names = sorted(name for name in archive.namelist() if not name.endswith("/"))
        return names, package.stat().st_size
