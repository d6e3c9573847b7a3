"""The ranking in words, as `leaderboard.csv` and as a table for the terminal.

In come rankings of countries. The CSV has every complete setting and the global model, accuracies
as fractions 0..1 and empty cells for what is not known; the table has only the Pareto front and
the answers, in percent.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from scpo.arrays import Row
from scpo.statistics.wording import format_accuracy, format_difference
from scpo.text.counts import format_below, format_count, format_number
from scpo.text.terminal_table import terminal_table
from sweeps.config import Answer
from sweeps.ledger.pooled import write_columns
from sweeps.ledger.same_setting import is_full
from sweeps.ledger.words import GLOBAL
from sweeps.ranking.power import describe_power
from sweeps.ranking.ranking import REFERENCE, CountryRanking, RankedSetting

KEEP_GLOBAL, PLAIN = "keep the global model", "plain fine-tuning"
_OTHERS: tuple[Answer, ...] = ("thrift", "balance")
LEADERBOARD_COLUMNS = """
    country rank trial_id base answers on_front knee recommended feasible consensus_told
    non_inferior indistinguishable retention tau strength beta user_strength learning_rate
    epochs pairs_trained pairs_available effective_pairs accuracy optimism low high difference
    difference_low difference_high pairs users global_accuracy length_accuracy distinctive
    distinctive_pairs consensus consensus_pairs consensus_drop consensus_drop_low
    consensus_drop_high train_s seed hypervolume
""".split()
_OF_SETTING = """
    rank on_front recommended feasible non_inferior indistinguishable pairs_trained accuracy
""".split()


def describe(ranking: CountryRanking) -> str:
    """Return the recommendation of a country, how sure it is, and the other answers, in words."""
    if not ranking.settings:
        return f"{ranking.country}: {describe_evidence(ranking)}"
    sentences = (
        f"{describe_answer(ranking)}.",
        describe_evidence(ranking),
        describe_others(ranking),
        describe_optimism(ranking),
        describe_power(ranking),
        describe_front(ranking),
    )
    return f"{ranking.country}: {' '.join(filter(None, sentences))}"


def describe_answer(ranking: CountryRanking, which: Answer = "accuracy") -> str:
    """Return what an answer says to use, e.g. "plain fine-tuning: 100 % of the pairs, ..."."""
    if not ranking.settings:
        return "no recommendation"
    chosen = ranking.answers[which]
    if chosen is None:
        return KEEP_GLOBAL
    words = describe_setting(chosen)
    return f"{PLAIN}: {words}" if chosen.is_base else words


def describe_evidence(ranking: CountryRanking) -> str:
    """Return what speaks for the recommendation of one country, without naming the setting."""
    if not ranking.settings:
        return (
            "no setting to recommend, for no search trial could be ranked "
            f"({ranking.num_failed} failed, {ranking.num_pruned} pruned)."
        )
    chosen, evaluation = ranking.recommended, ranking.settings[0].evaluation
    overall = evaluation.global_overall if chosen is None else chosen.evaluation.overall
    pairs = format_count(overall.pairs, "validation pair")
    result = f"{format_accuracy(overall.interval)} on {pairs}"
    if overall.users < 2:
        return f"{result} of 1 user. One user shows no difference, so the base stands."
    base = "the global model" if ranking.base is None else PLAIN
    gain = ranking.global_difference if chosen is None else chosen.difference
    if chosen is ranking.base:
        why = (
            f"no setting is shown to gain on {base} (lower bound, caution "
            f"{ranking.rule.caution:g})"
        )
        if ranking.base is None:
            why += _why_global_is_base(ranking)
    else:
        why = f"its gain on {base}, {format_difference(gain)}, is the surest of all"
    return f"{result} of {overall.users} users; {why}.{_describe_consensus(ranking)}"


def _why_global_is_base(ranking: CountryRanking) -> str:
    plain = [setting for setting in ranking.settings if is_full(setting.record)]
    if not plain:
        return f"; {PLAIN} was not tried"
    if not any(setting.feasible for setting in plain):
        return f", and {PLAIN} breaks the constraint"
    return f", which is shown to be above {PLAIN}"


def _describe_consensus(ranking: CountryRanking) -> str:
    """Return what the recommended setting gains and loses by layer, and what is not known."""
    chosen, num = ranking.recommended, len(ranking.settings)
    broken = sum(not setting.feasible for setting in ranking.settings)
    words = f" {broken} of {num} settings are shown to break the constraint." if broken else ""
    if chosen is None:
        return words
    layers, drop = chosen.evaluation, chosen.consensus.drop
    if drop.value is not None and layers.distinctive.accuracy is not None:
        pairs = format_count(layers.distinctive.pairs, "pair")
        words += (
            f" It is right in {format_accuracy(layers.distinctive.accuracy)} of the {pairs} that "
            f"the global model gets wrong, and loses {format_accuracy(drop)} of the "
            f"{layers.consensus.pairs} that it gets right."
        )
    return words + ("" if chosen.consensus.told else f" {chosen.consensus.words.capitalize()}.")


def describe_others(ranking: CountryRanking) -> str:
    """Return the answers by thrift and by balance, and which one is trained."""
    words = [f"{name.capitalize()}: {_describe_other(ranking, name)}" for name in _OTHERS]
    trained = ranking.rule.which
    last = "" if trained == "accuracy" else f" Trained and tested is the answer by {trained}."
    return f"{'. '.join(words)}.{last}"


def _describe_other(ranking: CountryRanking, which: Answer) -> str:
    chosen = ranking.answers[which]
    if chosen is ranking.recommended:
        return "the same"
    figure = ranking.global_difference if chosen is None else chosen.difference
    return f"{describe_answer(ranking, which)} ({format_difference(figure)} against the base)"


def describe_optimism(ranking: CountryRanking) -> str:
    """Return the selection bias of the recommended setting; "" where it is not known."""
    accuracy, optimism = ranking.accuracy, ranking.optimism
    if accuracy is None or optimism is None:
        return ""
    if optimism <= 0:
        return "Selection bias: none found on resamples of the users."
    return (
        f"Selection bias: about {100 * optimism:.1f} points; expect "
        f"{100 * (accuracy - optimism):.1f} % on other users."
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
            f", hypervolume {ranking.hypervolume:.3f} (accuracy above {100 * accuracy:.0f} % "
            f"x share of the pairs under {100 * share:.0f} %)"
        )
    return f"{words}."


def describe_setting(setting: RankedSetting) -> str:
    """Return e.g. "41 % of the pairs (tau 0.62), strength 1.2 (beta 0.9)"."""
    record = setting.record
    retention, tau = record.config.get("retention"), record.setting.get("tau")
    strength, beta = record.config.get("strength"), record.setting.get("beta")
    if isinstance(retention, float | int):
        share = f"{format_below(100 * retention, 2, whole=100)} % of the pairs"
    else:
        share = f"{setting.pairs_trained:.0f} pairs"
    if tau is not None and tau < 1:
        share += f" (tau {format_below(tau, 2, whole=1)})"
    of_users = record.config.get("user_strength")
    users = f", user strength {of_users:.2g}" if isinstance(of_users, float) and of_users else ""
    if beta is None:
        return f"{share}{users or ', no weighting'}"
    if isinstance(strength, float | int):
        return f"{share}, strength {strength:.2g} (beta {format_number(beta, 2)}){users}"
    return f"{share}, beta {format_number(beta, 2)}{users}"


def write_leaderboard(rankings: Sequence[CountryRanking], path: Path) -> None:
    """Write every setting of every country and its global model as CSV, whole or not at all."""
    write_columns(LEADERBOARD_COLUMNS, leaderboard_rows(rankings), path)


def leaderboard_rows(rankings: Sequence[CountryRanking]) -> list[Row]:
    """Return every setting of every country and its global model, with `LEADERBOARD_COLUMNS`."""
    rows = []
    for ranking in rankings:
        rows += [_columns(ranking, setting) for setting in ranking.settings]
        rows += [_global_columns(ranking)] if ranking.settings else []
    return rows


def leaderboard_table(rankings: Sequence[CountryRanking]) -> Table:
    """Return the fronts and answers as a table; a country without either by name."""
    left = ("country", "setting", "")
    numbers = ("learning rate", "pairs trained", "accuracy, %", "against the base", "global, %")
    return terminal_table(
        "Pareto front per country, validation users",
        (*left[:2], *numbers, left[2]),
        map(_table_lines, rankings),
        left=left,
    )


def _table_lines(ranking: CountryRanking) -> Iterator[tuple[object, ...]]:
    if not ranking.settings:
        yield ranking.country, f"none: {ranking.num_failed} failed, {ranking.num_pruned} pruned"
        return
    baseline = ranking.settings[0].evaluation.global_overall
    yield _line(
        ranking,
        ranking.recommended is None,
        ("the global model", "", "0", format_accuracy(baseline.interval)),
        format_difference(ranking.global_difference),
        [*_names(ranking, None), "base" if ranking.base is None else ""],
    )
    shown = [s for s in ranking.settings if s.on_front or s.answers or s.is_base]
    for setting in sorted(shown, key=lambda one: one.pairs_trained):
        rate = setting.record.config.get("learning_rate")
        yield _line(
            ranking,
            setting.recommended,
            (
                describe_setting(setting),
                f"{rate:.1e}" if isinstance(rate, float | int) else "",
                f"{setting.pairs_trained:.0f}",
                format_accuracy(setting.evaluation.overall.interval),
            ),
            format_difference(setting.difference),
            [
                *_names(ranking, setting),
                "base" if setting.is_base else "",
                "knee" if setting.is_knee else "",
                setting.consensus.words,
            ],
        )


def _line(
    ranking: CountryRanking,
    is_bold: bool,
    cells: tuple[str, ...],
    difference: str,
    remarks: Sequence[str],
) -> tuple[object, ...]:
    share = format_accuracy(ranking.global_accuracy)
    line = (ranking.country, *cells, difference, share, ", ".join(filter(None, remarks)))
    return tuple(Text(cell, "bold") for cell in line) if is_bold else line


def _names(ranking: CountryRanking, setting: RankedSetting | None) -> list[str]:
    """Return the answers that a setting is, None for the global model."""
    return [name for name, chosen in ranking.answers.items() if chosen is setting]


def _columns(ranking: CountryRanking, setting: RankedSetting) -> Row:
    record, evaluation = setting.record, setting.evaluation
    columns: Row = {**record.config, **record.setting, **record.counts, **record.times}
    columns |= {**record.constraints, **evaluation.overall.model_dump()}
    columns |= {name: getattr(setting, name) for name in _OF_SETTING}
    columns |= setting.consensus.drop.columns("consensus_drop", "consensus_drop_")
    columns |= setting.difference.columns("difference", "difference_")
    for name in ("distinctive", "consensus"):
        layer = getattr(evaluation, name)
        columns |= {name: layer.accuracy, f"{name}_pairs": layer.pairs}
    return columns | {
        "country": ranking.country,
        "trial_id": record.trial_id,
        "base": setting.is_base,
        "answers": " ".join(_names(ranking, setting)),
        "consensus_told": setting.consensus.told,
        "knee": setting.is_knee,
        "optimism": ranking.optimism if setting.recommended else None,
        "global_accuracy": evaluation.global_overall.accuracy,
        "length_accuracy": evaluation.length.accuracy,
        "seed": record.seed,
        "hypervolume": ranking.hypervolume,
    }


def _global_columns(ranking: CountryRanking) -> Row:
    evaluation = ranking.settings[0].evaluation
    columns = evaluation.global_overall.model_dump()
    columns |= ranking.global_difference.columns("difference", "difference_")
    for name in ("distinctive", "consensus"):
        columns[f"{name}_pairs"] = getattr(evaluation, name).pairs
    return columns | {
        "country": ranking.country,
        "trial_id": GLOBAL,
        "base": ranking.base is None,
        "answers": " ".join(_names(ranking, None)),
        "recommended": ranking.recommended is None,
        "feasible": True,
        "pairs_trained": 0,
        "optimism": ranking.optimism if ranking.recommended is None else None,
        "global_accuracy": evaluation.global_overall.accuracy,
        "length_accuracy": evaluation.length.accuracy,
        "hypervolume": ranking.hypervolume,
    }
