"""Which records tried the same setting, and how far trainings differ by their seed alone."""

import math
from collections import defaultdict
from collections.abc import Sequence

from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import BASELINE, GLOBAL, RANDOM, TUNED_ARM, USER

Identity = tuple[tuple[str, str], ...]

_CONSTANTS = {
    "filter": ("tau",),
    "weight": ("beta",),
    "inverse": ("beta",),
    USER: ("user_strength",),
}
_NO_REPEATS = (GLOBAL, RANDOM)  # the one is not trained, the other draws pairs by its seed
_STRENGTHS = ("strength", "user_strength")  # 0 is no weighting
_NOT_SETTING = ("retention", "strength", "user_strength", "tau", "beta", "budget", "folds")


def setting_identity(record: TrialRecord) -> Identity:
    """Return (name, value) of what makes a setting, values to six digits; `full` is (1, 0).

    A point of the search is its retention and strength, a named arm its name, tau and beta as
    far as it uses them; the rest of the configuration (learning rate, epochs) follows by name.
    """
    config = record.config
    head: dict[str, float | int | str | None]
    if record.arm == BASELINE:
        head = {"retention": 1, "strength": 0}
    elif record.arm == TUNED_ARM:
        head = {name: config.get(name) for name in ("retention", "strength")}
        head["user_strength"] = config.get("user_strength") or None  # older records have none
    else:
        used = _CONSTANTS.get(record.arm, ("tau", "beta"))
        head = {"arm": record.arm, **{name: config.get(name) for name in used}}
    rest = {name: config[name] for name in sorted(config) if name not in _NOT_SETTING}
    return tuple(
        (name, value if isinstance(value, str) else f"{value:.6g}")
        for name, value in (head | rest).items()
        if value is not None
    )


def is_full(record: TrialRecord) -> bool:
    """Tell whether a point of a search is plain fine-tuning: every pair, nothing weighted."""
    config = record.config
    weighted = [name for name in _STRENGTHS if config.get(name) not in (None, 0)]
    return config.get("retention") == 1 and config.get("strength") == 0 and not weighted


def describe_identity(identity: Identity) -> str:
    """Return e.g. "retention 0.41, strength 1.2, epochs 2, learning rate 2e-05"."""
    words = [f"{name.replace('_', ' ')} {value}" for name, value in identity]
    if identity[:2] == (("retention", "1"), ("strength", "0")) and (
        "user_strength" not in dict(identity)
    ):
        words[:2] = ["full (all pairs, no weighting)"]
    return ", ".join(words)


def is_whole(record: TrialRecord) -> bool:
    """Tell whether a record is a complete training of the model: no rung, budget or head."""
    return (
        record.state == "complete"
        and record.purpose not in ("rung", "head")
        and record.config.get("budget") in (None, 1.0)
    )


def seed_deviation(
    records: Sequence[TrialRecord], country: str | None = None
) -> tuple[float | None, int]:
    """Return the noise floor, the deviation between seeds of one setting, and its repeats.

    Records count together when country, setting and the users who judged them are equal. The
    groups' variances are pooled: sqrt(sum of squared deviations / sum of (seeds - 1)). The
    deviation is a fraction, None without repeats. Without a `country` all countries count.
    """
    groups: dict[object, dict[int, float]] = defaultdict(dict)
    for record in records:
        if country not in (None, record.country) or not is_whole(record):
            continue
        if record.arm in _NO_REPEATS or record.evaluation is None:
            continue
        counts = record.evaluation.by_user
        if sum(counts.pairs) > 0:
            key = (record.country, setting_identity(record), tuple(sorted(counts.users)))
            groups[key][record.seed] = sum(counts.correct) / sum(counts.pairs)
    squares, repeats = 0.0, 0
    for accuracies in groups.values():
        mean = sum(accuracies.values()) / len(accuracies)
        squares += sum((accuracy - mean) ** 2 for accuracy in accuracies.values())
        repeats += len(accuracies) - 1
    return (math.sqrt(squares / repeats) if repeats else None), repeats
