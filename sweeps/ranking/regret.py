"""Regret: what one setting for all countries loses against settings tuned per country.

In come the records of a run and its rankings; out comes one row per country: the recommended
setting's accuracy minus that of the common one, on the same validation pairs, paired by user.
Both were chosen on these users; so also the regret on users that neither choice saw, from
resamples as in `optimism`. The noise floor says how far trainings differ by their seed alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scpo.files.csv_files import write_csv
from scpo.statistics.bootstrap import Interval, interval
from scpo.statistics.wording import format_difference
from scpo.text.counts import format_count
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.same_setting import describe_identity, seed_deviation
from sweeps.ledger.words import POOLED
from sweeps.ranking.one_for_all import SharedSettings, choose_common, shared_settings
from sweeps.ranking.optimism import choose_again
from sweeps.ranking.ranking import CountryRanking


@dataclass(frozen=True)
class RegretRow:
    """One country, or all pooled; accuracies are fractions 0..1 on validation users."""

    country: str  # name, or `pooled`: pairs joined, interval over all users
    tuned: float  # accuracy of the country's recommended setting
    common: float  # accuracy of the common setting, seeds averaged
    regret: Interval  # `tuned - common`, paired by user
    best_regret: float  # accuracy of the country's best setting minus `common`
    # Mean on users left out of resamples, both settings chosen on the others; None with 1 user.
    held_out: float | None
    pairs_tuned: float  # pairs the recommended setting trained on
    pairs_common: float  # pairs the common setting trained on
    pairs: int
    users: int
    seed_deviation: float | None  # of accuracy between seeds of one setting; None without repeats
    num_repeats: int  # trainings that repeat a setting with another seed, of any arm


_COLUMNS = """
    country tuned common regret low high best_regret held_out pairs_tuned pairs_common pairs users
    seed_deviation num_repeats
""".split()


@dataclass(frozen=True)
class RegretTable:
    """The regret of every searched country."""

    setting: str | None  # the common setting in words; None without one
    num_candidates: int  # settings that every country tried
    feasible: bool  # whether the common setting keeps the constraint in every country
    rows: tuple[RegretRow, ...]  # pooled first, then by country; none without a common setting
    missing: str | None  # why there are no rows; None where there are some


def regret_table(
    records: Sequence[TrialRecord], rankings: Sequence[CountryRanking]
) -> RegretTable:
    """Return what the best common setting loses in every country that has ranked settings.

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
    held_out = _held_out(countries)
    rows = [
        _row(name, [country], common, [judged], seed_deviation(records, name))
        for country, judged in zip(countries, held_out, strict=True)
        for name in [country.ranking.country]
    ]
    pooled = _row(POOLED, countries, common, held_out, seed_deviation(records))
    return RegretTable(
        setting=describe_identity(keys[common]),
        num_candidates=len(keys),
        feasible=all(bool(country.feasible[common]) for country in countries),
        rows=(pooled, *rows),
        missing=None,
    )


def write_regret(table: RegretTable, path: Path) -> None:
    """Write the rows as CSV, whole or not at all; the columns are `_COLUMNS`."""
    write_csv(_COLUMNS, [vars(row) | row.regret.columns("regret") for row in table.rows], path)


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
        noise = (
            f"Noise floor: {100 * pooled.seed_deviation:.1f} points, the standard deviation "
            f"between seeds of one setting ({format_count(pooled.num_repeats, 'repeat')})."
        )
    return (
        f"One setting for all, the best of {table.num_candidates} tried everywhere: "
        f"{table.setting}{broken}. Tuned per country gains "
        f"{format_difference(pooled.regret)} points on it{held_out}. "
        f"{noise}"
    )


def _held_out(countries: Sequence[SharedSettings]) -> list[tuple[float, float]]:
    """Return per country (right pairs gained, pairs judged) on users that no choice saw."""
    draws, tuned = [], []
    for number, country in enumerate(countries):
        caution = country.ranking.rule.caution
        seed = 1000 * number  # other users, so other draws
        drawn, chosen = choose_again(country.candidates, caution=caution, seed=seed)
        draws.append(drawn)
        tuned.append(chosen)
    common = choose_common(countries, draws)
    sums = []
    for country, drawn, chosen in zip(countries, draws, tuned, strict=True):
        left_out = drawn == 0
        gain = country.rows[chosen] - country.shared[common]
        sums.append((float((left_out * gain).sum()), float((left_out @ country.pairs).sum())))
    return sums


def _row(
    name: str,
    countries: Sequence[SharedSettings],
    common: int,
    held_out: Sequence[tuple[float, float]],
    noise: tuple[float | None, int],
) -> RegretRow:
    pairs = np.concatenate([country.pairs for country in countries])
    tuned, best, shared = (
        np.concatenate(right)
        for right in zip(*(country.right_pairs(common) for country in countries), strict=True)
    )
    total = float(pairs.sum())
    gained, judged = (sum(values) for values in zip(*held_out, strict=True))
    return RegretRow(
        country=name,
        tuned=float(tuned.sum()) / total,
        common=float(shared.sum()) / total,
        regret=interval(tuned - shared, pairs),
        best_regret=float((best - shared).sum()) / total,
        held_out=gained / judged if judged else None,
        pairs_tuned=sum(country.pairs_tuned for country in countries),
        pairs_common=sum(float(country.pairs_trained[common]) for country in countries),
        pairs=int(total),
        users=len(pairs),
        seed_deviation=noise[0],
        num_repeats=noise[1],
    )


def _without(reason: str) -> RegretTable:
    return RegretTable(None, 0, False, (), reason)
