"""Which files of a folder a job gets: what git tracks or the user names, and never a secret.

What is sent is copied to a folder of its own, which Ray then packs whole: so Ray's rules cannot
add a file or drop one.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from cluster.jobs.submission import Submission
from scpo.text.secrets import has_token

_BLOCK_BYTES = 1 << 20  # of a file that is looked through for tokens, at a time
_OVERLAP_BYTES = 1 << 12  # longer than any token
_GIT_LIMIT_S = 60


def list_git_files(working_dir: Path, *kinds: str) -> list[str] | None:
    """Return the files that git knows below a folder, relative to it; None without a repository.

    `kinds` are options of `git ls-files`, which say which ones. A repository inside this one is
    listed as its folder.

    Raises:
        ValueError: The folder is in a repository, but git does not list its files.
    """
    here = working_dir.resolve()
    if not any((folder / ".git").exists() for folder in (here, *here.parents)):
        return None
    command = ["git", "-C", str(working_dir), "ls-files", "-z", *kinds]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, timeout=_GIT_LIMIT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(
            f"{working_dir} is in a git repository, but git does not list its files: "
            f"{_first_line(error)}. Make `git -C {working_dir} status` work, or submit from a "
            "copy outside of any repository."
        ) from error
    return [name.decode("utf-8", "surrogateescape") for name in listed.stdout.split(b"\0") if name]


def _first_line(error: Exception) -> str:
    """Return the first line of what went wrong with git."""
    if isinstance(error, subprocess.CalledProcessError):
        text = error.stderr.decode("utf-8", "replace").strip() or str(error)
    elif isinstance(error, subprocess.TimeoutExpired):
        text = f"no answer within {_GIT_LIMIT_S} s"
    else:
        text = str(error)
    return text.splitlines()[0].rstrip(".")


def split_listed(working_dir: Path, listed: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Return the files of git's list, and the folders in it: repositories inside this one.

    A link to a folder is followed.
    """
    names: list[str] = []
    inner: list[str] = []
    for name in listed:
        path = working_dir / name
        (inner if path.is_dir() and not path.is_symlink() else names).append(name)
    return list(walk_files(working_dir, names)), inner


def is_of_git(name: PurePath) -> bool:
    """Return whether a relative path is git's own: below a `.git`, or a .gitignore."""
    return ".git" in name.parts or name.name == ".gitignore"  # Ray would obey the latter


def walk_files(working_dir: Path, names: Iterable[str]) -> Iterator[Path]:
    """Yield the files that are named, and those of named folders."""
    for name in names:
        path = working_dir / name
        if path.is_dir():
            inside = path.resolve()
            if inside != working_dir.resolve() and inside not in path.absolute().parents:
                yield from (file for file in sorted(path.rglob("*")) if file.is_file())
        elif path.is_file():
            yield path


def leads_out(path: Path, working_dir: Path) -> bool:
    """Return whether a file is a link, or below one, to somewhere outside of a folder."""
    return not path.resolve().is_relative_to(working_dir.resolve())


def holds_token(path: Path) -> bool:
    """Return whether a file holds a token, a private key or a password."""
    with path.open("rb") as file:
        before = b""
        while block := file.read(_BLOCK_BYTES):
            text = (before + block).decode("latin-1")
            if has_token(text) or ("\0" in text and has_token(text.replace("\0", ""))):  # UTF-16
                return True
            before = block[-_OVERLAP_BYTES:]
    return False


@contextmanager
def staged(submission: Submission, names: Iterable[str]) -> Iterator[Submission]:
    """Give a submission of a folder that holds copies of just those files."""
    with TemporaryDirectory(prefix="scpo-submit-") as folder:
        for name in names:
            copy = Path(folder, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(submission.working_dir / name, copy)
        yield replace(submission, working_dir=Path(folder), excludes=())


def keep_sent(
    paths: Iterable[Path], working_dir: Path, rules: dict[str, Callable[[Path], bool]]
) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Return the bytes of each file that is sent, and the names of the others by rule.

    A rule says of a path whether it stays here; the first that does counts.
    """
    files: dict[str, int] = {}
    left_out: dict[str, list[str]] = {rule: [] for rule in rules}
    for path in dict.fromkeys(paths):
        name = path.relative_to(working_dir).as_posix()
        stays = next((rule for rule, stays_here in rules.items() if stays_here(path)), None)
        if stays is None:
            files[name] = path.stat().st_size
        else:
            left_out[stays].append(name)
    return files, left_out
