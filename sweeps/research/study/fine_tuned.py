"""Every arm as a fine-tuning of the global model, through lanes: jobs go in, records come out.

Each seed deals a country's users into folds anew; a job is one arm on one fold of one seed, and
its lane finds that fold as a country of its own. Records of a seed's folds become one, in which
every user is judged by the model that never saw it. `scpo_tuned` takes retention and strength
from heads on the global model's features that saw the fold's training users only.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from scpo.countries.country_data import CountryData
from scpo.countries.features import features_folder, features_with_cache, reward_head
from scpo.files.shared_cache import local_cache
from scpo.models.devices import pick_device, resolve_precision
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import content_hash
from sweeps.config import HeadsConfig, Say, SweepConfig
from sweeps.jobs.folds import pool_folds
from sweeps.jobs.job import Job
from sweeps.jobs.job_records import untrained_record
from sweeps.jobs.planned_jobs import arm_job
from sweeps.lanes.progress import follow_progress
from sweeps.lanes.tune_runner import run_jobs
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import HEAD_ARMS, TUNED_ARM, UNTRAINED
from sweeps.probe.choose_heads import Candidate, choose_heads, deal_users
from sweeps.probe.probed_pairs import ProbedPairs
from sweeps.research.study.frozen_arrays import pair_differences
from sweeps.run.run_folder import open_run
from sweeps.run.workspace import Workspace, open_workspace

Chosen = Mapping[str, Candidate]


def run_fine_tuned(
    config: SweepConfig,
    heads: HeadsConfig,
    run: Path,
    say: Say,
    *,
    seeds: Sequence[int],
    folds: int,
    num_lanes: int | None = None,
) -> list[TrialRecord]:
    """Train and judge what the ledger lacks; return one record an arm, country and seed.

    Args:
        config: The sweep whose data, global model and constants are used.
        heads: What chooses retention and strength of `scpo_tuned`.
        run: Its folder.
        say: Called with a line of progress.
        seeds: Seeds of folds, of the order of data and of `random_k`.
        folds: Folds of users.
        num_lanes: Lanes at most; none: as the configuration says.

    Raises:
        ValueError: Too few users for the folds, or the folder holds another configuration.
        RuntimeError: The cluster does not hold one lane.
    """
    ledger = open_run(config, run, resume=True)
    workspace = open_workspace(config, run, say)
    parts = split_countries(workspace.countries, seeds=seeds, folds=folds)
    done = {record.trial_id for record in ledger.read()}
    chosen = choose_settings(config, workspace, parts, heads, say)
    jobs = [job for job in study_jobs(config, parts, chosen) if job.trial_id not in done]
    planned = Counter(country_of(job.country) for job in jobs)
    say(f"fine-tuning: {len(jobs)} of {len(HEAD_ARMS) * len(parts)} trainings to do")
    with follow_progress(say, planned) as listen:

        def tell(record: TrialRecord) -> None:
            listen(record.model_copy(update={"country": country_of(record.country)}))

        lanes = config.lanes
        if num_lanes is not None:
            lanes = lanes.model_copy(update={"num_lanes": num_lanes})
        run_jobs(jobs, replace(workspace, countries=parts), lanes, ledger, run, tell)
    trained = pool_records(ledger.read(), folds)
    return [*_untrained(config, parts, folds), *trained]


def split_countries(
    countries: Mapping[str, CountryData], *, seeds: Sequence[int], folds: int
) -> dict[str, CountryData]:
    """Return each country once a seed and fold, which is its validation; nobody is left out."""
    return {
        fold_name(country, seed, number): replace(
            data, part=np.where(fold == number, "validation", "train")
        )
        for country, data in countries.items()
        for seed in seeds
        for fold in [deal_users(data.user, folds, seed=seed)]
        for number in range(folds)
    }


def fold_name(country: str, seed: int, fold: int) -> str:
    """Return the name under which lanes know a fold."""
    return f"{country}/{seed}/{fold}"


def country_of(name: str) -> str:
    """Return the country of a fold's name."""
    return name.rsplit("/", 2)[0]


def study_jobs(config: SweepConfig, parts: Mapping[str, CountryData], chosen: Chosen) -> list[Job]:
    """Return every training of the study, the same order of data for all arms of a fold.

    Args:
        config: Tau, beta, learning rate and epochs.
        parts: Countries by fold's name.
        chosen: Setting of `scpo_tuned` by fold's name.
    """
    jobs = []
    for name in parts:
        for arm in HEAD_ARMS:
            job = replace(
                arm_job(config, name, arm, arm), purpose="curve", seed=int(name.split("/")[1])
            )
            if arm == TUNED_ARM:
                setting = chosen[name]
                job = replace(
                    job,
                    tau=None,
                    beta=None,
                    retention=setting.retention,
                    strength=setting.strength,
                )
            jobs.append(job)
    return jobs


def choose_settings(
    config: SweepConfig,
    workspace: Workspace,
    parts: Mapping[str, CountryData],
    heads: HeadsConfig,
    say: Say,
) -> dict[str, Candidate]:
    """Return the setting of `scpo_tuned` of each fold, from its training users alone."""
    reward = load_reward_model(workspace.model).to(pick_device())
    precision = resolve_precision(config.training.precision, reward.model.device)
    folder = features_folder(
        local_cache(config.cache),
        model_hash=content_hash(workspace.model),
        precision=precision,
    )
    weight = reward_head(reward).weight[0].detach().cpu().numpy().astype(np.float64)
    probed = {}
    for country, data in workspace.countries.items():
        which = np.arange(len(data.texts))
        report = features_with_cache(reward, data.texts, which, folder, precision=precision)
        differences = pair_differences(report.features, data.pairs)
        probed[country] = ProbedPairs(differences, differences @ weight, data.reference_margin)
    chosen = {}
    for name, data in parts.items():
        seen, seed = np.flatnonzero(data.part == "train"), int(name.split("/")[1])
        pairs = probed[country_of(name)].take(seen)
        found = choose_heads(pairs, data.user[seen], heads, seed=seed, arms=(TUNED_ARM,))
        chosen[name] = found[TUNED_ARM].candidate
    say(f"settings of {TUNED_ARM} chosen for {len(chosen)} folds")
    return chosen


def pool_records(records: Sequence[TrialRecord], folds: int) -> list[TrialRecord]:
    """Return one record an arm, country and seed, of those whose folds are all complete."""
    groups: dict[tuple[str, str], dict[str, TrialRecord]] = defaultdict(dict)
    for record in records:
        if record.state == "complete":
            groups[record.country.rpartition("/")[0], record.arm][record.country] = record
    return [
        pool_folds([parts[name] for name in sorted(parts)]).model_copy(
            update={"country": country_of(next(iter(parts)))}
        )
        for parts in groups.values()
        if len(parts) == folds
    ]


def _untrained(
    config: SweepConfig, parts: Mapping[str, CountryData], folds: int
) -> list[TrialRecord]:
    """Return the records of `global` and `length`, judged on all users."""
    records = []
    for arm in UNTRAINED:
        for name, data in parts.items():
            job = replace(arm_job(config, name, arm, arm), purpose="curve", seed=0)
            records.append(untrained_record(job, data))
    first = records[0].country.split("/")[1]
    return pool_records([r for r in records if r.country.split("/")[1] == first], folds)
