"""Which files of a folder a job gets: what git tracks or the user names, and never a secret.

What is sent is copied to a folder of its own, which Ray then packs whole: so Ray's rules cannot
add a file or drop one.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster.jobs.submission import Submission
from scpo.text.secrets import has_token

_BLOCK_BYTES = 1 << 20  # of a file that is looked through for tokens, at a time
_OVERLAP_BYTES = 1 << 12  # longer than any token
_GIT_LIMIT_S = 60


def list_git_files(working_dir: Path, *kinds: str) -> list[str] | None:
    """Return the files that git knows below a folder, relative to it; None without git.

    `kinds` are options of `git ls-files`, which say which ones.
    """
    command = ["git", "-C", str(working_dir), "ls-files", "-z", *kinds]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, timeout=_GIT_LIMIT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return [name.decode("utf-8", "surrogateescape") for name in listed.stdout.split(b"\0") if name]


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
            if has_token((before + block).decode("latin-1")):
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
