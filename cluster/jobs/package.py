"""What `submit_job` would send: the files of the working directory, checked before they are sent.

Ray has no public function that lists or packs a working directory, so this file, the only one
here, uses private ones of its packer: what is listed is what Ray sends.
"""

import importlib
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import ray

from cluster.access.connection import resolve_address
from cluster.jobs.sent_files import (
    holds_token,
    is_of_git,
    keep_sent,
    leads_out,
    list_git_files,
    split_listed,
    staged,
    walk_files,
)
from cluster.jobs.submission import SECRET_FILES, Submission, read_environment

_PACKER = "ray._private.runtime_env.packaging"
_MAX_BYTES = 100 * 2**20  # of a request to Ray's dashboard (DASHBOARD_CLIENT_MAX_SIZE)
_NUM_SHOWN = 5
_SECRET = "that look like secrets"  # nosec B105  # words of a summary
_QUIET = logging.Logger(__name__, logging.ERROR)  # Ray tells of each .gitignore


@dataclass(frozen=True)
class Package:
    """The files that would be sent, and what is left out beside the patterns."""

    files: dict[str, int]  # bytes of each, by its path below the working directory
    left_out: dict[str, list[str]]  # files and folders by why: what looks like a secret, and else
    looping_links: tuple[str, ...] = ()  # links to a folder that they stand in: they have no end

    def summary(self) -> str:
        """Return in a line what is sent and what is not."""
        total = sum(self.files.values())
        counts = [f"{len(names):,} {why}" for why, names in self.left_out.items() if names]
        secrets = ", ".join(self.left_out.get(_SECRET, [])[:_NUM_SHOWN])
        return (
            f"Sent: {len(self.files):,} files, {total / 2**20:.1f} MiB. Left out: "
            f"{', '.join(counts) or 'nothing'}{f' ({secrets})' if secrets else ''}. Name more "
            "with --include."
        )


def describe_submission(submission: Submission, address: str | None) -> dict[str, Any]:
    """Return what `submit_job` would send, and where; the values of variables are left out.

    Raises:
        ValueError: The address does not begin with http:// or https://; a variable's value looks
            like a secret; or as of `check_package`.
        RuntimeError: The environment names another address.
    """
    submission, package = check_package(submission)
    read_environment([name for name in submission.env_names if name in os.environ])
    hidden = {name: f"the value of {name} here" for name in submission.env_names}
    return {
        "address": resolve_address(address),
        "request": submission.request(hidden),
        "package": {
            "packed_bytes": _packed_bytes(submission, package),
            "left_out": {why: len(names) for why, names in package.left_out.items() if names},
            "files": list(package.files),
        },
    }


def check_package(submission: Submission) -> tuple[Submission, Package]:
    """Return a submission that leaves out links without end, and what it sends.

    Raises:
        ValueError: It lacks a file that the job reads, or is larger than Ray takes; the files
            are named.
        RuntimeError: This version of Ray packs in another way.
    """
    package = list_package(
        submission.working_dir,
        submission.excludes,
        named=submission.needed,
        included=submission.included,
    )
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


def list_package(
    working_dir: Path,
    excludes: Sequence[str],
    *,
    named: Sequence[str] = (),
    included: Sequence[str] = (),
) -> Package:
    """Return what would be sent of a folder.

    In a git repository that is what git tracks, and what is `named`; elsewhere all that no
    .gitignore lists. Patterns of `excludes` leave out of both. What is `included` is sent whatever
    they say, but a secret never, nor what git keeps.

    Raises:
        ValueError: A file that is included looks like a secret, or git refuses.
        RuntimeError: This version of Ray packs in another way.
    """
    packer = _load_packer()
    is_secret = packer._get_excludes(working_dir, list(SECRET_FILES))

    def target_of(path: Path) -> Path:  # where a link leads to, for patterns of names
        found = path.resolve()
        root = working_dir.resolve()
        return working_dir / found.relative_to(root if found.is_relative_to(root) else "/")

    def has_token(path: Path) -> bool:  # a file that Ray would not take is refused unread
        return path.stat().st_size <= _MAX_BYTES and holds_token(path)

    excluded = packer._get_excludes(working_dir, [e for e in excludes if e not in SECRET_FILES])
    asked = set(walk_files(working_dir, included))
    wanted = asked | set(walk_files(working_dir, named))
    tracked = list_git_files(working_dir, "--cached", "--recurse-submodules")
    links: list[str] = []
    no_files: list[str] = []
    inner: list[str] = []
    if tracked is None:
        paths = _travel(packer, working_dir, excluded, links, no_files)
    else:
        paths, inner = split_listed(working_dir, tracked)
    rules: dict[str, Callable[[Path], bool]] = {
        "of git's own": lambda path: any(
            is_of_git(each.relative_to(working_dir)) for each in (path, target_of(path))
        ),
        _SECRET: lambda path: is_secret(path) or is_secret(target_of(path)) or has_token(path),
        "links that lead out": lambda path: path not in wanted and leads_out(path, working_dir),
        "of the patterns": lambda path: path not in asked and excluded(path),
    }
    files, left_out = keep_sent([*paths, *sorted(wanted)], working_dir, rules)
    refused = sorted({*included} & {*left_out[_SECRET]})
    if refused:
        raise ValueError(
            f"--include {refused[0]}: it looks like a secret, and none is sent: the cluster shows "
            "and logs what it gets. Set the secret on the cluster."
        )
    untracked = list_git_files(working_dir, "--others", "--exclude-standard")
    sent_folders = {folder for name in files for folder in PurePath(name).parents}
    left_out["repositories inside this one"] = [
        i for i in inner if PurePath(i) not in sent_folders
    ]
    left_out["links to nothing, or pipes"] = no_files
    left_out["untracked by git"] = [name for name in untracked or () if name not in files]
    return Package(dict(sorted(files.items())), left_out, tuple(links))


def _travel(
    packer: Any, working_dir: Path, excluded: Any, links: list[str], no_files: list[str]
) -> list[Path]:
    """Return the files of a folder without git, as Ray finds them.

    Links without end are noted, and what is neither a file nor a folder.
    """
    found: list[Path] = []

    def leaves_out(path: Path) -> bool:
        if path.is_symlink() and path.is_dir() and path.absolute().is_relative_to(working_dir):
            inside = [parent.resolve() for parent in path.parents]
            if path.resolve() in inside:
                links.append(path.relative_to(working_dir).as_posix())
                return True
        return False

    def keep(path: Path) -> None:
        if path.is_file():
            found.append(path)
        elif not path.is_dir():
            no_files.append(path.relative_to(working_dir).as_posix())

    packer._dir_travel(
        working_dir, [excluded, leaves_out], keep, include_gitignore=True, logger=_QUIET
    )
    return found


def _check_sent(working_dir: Path, needed: str, package: Package) -> None:
    """Refuse when a file or folder that the job reads stays here, whole or in part."""
    path = working_dir / needed
    inside = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    paths = [file.relative_to(working_dir) for file in inside]
    names = [path.as_posix() for path in paths if not is_of_git(path)]
    lacking = [name for name in names if name not in package.files]
    advice = "Name a place that every node reads: an absolute path, s3:// or gs://."
    if not path.exists():
        raise ValueError(f"The job reads {needed}, but there is no such file here. {advice}")
    if lacking:
        raise ValueError(
            f"The job reads {needed}, but {lacking[0]} is not sent: .gitignore, or a pattern of "
            f"`scpo submit` (data/, runs/, weights, secrets), leaves it out. {advice} Or send it: "
            f"--include {needed}."
        )


def _packed_bytes(submission: Submission, package: Package) -> int:
    with tempfile.TemporaryDirectory() as folder, staged(submission, package.files) as sent:
        archive = Path(folder, "package.zip")
        _load_packer().create_package(
            str(sent.working_dir), archive, include_gitignore=True, excludes=[], logger=_QUIET
        )
        return archive.stat().st_size


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
