"""The ranking in words, as `leaderboard.csv` and as a table for the terminal.

In come rankings of countries. The CSV has every complete setting, accuracies as fractions 0..1
and empty cells for what is not known; the table has only the Pareto front and the
recommendation, in percent.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from sweeps.csv_files import write_csv
from sweeps.intervals import format_accuracy, format_difference
from sweeps.ranking import CountryRanking, RankedSetting

COLUMNS = (
    "country",
    "rank",
    "trial_id",
    "on_front",
    "recommended",
    "feasible",
    "non_inferior",
    "indistinguishable",
    "retention",
    "tau",
    "strength",
    "beta",
    "learning_rate",
    "epochs",
    "pairs_trained",
    "pairs_available",
    "effective_pairs",
    "accuracy",
    "low",
    "high",
    "pairs",
    "users",
    "global_accuracy",
    "length_accuracy",
    "distinctive",
    "distinctive_pairs",
    "consensus",
    "consensus_pairs",
    "consensus_drop",
    "train_s",
    "seed",
)


def describe(ranking: CountryRanking) -> str:
    """Return the recommendation of one country and how sure it is, in one or two sentences."""
    chosen = ranking.recommended
    setting = f"{describe_setting(chosen)}, " if chosen else ""
    return f"{ranking.country}: {setting}{describe_evidence(ranking)}"


def describe_evidence(ranking: CountryRanking) -> str:
    """Return what speaks for the recommendation of one country, without naming the setting."""
    chosen = ranking.recommended
    if chosen is None:
        return (
            "no setting to recommend, for no search trial could be ranked "
            f"({ranking.num_failed} failed, {ranking.num_pruned} pruned)."
        )
    overall = chosen.evaluation.overall
    users = f"{overall.users} user" + ("s" if overall.users != 1 else "")
    result = format_accuracy(overall.accuracy, overall.low, overall.high)
    result = f"{result} on {overall.pairs} validation pairs of {users}"
    feasible = [setting for setting in ranking.settings if setting.feasible]
    warning = "" if feasible else (
        f" None of the {len(ranking.settings)} settings keeps the constraint; "
        f"this one breaks it least, by {100 * chosen.violation:.1f} points."
    )
    if overall.users < 2:
        return (
            f"{result}. One user gives no interval, so how far other settings differ is not "
            f"known.{warning}"
        )
    compared = feasible or ranking.settings
    word = "settings" if len(compared) == len(ranking.settings) else "feasible settings"
    return (
        f"{result}; {sum(s.non_inferior for s in compared)} of {len(compared)} {word} are "
        f"non-inferior to the best (margin {100 * ranking.margin:.1f} points), "
        f"{sum(bool(s.indistinguishable) for s in compared)} cannot be told apart from it."
        f"{warning}"
    )


def describe_setting(setting: RankedSetting) -> str:
    """Return e.g. "41 % of the pairs (tau 0.62), strength 1.2 (beta 0.9)"."""
    record = setting.record
    retention, tau = record.config.get("retention"), record.setting.get("tau")
    strength, beta = record.config.get("strength"), record.setting.get("beta")
    if isinstance(retention, float | int):
        share = f"{100 * retention:.0f} % of the pairs"
    else:
        share = f"{setting.pairs_trained:.0f} pairs"
    if tau is not None and tau < 1:
        share += f" (tau {tau:.2g})"
    if beta is None:
        return f"{share}, no weighting"
    if isinstance(strength, float | int):
        return f"{share}, strength {strength:.2g} (beta {beta:.2g})"
    return f"{share}, beta {beta:.2g}"


def write_leaderboard(rankings: Sequence[CountryRanking], path: Path) -> None:
    """Write every ranked setting of every country as CSV, whole or not at all."""
    rows = [_csv_row(ranking, setting) for ranking in rankings for setting in ranking.settings]
    write_csv(COLUMNS, rows, path)


def leaderboard_table(rankings: Sequence[CountryRanking]) -> Table:
    """Return the fronts and recommendations as a table; a country without either by name."""
    table = Table(title="Pareto front per country, validation users", title_justify="left")
    table.add_column("country")
    table.add_column("setting")
    for name in ("learning rate", "pairs trained", "accuracy, %", "against the best", "global, %"):
        table.add_column(name, justify="right")
    table.add_column("")
    for ranking in rankings:
        shown = [s for s in ranking.settings if s.on_front or s.recommended]
        shown.sort(key=lambda setting: setting.pairs_trained)
        if not shown:
            table.add_row(escape(ranking.country), f"none: {ranking.num_failed} trials failed")
        for setting in shown:
            table.add_row(*_table_row(ranking, setting))
        table.add_section()
    return table


def _table_row(ranking: CountryRanking, setting: RankedSetting) -> tuple[str, ...]:
    """Return the cells of one setting; the recommended one in bold."""
    overall, baseline = setting.evaluation.overall, setting.evaluation.global_overall
    rate = setting.record.config.get("learning_rate")
    remarks = [
        "recommended" if setting.recommended else "",
        "" if setting.feasible else f"breaks the constraint by {100 * setting.violation:.1f}",
    ]
    cells = (
        escape(ranking.country),
        describe_setting(setting),
        f"{rate:.1e}" if isinstance(rate, float | int) else "",
        f"{setting.pairs_trained:.0f}",
        format_accuracy(overall.accuracy, overall.low, overall.high),
        format_difference(setting.difference, setting.low, setting.high),
        format_accuracy(baseline.accuracy, None, None),
        ", ".join(filter(None, remarks)),
    )
    return tuple(f"[bold]{cell}[/bold]" for cell in cells) if setting.recommended else cells


def _csv_row(ranking: CountryRanking, setting: RankedSetting) -> dict[str, object]:
    """Return one setting's cells by column."""
    record, evaluation = setting.record, setting.evaluation
    keys = ("retention", "strength", "learning_rate", "epochs")
    return {
        "country": ranking.country,
        "rank": setting.rank,
        "trial_id": record.trial_id,
        "on_front": setting.on_front,
        "recommended": setting.recommended,
        "feasible": setting.feasible,
        "non_inferior": setting.non_inferior,
        "indistinguishable": setting.indistinguishable,
        **{key: record.config.get(key) for key in keys},
        "tau": record.setting.get("tau"),
        "beta": record.setting.get("beta"),
        "pairs_trained": setting.pairs_trained,
        "pairs_available": record.counts.get("pairs_available"),
        "effective_pairs": record.counts.get("effective_pairs"),
        "accuracy": setting.accuracy,
        "low": evaluation.overall.low,
        "high": evaluation.overall.high,
        "pairs": evaluation.overall.pairs,
        "users": evaluation.overall.users,
        "global_accuracy": evaluation.global_overall.accuracy,
        "length_accuracy": evaluation.length.accuracy,
        "distinctive": evaluation.distinctive.accuracy,
        "distinctive_pairs": evaluation.distinctive.pairs,
        "consensus": evaluation.consensus.accuracy,
        "consensus_pairs": evaluation.consensus.pairs,
        "consensus_drop": record.constraints.get("consensus_drop"),
        "train_s": record.times.get("train_s"),
        "seed": record.seed,
    }
