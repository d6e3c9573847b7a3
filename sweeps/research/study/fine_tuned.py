"""Every arm as a fine-tuning of the global model: jobs run in lanes, records of folds are pooled.

Each seed deals a country's users into folds anew. A job is one arm on one fold, which lanes know
as a country of its own; the records of a seed's folds become one, in which every user is judged
by the model that never saw it. `scpo_tuned` takes retention and strength from heads on the global
model's features that saw the fold's training users only.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scpo.countries.country_data import CountryData
from scpo.countries.user_agreement import why_no_user_weights
from sweeps.config import HeadsConfig, Say, SweepConfig
from sweeps.jobs.folds import folds_of, pool_folds
from sweeps.jobs.job import Job
from sweeps.jobs.job_records import untrained_record
from sweeps.jobs.planned_jobs import arm_job
from sweeps.lanes.tune_runner import run_jobs
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import HEAD_ARMS, TUNED_ARM, UNTRAINED, USER
from sweeps.probe.choose_heads import Candidate, choose_heads
from sweeps.probe.probed_pairs import open_features, probe_pairs
from sweeps.probe.user_features import with_user_features
from sweeps.progress.progress_table import follow_progress
from sweeps.research.study.study_config import StudyConfig
from sweeps.run.inputs import open_workspace
from sweeps.run.run_folder import open_run
from sweeps.run.workspace import Workspace


class Fold(NamedTuple):
    """A fold of a country's users, as a seed deals them."""

    country: str
    seed: int
    number: int

    @property
    def name(self) -> str:
        """The country that lanes and records know the fold as; never parsed."""
        return f"{self.country}/{self.seed}/{self.number}"


def run_fine_tuned(
    config: SweepConfig,
    heads: HeadsConfig,
    study: StudyConfig,
    run: Path,
    say: Say,
    num_lanes: int | None,
) -> list[TrialRecord]:
    """Train and judge what the ledger lacks; return one record an arm, country and seed.

    Data, global model and constants are the sweep's, seeds and folds the study's; retention and
    strength of `scpo_tuned` are chosen from `heads`. `num_lanes` overrides the sweep's.

    Raises:
        ValueError: Too few users for the folds, or the folder holds another configuration.
        RuntimeError: The cluster does not hold one lane.
    """
    ledger = open_run(config, run, resume=True)
    workspace = open_workspace(config, run, say)
    countries = with_user_features(config, workspace.countries, workspace.model, say)
    workspace = replace(workspace, countries=countries)
    by_fold = split_countries(workspace.countries, seeds=study.seeds, folds=study.tuned_folds)
    country_of = {fold.name: fold.country for fold in by_fold}
    done = {record.trial_id for record in ledger.read()}
    chosen = choose_settings(config, workspace, by_fold, heads, say)
    arms = arms_of(by_fold.values())
    jobs = [job for job in study_jobs(config, chosen, arms) if job.trial_id not in done]
    say(f"fine-tuning: {len(jobs)} of {len(arms) * len(by_fold)} trainings to do")
    if num_lanes is not None:
        lanes = config.lanes.model_copy(update={"num_lanes": num_lanes})
        config = config.model_copy(update={"lanes": lanes})
    by_name = {fold.name: data for fold, data in by_fold.items()}
    lane_workspace = replace(workspace, countries=by_name)
    with follow_progress(say, Counter(country_of[job.country] for job in jobs)) as listen:

        def tell(record: TrialRecord) -> None:
            listen(record.model_copy(update={"country": country_of[record.country]}))

        run_jobs(jobs, lane_workspace, config, ledger, run, tell)
    untrained = [
        untrained_record(replace(_fold_job(config, fold, arm), seed=0), data)
        for arm in UNTRAINED
        for fold, data in by_fold.items()
        if fold.seed == study.seeds[0]  # of every seed the same
    ]
    return pool_records([*untrained, *ledger.read()], by_fold)


def split_countries(
    countries: Mapping[str, CountryData], *, seeds: Sequence[int], folds: int
) -> dict[Fold, CountryData]:
    """Return each country once a seed and fold, which is its validation; nobody is left out."""
    return {
        Fold(country, seed, number): fold
        for country, data in countries.items()
        for seed in seeds
        for number, fold in enumerate(
            folds_of(replace(data, part=np.full(len(data.part), "train")), folds, seed=seed)
        )
    }


def arms_of(folds: Iterable[CountryData]) -> tuple[str, ...]:
    """Return the arms of a study, without `user` where a fold's users cannot be weighed."""
    can = all(data.differences is not None and why_no_user_weights(data) is None for data in folds)
    return HEAD_ARMS if can else tuple(arm for arm in HEAD_ARMS if arm != USER)


def study_jobs(
    config: SweepConfig, chosen: Mapping[Fold, Candidate], arms: Sequence[str] = HEAD_ARMS
) -> list[Job]:
    """Return every training of the study, the same order of data for all arms of a fold.

    `chosen` is the setting of `scpo_tuned` by fold.
    """
    jobs = []
    for fold, setting in chosen.items():
        jobs += [_fold_job(config, fold, arm) for arm in arms if arm != TUNED_ARM]
        tuned = replace(_fold_job(config, fold, TUNED_ARM), tau=None, beta=None)
        jobs.append(replace(tuned, retention=setting.retention, strength=setting.strength))
    return jobs


def choose_settings(
    config: SweepConfig,
    workspace: Workspace,
    by_fold: Mapping[Fold, CountryData],
    heads: HeadsConfig,
    say: Say,
) -> dict[Fold, Candidate]:
    """Return the setting of `scpo_tuned` of each fold, from its training users alone."""
    store = open_features(config, workspace.model)
    probed = {
        country: probe_pairs(store, data, np.arange(len(data.pairs)), say)
        for country, data in workspace.countries.items()
    }
    chosen = {}
    for fold, data in by_fold.items():
        seen = data.pairs_in("train")
        pairs = probed[fold.country].take(seen)
        found = choose_heads(pairs, heads, seed=fold.seed, arms=(TUNED_ARM,), judges=data.judges)
        chosen[fold] = found[TUNED_ARM].candidate
    say(f"settings of {TUNED_ARM} chosen for {len(chosen)} folds")
    return chosen


def pool_records(records: Iterable[TrialRecord], folds: Iterable[Fold]) -> list[TrialRecord]:
    """Return one record an arm, country and seed, of those whose folds are all complete."""
    by_name = {fold.name: fold for fold in folds}
    num_folds = Counter((fold.country, fold.seed) for fold in by_name.values())
    groups: dict[tuple[str, int, str], dict[int, TrialRecord]] = defaultdict(dict)
    for record in records:
        if record.state == "complete":
            fold = by_name[record.country]
            groups[fold.country, fold.seed, record.arm][fold.number] = record
    return [
        pool_folds([parts[number] for number in sorted(parts)]).model_copy(
            update={"country": country}
        )
        for (country, seed, _), parts in groups.items()
        if len(parts) == num_folds[country, seed]
    ]


def _fold_job(config: SweepConfig, fold: Fold, arm: str) -> Job:
    return replace(arm_job(config, fold.name, arm, arm), purpose="curve", seed=fold.seed)
