"""What is sound of a damaged ledger: each line on its own, whatever happened to its neighbours."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sweeps.ledger.chain import Chain, check_line, run_of_line
from sweeps.ledger.end_file import LedgerEnd
from sweeps.ledger.records import decode_record


@dataclass(frozen=True)
class SalvagedLedger:
    """The lines of a ledger, sound ones apart from the others.

    Attributes:
        sound: The content of a ledger of the sound lines, chained anew.
        num_sound: How many they are.
        set_aside: The other lines, each with why it cannot be used.
        fault: Why the ledger is not as it was written, None where it is.
        end: Where a ledger of the sound lines ends.
    """

    sound: bytes
    num_sound: int
    set_aside: tuple[tuple[bytes, str], ...]
    fault: str | None
    end: LedgerEnd


def salvage_lines(file: Path, end: LedgerEnd | None = None) -> SalvagedLedger:
    """Return what is sound of a ledger, which is only read; `end` is what it had at least.

    Line ends of Windows, which git may have made, cost no line.

    Raises:
        ValueError: The end is that of another run.
    """
    content = file.read_bytes()
    lines = content.replace(b"\r\n", b"\n").split(b"\n")
    runs = Counter(run for line in lines if (run := run_of_line(line)) is not None)
    own = runs.most_common(1)[0][0] if runs else None
    if end is not None:
        end.check_run(file, own)
        own = end.run
    bodies: dict[bytes, None] = {}
    set_aside = []
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line:
            break  # the file ends with a newline
        if fault := _fault_of(line, f"{file.name}:{number}", own, bodies):
            set_aside.append((line, fault))
    chain = Chain(own)
    sound = [_chain_or_keep(chain, body) for body in bodies]
    return SalvagedLedger(
        b"".join(line + b"\n" for line in sound),
        len(sound),
        tuple(set_aside),
        fault=set_aside[0][1] if set_aside else _fault_of_order(content, file, end),
        end=LedgerEnd(own, len(sound), chain.link),
    )


def _fault_of(line: bytes, where: str, own: str | None, bodies: dict[bytes, None]) -> str | None:
    """Return why a line cannot be used; one that can is added to the bodies."""
    try:
        body = check_line(line, where)
        decode_record(body, where)
    except ValueError as error:
        return str(error)
    if run_of_line(line) not in (own, None):
        return f"{where}: the line is of run {run_of_line(line)}, and the ledger of {own}."
    if body in bodies:
        return f"{where}: the line stands there twice."
    bodies[body] = None
    return None


def _chain_or_keep(chain: Chain, body: bytes) -> bytes:
    """Return a line of a chain, or of a version without one."""
    return body if chain.run is None else chain.add(body)


def _fault_of_order(content: bytes, file: Path, end: LedgerEnd | None) -> str | None:
    """Return why sound lines are not all, or not as they were written; None where they are."""
    chain = Chain()
    links = []
    try:
        for number, line in enumerate(content.split(b"\n")[:-1], 1):
            chain.follow(line, f"{file.name}:{number}")
            links.append(chain.link)
        if end is not None:
            end.check(Path(file.name), chain.run, links)
    except ValueError as error:
        return str(error)
    return None
