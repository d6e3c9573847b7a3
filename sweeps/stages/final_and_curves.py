"""Final trainings and the trainings of the curves, as far as the ledger lacks them."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from scpo.files.atomic import adopt_folder
from scpo.files.places import Place, absolute, below
from scpo.text.counts import format_count
from sweeps.config import LanesConfig, Say, SweepConfig
from sweeps.curves.runs import curve_numbers, full_of_search
from sweeps.jobs.job import Job
from sweeps.jobs.job_records import same_training_record
from sweeps.jobs.planned_jobs import arm_job, curve_jobs
from sweeps.lanes.tune_runner import run_jobs
from sweeps.ledger.records import Ledger, TrialRecord
from sweeps.ledger.words import GLOBAL, KEPT_GLOBAL, TUNED_ARM, slug
from sweeps.progress.progress_table import follow_progress
from sweeps.ranking.ranking import rank_records
from sweeps.ranking.recommendation import rule_of
from sweeps.run.workspace import Workspace
from sweeps.search.space import point_of


class _Planned(NamedTuple):
    """Jobs to train, jobs with the one whose training is theirs too, and what was known."""

    trained: list[Job]
    shared: list[tuple[Job, Job]]
    records: list[TrialRecord]


@dataclass
class FinalTrainings:
    """The final trainings and points of the curves that a ledger lacks; each is tried once.

    Those of a country may begin in the lanes of its search as soon as that is over.
    """

    config: SweepConfig
    workspace: Workspace
    ledger: Ledger
    run: Path
    say: Say
    tried: set[str] = field(default_factory=set)  # trial ids

    def most_of(self, country: str) -> int:
        """Return how many trainings a country has at most."""
        finals = len(self.config.final.seeds) * (1 + len(self.config.final.arms))
        return finals + len(curve_jobs(self.config, [country]))

    def begin_in(self, lanes: LanesConfig, country: str, *, to_do: dict[str, int]) -> list[Job]:
        """Return the trainings of a country whose search is over, of these lanes.

        `to_do`, by country, is raised by their number.
        """
        planned = self._plan([country], say=lambda _: None)
        jobs = [
            job
            for job in planned.trained
            if not job.is_untrained and self.config.lanes_of(job.purpose, country) == lanes
        ]
        to_do[country] += len(jobs)
        return self._begin(jobs, planned.records)

    def train_rest(self) -> None:
        """Train all that is missing and was not tried."""
        planned = self._plan(self.config.countries, say=self.say)
        jobs = self._begin(planned.trained, planned.records)
        with follow_progress(self.say, Counter(job.country for job in jobs)) as on_record:
            run_jobs(jobs, self.workspace, self.config, self.ledger, self.run, on_record)
        records = self.ledger.read()
        for job, other in planned.shared:
            for record in [record for record in records if other.is_of(record)][-1:]:
                self.ledger.append(same_training_record(record, job))
                self.say(f"{job.trial_id}: the same training as {other.trial_id}")

    def _plan(self, countries: Sequence[str], say: Say) -> _Planned:
        config, place, run = self.config, self.workspace.place, self.run
        records = [record for record in self.ledger.read() if record.country in countries]
        finals = final_jobs(config, records, place or run, say, countries)
        jobs = [*finals, *curve_jobs(config, countries)]
        kept = [record for record in records if place or _has_model(record, run)]
        missing = [job for job in missing_jobs(jobs, kept) if job.trial_id not in self.tried]
        shared = [(job, other) for job in missing for other in finals if other.equals_full(job)]
        others = {job.trial_id for job, _ in shared}
        trained = [job for job in missing if job.trial_id not in others]
        return _Planned(trained, shared, records)

    def _begin(self, jobs: list[Job], records: Sequence[TrialRecord]) -> list[Job]:
        """Tell of jobs that are about to be trained, and make room for their models."""
        self.tried.update(job.trial_id for job in jobs)
        for country in sorted({job.country for job in jobs if job.tested_before}):
            self.say(
                f"{country}: another setting is recommended than was tested, so it is trained and "
                "tested too. Its test figure is no longer of a first look, and the page says so."
            )
        _adopt_models(jobs, records, self.run)
        set_aside_models(jobs, self.run, self.say)
        if jobs:
            models = sum(job.purpose == "final" for job in jobs)
            which = ", ".join(sorted({job.country for job in jobs}))
            self.say(
                f"final: {format_count(models, 'model')} of {which}, tested once; "
                f"curves: {format_count(len(jobs) - models, 'training')}"
            )
        return jobs


def _has_model(record: TrialRecord, run: Path) -> bool:
    """Tell whether a record's model, if it left one, is still in the run's folder."""
    name = Path(str(record.model_path)).name
    return record.model_path is None or (run / "models" / name).is_dir()


def _adopt_models(jobs: Sequence[Job], records: Sequence[TrialRecord], run: Path) -> None:
    """Mark models of an earlier version as this run's own, so that new ones may replace them."""
    written = {Path(str(record.model_path)).name for record in records if record.model_path}
    for job in jobs:
        folder = run / "models" / Path(str(job.save_to)).name
        if job.save_to is not None and folder.is_dir() and folder.name in written:
            adopt_folder(folder)


def set_aside_models(jobs: Sequence[Job], run: Path, say: Say) -> None:
    """Rename the folders of models that were trained before the global model was recommended."""
    for country in {job.country for job in jobs if job.retention == KEPT_GLOBAL}:
        folder = run / "models" / slug(country)
        if folder.is_dir():
            earlier = folder.with_name(f"{folder.name}.earlier")
            if earlier.is_dir():
                shutil.rmtree(earlier)
            folder.rename(earlier)
            say(f"{country}: the model of an earlier recommendation is now {earlier}")


def missing_jobs(jobs: Sequence[Job], records: Sequence[TrialRecord]) -> list[Job]:
    """Return the jobs that have no record, nor a training of the search that equals them.

    One that failed is tried again: the disk was full, or a node was lost once too often. A final
    of another setting is trained again, as a setting that the same test users judge next.
    """
    done = [record for record in records if record.state != "failed"]
    searched = {_curve_key(r.country, r.seed, r.config) for r in full_of_search(records)}
    missing = []
    for job in jobs:
        alike = [record for record in done if job.is_in_place_of(record)]
        is_searched = (job.purpose, job.arm) == ("curve", "full") and _curve_key(
            job.country, job.seed, job.config
        ) in searched
        if is_searched or any(job.is_of(record) for record in alike):
            continue
        if job.purpose == "final" and alike:
            before = 1 + max(record.tested_before for record in alike)
            job = replace(job, tested_before=before)
        missing.append(job)
    return missing


def _curve_key(country: str, seed: int, config: Mapping[str, Any]) -> tuple[Any, ...]:
    return country, seed, config["budget"], *curve_numbers(config)


def final_jobs(
    config: SweepConfig,
    records: list[TrialRecord],
    place: Place,
    say: Say,
    countries: Sequence[str] | None = None,
) -> list[Job]:
    """Return the final trainings: global, the named arms and each answer to train.

    `countries` are some of the configuration's, None for all.
    """
    rankings = {each.country: each for each in rank_records(records, rule=rule_of(config))}
    jobs = []
    for country in countries or config.countries:
        jobs.append(arm_job(config, country, GLOBAL, f"final-{GLOBAL}"))
        for arm in config.final.arms:
            jobs += _of_every_seed(arm_job(config, country, arm, f"final-{arm}"), config)
        ranking = rankings.get(country)
        if ranking is None or not ranking.settings:
            say(f"{country}: no trial succeeded, so there is no setting to retrain")
            continue
        tuned = replace(
            arm_job(config, country, TUNED_ARM, f"final-{TUNED_ARM}"), tau=None, beta=None
        )
        if ranking.trained is None:
            say(f"{country}: the global model is kept, so no model of its own is trained")
            jobs += _of_every_seed(replace(tuned, retention=KEPT_GLOBAL, strength=0.0), config)
            continue
        point = point_of(ranking.trained.record, config.search)
        tuned = replace(tuned, **point)  # type: ignore[arg-type]  # values of the fields' types
        if config.final.whole and config.trains_adapters:
            none = None if config.training.lora is None else 0
            tuned = replace(tuned, lora_rank=none, learning_rate=config.training.learning_rate)
        first, *others = _of_every_seed(tuned, config)
        model = absolute(below(place, "models", slug(country)))
        jobs += [replace(first, save_to=model), *others]
    return jobs


def _of_every_seed(job: Job, config: SweepConfig) -> list[Job]:
    """Return a final training once a seed; the first keeps the name."""
    others = [
        replace(job, seed=seed, trial_id=f"{job.trial_id}-{seed}")
        for seed in config.final.seeds[1:]
    ]
    return [job, *others]
