"""Final figures by country and arm, on test users: `arms.csv` and a terminal table.

In come the `final` records of a run. Seeds of one arm are averaged per user first. Every row has
an interval by user, its numbers of pairs and users, both layers, the global model and "longer
response wins" on the same pairs, and paired differences against `full` and the global model.
The pooled rows join all countries: pairs pooled, intervals over all users.
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
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.user_counts import align_by_user, evaluation_of
from sweeps.ledger.words import ARM_ORDER, BASELINE, POOLED

_HEADINGS = (
    "country",
    "arm",
    "accuracy",
    "against full",
    "against global",
    "distinctive",
    "consensus",
    "global",
    "longer wins",
    "pairs",
    "users",
    "pairs trained",
)


@dataclass(frozen=True)
class ArmRow:
    """One arm in one country, or pooled over countries; accuracies are fractions 0..1.

    `low` and `high` are ends of 95 % intervals by user, None with fewer than 2 users. `vs_full`
    and `vs_global` are paired differences on the same pairs; None against itself or where
    nothing stands against it. `country_mean` is the plain mean of the countries' accuracies, in
    pooled rows only.
    """

    country: str
    arm: str
    accuracy: float | None
    low: float | None
    high: float | None
    pairs: int
    users: int
    distinctive: float | None
    distinctive_pairs: int
    consensus: float | None
    consensus_pairs: int
    global_accuracy: float | None
    length_accuracy: float | None
    vs_full: float | None
    vs_full_low: float | None
    vs_full_high: float | None
    vs_global: float | None
    vs_global_low: float | None
    vs_global_high: float | None
    pairs_trained: float | None
    num_seeds: int
    num_countries: int
    country_mean: float | None


@dataclass(frozen=True)
class _Cell:
    """One arm in one country, seeds averaged: shapes (U,) per user, sums for the layers."""

    country: str
    arm: str
    pairs: FloatArray
    correct: FloatArray
    global_correct: FloatArray
    distinctive: tuple[float, int]
    consensus: tuple[float, int]
    length_correct: float
    pairs_trained: float | None
    num_seeds: int


def arm_rows(records: Sequence[TrialRecord]) -> list[ArmRow]:
    """Return the rows of the table: pooled first where there are two countries, then by country.

    Of several final records with one country, arm and seed the last counts.

    Raises:
        ValueError: A final trial is not evaluated on test users, or on other users than the
            rest of its country.
    """
    cells = _cells(records)
    baselines = {cell.country: cell for cell in cells if cell.arm == BASELINE}
    countries = list(dict.fromkeys(cell.country for cell in cells))
    rows = []
    if len(countries) > 1:
        for arm in sorted({cell.arm for cell in cells}, key=_arm_key):
            rows.append(_row(POOLED, [c for c in cells if c.arm == arm], baselines))
    rows.extend(_row(cell.country, [cell], baselines) for cell in cells)
    return rows


def write_arms(rows: Sequence[ArmRow], path: Path) -> None:
    """Write the rows as CSV; the columns are the fields of `ArmRow`."""
    columns = [field.name for field in fields(ArmRow)]
    write_csv(columns, [asdict(row) for row in rows], path)


def arms_rich_table(rows: Sequence[ArmRow]) -> Table:
    """Return the rows as a table for the terminal, accuracies in percent."""
    table = Table(title="Final models, test users", title_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in ("country", "arm") else "right")
    for position, row in enumerate(rows):
        table.add_row(*(escape(cell) for cell in _table_cells(row)))
        if position + 1 < len(rows) and rows[position + 1].country != row.country:
            table.add_section()
    return table


def _table_cells(row: ArmRow) -> list[str]:
    """Return the cells of one row as they are read, in the order of the headings."""
    trained = "" if row.pairs_trained is None else f"{row.pairs_trained:.0f}"
    return [
        row.country,
        row.arm,
        format_accuracy(row.accuracy, row.low, row.high),
        format_difference(row.vs_full, row.vs_full_low, row.vs_full_high),
        format_difference(row.vs_global, row.vs_global_low, row.vs_global_high),
        f"{format_accuracy(row.distinctive, None, None)} of {row.distinctive_pairs}",
        f"{format_accuracy(row.consensus, None, None)} of {row.consensus_pairs}",
        format_accuracy(row.global_accuracy, None, None),
        format_accuracy(row.length_accuracy, None, None),
        str(row.pairs),
        str(row.users),
        trained,
    ]


def _arm_key(arm: str) -> tuple[int, str]:
    """Order arms as the paper's tables do, unknown ones last by name."""
    return (ARM_ORDER.index(arm) if arm in ARM_ORDER else len(ARM_ORDER)), arm


def _cells(records: Sequence[TrialRecord]) -> list[_Cell]:
    """Return one cell per country and arm, in the order of the table."""
    final = {
        (r.country, r.arm, r.seed): r
        for r in records
        if r.purpose == "final" and r.state == "complete"
    }
    cells = []
    for country in sorted({key[0] for key in final}):
        of_country = [record for key, record in final.items() if key[0] == country]
        counts = align_by_user(of_country, "test")
        for arm in sorted({record.arm for record in of_country}, key=_arm_key):
            chosen = [row for row, record in enumerate(of_country) if record.arm == arm]
            correct = counts.correct[chosen].mean(axis=0)
            of_arm = [of_country[row] for row in chosen]
            cells.append(_cell(of_arm, counts.pairs, correct, counts.global_correct))
    return cells


def _cell(
    records: list[TrialRecord], pairs: FloatArray, correct: FloatArray, global_correct: FloatArray
) -> _Cell:
    """Join the seeds of one country and arm."""
    evaluations = [evaluation_of(record, "test") for record in records]
    first = evaluations[0]
    trained = [r.counts["pairs_trained"] for r in records if "pairs_trained" in r.counts]
    distinctive = [evaluation.distinctive.accuracy or 0.0 for evaluation in evaluations]
    consensus = [evaluation.consensus.accuracy or 0.0 for evaluation in evaluations]
    return _Cell(
        country=records[0].country,
        arm=records[0].arm,
        pairs=pairs,
        correct=correct,
        global_correct=global_correct,
        distinctive=(float(np.mean(distinctive)), first.distinctive.pairs),
        consensus=(float(np.mean(consensus)), first.consensus.pairs),
        length_correct=(first.length.accuracy or 0.0) * first.length.pairs,
        pairs_trained=float(np.mean(trained)) if trained else None,
        num_seeds=len(records),
    )


def _row(country: str, cells: list[_Cell], baselines: dict[str, _Cell]) -> ArmRow:
    """Return the figures of one arm, over the countries of its cells."""
    arm = cells[0].arm
    pairs = np.concatenate([cell.pairs for cell in cells])
    correct = np.concatenate([cell.correct for cell in cells])
    global_correct = np.concatenate([cell.global_correct for cell in cells])
    accuracy, low, high = mean_interval(correct, pairs)
    distinctive, distinctive_pairs = _layer([cell.distinctive for cell in cells])
    consensus, consensus_pairs = _layer([cell.consensus for cell in cells])
    against_full = _against_full([c for c in cells if c.country in baselines], baselines)
    against_global = mean_interval(correct - global_correct, pairs)
    if arm == "global":
        against_global = (None, None, None)
    trained = [cell.pairs_trained for cell in cells if cell.pairs_trained is not None]
    means = [c.correct.sum() / c.pairs.sum() for c in cells if c.pairs.sum() > 0]
    total = float(pairs.sum())
    return ArmRow(
        country=country,
        arm=arm,
        accuracy=accuracy,
        low=low,
        high=high,
        pairs=int(total),
        users=len(pairs),
        distinctive=distinctive,
        distinctive_pairs=distinctive_pairs,
        consensus=consensus,
        consensus_pairs=consensus_pairs,
        global_accuracy=float(global_correct.sum()) / total if total else None,
        length_accuracy=sum(c.length_correct for c in cells) / total if total else None,
        vs_full=against_full[0],
        vs_full_low=against_full[1],
        vs_full_high=against_full[2],
        vs_global=against_global[0],
        vs_global_low=against_global[1],
        vs_global_high=against_global[2],
        pairs_trained=sum(trained) if len(trained) == len(cells) else None,
        num_seeds=min(cell.num_seeds for cell in cells),
        num_countries=len(cells),
        country_mean=float(np.mean(means)) if country == POOLED and means else None,
    )


def _layer(parts: list[tuple[float, int]]) -> tuple[float | None, int]:
    """Return (accuracy, pairs) of a layer joined over countries."""
    pairs = sum(count for _, count in parts)
    return (sum(share * count for share, count in parts) / pairs if pairs else None), pairs


def _against_full(
    cells: list[_Cell], baselines: dict[str, _Cell]
) -> tuple[float | None, float | None, float | None]:
    """Return the paired difference to `full` in the countries that have both."""
    if not cells or cells[0].arm == BASELINE:
        return None, None, None
    pairs = np.concatenate([cell.pairs for cell in cells])
    gains = [cell.correct - baselines[cell.country].correct for cell in cells]
    return mean_interval(np.concatenate(gains), pairs)
