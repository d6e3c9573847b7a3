"""Which records a data-efficiency curve is made of.

In come the records of a run; out come its `curve` trials and what its search trained at the
corner of the space that is `full`, rungs included.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.ledger.records import TrialRecord
from sweeps.ledger.same_setting import is_full
from sweeps.ledger.words import BASELINE


def curve_trials(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the complete trials of a run's curves; those of the search go first.

    Raises:
        ValueError: A trial lacks `budget` or a count.
    """
    curves = [r for r in records if r.purpose == "curve" and r.state == "complete"]
    trials = [*_on_one_line(full_of_search(records), curves), *curves]
    for record in trials:
        _check(record)
    return trials


def full_of_search(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trainings of a search that are plain fine-tuning, as records of arm `full`."""
    return [
        record.model_copy(update={"arm": BASELINE})
        for record in records
        if record.purpose in ("search", "rung") and record.state == "complete" and is_full(record)
    ]


def curve_numbers(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what all points of a curve must share: rate, epochs, adapters and folds."""
    return tuple(config.get(name) for name in ("learning_rate", "epochs", "lora_rank", "folds"))


def _on_one_line(searched: list[TrialRecord], curves: list[TrialRecord]) -> list[TrialRecord]:
    """Return the searched records that share seed and numbers with their country's curve."""
    lines: dict[str, set[tuple[Any, ...]]] = {}
    for record in curves:
        if record.arm == BASELINE:
            lines.setdefault(record.country, set()).add(_line(record))
    for record in searched:
        lines.setdefault(record.country, {_line(record)})
    return [record for record in searched if _line(record) in lines[record.country]]


def _line(record: TrialRecord) -> tuple[Any, ...]:
    return record.seed, *curve_numbers(record.config)


def _check(record: TrialRecord) -> None:
    budget = record.config.get("budget")
    if not (isinstance(budget, float | int) and 0 < budget <= 1):
        raise ValueError(
            f"`0 < budget <= 1` must hold in the config of a curve trial, "
            f"but trial {record.trial_id} has budget={budget}."
        )
    for name in ("pairs_labelled", "pairs_trained"):
        value = record.counts.get(name, 0)
        if not value > 0:  # a log scale has no place for it
            raise ValueError(
                f"`{name} > 0` must hold, but curve trial {record.trial_id} has {value}."
            )
