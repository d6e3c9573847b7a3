"""The sections of a run's page: tables and charts of its ranking, tests, curves and failures."""

from collections.abc import Iterable, Sequence
from itertools import cycle

from scpo.page.charts import COLOURS, ForestRow, Plot, PlotPoint, Series, draw_forest, draw_plots
from scpo.page.page import Section, join, paragraph
from scpo.page.sorted_tables import Table, TableCell, accuracy_cell, difference_cell, draw_table
from scpo.statistics.wording import country_title, format_accuracy
from scpo.text.counts import format_number
from sweeps.curves.points import CurvePoint, missing_curve, pairs_of
from sweeps.ledger.pooled import PooledRow, find_row, note_countries
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import BASELINE, GLOBAL, TUNED_ARM
from sweeps.ranking.importance import CountryImportance
from sweeps.ranking.power import describe_power
from sweeps.ranking.ranking import CountryRanking, RankedSetting
from sweeps.ranking.regret import RegretTable, describe_regret
from sweeps.report.leaderboard import describe_front, describe_others, describe_setting

MAX_FAILED_SHOWN = 50


def arms_section(rows: Sequence[PooledRow], run: str) -> Section:
    """Return the final models on the test users, an arm a row."""
    title, command = "Final models on test users", f"scpo evaluate --run {run} --out {run}-judged"
    if not rows:
        return Section(title, paragraph("This run has no final models yet."))
    lead = (
        "Differences are paired by user, in points. Distinctive are the pairs on which the global "
        "model is wrong: higher there is not simply better, it is paid for on the consensus pairs."
    )
    return Section(title, draw_table(_arms_table(title, rows)), lead, command)


def heads_section(rows: Sequence[PooledRow]) -> Section | None:
    """Return the linear heads on the test users: gains as a forest, then an arm a row."""
    if not rows:
        return None
    title = "Linear heads on test users"
    gains = [
        ForestRow(f"{row.arm}, {country_title(row.country)}", row.difference(BASELINE))
        for row in rows
        if row.difference(BASELINE).value is not None and row.arm != GLOBAL
    ]
    forest = draw_forest(gains, "Gain on plain fine-tuning of a head, test users, points")
    lead = (
        "Every arm as a linear head on the frozen features of the global model, its setting "
        "chosen in folds of the other users; the test users judge all arms on the same pairs."
    )
    return Section(title, join([forest, draw_table(_arms_table(title, rows))]), lead)


def _arms_table(title: str, rows: Sequence[PooledRow]) -> Table:
    return Table(
        title,
        (
            *("<country", "<arm", "pairs trained on", "accuracy, %", "against full"),
            *("against global", "distinctive, %", "consensus, %", "global, %", "length, %"),
            *("pairs", "users"),
        ),
        [
            (
                country_title(row.country),
                TableCell(row.arm, note=_behind_arm(row, rows)),
                row.pairs_trained,
                accuracy_cell(row.accuracy),
                difference_cell(row.difference(BASELINE)),
                difference_cell(row.difference(GLOBAL)),
                accuracy_cell(row.distinctive, f"of {row.distinctive_pairs}"),
                accuracy_cell(row.consensus, f"of {row.consensus_pairs}"),
                accuracy_cell(row.global_accuracy),
                accuracy_cell(row.length_accuracy),
                row.pairs,
                row.users,
            )
            for row in rows
        ],
        marked=[number for number, row in enumerate(rows) if row.arm == TUNED_ARM],
    )


def _behind_arm(row: PooledRow, rows: Sequence[PooledRow]) -> str:
    seeds = f"{row.num_seeds} seeds" if row.num_seeds > 1 else ""
    return ", ".join(filter(None, [seeds, note_countries(row, rows)]))


def search_section(rankings: Sequence[CountryRanking], run: str) -> Section:
    """Return every country's settings as points, its front, and its other answers in words."""
    title = "Search: accuracy against pairs trained on"
    searched = [ranking for ranking in rankings if ranking.settings]
    if not searched:
        return Section(title, paragraph("This run has no searched setting to draw."))
    words = [
        paragraph(
            f"{each.country}. {describe_others(each)} {describe_power(each)} "
            f"{describe_front(each)}"
        )
        for each in searched
    ]
    rule = searched[0].rule
    lead = (
        "One mark is one trial on validation users. Three answers: accuracy, whose gain on the "
        f"base less {rule.caution:g} standard errors by user is largest; thrift, of fewest pairs "
        "whose "
        f"difference to the base lies above -{100 * rule.margin:g} points; balance, the knee of "
        f"the front. Left out are settings shown to lose more than "
        f"{100 * rule.max_consensus_drop:g} points where the global model is right."
    )
    return Section(
        title, join([draw_plots([_front(each) for each in searched]), *words]), lead,
        f"scpo rank {run}",
    )  # fmt: skip


def _front(ranking: CountryRanking) -> Plot:
    def points(settings: Iterable[RankedSetting]) -> list[PlotPoint]:
        return [
            PlotPoint(
                each.pairs_trained,
                each.accuracy,
                f"{each.record.trial_id}: {describe_setting(each)}\n"
                f"{format_accuracy(each.evaluation.overall.interval)}",
            )
            for each in settings
        ]

    trained, tied = ranking.trained, [each for each in ranking.settings if each.indistinguishable]
    others = [each for each in ranking.settings if not each.indistinguishable]
    rest = [each for each in others if each.feasible]
    broken = [each for each in others if not each.feasible]
    return Plot(
        ranking.country,
        "pairs trained on",
        "accuracy, %",
        [
            Series("shown to break the constraint", points(broken), "orange", marker="ring"),
            Series("other trials", points(rest), "grey", marker="ring"),
            Series("not told apart from the base", points(tied), "blue"),
            Series(
                "trained and tested", points([trained] if trained else []), "vermillion",
                marker="star",
            ),
        ],
    )  # fmt: skip


def curves_section(points: Sequence[CurvePoint], run: str) -> Section:
    """Return accuracy against pairs trained on and against pairs labelled, by country."""
    if problem := missing_curve(points):
        return Section("Data efficiency", paragraph(problem))
    means = [point for point in points if point.seed is None]
    arms = dict.fromkeys(point.arm for point in means)
    plots = [
        Plot(
            country_title(country),
            f"pairs {axis}, log scale",
            "accuracy, %",
            [
                Series(
                    arm,
                    [_curve_point(p, axis) for p in means if (p.country, p.arm) == (country, arm)],
                    colour,
                    joined=True,
                )
                for arm, colour in zip(arms, cycle(COLOURS), strict=False)
            ],
            log_x=True,
        )
        for country in dict.fromkeys(point.country for point in means)
        for axis in ("trained", "labelled")
    ]
    lead = (
        "Mean over seeds; bands are 95 % intervals by user. A pair must be labelled before the "
        "filter can drop it: one chart shows what training is saved, the other what annotation "
        "buys."
    )
    return Section("Data efficiency", draw_plots(plots), lead, f"scpo curves {run}")


def _curve_point(point: CurvePoint, axis: str) -> PlotPoint:
    pairs = pairs_of(point, "trained" if axis == "trained" else "labelled")
    figure = point.accuracy
    tip = f"{point.arm}, {pairs:,.0f} pairs {axis}\n{format_accuracy(figure)}"
    return PlotPoint(max(pairs, 1.0), figure.value or 0.0, tip, figure.low, figure.high)


def bias_section(rankings: Sequence[CountryRanking], rows: Sequence[PooledRow]) -> Section | None:
    """Return what the choice flatters the validation figure by, beside the test."""
    lines = []
    for ranking in rankings:
        if not ranking.settings:
            continue
        tested = find_row(rows, ranking.country, TUNED_ARM)
        expected = None
        if ranking.optimism is not None and ranking.accuracy is not None:
            expected = ranking.accuracy - ranking.optimism
        test: TableCell | str = (
            "not tested yet" if tested is None else accuracy_cell(tested.accuracy)
        )
        if ranking.trained is not ranking.recommended:
            test = f"not tested: the answer by {ranking.rule.which} is"
        bias = "one user" if ranking.optimism is None else difference_cell(ranking.optimism)
        lines.append(
            (
                ranking.country,
                accuracy_cell(ranking.accuracy),
                bias,
                "" if expected is None else accuracy_cell(expected),
                test,
            )
        )
    if not lines:
        return None
    columns = ("<country", "chosen by, %", "bias", "expected, %", "test, %")
    return Section(
        "Selection bias",
        draw_table(Table("Selection bias by country", columns, lines)),
        "The best of many noisy figures is high partly by luck. Bias: the choice is made again on "
        "resamples of the validation users and judged on those left out. Quote the test figure.",
    )


def regret_section(regret: RegretTable) -> Section:
    """Return what one setting for all countries would lose."""
    parts = [paragraph(describe_regret(regret))]
    if regret.rows:
        table = Table(
            "One setting for all countries against one for each",
            (
                *("<country", "tuned, %", "common, %", "regret", "of the best"),
                *("on other users", "pairs, tuned", "pairs, common", "users", "seeds, points"),
            ),
            [
                (
                    country_title(row.country),
                    accuracy_cell(row.tuned),
                    accuracy_cell(row.common),
                    difference_cell(row.regret),
                    difference_cell(row.best_regret),
                    difference_cell(row.held_out),
                    row.pairs_tuned,
                    row.pairs_common,
                    row.users,
                    "" if row.seed_deviation is None else f"{100 * row.seed_deviation:.1f}",
                )
                for row in regret.rows
            ],
        )
        parts.append(draw_table(table))
    return Section("One setting for all countries, or one for each", join(parts))


def importance_section(importances: Sequence[CountryImportance]) -> Section | None:
    """Return how much each searched parameter decided."""
    if not importances:
        return None
    names = list(dict.fromkeys(p.name for one in importances for p in one.parameters))
    lines: list[list[TableCell | str | int]] = []
    for one in importances:
        found = {p.name: p for p in one.parameters}
        shares = [
            TableCell(f"{100 * p.share:.0f} %", p.share, f"{p.correlation:+.2f}")
            if p
            else TableCell("")
            for p in map(found.get, names)
        ]
        missing = f"nothing to tell: {one.missing}" if one.missing else ""
        lines.append([one.country, *shares, one.num_trials, missing])
    columns = ("<country", *(name.replace("_", " ") for name in names), "trials", "<")
    return Section(
        "Which parameters mattered",
        draw_table(Table("Importance of the searched parameters", columns, lines)),
        "Share of importance for validation accuracy by PED-ANOVA, and in grey Spearman's rank "
        "correlation with it. With fewer than about thirty trials shares of any size arise by "
        "chance.",
        is_open=False,
    )


def cost_section(records: Sequence[TrialRecord]) -> Section:
    """Return trainings and device-hours by country; a linear head is no training."""
    records = [record for record in records if record.purpose != "head"]
    lines: list[tuple[TableCell | str | int, ...]] = []
    for country in sorted({record.country for record in records}):
        mine = [record for record in records if record.country == country]
        hours = sum(r.devices * float(r.times.get("wall_s", 0.0)) for r in mine) / 3600
        states = [sum(r.state == state for r in mine) for state in ("pruned", "failed")]
        lines.append((country, len(mine), *states, TableCell(format_number(hours, 3), hours)))
    columns = ("<country", "trainings", "pruned", "failed", "device-hours")
    return Section(
        "Cost by country", draw_table(Table("Cost by country", columns, lines)), is_open=False
    )


def failed_section(records: Sequence[TrialRecord]) -> Section | None:
    """Return the trials that failed, and why."""
    failed = [record for record in records if record.state == "failed"]
    if not failed:
        return None
    shown = failed[:MAX_FAILED_SHOWN]
    table = Table(
        "Failed trials",
        ("<trial", "<country", "<arm", "<error"),
        [(r.trial_id, r.country, r.arm, r.error or "no message") for r in shown],
    )
    cut = f"; the first {len(shown)} are shown" if len(failed) > len(shown) else ""
    return Section(
        "Failed trials", draw_table(table), f"{len(failed)} failed{cut}. They enter no figure."
    )
