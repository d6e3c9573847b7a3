"""How a command ends: one line, an exit code, and nothing of it left running.

A message of this project is shown as it is. What comes from elsewhere is shown with its kind in
front, and its traceback goes to a file that only its owner reads.
"""

import errno
import importlib.util
import os
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from importlib.metadata import packages_distributions
from pathlib import Path
from types import TracebackType

import typer

import scpo
from scpo.files.places import home
from scpo.interrupts import Interruption, Stopped, name_of_signal
from scpo.text.secrets import has_secret, mask_secrets
from scpo.text.terminal import one_line, warn

_ROOT = Path(scpo.__file__).parents[1]
_OURS = ("scpo", "sweeps", "cluster")
_CTRL_C = 130  # what typer makes of it
_LONGEST = 500  # characters of a foreign message
_AGAIN = "No half-written file stays: run the same command again."
_PARTS = "Finished parts are kept: run the same command again to go on."
_JOBS = (
    "A job that was sent keeps running: see `scpo jobs`, `scpo logs NAME -f`, `scpo stop NAME`."
)
_TO_GO_ON = {
    "sweep": "Finished trials are kept: run the same command with --resume to go on.",
    "demo": "Finished trials are kept: run the same command with --resume to go on.",
    "ablate": "Finished trainings are kept: run the same command with --resume to go on.",
    "train": "Checkpoints are kept, where checkpoint_every set them: run the same command again.",
    "score": "What is scored is in the cache: run the same command again to go on.",
    "science": _PARTS,
    "study": _PARTS,
    "score-file": _PARTS,
    "rerank": _PARTS,
    "fetch": "Files that arrived are kept: run the same command again.",
    "submit": _JOBS,
    "logs": _JOBS,
}


class LastLine:
    """Runs a command and turns whatever ends it into one line and an exit code; a context."""

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments
        self.command = next((word for word in arguments if not word.startswith("-")), "")
        self.exit_code: int | None = None  # none: it has not come to its end
        self.interruption = Interruption(self._say_stopped)

    def __enter__(self) -> "LastLine":
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a name in any script
        self.interruption.__enter__()
        return self

    def run(self, app: typer.Typer) -> None:
        """Run the command of the arguments, and keep its exit code.

        Raises:
            ValueError: An argument carries a secret, or is not UTF-8.
            FileNotFoundError: The current directory has been removed.
            RuntimeError: Another package stands in the way of one of this project's.
        """
        _check_directory()
        _check_arguments(self.arguments)
        _check_packages()
        given = self.arguments or ["--help"]
        self.exit_code = app(given, prog_name="scpo", standalone_mode=False) or 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.interruption.__exit__()
        number = self.interruption.signal_number
        if isinstance(error, Stopped):
            warn(mask_secrets(str(error)))
            raise SystemExit(_CTRL_C) from None
        by_ctrl_c = isinstance(error, KeyboardInterrupt) or self.exit_code == _CTRL_C
        if by_ctrl_c or (number is not None and self.exit_code != 0):
            number = number or signal.SIGINT
            self._say_stopped(name_of_signal(number))
            raise SystemExit(128 + number) from None
        if self.exit_code is not None:
            raise SystemExit(self.exit_code)
        if isinstance(error, SystemExit) or os.environ.get("SCPO_TRACEBACK"):
            return
        assert error is not None
        warn(mask_secrets(self._explain(error)))
        raise SystemExit(2) from None

    def _explain(self, error: BaseException) -> str:
        """Return an error in one line, with the file of its traceback where that may help."""
        if isinstance(error, typer.TyperException):
            return _explain_usage(error, self.command)
        said = f"{one_line(str(error))}{_advice(error)}"
        if isinstance(error, OSError) and error.errno is not None:
            return said
        if isinstance(error, (ValueError, OSError, RuntimeError)) and _is_ours(error):
            return said
        return f"{_short(error)} The traceback is in {_keep_traceback(error)}."

    def _say_stopped(self, cause: str) -> None:
        warn(f"stopped by {cause}. {_TO_GO_ON.get(self.command, _AGAIN)}")


def _explain_usage(error: typer.TyperException, command: str) -> str:
    """Return what is wrong with the command line, and where help is."""
    said = error.format_message() if hasattr(error, "format_message") else str(error)
    return f"{said} Try `scpo {command} --help`." if command else f"{said} Try `scpo --help`."


def _check_directory() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            "The current directory is not there any more. Change to another (cd) and run the "
            "command again."
        ) from error


def _check_arguments(arguments: list[str]) -> None:
    for word in arguments:
        if has_secret(word):
            raise ValueError(
                f"{one_line(mask_secrets(word))}: an argument must carry no credentials, because "
                "lists of processes and logs show it. Set the variables that their reader knows "
                "(AWS_ACCESS_KEY_ID, HF_TOKEN)."
            )
        try:
            word.encode()  # how names are written in records
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{word!a}: an argument must be UTF-8, since records name files in it. "
                "Rename the file or folder, or set a locale of UTF-8 (LC_ALL=C.UTF-8)."
            ) from error


def _check_packages() -> None:
    """Refuse to run with somebody else's `sweeps` or `cluster` in place of ours."""
    for name in _OURS[1:]:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None or Path(found.origin).parents[1] != _ROOT:
            where = getattr(found, "origin", None) or "nowhere"
            owners = ", ".join(packages_distributions().get(name, [])) or "no distribution"
            raise RuntimeError(
                f"The package {name!r} of scpo must lie in {_ROOT}, but Python finds that of "
                f"{where} ({owners}). Uninstall that one, or install scpo into an environment of "
                "its own."
            )


def _is_ours(error: BaseException) -> bool:
    """Return whether this project raised an error, in its own words."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and any(
        Path(frames[-1].filename).is_relative_to(_ROOT / name) for name in _OURS
    )


def _short(error: BaseException) -> str:
    """Return the kind of a foreign error and the line that tells most of a long message."""
    name, lines = type(error).__name__, str(error).strip().splitlines()
    if not lines:
        return f"{name}."
    line = lines[-1] if "Traceback" in str(error) else lines[0]
    return f"{name}: {line[:_LONGEST].rstrip('.')}."


def _keep_traceback(error: BaseException) -> str:
    """Write a traceback into a file of mode 0600, without secrets; return its path."""
    text = mask_secrets("".join(traceback.format_exception(error)))
    for folder in (home() / "logs", Path(tempfile.gettempdir())):
        path = folder / f"scpo-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
            return str(path)
    return "no file, because none could be written"


def _advice(error: BaseException) -> str:
    """Return what to do if the disk or the quota is full."""
    if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    return (
        ". The disk or your quota is full. Complete files are kept: free some space and run the "
        "same command again (a sweep with --resume)."
    )
