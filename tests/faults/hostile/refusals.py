"""What a reader may do with an input: read it, or refuse it in our words, soon and in bounds.

A refusal is a ValueError, an OSError or a RuntimeError that this project raises, and names the
file. Time and memory are those over the input, in this process: CPU time, since a busy machine
is not the reader's, and ten times as long on the clock for one that waits.
"""

import resource
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from scpo.commands.endings import _is_ours
from scpo.data.reading.bad_rows import RowFault
from scpo.text.terminal import one_line
from scpo.tokens.chat_template import TemplateFailure

MOST_S = 10
MOST_BYTES = 256 << 20
KIB = 1024
REFUSALS = (ValueError, OSError, RuntimeError, RowFault, TemplateFailure)


@dataclass(frozen=True)
class Reader:
    """A reader of the project, and what it is given.

    Attributes:
        name: For the table.
        file: The name of the file that the input is written to, perhaps in a folder.
        inputs: Contents of that file.
        read: Reads it, given the folder.
        named: What a refusal must hold; None for the file's name.
    """

    name: str
    file: str
    inputs: st.SearchStrategy[bytes]
    read: Callable[[Path], Any]
    named: str | None = None


class Late(BaseException):
    """An input took more than `MOST_S`; no reader catches it."""


def fault_of(reader: Reader, content: bytes, folder: Path) -> str | None:
    """Return what is wrong with how a reader took an input, None if nothing is."""
    file = folder / reader.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    before = _peak_bytes()
    try:
        with _limited():
            reader.read(folder)
    except Late:
        return f"over {MOST_S} s"
    except REFUSALS as error:
        if fault := _fault_of_refusal(error, reader):
            return fault
    except BaseException as error:
        return f"{type(error).__name__}: {_where(error)}"
    if (rise := _peak_bytes() - before) > MOST_BYTES:
        return f"{rise >> 20} MiB"
    return None


def shorten_input(content: bytes) -> str:
    """Return an input as a message shows it."""
    shown = repr(content)
    return shown if len(shown) <= 300 else f"{shown[:150]} ... {shown[-100:]} ({len(content):,})"


def distinct(faults: Sequence[str]) -> list[str]:
    """Return the first of the faults that begin alike."""
    return list({fault.partition(" | ")[0]: fault for fault in reversed(faults)}.values())


def _fault_of_refusal(error: Exception, reader: Reader) -> str | None:
    is_ours = _is_ours(error) or (isinstance(error, OSError) and error.errno is not None)
    if not is_ours and not isinstance(error, RowFault | TemplateFailure):
        return f"{type(error).__name__}, not ours: {_where(error)}"
    named = Path(reader.file).name if reader.named is None else reader.named
    return None if named in one_line(str(error)) else f"unnamed: {_where(error)}"


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f
        for f in frames
        if any(f"/{room}/" in f.filename for room in ("scpo", "sweeps", "cluster"))
    ]
    last = (ours or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno} {str(error)[:200]!r}"


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Late

    before = [signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, MOST_S)
    signal.setitimer(signal.ITIMER_REAL, 10 * MOST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
