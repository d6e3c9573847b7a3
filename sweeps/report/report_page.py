"""One self-contained page of a run: `report.html`.

In come a run's ledger and, where present, its `config.yaml`; out comes HTML with inline SVG and
CSS and nothing from outside: what is recommended and how sure that is, its selection bias, the
arms on test users, the search's Pareto fronts, the regret of one setting for all, what
parameters mattered, the curves, failed trials and the configuration. Texts of the ledger are
escaped by the template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from markupsafe import Markup

from scpo.files.atomic import write_text
from scpo.files.figure_style import inline_svg
from scpo.statistics.wording import open_templates
from scpo.text.terminal import printable
from sweeps.curves.output.figure import curves_figure, missing_curve
from sweeps.curves.points import CurvePoint, curve_points
from sweeps.ledger.pooled import PooledRow, find_row
from sweeps.ledger.records import TrialRecord, read_records
from sweeps.ledger.user_weights import UserWeight, read_user_weights
from sweeps.ledger.words import TUNED_ARM
from sweeps.ranking.importance import country_importance
from sweeps.ranking.power import describe_power
from sweeps.ranking.ranking import CountryRanking, rank_records
from sweeps.ranking.recommendation import DEFAULT_RULE, ChoiceRule
from sweeps.ranking.regret import describe_regret, regret_table
from sweeps.ranking.tested import describe_tests, is_stale
from sweeps.report.arms_table import arm_rows
from sweeps.report.leaderboard import (
    describe_answer,
    describe_evidence,
    describe_front,
    describe_optimism,
    describe_others,
)
from sweeps.report.pareto_figure import pareto_figure
from sweeps.report.user_block import user_block

_MAX_FAILED_SHOWN = 50
_BAR_WIDTH = 124  # pixels, as the template draws it


@dataclass(frozen=True)
class Bar:
    """The axis of the table's interval bars, from the lowest to the highest accuracy shown."""

    low: float
    high: float

    def x(self, accuracy: float) -> float:
        """Return where an accuracy lies on the bar, in pixels."""
        share = (accuracy - self.low) / max(self.high - self.low, 0.01)
        return round(4 + (_BAR_WIDTH - 8) * share, 1)


def write_report(
    run: Path,
    *,
    rule: ChoiceRule = DEFAULT_RULE,
    rankings: Sequence[CountryRanking] | None = None,
) -> Path:
    """Write `report.html` into a run's folder and return its path; a `config.yaml` there is shown.

    `rule` says how settings are chosen; `rankings` are those of the run, None to make them.

    Raises:
        FileNotFoundError: The run has no ledger.
        ValueError: The ledger is empty, a line is broken, or its records do not fit together.
    """
    records = read_records(run)
    if not records:
        raise ValueError(f"The ledger of {run} has no trial yet, so there is nothing to report.")
    config = run / "config.yaml"
    html = render_report(
        records,
        name=run.resolve().name,
        config=config.read_text(encoding="utf-8") if config.is_file() else None,
        rule=rule,
        rankings=rankings,
        users=read_user_weights(run),
    )
    path = run / "report.html"
    write_text(path, html)
    return path


def render_report(
    records: Sequence[TrialRecord],
    *,
    name: str,
    config: str | None,
    rule: ChoiceRule = DEFAULT_RULE,
    rankings: Sequence[CountryRanking] | None = None,
    users: Mapping[str, Sequence[UserWeight]] | None = None,
) -> str:
    """Return the page of a run's records, at least one, as text; `config` is a text too.

    `rule` and `rankings` as of `write_report`; `users` are the weights of users by country.

    Raises:
        ValueError: Records do not fit together; see ranking, arms_table and curve_points.
    """
    if rankings is None:
        rankings = rank_records(records, rule=rule)
    rows = arm_rows(records)
    points = curve_points(records)
    regret = regret_table(records, rankings)
    importances = [country_importance(ranking) for ranking in rankings]
    failed = [record for record in records if record.state == "failed"]
    notes = describe_tests(records, rankings)
    stale = {ranking.country for ranking in rankings if is_stale(records, ranking)}
    current = [row for row in rows if row.arm != TUNED_ARM or row.country not in stale]
    environment = open_templates("sweeps.report", "templates", escape=True)
    environment.finalize = _shown
    environment.filters.update(
        answer=describe_answer,
        evidence=describe_evidence,
        others=describe_others,
        power=describe_power,
        optimism=describe_optimism,
        front=describe_front,
    )
    return environment.get_template("report.html.j2").render(
        name=name,
        facts=_facts(records),
        rankings=rankings,
        rule=rule,
        rows=rows,
        row_of=partial(find_row, current),
        notes=notes,
        bar=_bar(rows),
        pareto=_pareto_svg(rankings),
        regret=regret,
        regret_words=describe_regret(regret),
        importances=importances,
        parameters=list(dict.fromkeys(p.name for one in importances for p in one.parameters)),
        curves=_curves_svgs(points),
        missing_curve=missing_curve(points),
        users=user_block(users or {}),
        failed=failed[:_MAX_FAILED_SHOWN],
        num_failed=len(failed),
        config=config,
    )


def _shown(value: object) -> object:
    """Return what the page shows: texts without control characters."""
    return printable(value) if type(value) is str else value


def _facts(records: Sequence[TrialRecord]) -> list[tuple[str, str]]:
    started = sorted(str(r.times["started"]) for r in records if r.times.get("started"))
    hours = sum(float(record.times.get("train_s", 0.0)) for record in records) / 3600
    versions = sorted({f"{k} {v}" for r in records for k, v in r.versions.items()})
    facts = [("Trials", _count_trials(records))]
    if started:
        last = "" if started[0] == started[-1] else f" to {_minute(started[-1])}"
        facts.append(("Started", f"{_minute(started[0])}{last} UTC"))
    facts.append(("Training time", f"{hours:.2g} h over all trials"))
    facts.append(("Engine", ", ".join(sorted({r.engine for r in records if r.engine}))))
    facts.append(("Commit", ", ".join(sorted({r.commit[:12] for r in records if r.commit}))))
    facts.append(("Versions", ", ".join(versions)))
    return [(term, value) for term, value in facts if value]


def _count_trials(records: Sequence[TrialRecord]) -> str:
    """Return e.g. "24 search, 72 curve, 24 final; 1 failed"."""
    purposes = [r.purpose for r in records]
    by_purpose = [f"{purposes.count(p)} {p}" for p in dict.fromkeys(purposes)]
    states = [r.state for r in records]
    unfinished = [f"{states.count(s)} {s}" for s in ("pruned", "failed") if s in states]
    return "; ".join(filter(None, [", ".join(by_purpose), ", ".join(unfinished)]))


def _minute(iso: str) -> str:
    return iso[:16].replace("T", " ")


def _bar(rows: Sequence[PooledRow]) -> Bar:
    shown = [
        value
        for row in rows
        for value in (row.accuracy.low, row.accuracy.high, row.accuracy.value, row.global_accuracy)
        if value is not None
    ]
    return Bar(min(shown), max(shown)) if shown else Bar(0.0, 1.0)


def _pareto_svg(rankings: Sequence[CountryRanking]) -> Markup | None:
    if not any(ranking.settings for ranking in rankings):
        return None
    label = "Accuracy on validation pairs against pairs trained on, a panel for each country"
    return Markup(inline_svg(pareto_figure(rankings), label))


def _curves_svgs(points: Sequence[CurvePoint]) -> list[Markup]:
    if missing_curve(points):
        return []
    label = "Accuracy on validation pairs against pairs trained on and against pairs labelled"
    countries = dict.fromkeys(point.country for point in points)
    return [Markup(inline_svg(curves_figure(points, [name]), label)) for name in countries]
