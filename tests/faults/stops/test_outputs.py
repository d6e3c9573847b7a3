"""Commands that cannot write: no room, a folder that takes nothing, an output nobody reads.

Out of room is a limit on the size of files, which ends a write in its middle as a full disk does.
A process without its capabilities obeys the modes of folders even as root.
"""

import ctypes
import os
import random
import resource
import signal
import sys
from collections.abc import Callable

import pytest

from scpo.__main__ import main
from tests.faults.readers import TRACEBACK
from tests.faults.stops.commands import COMMANDS, EACH_COMMAND, Place
from tests.faults.table import injected, shorten
from tests.forked import Forked

_CAPABILITIES = 0x20080522  # version 3 of the kernel's interface


@EACH_COMMAND
@injected(1, 4)
def test_no_room_is_said_and_loses_nothing(
    name: str, times: int, place: Place, tell: Callable[..., None]
) -> None:
    _, expected = place.undisturbed(name)
    largest = max(map(len, expected.values()))
    sizes, bad, says = random.Random(name), [], ""
    for _ in range(times):
        place.afresh()
        code, said = place.finish_as(_limited, name, sizes.randrange(1, largest))
        if wrong := _refusal_fault(code, said) or place.differs(name, expected):
            bad.append(wrong)
        says = said or says
    tell(f"no room for what `scpo {name}` writes", times, bad, says=_last_line(says, place))


@EACH_COMMAND
@pytest.mark.faults
def test_what_stands_in_the_way_is_named(
    name: str, place: Place, tell: Callable[..., None]
) -> None:
    """Put a file where a command writes a folder, a folder where it writes a file."""
    _, expected = place.undisturbed(name)
    place.afresh()
    out = place.folder / COMMANDS[name].out
    if out.suffix:
        out.mkdir()
        (out / "kept").touch()
    else:
        out.write_text("kept")
    code, said = place.finish(name)
    bad = [] if out.name in said else [f"unnamed: {said}"]
    bad += filter(None, [_refusal_fault(code, said)])
    if not out.exists() or (out.suffix and not (out / "kept").exists()):
        bad.append("deleted")
    out.rename(place.folder / "away")
    bad += filter(None, [place.differs(name, expected)])
    kind = f"{'a folder' if out.suffix else 'a file'} where `scpo {name}` writes"
    tell(kind, 1, bad, says=_last_line(said, place))


@EACH_COMMAND
@pytest.mark.faults
def test_a_folder_that_may_not_be_written_is_named(
    name: str, place: Place, tell: Callable[..., None]
) -> None:
    _, expected = place.undisturbed(name)
    place.afresh()
    folder = (place.folder / COMMANDS[name].out).parent
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    (place.folder / "said").touch()
    for each in folders:
        each.chmod(0o555)
    code, said = place.finish_as(_powerless, name)
    for each in folders:
        each.chmod(0o755)
    bad = filter(None, [_refusal_fault(code, said), place.differs(name, expected)])
    kind = f"a folder that `scpo {name}` may not write"
    tell(kind, 1, [*bad], says=_last_line(said, place))


@pytest.mark.parametrize("output", ["closed", "full"])
@pytest.mark.parametrize("stream", ["output", "error"])
@EACH_COMMAND
@pytest.mark.faults
def test_a_stream_that_takes_nothing_stops_no_work(
    name: str, stream: str, output: str, place: Place, tell: Callable[..., None]
) -> None:
    _, expected = place.undisturbed(name)
    place.afresh()
    call = _with_closed_pipe if output == "closed" else _with_full_device
    code, said = place.finish_as(call, name, 1 if stream == "output" else 2)
    bad = [f"{code} {said}"] if code or any(word in said for word in TRACEBACK) else []
    if COMMANDS[name].results(place.folder) != expected:
        bad.append("other files")
    if (stream, output) == ("output", "full") and "could not be written" not in said:
        bad.append(f"no word: {said}")
    kind = f"a {output} standard {stream} of `scpo {name}`"
    tell(kind, 1, bad, says=_last_line(said, place) or "the files are the same")


@pytest.mark.parametrize("name", ["rank", "curves", "report", "evaluate", "score-file"])
@pytest.mark.faults
def test_a_result_that_cannot_be_printed_is_told_unless_its_reader_has_gone(
    name: str, place: Place, tell: Callable[..., None]
) -> None:
    for output, call, expected in (
        ("closed", _with_closed_pipe, 0),
        ("full", _with_full_device, 2),
    ):
        place.afresh()
        words = (*COMMANDS[name].words, "--json")
        code, said = place.wait(Forked(call, words, 1, err=place.folder / "said"))
        bad = [] if code == expected else [f"{code} {said}"]
        bad += filter(None, [_refusal_fault(code, said) if code else None])
        if output == "full" and "standard output" not in said:
            bad.append(f"unnamed: {said}")
        kind = f"a {output} standard output of `scpo {name} --json`"
        tell(kind, 1, bad, says=_last_line(said, place) or "nothing: its reader has gone")


def _refusal_fault(code: int, said: str) -> str | None:
    """Return what is wrong with a refusal: it must be one line, and exit code 2."""
    lines = [line for line in said.splitlines() if line.startswith("scpo: ")]
    is_plain = code == 2 and lines and not any(word in said for word in TRACEBACK)
    return None if is_plain else f"{code} {said}"


def _last_line(said: str, place: Place) -> str:
    return shorten(said.splitlines()[-1] if said else "", place.folder)


def _scpo(words: tuple[object, ...]) -> None:
    sys.argv = ["scpo", *map(str, words)]
    main()


def _limited(words: tuple[object, ...], room: int) -> None:
    """Run a command none of whose files may be longer than `room` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    _scpo(words)


def _powerless(words: tuple[object, ...]) -> None:
    """Run a command without what root may do more than others."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
    assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0
    _scpo(words)


def _with_closed_pipe(words: tuple[object, ...], number: int) -> None:
    """Run a command one of whose streams is a pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    _put(writing, number)
    _scpo(words)


def _with_full_device(words: tuple[object, ...], number: int) -> None:
    _put(os.open("/dev/full", os.O_WRONLY), number)
    _scpo(words)


def _put(file: int, number: int) -> None:
    """Put an open file in place of a standard stream, as if it had been there at the start."""
    os.dup2(file, number)
    stream = open(number, "w", buffering=1, closefd=False)
    setattr(sys, {1: "stdout", 2: "stderr"}[number], stream)
