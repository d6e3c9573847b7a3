"""The search: one study per country, rebuilt from the ledger; countries share their lanes."""

import time
from functools import partial
from pathlib import Path

import numpy as np

from scpo.countries.country_data import CountryData
from scpo.countries.user_agreement import country_agreement
from scpo.method.arms import select_arm, select_setting
from scpo.method.strength import margin_scale
from scpo.method.user_weights import default_user_strength
from scpo.method.weighting import effective_pairs
from scpo.text.counts import format_count
from sweeps.config import LanesConfig, Say, SearchConfig, SweepConfig
from sweeps.jobs.job import Job
from sweeps.lanes.lane_count import describe_lanes
from sweeps.lanes.tune_runner import run_trials
from sweeps.ledger.records import Ledger
from sweeps.ledger.words import TUNED_ARM, slug
from sweeps.probe.probe import probe_countries, probe_points
from sweeps.progress.progress_table import follow_progress
from sweeps.run.workspace import Workspace
from sweeps.search.country_search import CountrySearch, trials_left
from sweeps.search.country_study import CountryStudy
from sweeps.search.journal import new_storage
from sweeps.search.rung_scheduler import RungScheduler
from sweeps.search.space import (
    Point,
    clip_to_space,
    configured_numbers,
    describe_base,
    search_of,
)
from sweeps.stages.final_and_curves import FinalTrainings


def search_countries(
    config: SweepConfig,
    workspace: Workspace,
    ledger: Ledger,
    run: Path,
    say: Say,
    finals: FinalTrainings | None = None,
) -> str | None:
    """Run the search trials that the ledger lacks, countries of like lanes at once.

    A trial that failed with its lane is tried again. A country's final trainings of the same
    lanes follow at once, so that these need not start anew, unless a limit may end the sweep.

    Returns:
        Which limit ended the search, None where it came to its end.

    Raises:
        Stopped: It was interrupted.
    """
    searched = [record for record in ledger.read() if record.purpose == "search"]
    known = [record for record in searched if not record.lane_lost]
    remaining = {
        country: trials_left([r for r in known if r.country == country], config.search)
        for country in config.countries
    }
    if not any(remaining.values()):
        return None
    if words := describe_base(config):
        say(words)
    storage = new_storage(run)
    unfinished = [country for country, count in remaining.items() if count > 0]
    probed = _probed_points(config, workspace, unfinished, say)
    studies = {}
    exempt: dict[str, list[Point]] = {}
    for country in config.countries:
        exempt[country] = first_points(config, workspace.countries[country])
        studies[country] = CountryStudy(
            country,
            _search_of(config, workspace.countries[country]),
            storage,
            [*exempt[country], *probed.get(country, ())],
            partial(reason_to_refuse, config.search, workspace.countries[country]),
            [record for record in known if record.country == country],
            {"country": country, "sweep": config.name, "arm": TUNED_ARM},
        )

    def make_job(country: str, number: int, point: Point) -> Job:
        return Job(
            trial_id=f"{slug(country)}-{number:04d}",
            purpose="search",
            country=country,
            arm=TUNED_ARM,
            seed=config.training.seed,
            max_consensus_drop=config.search.max_consensus_drop,
            min_pairs=config.search.min_pairs,
            folds=config.search.num_folds,
            **point,  # type: ignore[arg-type]  # its values are of the fields' types
            rungs=config.search.rungs,
            exempt=point in exempt[country],
        )

    by_lanes: dict[LanesConfig, dict[str, int]] = {}
    for country, count in remaining.items():
        by_lanes.setdefault(config.lanes_of("search", country), {})[country] = count
    started = time.monotonic()
    spent_s = sum(r.devices * float(r.times.get("wall_s", 0.0)) for r in ledger.read())
    ended: dict[str, str] = {}
    if config.search.max_wall_s is not None or config.search.max_device_hours is not None:
        finals = None
    with follow_progress(say, remaining) as on_record:
        for lanes, counts in by_lanes.items():
            if (trials := sum(counts.values())) == 0:
                continue
            which = describe_lanes(lanes, num_jobs=trials)
            countries = format_count(len(counts), "country")
            say(f"search: {format_count(trials, 'trial')} of {countries} in {which}")
            own = {country: studies[country] for country in counts}
            search = CountrySearch(own, counts, make_job, config.search, spent_s, started)
            if finals is not None:
                follow = partial(finals.begin_in, lanes, to_do=remaining)
                search.follow_with(follow, at_most=sum(map(finals.most_of, counts)))
            scheduler = RungScheduler(config.search.reduction, ledger.read())
            run_trials(search, workspace, lanes, ledger, run, on_record, scheduler=scheduler)
            spent_s = search.spent_s
            ended |= search.ended
    for country, study in studies.items():
        if study.num_refused:
            say(f"  {country}: {study.num_refused} settings keep too little and never started")
    for country, reason in ended.items():
        say(f"  {country + ': ' if country else ''}search ended early: {reason}")
    return ended.get("")


def reason_to_refuse(config: SearchConfig, data: CountryData, point: Point) -> str | None:
    """Return why a point must not start, known before any training, or None."""
    train = data.pairs_in("train")
    user_strength = point.get("user_strength", 0.0)
    selection = select_setting(
        data.reference_margin[train],
        retention=point["retention"],
        strength=point["strength"],
        agreement=country_agreement(data, train) if user_strength else None,
        user_strength=user_strength,
    )
    kept, effective = int(selection.keep.sum()), effective_pairs(selection.weights)
    if kept < config.min_pairs:
        return f"it keeps {kept} pairs, fewer than search.min_pairs of {config.min_pairs}"
    if effective < config.min_effective_pairs:
        return (
            f"its weights leave {effective:.1f} effective pairs, fewer than "
            f"search.min_effective_pairs of {config.min_effective_pairs:g}"
        )
    return None


def first_points(config: SweepConfig, data: CountryData) -> list[Point]:
    """Return the first trials of a country: plain fine-tuning and the paper's constants.

    Where the search weighs users, plain fine-tuning with the weights of the arm `user` is third.
    """
    train = data.pairs_in("train")
    margin = data.reference_margin[train]
    search = _search_of(config, data)
    numbers = configured_numbers(config)
    kept = float(select_arm("scpo", margin, tau=config.tau, beta=config.beta).keep.mean())
    full = {"retention": 1.0, "strength": 0.0, "user_strength": 0.0, **numbers}
    paper = {**full, "retention": kept, "strength": margin_scale(margin) / config.beta}
    default = default_user_strength(len(np.unique(data.user[train])))
    users = {**full, "user_strength": config.user_strength or default}
    points: list[Point] = []
    for wanted in (full, paper, users):
        point = clip_to_space(wanted, search)
        if point not in points:
            points.append(point)
    return points


def _search_of(config: SweepConfig, data: CountryData) -> SearchConfig:
    """Return the search of one country, which has features where its users can be weighed."""
    return search_of(config.search, can_weigh_users=data.differences is not None)


def _probed_points(
    config: SweepConfig, workspace: Workspace, countries: list[str], say: Say
) -> dict[str, list[Point]]:
    """Return points of each country's probe, where the configuration asks for some."""
    if config.search.probe_points == 0:
        return {}
    data = {name: workspace.countries[name] for name in countries}
    probed = probe_countries(config, data, workspace.model, say)
    return {
        result.country: probe_points(result, config, num_points=config.search.probe_points)
        for result in probed
    }
