"""One record per training, and the ledger file that holds them: `trials.jsonl`.

A record holds the job (country, arm, setting, seed), its result (accuracies with intervals,
counts) and its cost. Only the driver appends; ranking, curves and report read nothing else, so
they need neither Ray nor torch.
"""

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scpo.statistics.bootstrap import Interval

LEDGER_NAME = "trials.jsonl"

Purpose = Literal["search", "rung", "curve", "final"]
State = Literal["complete", "pruned", "failed"]


class AccuracyRecord(BaseModel):
    """An accuracy with its interval; the fields of `scpo.statistics.accuracy.Accuracy`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accuracy: float | None
    low: float | None
    high: float | None
    pairs: int
    users: int
    ties: int

    @property
    def interval(self) -> Interval:
        """The accuracy with its ends and users."""
        return Interval(self.accuracy, self.low, self.high, self.users)


class UserCounts(BaseModel):
    """Right pairs per user, aligned lists: enough for a paired bootstrap over users."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: list[str]
    pairs: list[int]
    correct: list[int]


class EvaluationRecord(BaseModel):
    """Accuracies of one model on the validation or test users of a country."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: Literal["validation", "test"]
    overall: AccuracyRecord
    distinctive: AccuracyRecord
    consensus: AccuracyRecord
    global_overall: AccuracyRecord = Field(description="The global model on the same pairs.")
    length: AccuracyRecord = Field(description="Longer response wins, on the same pairs.")
    by_user: UserCounts
    global_by_user: UserCounts
    distinctive_by_user: UserCounts | None = Field(
        None,
        description="Users with distinctive pairs; their other pairs are consensus. Missing in "
        "older records.",
    )


class TrialRecord(BaseModel):
    """One training, complete or failed: one line of the ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial_id: str
    purpose: Purpose = Field(
        description="Part of a search, a rung of such a part, a point of a curve, a final model."
    )
    country: str
    arm: str = Field(description="Arm of METHOD, or `scpo_tuned` for a point of the search.")
    state: State
    config: dict[str, float | int | str | None] = Field(
        description="retention, strength, learning_rate, epochs, folds, budget (share of pairs)"
    )
    config_hash: str
    seed: int
    rung: int | None = Field(
        None, description="labelled pairs of a rung: its own, or where a pruned trial ended"
    )
    objectives: dict[str, float] = Field(
        default_factory=dict,
        description="validation_accuracy (0..1, up) and pairs_trained (count, down)",
    )
    constraints: dict[str, float] = Field(
        default_factory=dict, description="feasible where every value <= 0"
    )
    evaluation: EvaluationRecord | None = None
    setting: dict[str, float | None] = Field(
        default_factory=dict, description="tau, beta (null: no weighting), margin_scale"
    )
    counts: dict[str, float] = Field(
        default_factory=dict,
        description="pairs_available, pairs_labelled, pairs_trained, effective_pairs, steps",
    )
    times: dict[str, float | str] = Field(
        default_factory=dict, description="started (ISO 8601, UTC), wall_s, train_s, evaluate_s"
    )
    engine: str = ""
    devices: int = Field(1, ge=1, description="that trained it together")
    versions: dict[str, str] = Field(default_factory=dict)
    commit: str | None = None
    error: str | None = None
    model_path: str | None = None

    @property
    def feasible(self) -> bool:
        """Whether every constraint holds."""
        return all(value <= 0 for value in self.constraints.values())


class Ledger:
    """The append-only `trials.jsonl` of one run, written by one process.

    The run's folder is created when missing. Opening moves a torn last line (a kill in the middle
    of an append) to `trials.torn`, so that the next record starts a line.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / LEDGER_NAME
        _cut_torn_line(self.path)

    def append(self, record: TrialRecord) -> None:
        """Add one record and make it durable before returning."""
        line = json.dumps(record.model_dump(), allow_nan=False, ensure_ascii=False)
        self._write(f"{line}\n".encode())

    def read(self) -> list[TrialRecord]:
        """Return every record in the order of writing."""
        return read_records(self.path) if self.path.exists() else []

    def _write(self, line: bytes) -> None:
        with self.path.open("ab") as handle:
            handle.write(line)
            handle.flush()
            os.fsync(handle.fileno())


def read_records(path: Path) -> list[TrialRecord]:
    """Read a ledger, the file or the run's folder: a record a trial, in the order of writing.

    Where a failed training was tried again its last record counts.

    Raises:
        FileNotFoundError: No ledger there.
        ValueError: A line is not a record; the message names file and line.
    """
    file = path / LEDGER_NAME if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"No ledger at {file}. Is {path} the folder of a sweep?")
    records: dict[str, TrialRecord] = {}
    lines = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):  # what follows the last newline is torn
        try:
            record = TrialRecord.model_validate_json(line)
        except ValidationError as error:
            first: Any = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the line"
            raise ValueError(f"{file}:{number}: {where}: {first['msg']}") from error
        records[record.trial_id] = record
    return list(records.values())


def _cut_torn_line(path: Path) -> None:
    """Move bytes after the last newline of `path` to `trials.torn`."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole == len(data):
        return
    with path.with_suffix(".torn").open("ab") as handle:
        handle.write(data[whole:] + b"\n")
    with path.open("rb+") as handle:
        handle.truncate(whole)
        os.fsync(handle.fileno())
