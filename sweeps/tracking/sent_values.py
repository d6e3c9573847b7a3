"""What a tracker is sent of a sweep and of each training: plain values, without secrets.

Of an evaluation only accuracies, their ends and counts are sent: nothing of single users. What is
searched or set becomes a setting, what is measured a metric:

    validation_accuracy, pairs_trained              the objectives
    {part}/{layer}[_low, _high, _pairs, _users]     accuracies (0..1) with their ends
    counts/{name}, times/{name}, constraints/{name}, feasible
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from scpo.files.atomic import hash_values
from scpo.text.secrets import is_secret_name, mask_secrets
from scpo.text.settings import dotted_keys
from scpo.text.terminal import one_line
from scpo.text.yaml_files import read_yaml
from sweeps.ledger.records import AccuracyRecord, EvaluationRecord, TrialRecord

Setting = float | int | str
_LAYERS = ("overall", "distinctive", "consensus", "global_overall", "length")
_LONGEST = 500  # characters of a value, which every tracker takes


@dataclass(frozen=True)
class SentSweep:
    """A run of a sweep.

    Attributes:
        run: Id of the run, 8 hexadecimal digits.
        name: Of its configuration.
        folder: Where a tracker that writes files may write them.
        settings: Its configuration, by dotted key.
    """

    run: str
    name: str
    folder: Path
    settings: dict[str, Setting]


@dataclass(frozen=True)
class SentTrial:
    """One training; a later one of the same name takes its place.

    Attributes:
        name: Its trial id.
        country: Steered to.
        number: Of the records of its run, from 0.
        state: complete, pruned or failed.
        settings: Point of the search, arm, seed, and what they resolved to.
        metrics: What was measured, all finite.
        tags: Texts beside it.
        started_ms: Since 1970, UTC; None where it is not known.
        wall_s: Seconds that it took.
    """

    name: str
    country: str
    number: int
    state: str
    settings: dict[str, Setting]
    metrics: dict[str, float]
    tags: dict[str, str]
    started_ms: int | None
    wall_s: float


def sent_sweep(run: str, folder: Path) -> SentSweep:
    """Return what is sent of a run, from the configuration in its folder.

    Raises:
        FileNotFoundError: The folder has no configuration.
        ValueError: It is no mapping.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        raise FileNotFoundError(f"No {file}. Is {folder} the folder of a sweep?")
    config = read_yaml(file).value
    if not isinstance(config, dict):
        raise ValueError(
            f"{file} must hold keys and values. Restore the configuration of the run."
        )
    return SentSweep(run, str(config.get("name", "sweep")), folder, dict(_flat_settings(config)))


def sent_trial(record: TrialRecord, number: int) -> SentTrial:
    """Return what is sent of a record."""
    settings = {
        "country": record.country,
        "arm": record.arm,
        "purpose": record.purpose,
        "seed": record.seed,
        "rung": record.rung,
        "engine": record.engine,
        "devices": record.devices,
        **record.config,
        **record.setting,
    }
    started = record.times.get("started")
    times = {name: float(t) for name, t in record.times.items() if isinstance(t, float | int)}
    return SentTrial(
        name=record.trial_id,
        country=record.country,
        number=number,
        state=record.state,
        settings=dict(_flat_settings(settings)),
        metrics={
            **record.objectives,
            **_accuracies(record.evaluation),
            **_under("constraints", record.constraints),
            **({"feasible": float(record.feasible)} if record.constraints else {}),
            **_under("counts", record.counts),
            **_under("times", times),
        },
        tags={name: masked(text) for name, text in _texts(record) if text},
        started_ms=round(1000 * datetime.fromisoformat(str(started)).timestamp())
        if started
        else None,
        wall_s=times.get("wall_s", 0.0),
    )


def fingerprint(record: TrialRecord) -> str:
    """Return a hash of a record, 16 hexadecimal digits."""
    return hash_values(record.model_dump(mode="json"))[:16]


def masked(text: str) -> str:
    """Return a text as one line without secrets, cut where it is long."""
    return one_line(mask_secrets(text))[:_LONGEST]


def _texts(record: TrialRecord) -> Iterator[tuple[str, str | None]]:
    yield "state", record.state
    yield "commit", record.commit
    yield "config_hash", record.config_hash
    yield "error", record.error
    for name, version in record.versions.items():
        yield f"version.{name}", version


def _accuracies(evaluation: EvaluationRecord | None) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for layer in _LAYERS if evaluation else ():
        found: AccuracyRecord = getattr(evaluation, layer)
        name = f"{evaluation.part}/{layer}" if evaluation else layer
        values = {"": found.accuracy, "_low": found.low, "_high": found.high}
        values |= {"_pairs": found.pairs, "_users": found.users}
        metrics |= {f"{name}{end}": float(v) for end, v in values.items() if v is not None}
    return metrics


def _under(group: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{group}/{name}": float(value) for name, value in values.items()}


def _flat_settings(values: Mapping[str, Any]) -> Iterator[tuple[str, Setting]]:
    """Yield settings by dotted key; what is None is left out, and a list is a text."""
    for name, value in dotted_keys(values).items():
        if is_secret_name(name.rpartition(".")[2]) and isinstance(value, str):
            yield name, "***"
        elif isinstance(value, float | int):
            yield name, value
        elif value is not None:
            yield name, masked(str(value))
