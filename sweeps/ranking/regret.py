"""Regret: what one setting for all countries loses against settings tuned per country.

In come the records of a run and its rankings; out comes one row per country: the recommended
setting's accuracy minus that of the common one, on the same validation pairs, paired by user.
Both were chosen on these users; so also the regret on users that neither choice saw, from
resamples as in `optimism`. The noise floor says how far trainings differ by their seed alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from scpo.arrays import FloatArray
from scpo.files.csv_files import write_csv
from scpo.statistics.bootstrap import mean_interval
from scpo.statistics.wording import format_difference
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.same_setting import describe_identity, seed_deviation
from sweeps.ledger.words import POOLED
from sweeps.ranking.one_for_all import SharedSettings, choose_common, shared_settings
from sweeps.ranking.optimism import choose_again
from sweeps.ranking.ranking import CountryRanking


@dataclass(frozen=True)
class RegretRow:
    """One country, or all pooled; accuracies are fractions 0..1 on validation users.

    Attributes:
        country: Name, or `pooled`: pairs joined, interval over all users.
        tuned: Accuracy of the country's recommended setting.
        common: Accuracy of the common setting, seeds averaged.
        regret: `tuned - common`.
        low: Lower end of the regret's 95 % interval by user; None with fewer than 2 users.
        high: Upper end of the same.
        best_regret: Accuracy of the country's best setting minus `common`.
        held_out: Mean regret on users left out of resamples, both settings chosen on the
            others; None with fewer than 2 users.
        pairs_tuned: Pairs the recommended setting trained on.
        pairs_common: Pairs the common setting trained on.
        pairs: Validation pairs.
        users: Validation users.
        seed_deviation: Standard deviation of accuracy between seeds of one setting; None where
            no setting was repeated.
        num_repeats: Trainings that repeat a setting with another seed, of any arm.
    """

    country: str
    tuned: float
    common: float
    regret: float
    low: float | None
    high: float | None
    best_regret: float
    held_out: float | None
    pairs_tuned: float
    pairs_common: float
    pairs: int
    users: int
    seed_deviation: float | None
    num_repeats: int


@dataclass(frozen=True)
class RegretTable:
    """The regret of every searched country.

    Attributes:
        setting: The common setting in words; None without one.
        num_candidates: Settings that every country tried.
        feasible: Whether the common setting keeps the constraint in every country.
        rows: Pooled first, then by country; none without a common setting.
        missing: Why there are no rows; None where there are some.
    """

    setting: str | None
    num_candidates: int
    feasible: bool
    rows: tuple[RegretRow, ...]
    missing: str | None


def regret_table(
    records: Sequence[TrialRecord], rankings: Sequence[CountryRanking], *, seed: int = 0
) -> RegretTable:
    """Return what the best common setting loses in every country that has a recommendation.

    Args:
        records: Every record of the run.
        rankings: The rankings of the same run.
        seed: Seed of the resamples.

    Raises:
        ValueError: Records of one country and the same users disagree in their pairs.
    """
    keys, countries = shared_settings(records, rankings)
    if len(countries) < 2:
        return _without("one setting for all needs at least two countries with ranked settings")
    if not keys:
        return _without("no setting was tried in every country on the same validation users")
    everybody = [np.ones((1, len(country.pairs)), dtype=np.int64) for country in countries]
    (common,) = choose_common(countries, everybody)
    held_out = _held_out(countries, seed)
    rows = [
        _row(country, common, judged, seed_deviation(records, country.ranking.country))
        for country, judged in zip(countries, held_out, strict=True)
    ]
    return RegretTable(
        setting=describe_identity(keys[common]),
        num_candidates=len(keys),
        feasible=all(bool(country.feasible[common]) for country in countries),
        rows=(_pooled_row(rows, countries, common, held_out, seed_deviation(records)), *rows),
        missing=None,
    )


def write_regret(table: RegretTable, path: Path) -> None:
    """Write the rows as CSV, whole or not at all; the columns are the fields of `RegretRow`."""
    write_csv([field.name for field in fields(RegretRow)], [asdict(r) for r in table.rows], path)


def describe_regret(table: RegretTable) -> str:
    """Return the table in two sentences."""
    if table.missing is not None:
        return f"Regret of one setting for all countries: not known, for {table.missing}."
    pooled = table.rows[0]
    broken = "" if table.feasible else ", which breaks the constraint in some country"
    held_out = ""
    if pooled.held_out is not None:
        held_out = f"; {100 * pooled.held_out:+.1f} on users that neither choice saw"
    if pooled.seed_deviation is None:
        noise = "No setting was repeated with another seed, so the noise floor is not known."
    else:
        plural = "" if pooled.num_repeats == 1 else "s"
        noise = (
            f"Noise floor: {100 * pooled.seed_deviation:.1f} points, the standard deviation "
            f"between seeds of one setting ({pooled.num_repeats} repeat{plural})."
        )
    return (
        f"One setting for all, the best of {table.num_candidates} tried everywhere: "
        f"{table.setting}{broken}. Tuned per country gains "
        f"{format_difference(pooled.regret, pooled.low, pooled.high)} points on it{held_out}. "
        f"{noise}"
    )


def _held_out(countries: Sequence[SharedSettings], seed: int) -> list[tuple[float, float]]:
    """Return per country (right pairs gained, pairs judged) on users that no choice saw."""
    draws, tuned = [], []
    for number, country in enumerate(countries):
        settings = country.ranking.settings
        drawn, chosen = choose_again(
            country.own,
            country.pairs,
            np.array([setting.pairs_trained for setting in settings]),
            np.array([setting.violation for setting in settings]),
            margin=country.ranking.margin,
            seed=seed + 1000 * number,  # other users, so other draws
        )
        draws.append(drawn)
        tuned.append(chosen)
    common = choose_common(countries, draws)
    sums = []
    for country, drawn, chosen in zip(countries, draws, tuned, strict=True):
        left_out = drawn == 0
        gain = country.own[chosen] - country.shared[common]
        sums.append((float((left_out * gain).sum()), float((left_out @ country.pairs).sum())))
    return sums


def _row(
    country: SharedSettings,
    common: int,
    held_out: tuple[float, float],
    noise: tuple[float | None, int],
) -> RegretRow:
    """Return the regret of one country."""
    recommended, best = country.ranking.recommended, country.ranking.best
    assert recommended is not None  # shared_settings leaves out countries without settings
    assert best is not None
    total = float(country.pairs.sum())
    common_accuracy = float(country.shared[common].sum()) / total
    gain = country.gain_over(common)
    _, low, high = mean_interval(gain, country.pairs)
    return RegretRow(
        country=country.ranking.country,
        tuned=recommended.accuracy,
        common=common_accuracy,
        regret=float(gain.sum()) / total,
        low=low,
        high=high,
        best_regret=best.accuracy - common_accuracy,
        held_out=held_out[0] / held_out[1] if held_out[1] else None,
        pairs_tuned=recommended.pairs_trained,
        pairs_common=float(country.pairs_trained[common]),
        pairs=int(total),
        users=len(country.pairs),
        seed_deviation=noise[0],
        num_repeats=noise[1],
    )


def _pooled_row(
    rows: Sequence[RegretRow],
    countries: Sequence[SharedSettings],
    common: int,
    held_out: Sequence[tuple[float, float]],
    noise: tuple[float | None, int],
) -> RegretRow:
    """Return the regret over all countries, their pairs joined."""
    weights = np.array([row.pairs for row in rows], dtype=np.float64)
    _, low, high = mean_interval(
        np.concatenate([country.gain_over(common) for country in countries]),
        np.concatenate([country.pairs for country in countries]),
    )
    gained, judged = (sum(part) for part in zip(*held_out, strict=True))
    return RegretRow(
        country=POOLED,
        tuned=_average([row.tuned for row in rows], weights),
        common=_average([row.common for row in rows], weights),
        regret=_average([row.regret for row in rows], weights),
        low=low,
        high=high,
        best_regret=_average([row.best_regret for row in rows], weights),
        held_out=gained / judged if judged else None,
        pairs_tuned=sum(row.pairs_tuned for row in rows),
        pairs_common=sum(row.pairs_common for row in rows),
        pairs=sum(row.pairs for row in rows),
        users=sum(row.users for row in rows),
        seed_deviation=noise[0],
        num_repeats=noise[1],
    )


def _average(values: Sequence[float], weights: FloatArray) -> float:
    """Return the mean over countries weighted by their pairs."""
    return float(np.average(values, weights=weights))


def _without(reason: str) -> RegretTable:
    """Return a table without rows."""
    return RegretTable(None, 0, False, (), reason)
