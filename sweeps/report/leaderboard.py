"""The ranking in words, as `leaderboard.csv` and as a table for the terminal.

In come rankings of countries. The CSV has every complete setting, accuracies as fractions 0..1
and empty cells for what is not known; the table has only the Pareto front and the
recommendation, in percent.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from scpo.arrays import Row
from scpo.statistics.wording import format_accuracy, format_difference
from scpo.text.terminal_table import terminal_table
from sweeps.ledger.pooled import write_columns
from sweeps.ranking.ranking import REFERENCE, CountryRanking, RankedSetting

LEADERBOARD_COLUMNS = """
    country rank trial_id on_front knee recommended feasible non_inferior indistinguishable
    retention tau strength beta learning_rate epochs pairs_trained pairs_available effective_pairs
    accuracy optimism low high pairs users global_accuracy length_accuracy distinctive
    distinctive_pairs consensus consensus_pairs consensus_drop train_s seed hypervolume
""".split()
_OF_SETTING = """
    rank on_front recommended feasible non_inferior indistinguishable pairs_trained accuracy
""".split()


def describe(ranking: CountryRanking) -> str:
    """Return the recommendation of one country, how sure it is, and its front, in words."""
    chosen = ranking.recommended
    setting = f"{describe_setting(chosen)}, " if chosen else ""
    sentences = (describe_evidence(ranking), describe_optimism(ranking), describe_front(ranking))
    return f"{ranking.country}: {setting}{' '.join(filter(None, sentences))}"


def describe_evidence(ranking: CountryRanking) -> str:
    """Return what speaks for the recommendation of one country, without naming the setting."""
    chosen = ranking.recommended
    if chosen is None:
        return (
            "no setting to recommend, for no search trial could be ranked "
            f"({ranking.num_failed} failed, {ranking.num_pruned} pruned)."
        )
    overall = chosen.evaluation.overall
    result = f"{format_accuracy(overall.interval)} on {overall.pairs} validation pairs"
    feasible = [setting for setting in ranking.settings if setting.feasible]
    warning = ""
    if not feasible:
        warning = (
            f" None of the {len(ranking.settings)} settings keeps the constraint; "
            f"this one breaks it least, by {100 * chosen.violation:.1f} points."
        )
    if overall.users < 2:
        return (
            f"{result} of 1 user. One user gives no interval, so how far other settings differ "
            f"is not known.{warning}"
        )
    compared = feasible or ranking.settings
    word = "settings" if len(compared) == len(ranking.settings) else "feasible settings"
    num_good = sum(setting.non_inferior for setting in compared)
    return (
        f"{result}; {num_good} of {len(compared)} {word} {'is' if num_good == 1 else 'are'} "
        f"non-inferior to the best (margin {100 * ranking.margin:.1f} points), "
        f"{sum(bool(s.indistinguishable) for s in compared)} cannot be told apart from it with "
        f"{overall.users} users.{warning}"
    )


def describe_optimism(ranking: CountryRanking) -> str:
    """Return the selection bias of the recommended setting; "" where it is not known."""
    chosen, optimism = ranking.recommended, ranking.optimism
    if chosen is None or optimism is None:
        return ""
    if optimism <= 0:
        return "Selection bias: none found on resamples of the users."
    return (
        f"Selection bias: about {100 * optimism:.1f} points; expect "
        f"{100 * (chosen.accuracy - optimism):.1f} % on other users."
    )


def describe_front(ranking: CountryRanking) -> str:
    """Return the size, knee and hypervolume of a country's front; "" without a front."""
    if not ranking.front:
        return ""
    num = len(ranking.front)
    words = f"Front of {num} setting" + ("s" if num > 1 else "")
    if ranking.knee is not None:
        knee = ranking.knee
        words += f", knee at {knee.pairs_trained:.0f} pairs ({100 * knee.accuracy:.1f} %)"
    if ranking.hypervolume is not None:
        accuracy, share = REFERENCE
        words += (
            f", hypervolume {ranking.hypervolume:.3f} (accuracy x share of the pairs, up to "
            f"{100 * accuracy:.0f} % with {100 * share:.0f} % of the pairs)"
        )
    return f"{words}."


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
    write_columns(LEADERBOARD_COLUMNS, leaderboard_rows(rankings), path)


def leaderboard_rows(rankings: Sequence[CountryRanking]) -> list[Row]:
    """Return every ranked setting of every country, with `LEADERBOARD_COLUMNS` and more."""
    return [_columns(ranking, setting) for ranking in rankings for setting in ranking.settings]


def leaderboard_table(rankings: Sequence[CountryRanking]) -> Table:
    """Return the fronts and recommendations as a table; a country without either by name."""
    left = ("country", "setting", "")
    numbers = ("learning rate", "pairs trained", "accuracy, %", "against the best", "global, %")
    return terminal_table(
        "Pareto front per country, validation users",
        (*left[:2], *numbers, left[2]),
        map(_table_lines, rankings),
        left=left,
    )


def _table_lines(ranking: CountryRanking) -> Iterator[tuple[object, ...]]:
    shown = [s for s in ranking.settings if s.on_front or s.recommended]
    if not shown:
        yield ranking.country, f"none: {ranking.num_failed} trials failed"
    for setting in sorted(shown, key=lambda one: one.pairs_trained):
        overall, baseline = setting.evaluation.overall, setting.evaluation.global_overall
        rate = setting.record.config.get("learning_rate")
        remarks = [
            "recommended" if setting.recommended else "",
            "knee" if setting.is_knee else "",
            "" if setting.feasible else f"breaks the constraint by {100 * setting.violation:.1f}",
        ]
        cells = (
            ranking.country,
            describe_setting(setting),
            f"{rate:.1e}" if isinstance(rate, float | int) else "",
            f"{setting.pairs_trained:.0f}",
            format_accuracy(overall.interval),
            format_difference(setting.difference),
            format_accuracy(baseline.accuracy),
            ", ".join(filter(None, remarks)),
        )
        yield tuple(Text(cell, "bold") for cell in cells) if setting.recommended else cells


def _columns(ranking: CountryRanking, setting: RankedSetting) -> Row:
    record, evaluation = setting.record, setting.evaluation
    columns: Row = {**record.config, **record.setting, **record.counts, **record.times}
    columns |= {**record.constraints, **evaluation.overall.model_dump()}
    columns |= {name: getattr(setting, name) for name in _OF_SETTING}
    for name in ("distinctive", "consensus"):
        layer = getattr(evaluation, name)
        columns |= {name: layer.accuracy, f"{name}_pairs": layer.pairs}
    return columns | {
        "country": ranking.country,
        "trial_id": record.trial_id,
        "knee": setting.is_knee,
        "optimism": ranking.optimism if setting.recommended else None,
        "global_accuracy": evaluation.global_overall.accuracy,
        "length_accuracy": evaluation.length.accuracy,
        "seed": record.seed,
        "hypervolume": ranking.hypervolume,
    }
