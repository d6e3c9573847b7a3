"""One self-contained page of a run: `report.html`.

In come a run's ledger and, where present, its `config.yaml` and the weights of its users; out
comes HTML with nothing from outside: what to use in each country and how sure that is in large
type, then tests, fronts, curves, selection bias, regret, cost and failures. Texts are escaped.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from scpo.files.atomic import write_text
from scpo.page.charts import ForestRow, draw_forest
from scpo.page.page import Section, join, list_few, paragraph, render_page, warning
from scpo.statistics.wording import country_title
from scpo.text.counts import format_count, format_number
from scpo.text.terminal import printable
from sweeps.curves.points import curve_points
from sweeps.ledger.pooled import PooledRow, note_countries
from sweeps.ledger.records import TrialRecord, read_records
from sweeps.ledger.weights_file import UserWeight, read_user_weights
from sweeps.ledger.words import BASELINE, GLOBAL, POOLED, TUNED_ARM
from sweeps.ranking.importance import country_importance
from sweeps.ranking.ranking import CountryRanking, rank_records
from sweeps.ranking.recommendation import DEFAULT_RULE, ChoiceRule
from sweeps.ranking.regret import regret_table
from sweeps.ranking.tested import describe_tests, is_stale
from sweeps.report.arms_table import arm_rows
from sweeps.report.leaderboard import describe_answer, describe_evidence, describe_optimism
from sweeps.report.report_sections import (
    arms_section,
    bias_section,
    cost_section,
    curves_section,
    failed_section,
    heads_section,
    importance_section,
    regret_section,
    search_section,
)
from sweeps.report.user_block import USERS_LEAD, user_block


def write_report(
    run: Path,
    *,
    rule: ChoiceRule = DEFAULT_RULE,
    records: Sequence[TrialRecord] | None = None,
    rankings: Sequence[CountryRanking] | None = None,
) -> Path:
    """Write `report.html` into a run's folder and return its path; a `config.yaml` there is shown.

    `rule` says how settings are chosen; `records` and `rankings` are those of the run, None to
    read and to make them.

    Raises:
        FileNotFoundError: The run has no ledger.
        ValueError: The ledger is empty, a line is broken, or its records do not fit together.
    """
    if records is None:
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
    users: Mapping[str, Sequence[UserWeight]] | None = None,
    rankings: Sequence[CountryRanking] | None = None,
    refresh_s: int | None = None,
) -> str:
    """Return the page of a run's records, at least one, as text; `config` is a text too.

    `rule` and `rankings` as of `write_report`; `users` are the weights of users by country,
    `refresh_s` as of `render_page`.

    Raises:
        ValueError: Records do not fit together; see ranking, arms_table and curve_points.
    """
    if rankings is None:
        rankings = rank_records(records, rule=rule)
    rows = arm_rows(records)
    notes = describe_tests(records, rankings)
    stale = {ranking.country for ranking in rankings if is_stale(records, ranking)}
    if stale:
        stale.add(POOLED)  # it holds their models too
    current = [row for row in rows if row.arm != TUNED_ARM or row.country not in stale]
    weights = user_block(users or {})
    sections = [
        arms_section(rows, name),
        heads_section(arm_rows(records, "head")),
        search_section(rankings, name),
        curves_section(curve_points(records), name),
        bias_section(rankings, current),
        Section("Weights of users", weights, USERS_LEAD) if weights else None,
        regret_section(regret_table(records, rankings)),
        importance_section([country_importance(ranking) for ranking in rankings]),
        cost_section(records),
        failed_section(records),
        None if config is None else _config_section(config),
    ]
    return render_page(
        f"SCPO sweep: {name}",
        join([_verdicts(rankings, current, notes), _few_users(rankings), _gains(current)]),
        [section for section in sections if section is not None],
        facts=[f"{term}: {value}" for term, value in _facts(records)],
        refresh_s=refresh_s,
    )


def _verdicts(
    rankings: Sequence[CountryRanking], rows: Sequence[PooledRow], notes: Mapping[str, str]
) -> Markup:
    """Return what to use in each country, in large type."""
    if not rankings:
        return paragraph("This run has no search, so nothing is recommended.")
    entry = Markup("<dt>{}</dt><dd>{}<span>{}</span></dd>")
    tested = {row.country for row in rows if row.arm == TUNED_ARM}
    entries = []
    for ranking in rankings:
        words = f"{describe_evidence(ranking)} {describe_optimism(ranking)}"
        if ranking.settings and ranking.trained is not ranking.recommended:
            which = ranking.rule.which
            words += (
                f" Trained and tested is the answer by {which}: {describe_answer(ranking, which)}."
            )
        if ranking.settings and ranking.trained is None:
            words += " No model of its own is trained: use the global model."
        if ranking.settings and ranking.country not in tested:
            words += " Not tested yet: no final model of this setting."
        words += f" {notes.get(ranking.country, '')}"
        texts = (ranking.country, describe_answer(ranking), words.strip())
        entries.append(entry.format(*map(printable, texts)))
    return Markup('<dl class="verdicts">{}</dl>').format(Markup("").join(entries))


def _few_users(rankings: Sequence[CountryRanking]) -> Markup:
    """Return a warning where few users chose, once for all; nothing otherwise."""
    counts = {
        each.country: each.settings[0].evaluation.overall.users
        for each in rankings
        if each.settings
    }
    if not (few := list_few(counts)):
        return Markup("")
    return warning(
        f"Few validation users ({few}): intervals are rough, and settings cannot be told "
        "apart by a few points. Give more users, or search.folds."
    )


def _gains(rows: Sequence[PooledRow]) -> Markup:
    """Return the tested gain of each country's model, as a forest; nothing without tests."""
    tuned = [row for row in rows if row.arm == TUNED_ARM]
    against = (
        BASELINE if any(row.difference(BASELINE).value is not None for row in tuned) else GLOBAL
    )
    lines = [
        ForestRow(
            country_title(row.country),
            row.difference(against),
            _judged_by(row, rows),
        )
        for row in tuned
        if row.difference(against).value is not None
    ]
    if not lines:
        return Markup("")
    base = "plain fine-tuning" if against == BASELINE else "the global model"
    return draw_forest(lines, f"Gain of the chosen setting on {base}, test users, points")


def _judged_by(row: PooledRow, rows: Sequence[PooledRow]) -> str:
    judged = f"{format_count(row.pairs, 'pair')} of {format_count(row.users, 'test user')}"
    return ", ".join(filter(None, [judged, note_countries(row, rows)]))


def _config_section(config: str) -> Section:
    text = Markup("<pre>{}</pre>").format(printable(config))
    return Section("Resolved configuration", text, is_open=False)


def _facts(records: Sequence[TrialRecord]) -> list[tuple[str, str]]:
    started = sorted(str(r.times["started"]) for r in records if r.times.get("started"))
    hours = sum(float(record.times.get("train_s", 0.0)) for record in records) / 3600
    versions = sorted({f"{k} {v}" for r in records for k, v in r.versions.items()})
    facts = [("Trials", _count_trials(records))]
    if started:
        last = "" if started[0] == started[-1] else f" to {_minute(started[-1])}"
        facts.append(("Started", f"{_minute(started[0])}{last} UTC"))
    facts.append(("Training time", f"{format_number(hours, 2)} h over all trials"))
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
