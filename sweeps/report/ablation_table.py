"""The ablation as `ablation.csv` and as a table for the terminal.

In come records of one part of the users. Seeds of an arm are averaged per user before the
interval by user is taken; how far the seeds differ stands beside it, as standard deviation,
smallest and largest accuracy. Pooled rows join the pairs of all countries that have the arm.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from scpo.arrays import FloatArray
from scpo.files.csv_files import write_csv
from scpo.statistics.bootstrap import mean_interval
from scpo.statistics.wording import format_accuracy, format_difference
from sweeps.ledger.records import AccuracyRecord, TrialRecord
from sweeps.ledger.user_counts import align_by_user, evaluation_of
from sweeps.ledger.words import ARMS, BASELINE, POOLED


@dataclass(frozen=True)
class AblationRow:
    """One arm in one country, or pooled over countries; accuracies are fractions 0..1.

    `low` and `high` are ends of 95 % intervals by user, None with fewer than 2 users; `vs_full`
    is the paired difference to the arm `full`. `seed_sd` is the standard deviation between
    seeds (n - 1), None with one seed.
    """

    country: str
    arm: str
    accuracy: float | None
    low: float | None
    high: float | None
    seed_sd: float | None
    seed_min: float | None
    seed_max: float | None
    num_seeds: int
    vs_full: float | None
    vs_full_low: float | None
    vs_full_high: float | None
    distinctive: float | None
    distinctive_pairs: int
    consensus: float | None
    consensus_pairs: int
    pairs: int
    users: int
    pairs_trained: float | None
    num_countries: int


@dataclass(frozen=True)
class _Cell:
    """One arm in one country: per seed and user, and per layer over seeds."""

    country: str
    arm: str
    seeds: tuple[int, ...]
    pairs: FloatArray
    correct: FloatArray
    distinctive: tuple[float, int]
    consensus: tuple[float, int]
    pairs_trained: float | None


def ablation_rows(records: Sequence[TrialRecord], part: str) -> list[AblationRow]:
    """Return pooled rows, where there are two countries, then those of each country.

    Args:
        records: Records of an ablation; failed ones are left out.
        part: "validation" or "test", where every evaluation must come from.

    Raises:
        ValueError: A record comes from another part, or from other pairs than the rest.
    """
    cells = []
    complete = [record for record in records if record.state == "complete"]
    for country in dict.fromkeys(record.country for record in complete):
        cells += _cells([r for r in complete if r.country == country], part)
    rows = []
    if len({cell.country for cell in cells}) > 1:
        for arm in ARMS:
            rows += _row(POOLED, [cell for cell in cells if cell.arm == arm], cells)
    for cell in cells:
        rows += _row(cell.country, [cell], cells)
    return rows


def write_ablation(rows: Sequence[AblationRow], path: Path) -> None:
    """Write the rows as CSV; the columns are the fields of `AblationRow`."""
    write_csv([field.name for field in fields(AblationRow)], [asdict(r) for r in rows], path)


def ablation_table(rows: Sequence[AblationRow], part: str) -> Table:
    """Return the rows as a table for the terminal, accuracies in percent."""
    table = Table(title=f"Ablation, {part} users", title_justify="left")
    for name in ("country", "arm"):
        table.add_column(name)
    for name in ("accuracy", "between seeds", "against full", "distinctive", "consensus"):
        table.add_column(name, justify="right")
    for name in ("pairs", "users", "pairs trained"):
        table.add_column(name, justify="right")
    for number, row in enumerate(rows):
        if number and rows[number - 1].country != row.country:
            table.add_section()
        table.add_row(
            escape(row.country),
            row.arm,
            format_accuracy(row.accuracy, row.low, row.high),
            _between_seeds(row),
            format_difference(row.vs_full, row.vs_full_low, row.vs_full_high),
            f"{format_accuracy(row.distinctive, None, None)} of {row.distinctive_pairs}",
            f"{format_accuracy(row.consensus, None, None)} of {row.consensus_pairs}",
            str(row.pairs),
            str(row.users),
            "" if row.pairs_trained is None else f"{row.pairs_trained:.0f}",
        )
    return table


def _between_seeds(row: AblationRow) -> str:
    """Return e.g. "sd 1.2, 61.0 to 63.4 (3 seeds)"; "" with one."""
    if row.seed_sd is None or row.seed_min is None or row.seed_max is None:
        return ""
    return (
        f"sd {100 * row.seed_sd:.1f}, {100 * row.seed_min:.1f} to {100 * row.seed_max:.1f} "
        f"({row.num_seeds} seeds)"
    )


def _cells(records: list[TrialRecord], part: str) -> list[_Cell]:
    """Return the cells of one country, in the order of the arms."""
    latest = {(record.arm, record.seed): record for record in records}
    kept = list(latest.values())
    counts = align_by_user(kept, part)
    cells = []
    for arm in ARMS:
        chosen = [row for row, record in enumerate(kept) if record.arm == arm]
        if not chosen:
            continue
        chosen.sort(key=lambda row: kept[row].seed)
        evaluations = [evaluation_of(kept[row], part) for row in chosen]
        trained = [kept[row].counts.get("pairs_trained") for row in chosen]
        numbers = [number for number in trained if number is not None]
        cells.append(
            _Cell(
                country=records[0].country,
                arm=arm,
                seeds=tuple(kept[row].seed for row in chosen),
                pairs=counts.pairs,
                correct=counts.correct[chosen],
                distinctive=_layer([evaluation.distinctive for evaluation in evaluations]),
                consensus=_layer([evaluation.consensus for evaluation in evaluations]),
                pairs_trained=float(np.mean(numbers)) if numbers else None,
            )
        )
    return cells


def _row(country: str, cells: list[_Cell], every: list[_Cell]) -> list[AblationRow]:
    """Return the row of one arm over the countries of its cells; none where it has no cell."""
    if not cells:
        return []
    pairs = np.concatenate([cell.pairs for cell in cells])
    correct = np.concatenate([cell.correct.mean(axis=0) for cell in cells])
    accuracy, low, high = mean_interval(correct, pairs)
    seeds = set.intersection(*(set(cell.seeds) for cell in cells))
    by_seed = [
        sum(cell.correct[cell.seeds.index(seed)].sum() for cell in cells) / pairs.sum()
        for seed in sorted(seeds)
    ]
    several = len(by_seed) > 1
    against_full = _against_full(cells, every)
    distinctive, distinctive_pairs = _join([cell.distinctive for cell in cells])
    consensus, consensus_pairs = _join([cell.consensus for cell in cells])
    trained = [cell.pairs_trained for cell in cells if cell.pairs_trained is not None]
    return [
        AblationRow(
            country=country,
            arm=cells[0].arm,
            accuracy=accuracy,
            low=low,
            high=high,
            seed_sd=float(np.std(by_seed, ddof=1)) if several else None,
            seed_min=float(min(by_seed)) if several else None,
            seed_max=float(max(by_seed)) if several else None,
            num_seeds=len(seeds),
            vs_full=against_full[0],
            vs_full_low=against_full[1],
            vs_full_high=against_full[2],
            distinctive=distinctive,
            distinctive_pairs=distinctive_pairs,
            consensus=consensus,
            consensus_pairs=consensus_pairs,
            pairs=int(pairs.sum()),
            users=len(pairs),
            pairs_trained=sum(trained) if len(trained) == len(cells) else None,
            num_countries=len(cells),
        )
    ]


def _against_full(
    cells: list[_Cell], every: list[_Cell]
) -> tuple[float | None, float | None, float | None]:
    """Return the paired difference to `full` in the countries that have both, seeds averaged."""
    full = {cell.country: cell for cell in every if cell.arm == BASELINE}
    both = [cell for cell in cells if cell.country in full]
    if not both or both[0].arm == BASELINE:
        return None, None, None
    gains = [cell.correct.mean(axis=0) - full[cell.country].correct.mean(axis=0) for cell in both]
    return mean_interval(np.concatenate(gains), np.concatenate([cell.pairs for cell in both]))


def _layer(layers: list[AccuracyRecord]) -> tuple[float, int]:
    """Return (accuracy over seeds, pairs) of a layer, whose pairs are the same for all seeds."""
    return float(np.mean([layer.accuracy or 0.0 for layer in layers])), layers[0].pairs


def _join(parts: list[tuple[float, int]]) -> tuple[float | None, int]:
    """Return (accuracy, pairs) of a layer joined over countries."""
    pairs = sum(count for _, count in parts)
    return (sum(share * count for share, count in parts) / pairs if pairs else None), pairs
