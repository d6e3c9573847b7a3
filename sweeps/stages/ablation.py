"""The ablation: every arm of the method on the same splits and seeds.

Arms are trained with the configuration's own tau, beta, learning rate and epochs, several seeds
each, and judged on validation users, so that test users stay untouched. Arms that keep the same
pairs see them in the same order; `global` and `length` (longer response wins) are not trained.
The records lie in a ledger of their own, in the run's folder `ablation`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scpo.distributed.ray_start import check_cluster
from scpo.method.arms import TRAINED_ARMS
from sweeps.config import Say, SweepConfig
from sweeps.jobs.job import Job
from sweeps.jobs.planned_jobs import arm_job
from sweeps.lanes.tune_runner import run_jobs
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import ARMS, UNTRAINED, USER
from sweeps.probe.user_features import weigh_users
from sweeps.progress.progress_table import follow_progress
from sweeps.run.inputs import open_workspace
from sweeps.run.run_folder import open_run
from sweeps.run.workspace import Workspace

_SEEDS = (0, 1, 2)
_FOLDER = "ablation"


def run_ablation(
    config: SweepConfig,
    run: Path,
    say: Say,
    *,
    arms: Sequence[str] = ARMS,
    seeds: Sequence[int] = _SEEDS,
    part: str = "validation",
    resume: bool = False,
) -> list[TrialRecord]:
    """Train and judge the arms that an ablation's ledger lacks, and return its records.

    Args:
        config: The sweep whose data, global model and constants are used.
        run: Its folder, with data and global model, which are made if missing.
        say: Called with a line of progress.
        arms: Which arms, of `ARMS`.
        seeds: Seeds of each trained arm.
        part: "validation" or, at the end of a study, "test".
        resume: Continue what the folder `ablation` holds.

    Raises:
        ValueError: No such arm or part, no seeds, seeds that repeat or are negative, or the
            folder holds an ablation and `resume` is off, or one of another configuration.
        RuntimeError: The cluster does not hold one lane.
    """
    jobs = ablation_jobs(config, arms=arms, seeds=seeds, part=part)
    check_cluster()
    folder = run / _FOLDER
    ledger = open_run(config, folder, resume=resume)
    workspace = _weigh_users(config, open_workspace(config, run, say), run, say, arms)
    can = {name for name, data in workspace.countries.items() if data.differences is not None}
    jobs = [job for job in jobs if job.arm != USER or job.country in can]
    done = [record for record in ledger.read() if record.state != "failed"]  # those try again
    missing = [job for job in jobs if not any(job.is_of(record) for record in done)]
    say(f"ablation: {len(missing)} of {len(jobs)} to do")
    with follow_progress(say, Counter(job.country for job in missing)) as on_record:
        run_jobs(missing, workspace, config, ledger, folder, on_record)
    return [record for record in ledger.read() if any(job.is_of(record) for job in jobs)]


def _weigh_users(
    config: SweepConfig, workspace: Workspace, run: Path, say: Say, arms: Sequence[str]
) -> Workspace:
    """Weigh users for the arm `user`: where it is named, else of countries that can."""
    if tuple(arms) != ARMS:
        return weigh_users(config, workspace, run, say, arms=arms)
    # Which strengths a search tries is no word on the arm.
    search = config.search.model_copy(update={"user_strength": None})
    return weigh_users(config.model_copy(update={"search": search}), workspace, run, say)


def ablation_jobs(
    config: SweepConfig,
    *,
    arms: Sequence[str] = ARMS,
    seeds: Sequence[int] = _SEEDS,
    part: str = "validation",
) -> list[Job]:
    """Return the trainings of an ablation, and one job for each arm that is not trained.

    Raises:
        ValueError: No such arm or part, no seeds, negative ones, or seeds or arms that repeat.
    """
    unknown = [arm for arm in arms if arm not in (*TRAINED_ARMS, *UNTRAINED)]
    if unknown or len(set(arms)) != len(arms) or not arms:
        raise ValueError(f"arms must be some of {', '.join(ARMS)}, once, but got {list(arms)}.")
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise ValueError(f"seeds must be given, differ and be 0 or more, but got {list(seeds)}.")
    if part not in ("validation", "test"):
        raise ValueError(f"part must be validation or test, but got {part!r}.")
    return [
        replace(
            arm_job(config, country, arm, f"ablate-{part}-{arm}-{seed}"),
            purpose="final" if part == "test" else "curve",  # which decides who judges
            seed=seed,
        )
        for country in config.countries
        for number, seed in enumerate(seeds)
        for arm in arms
        if number == 0 or arm not in UNTRAINED
    ]
