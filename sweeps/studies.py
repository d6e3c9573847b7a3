"""The studies of a run: opened from the ledger, given their first trials, run in lanes.

The Optuna storage is a journal file in the run's folder that only the driver writes;
optuna-dashboard opens it. It is built anew from the ledger at every start.
"""

from collections.abc import Iterable
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from scpo.arms import select_arm
from scpo.country import CountryData
from scpo.weighting import margin_scale
from sweeps.config import SweepConfig
from sweeps.jobs import TUNED_ARM, Job
from sweeps.lanes import Workspace
from sweeps.preparation import Say
from sweeps.records import Ledger, TrialRecord
from sweeps.search import CountrySearch, Point, StudySearch, clip_to_space, point_of, slug
from sweeps.tuning import run_search, tell_progress


def search_countries(
    config: SweepConfig, workspace: Workspace, ledger: Ledger, run: Path, say: Say
) -> None:
    """Run the search trials that the ledger lacks, all countries in the same lanes."""
    known = [record for record in ledger.read() if record.purpose == "search"]
    remaining = {
        country: config.search.num_trials - sum(r.country == country for r in known)
        for country in config.countries
    }
    total = sum(max(0, count) for count in remaining.values())
    if total == 0:
        return
    journal = run / "optuna.journal"
    journal.unlink(missing_ok=True)  # rebuilt from the ledger, so no ghost survives a kill
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    studies = {}
    for country in config.countries:
        done = [record for record in known if record.country == country]
        first = first_points(config, workspace.countries[country])
        studies[country] = StudySearch(
            country, config.search, storage, _not_done(first, done)
        )
        studies[country].tell_known(done)
    numbers = {country: _next_number(known, country) for country in config.countries}

    def make_job(country: str, point: Point) -> Job:
        number = numbers[country]
        numbers[country] += 1
        return Job(
            trial_id=f"{slug(country)}-{number:04d}",
            purpose="search",
            country=country,
            arm=TUNED_ARM,
            seed=config.training.seed,
            max_consensus_drop=config.search.max_consensus_drop,
            min_pairs=config.search.min_pairs,
            retention=point["retention"],
            strength=point["strength"],
            learning_rate=point["learning_rate"],
            epochs=point["epochs"],
        )

    say(f"search: {total} trials of {len(config.countries)} countries")
    run_search(
        CountrySearch(studies, remaining, make_job),
        total,
        workspace,
        config.lanes,
        ledger,
        run,
        tell_progress(say, total),
    )


def first_points(config: SweepConfig, data: CountryData) -> list[Point]:
    """Return the first trials of a country: plain fine-tuning, and the paper's constants."""
    margin = data.reference_margin[data.pairs_in("train")]
    numbers = {
        "learning_rate": config.training.learning_rate,
        "epochs": config.training.epochs,
    }
    kept = float(select_arm("scpo", margin, tau=config.tau, beta=config.beta).keep.mean())
    paper = {"retention": kept, "strength": margin_scale(margin) / config.beta, **numbers}
    full = {"retention": 1.0, "strength": 0.0, **numbers}
    points = [clip_to_space(full, config.search), clip_to_space(paper, config.search)]
    return points if points[0] != points[1] else points[:1]


def _not_done(points: Iterable[Point], done: list[TrialRecord]) -> list[Point]:
    """Return the points that no record has tried."""
    tried = [point_of(record) for record in done]
    return [point for point in points if point not in tried]


def _next_number(records: list[TrialRecord], country: str) -> int:
    """Return the number after the highest of a country's search trials."""
    numbers = [int(r.trial_id.rsplit("-", 1)[1]) for r in records if r.country == country]
    return max(numbers, default=-1) + 1
