"""All files that are made from a run's ledger, written beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scpo.files.figure_style import save_figure
from sweeps.curves.output.files import write_curve_files
from sweeps.curves.points import curve_points
from sweeps.ledger.pooled import PooledRow
from sweeps.ledger.records import read_records
from sweeps.ranking.ranking import CountryRanking, rank_records
from sweeps.ranking.recommendation import ChoiceRule
from sweeps.ranking.regret import RegretTable, regret_table, write_regret
from sweeps.ranking.tested import describe_tests, is_stale
from sweeps.report.arms_table import arm_rows, write_arms
from sweeps.report.heads_figure import heads_figure
from sweeps.report.leaderboard import write_leaderboard
from sweeps.report.model_names import write_model_names
from sweeps.report.report_page import write_report


@dataclass(frozen=True)
class Outputs:
    """What the files say, for the terminal, and the path of the report."""

    rankings: Sequence[CountryRanking]
    arms: Sequence[PooledRow]
    heads: Sequence[PooledRow]  # linear heads that were tested too
    regret: RegretTable
    page: Path
    notes: Mapping[str, str]  # beside test figures, by country
    # Every country has a setting or keeps the global model, and that is what was tested.
    is_complete: bool


def write_outputs(run: Path, *, rule: ChoiceRule) -> Outputs:
    """Write leaderboard, names of models, regret, curves, arms and the page of a run.

    Raises:
        FileNotFoundError: The run has no ledger.
        ValueError: A record is broken.
    """
    records = read_records(run)
    rankings = rank_records(records, rule=rule)
    write_leaderboard(rankings, run / "leaderboard.csv")
    write_model_names(rankings, run)
    regret = regret_table(records, rankings)
    write_regret(regret, run / "regret.csv")
    write_curve_files(curve_points(records), run)
    rows = arm_rows(records)
    notes = describe_tests(records, rankings)
    write_arms(rows, run / "arms.csv", notes)
    heads = arm_rows(records, "head")
    if heads:
        write_arms(heads, run / "heads.csv")
        save_figure(heads_figure(heads), run / "heads")
    is_complete = all(each.settings and not is_stale(records, each) for each in rankings)
    page = write_report(run, rule=rule, records=records, rankings=rankings)
    return Outputs(rankings, rows, heads, regret, page, notes, is_complete)
