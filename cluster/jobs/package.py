"""What `submit_job` would send: the files of the working directory, checked before they are sent.

Ray has no public function that lists or packs a working directory, so this file, the only one
here, uses private ones of its packer: what is listed is what Ray sends.
"""

import importlib
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from cluster.access.connection import resolve_address
from cluster.jobs.submission import SECRET_FILES, Submission

_PACKER = "ray._private.runtime_env.packaging"
_MAX_BYTES = 100 * 2**20  # of a request to Ray's dashboard (DASHBOARD_CLIENT_MAX_SIZE)
_NUM_SHOWN = 5
_QUIET = logging.Logger(__name__, logging.ERROR)  # Ray tells of each .gitignore


@dataclass(frozen=True)
class Package:
    """The files that would be sent, and what is left out beside the patterns."""

    files: dict[str, int]  # bytes of each, by its path below the working directory
    looping_links: tuple[str, ...]  # links to a folder that they stand in: they have no end
    num_secret: int  # files and folders left out because they look like secrets


def describe_submission(submission: Submission, address: str | None) -> dict[str, Any]:
    """Return what `submit_job` would send, and where; the values of variables are left out.

    Raises:
        ValueError: The address does not begin with http:// or https://; or as of `check_package`.
        RuntimeError: The environment names another address.
    """
    submission, package = check_package(submission)
    hidden = {name: f"the value of {name} here" for name in submission.env_names}
    return {
        "address": resolve_address(address),
        "request": submission.request(hidden),
        "package": {
            "packed_bytes": _packed_bytes(submission),
            "secrets_left_out": package.num_secret,
            "files": sorted(package.files),
        },
    }


def check_package(submission: Submission) -> tuple[Submission, Package]:
    """Return a submission that leaves out links without end, and what it sends.

    Raises:
        ValueError: It lacks a file that the job reads, or is larger than Ray takes; the files
            are named.
        RuntimeError: This version of Ray packs in another way.
    """
    package = list_package(submission.working_dir, submission.excludes)
    links = tuple(f"/{link}" for link in package.looping_links)
    submission = replace(submission, excludes=(*submission.excludes, *links))
    for needed in submission.needed:
        _check_sent(submission.working_dir, needed, package)
    total = sum(package.files.values())
    if total > _MAX_BYTES:  # Ray does not compress
        largest = sorted(package.files.items(), key=lambda file: -file[1])[:_NUM_SHOWN]
        shown = ", ".join(
            f"{name} ({size / 2**20:.0f} MiB)" for name, size in largest if size > total // 100
        )
        raise ValueError(
            f"Ray takes {_MAX_BYTES >> 20} MiB at most, but {submission.working_dir} has "
            f"{total / 2**20:.0f} MiB in {len(package.files):,} files, the largest: {shown}. Put "
            "them into data/ or runs/, which are not sent, or list them in .gitignore."
        )
    return submission, package


def list_package(working_dir: Path, excludes: Sequence[str]) -> Package:
    """Return what would be sent of a folder; the .gitignore files in it exclude, too.

    Raises:
        RuntimeError: This version of Ray packs in another way.
    """
    packer = _load_packer()
    is_secret = packer._get_excludes(working_dir, list(SECRET_FILES))
    secrets: list[Path] = []
    links: list[str] = []
    files: dict[str, int] = {}

    def leaves_out(path: Path) -> bool:
        if path.is_symlink() and path.is_dir() and path.absolute().is_relative_to(working_dir):
            inside = [parent.resolve() for parent in path.parents]
            if path.resolve() in inside:
                links.append(path.relative_to(working_dir).as_posix())
                return True
        if is_secret(path):
            secrets.append(path)
            return True
        return False

    def keep(path: Path) -> None:
        if not path.is_dir():
            files[path.relative_to(working_dir).as_posix()] = path.stat().st_size

    patterns = packer._get_excludes(working_dir, [e for e in excludes if e not in SECRET_FILES])
    packer._dir_travel(
        working_dir,
        [patterns, leaves_out],
        keep,
        include_gitignore=True,
        logger=_QUIET,
    )
    return Package(files, tuple(links), len(secrets))


def _check_sent(working_dir: Path, needed: str, package: Package) -> None:
    """Refuse when a file or folder that the job reads stays here, whole or in part."""
    path = working_dir / needed
    inside = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    names = [file.relative_to(working_dir).as_posix() for file in inside]
    lacking = [name for name in names if name not in package.files]
    advice = "Name a place that every node reads: an absolute path, s3:// or gs://."
    if not path.exists():
        raise ValueError(f"The job reads {needed}, but there is no such file here. {advice}")
    if lacking:
        raise ValueError(
            f"The job reads {needed}, but {lacking[0]} is not sent: .gitignore, or a pattern of "
            f"`scpo submit` (data/, runs/, weights, secrets), leaves it out. {advice} A "
            "configuration may be moved."
        )


def _packed_bytes(submission: Submission) -> int:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "package.zip")
        _load_packer().create_package(
            str(submission.working_dir),
            package,
            include_gitignore=True,
            excludes=list(submission.excludes),
            logger=_QUIET,
        )
        return package.stat().st_size


def _load_packer() -> Any:
    try:
        packer = importlib.import_module(_PACKER)
        _ = packer.create_package, packer._dir_travel, packer._get_excludes
    except (ImportError, AttributeError) as error:
        raise RuntimeError(
            f"`scpo submit` needs the packer of Ray 2.60, but Ray {ray.__version__} has moved "
            'it. Run: pip install "ray[default]==2.60.0".'
        ) from error
    return packer
