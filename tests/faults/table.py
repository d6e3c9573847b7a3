"""The table of faults: what was injected, what it did, and what was said.

`make faults` injects every kind in full and writes docs/reliability.md; `make test` injects each a
few times.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scpo.files.provenance import source_commit

PAGE_VARIABLE = "SCPO_FAULTS_PAGE"  # where the table is written at the end of the tests
_HEAD = """# Reliability

What was done to scpo on purpose, with real files, processes and signals, and what came of it.
`make faults` does it again and writes this page.

A fault is *survived* if it is refused by name, told, or changes nothing that is computed.
*Noticed after* is the median time until the command that met it had ended, its start left out.

| fault | times | survived | work lost | noticed after | commit | what is said |
|---|---|---|---|---|---|---|
"""
_LONGEST = 160


@dataclass(frozen=True)
class Row:
    """One kind of fault, injected so many times."""

    kind: str
    times: int
    survived: int
    lost: str
    noticed_s: float | None
    says: str

    def cells(self) -> list[str]:
        noticed = "" if self.noticed_s is None else f"{self.noticed_s:.1f} s"
        return [self.kind, str(self.times), str(self.survived), self.lost, noticed, self.says]


def injected(few: int, full: int) -> pytest.MarkDecorator:
    """Give a test the argument `times`: few by default, many with `make faults`."""
    return pytest.mark.parametrize(
        "times", [few, pytest.param(full, marks=pytest.mark.faults)], ids=["few", "full"]
    )


def in_turn(kinds: Sequence[object], step: int, few: int) -> list[Any]:
    """Return arguments `kind` and `few` of a test: all with None, which is many, on `make faults`.

    By default it injects every `step`th kind `few` times.
    """
    named = [
        (kind, "-".join(map(str, kind)) if isinstance(kind, tuple) else kind) for kind in kinds
    ]
    quick = [pytest.param(kind, few, id=f"{name}-few") for kind, name in named[::step]]
    marks = pytest.mark.faults
    return quick + [pytest.param(k, None, marks=marks, id=f"{name}-full") for k, name in named]


def shorten(said: str, *places: Path) -> str:
    """Return a message for the table: in one line, without the folders of a test."""
    for place in places:
        said = said.replace(f"{place}/", "").replace(str(place), place.name)
    line = " ".join(said.split()).removeprefix("scpo: ").replace("|", "\\|")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def keep_fullest(rows: Sequence[Row]) -> list[Row]:
    """Return a row for each kind: that of the most injections."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.kind not in found or found[row.kind].times <= row.times:
            found[row.kind] = row
    return list(found.values())


def write_page(rows: Sequence[Row], page: Path) -> None:
    """Write the table in Markdown; a row stays where its kind was not injected as often now."""
    lines = _rows_of(page)
    for row in keep_fullest(rows):
        if row.kind not in lines or _times_of(lines[row.kind]) <= row.times:
            lines[row.kind] = _line_of(row)
    total = sum(map(_times_of, lines.values()))
    foot = f"\n{total:,} faults of {len(lines)} kinds, on {os.cpu_count()} cores.\n"
    page.write_text(_HEAD + "\n".join(lines.values()) + "\n" + foot, encoding="utf-8")


def _times_of(line: str) -> int:
    return int(line.split(" | ")[1])


def _line_of(row: Row) -> str:
    commit = source_commit() or "unknown"
    *cells, says = row.cells()
    return f"| {' | '.join(cells)} | {commit[:12]}{'+' * commit.endswith('+')} | {says} |"


def _rows_of(page: Path) -> dict[str, str]:
    """Return the lines of a page's table, by kind."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return {line[2:].partition(" | ")[0]: line for line in lines}


def show_rows(rows: Sequence[Row], write: Any) -> None:
    """Print the table in the terminal, a line a kind."""
    for row in keep_fullest(rows):
        kind, times, survived, lost, noticed, says = row.cells()
        write(f"{kind:44} {times:>5} {survived:>5}  {lost:10} {noticed:>7}  {says}\n")
