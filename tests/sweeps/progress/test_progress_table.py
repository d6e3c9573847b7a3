"""Lines where there is no terminal, a live table where there is one."""

import io
import itertools
from typing import Any

import pytest
from rich.console import Console

from sweeps.ledger.records import TrialRecord
from sweeps.progress import progress_table as module
from sweeps.progress.progress_table import follow_progress, progress_table, time_left


def make_record(number: int, **changes: Any) -> TrialRecord:
    fields: dict[str, Any] = {
        "trial_id": f"mexico-{number:04d}",
        "purpose": "search",
        "country": "Mexico",
        "arm": "scpo_tuned",
        "state": "complete",
        "config": {},
        "config_hash": "0",
        "seed": 0,
    }
    return TrialRecord.model_validate({**fields, **changes})


def complete(number: int, accuracy: float, pairs: float, drop: float = -0.1) -> TrialRecord:
    return make_record(
        number,
        objectives={"validation_accuracy": accuracy, "pairs_trained": pairs},
        constraints={"consensus_drop": drop},
    )


def text_of(table: Any) -> str:
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as shown:
        console.print(table)
    return shown.get()


def test_lines_say_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 10)
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    said: list[str] = []
    with follow_progress(said.append, {"Mexico": 3}, Console(file=io.StringIO())) as listen:
        listen(make_record(0, state="failed", error="ValueError: too few pairs"))
        listen(make_record(1, state="pruned", rung=64))
    assert said == [
        "  [1/3, 20 s left] mexico-0000 scpo_tuned: failed: ValueError: too few pairs",
        "  [2/3, 10 s left] mexico-0001 scpo_tuned: stopped at 64 labelled pairs",
    ]


def test_a_terminal_gets_a_table() -> None:
    out = io.StringIO()
    said: list[str] = []
    console = Console(file=out, force_terminal=True, width=120)
    with follow_progress(said.append, {"Mexico": 2}, console) as listen:
        listen(complete(0, 0.61, 40.0))
    assert said == []
    assert "61.0 %" in out.getvalue()
    assert "1/2" in out.getvalue()


def test_the_table_counts_front_pruned_and_failed() -> None:
    records = [
        complete(0, 0.60, 40.0),
        complete(1, 0.64, 80.0),
        complete(2, 0.59, 90.0),  # dominated
        complete(3, 0.99, 10.0, drop=0.2),  # breaks the constraint
        make_record(4, state="pruned", rung=64),
        make_record(5, state="failed", error="x"),
        make_record(6, state="failed", error="x", country="Israel"),
    ]
    text = text_of(progress_table(records, {"Mexico": 12, "Israel": 2}, 70.0))
    assert "7 of 14 trainings, 70 s left" in text
    (mexico,) = (line for line in text.splitlines() if "Mexico" in line)
    cells = [cell.strip() for cell in mexico.strip("\u2502").split("\u2502")]
    assert cells == ["Mexico", "6/12", "64.0 %", "2", "1", "1"]
    (israel,) = (line for line in text.splitlines() if "Israel" in line)
    assert [cell.strip() for cell in israel.strip("\u2502").split("\u2502")] == [
        "Israel", "1/2", "-", "0", "0", "1",
    ]  # fmt: skip


def test_no_pace_is_known_before_the_first() -> None:
    assert time_left(30.0, 0, 10) == 0.0
    assert time_left(30.0, 3, 10) == pytest.approx(70.0)
    assert time_left(30.0, 12, 10) == 0.0
