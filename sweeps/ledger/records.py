"""One record per training, and the ledger file that holds them: `trials.jsonl`.

A record holds the job (country, arm, setting, seed), its result (accuracies with intervals,
counts) and its cost. Only the driver appends; ranking, curves and report read nothing else, so
they need neither Ray nor torch.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scpo.statistics.bootstrap import Interval
from sweeps.ledger.chain import Chain, refuse_flipped_end
from sweeps.ledger.end_file import LedgerEnd, read_end, write_end

LEDGER_NAME = "trials.jsonl"

Purpose = Literal["search", "rung", "curve", "final", "head"]
Part = Literal["validation", "test"]
State = Literal["complete", "pruned", "failed"]

_Share = Annotated[float, Field(ge=0, le=1)]
_Number = Annotated[int, Field(ge=0)]


class LedgerModel(BaseModel):
    """Base of what a ledger's line holds: frozen, unknown fields refused, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AccuracyRecord(LedgerModel):
    """An accuracy with its interval; the fields of `scpo.statistics.accuracy.Accuracy`."""

    accuracy: _Share | None
    low: _Share | None
    high: _Share | None
    pairs: _Number
    users: _Number
    ties: _Number

    @property
    def interval(self) -> Interval:
        """The accuracy with its ends and users."""
        return Interval(self.accuracy, self.low, self.high, self.users)


class UserCounts(LedgerModel):
    """Right pairs per user, aligned lists: enough for a paired bootstrap over users."""

    users: list[str]
    pairs: list[_Number]
    correct: list[_Number]


class EvaluationRecord(LedgerModel):
    """Accuracies of one model on the validation or test users of a country."""

    part: Part
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


class TrialRecord(LedgerModel):
    """One training, complete or failed: one line of the ledger."""

    trial_id: str
    purpose: Purpose = Field(
        description="Part of a search, a rung of such a part, a point of a curve, a final model, "
        "or a linear head that is tested beside them."
    )
    country: str
    arm: str = Field(description="Arm of METHOD, or `scpo_tuned` for a point of the search.")
    state: State
    config: dict[str, float | int | str | None] = Field(
        description="retention, strength, user_strength (missing: 0), learning_rate, epochs, "
        "folds, budget (share of pairs)",
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
        default_factory=dict,
        description="tau, beta (null: no weighting), margin_scale, user_strength (missing: 0)",
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
    lane_lost: bool = Field(
        False, description="failed with its lane, so a resumed run tries again"
    )
    model_path: str | None = None
    model_hash: str | None = Field(None, description="content hash of the model at `model_path`")
    trained_as: str | None = Field(
        None, description="trial_id of the one training of two arms with the same setting"
    )
    tested_before: _Number = Field(
        0, description="other settings of this name that the same test users judged before"
    )

    @model_validator(mode="after")
    def _is_accuracy(self) -> "TrialRecord":
        accuracy = self.objectives.get("validation_accuracy", 0.0)
        if not 0.0 <= accuracy <= 1.0:
            raise ValueError(f"`0 <= validation_accuracy <= 1` must hold, but got {accuracy}.")
        return self

    @property
    def feasible(self) -> bool:
        """Whether every constraint holds."""
        return all(value <= 0 for value in self.constraints.values())


Listener = Callable[[TrialRecord], None]


class Ledger:
    """The append-only `trials.jsonl` of one run, written by one process.

    The run's folder is created when missing. Opening moves a torn last line (a kill in the middle
    of an append) to `trials.torn`, so that the next record starts a line.

    Attributes:
        run: Id of the run, in every line.
        listeners: Called with each record once it is durable; they must return at once.

    Raises:
        ValueError: As of `read_records`.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / LEDGER_NAME

        end = read_end(folder)
        _cut_torn_line(self.path)
        self._chain = Chain()
        links = []
        if os.path.lexists(self.path):
            for line, where in _lines_of(self.path):
                self._chain.follow(line, where)
                links.append(self._chain.link)
        if end is not None:
            end.check(self.path, self._chain.run, links)
        self._num_lines = len(links)
        self._size = self.path.stat().st_size if self.path.exists() else 0
        if self._chain.run is None:
            self._chain.run = uuid4().hex[:8]
        self.run = self._chain.run
        self.listeners: list[Listener] = []

    def append(self, record: TrialRecord) -> None:
        """Add one record and make it durable, then tell the listeners.

        Raises:
            RuntimeError: The file is not as this process left it.
        """
        self._write(self._chain.add(_encode(record)) + b"\n")
        self._num_lines += 1
        end = LedgerEnd(self.run, self._num_lines, self._chain.link)
        write_end(self.path.parent, end)
        for listener in self.listeners:
            listener(record)

    def read(self) -> list[TrialRecord]:
        """Return every record in the order of writing."""
        return read_records(self.path) if self.path.exists() else []

    def _write(self, line: bytes) -> None:
        mode = "rb+" if self._size else "ab"  # one that has lines is not begun anew
        with suppress(FileNotFoundError), self.path.open(mode) as handle:
            if handle.seek(0, os.SEEK_END) == self._size:
                handle.write(line)
                handle.flush()
                os.fsync(handle.fileno())
                self._size += len(line)
                return
        raise RuntimeError(
            f"{self.path} was removed, moved or written by somebody else while this process "
            "records in it, so it records no more. If the folder was moved, resume there with "
            "--resume; a new run needs an --out that no other process writes."
        )


def encode_records(records: Iterable[TrialRecord]) -> bytes:
    """Return records as the content of a new ledger."""
    chain = Chain(uuid4().hex[:8])
    return b"".join(chain.add(_encode(record)) + b"\n" for record in records)


def read_records(path: Path) -> list[TrialRecord]:
    """Read a ledger, the file or the run's folder: a record a trial, in the order of writing.

    Of several records of one trial the last counts, but a failure never replaces a result.

    Raises:
        FileNotFoundError: No ledger there.
        ValueError: A line is not a record, has other bytes than were written, does not follow
            the one before it, or gives a trial of a search another setting; the message names
            file and line.
    """
    file = path / LEDGER_NAME if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"No ledger at {file}. Is {path} the folder of a sweep?")
    records: dict[str, TrialRecord] = {}
    for record, where in _sound_records(file):
        older = records.get(record.trial_id)
        if older is not None and older.state != "failed":
            if record.state == "failed":
                continue
            if record.purpose == "search" and record.config_hash != older.config_hash:
                raise ValueError(
                    f"{where}: trial {record.trial_id} has another setting than in an "
                    "earlier line: two sweeps wrote into this run. Start it anew elsewhere."
                )
        records[record.trial_id] = record
    return list(records.values())


def _sound_records(file: Path) -> Iterator[tuple[TrialRecord, str]]:
    """Yield each record of a ledger with its place; the last after a look at the ledger's end."""
    chain = Chain()
    links = []
    try:
        end = read_end(file.parent) if file.name == LEDGER_NAME else None
        for line, where in _lines_of(file):
            yield decode_record(chain.follow(line, where), where), where
            links.append(chain.link)
        if end is not None:
            end.check(file, chain.run, links)
    except ValueError as error:
        raise ValueError(f"{error} See what is sound with: scpo repair {file.parent}") from None


def decode_record(body: bytes, where: str) -> TrialRecord:
    """Return the record of a line's body.

    Raises:
        ValueError: It is none; the message says which field is wrong.
    """
    try:
        return TrialRecord.model_validate_json(body)
    except ValidationError as error:
        first: Any = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise ValueError(f"{where}: {field}: {first['msg']}.") from error


def _encode(record: TrialRecord) -> bytes:
    return json.dumps(record.model_dump(), allow_nan=False, ensure_ascii=False).encode()


def _lines_of(file: Path) -> Iterator[tuple[bytes, str]]:
    """Yield each line with its place; what follows the last newline is torn, if not whole."""
    *lines, torn = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        yield line, f"{file}:{number}"
    refuse_flipped_end(torn, f"{file}:{len(lines) + 1}")


def _cut_torn_line(path: Path) -> None:
    """Move bytes after the last newline of `path` to `trials.torn`."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole == len(data):
        return
    number = data.count(b"\n") + 1
    refuse_flipped_end(data[whole:], f"{path}:{number}")
    with path.with_suffix(".torn").open("ab") as handle:
        handle.write(data[whole:] + b"\n")
    with path.open("rb+") as handle:
        handle.truncate(whole)
        os.fsync(handle.fileno())
