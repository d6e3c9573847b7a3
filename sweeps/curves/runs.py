"""What the points of data-efficiency curves are made of: one training of one country each.

In come the `curve` records of a run, evaluated on validation users, and what its search trained
at the corner of the space that is `full`, rungs included; out come runs, lined up by user within
a country. Of several records with one country, arm, budget and seed the last counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scpo.arrays import FloatArray
from sweeps.ledger.records import AccuracyRecord, TrialRecord
from sweeps.ledger.user_counts import align_by_user, evaluation_of

ARM_ORDER = ("full", "scpo", "random_k")

Key = tuple[str, float, int]  # arm, budget, seed


@dataclass(frozen=True)
class CurveRun:
    """One training: what it was given, and what it orders right.

    Attributes:
        country: Whose pairs.
        users: Names of the U validation users, sorted.
        pairs: Shape (U,), pairs of each user.
        correct: Shape (U,), pairs ordered right.
        global_correct: Shape (U,), the same for the global model.
        length_correct: Pairs that "longer response wins" orders right.
        layers: Per layer, (pairs ordered right, pairs): distinctive, then consensus.
        labelled: Pairs labelled.
        trained: Pairs trained on.
    """

    country: str
    users: tuple[str, ...]
    pairs: FloatArray
    correct: FloatArray
    global_correct: FloatArray
    length_correct: float
    layers: tuple[tuple[float, int], tuple[float, int]]
    labelled: float
    trained: float


def curve_runs(records: Sequence[TrialRecord]) -> dict[str, dict[Key, CurveRun]]:
    """Return {country: {(arm, budget, seed): run}}, all sorted.

    Raises:
        ValueError: A curve trial lacks `budget` or a count, is not evaluated on validation
            users, or on other users than the rest of its country.
    """
    found: dict[str, dict[Key, TrialRecord]] = {}
    curves = [r for r in records if r.purpose == "curve" and r.state == "complete"]
    for record in (*_fitting(full_of_search(records), curves), *curves):
        key = (record.arm, _budget(record), record.seed)
        found.setdefault(record.country, {})[key] = record
    runs: dict[str, dict[Key, CurveRun]] = {}
    for country in sorted(found):
        keys = sorted(found[country], key=key_order)
        chosen = [found[country][key] for key in keys]
        counts = align_by_user(chosen, "validation")
        if counts.pairs.sum() == 0:
            continue
        runs[country] = {
            key: CurveRun(
                country=country,
                users=counts.users,
                pairs=counts.pairs,
                correct=counts.correct[row],
                global_correct=counts.global_correct,
                length_correct=_right(evaluation_of(record, "validation").length)[0],
                layers=_layers(record),
                labelled=_count(record, "pairs_labelled"),
                trained=_count(record, "pairs_trained"),
            )
            for row, (key, record) in enumerate(zip(keys, chosen, strict=True))
        }
    return runs


def key_order(key: Key) -> tuple[int, Key]:
    """Order arms as they are drawn, then budgets, then seeds."""
    arm = key[0]
    return (ARM_ORDER.index(arm) if arm in ARM_ORDER else len(ARM_ORDER)), key


def full_of_search(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trainings of a search that are plain fine-tuning, as records of arm `full`."""
    return [
        record.model_copy(update={"arm": "full"})
        for record in records
        if record.purpose in ("search", "rung")
        and record.state == "complete"
        and (record.config.get("retention"), record.config.get("strength")) == (1.0, 0.0)
    ]


def curve_numbers(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what all points of a curve must share: rate, epochs, adapters and folds."""
    return tuple(config.get(name) for name in ("learning_rate", "epochs", "lora_rank", "folds"))


def _fitting(searched: list[TrialRecord], curves: list[TrialRecord]) -> list[TrialRecord]:
    """Return the searched records that lie on one line with a country's others."""
    lines: dict[str, set[tuple[Any, ...]]] = {}
    for record in curves:
        if record.arm == "full":
            lines.setdefault(record.country, set()).add(_line(record))
    for record in searched:
        lines.setdefault(record.country, {_line(record)})
    return [record for record in searched if _line(record) in lines[record.country]]


def _line(record: TrialRecord) -> tuple[Any, ...]:
    """Return what the points of one seed's line share."""
    return record.seed, *curve_numbers(record.config)


def _budget(record: TrialRecord) -> float:
    """Return the budget of a curve trial, in (0, 1]."""
    budget = record.config.get("budget")
    if not (isinstance(budget, float | int) and 0 < budget <= 1):
        raise ValueError(
            f"`0 < budget <= 1` must hold in the config of a curve trial, "
            f"but trial {record.trial_id} has budget={budget}."
        )
    return float(budget)


def _count(record: TrialRecord, name: str) -> float:
    """Return a positive count of a curve trial."""
    value = record.counts.get(name, 0)
    if not value > 0:  # a log scale has no place for it
        raise ValueError(f"`{name} > 0` must hold, but curve trial {record.trial_id} has {value}.")
    return value


def _layers(record: TrialRecord) -> tuple[tuple[float, int], tuple[float, int]]:
    """Return (pairs ordered right, pairs) on distinctive and on consensus pairs."""
    evaluation = evaluation_of(record, "validation")
    return _right(evaluation.distinctive), _right(evaluation.consensus)


def _right(accuracy: AccuracyRecord) -> tuple[float, int]:
    """Return (pairs ordered right, pairs) of one accuracy."""
    return (accuracy.accuracy or 0.0) * accuracy.pairs, accuracy.pairs
