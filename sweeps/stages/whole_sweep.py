"""A whole sweep, from a configuration to a ranked, tested run folder.

    data -> global model -> reference rewards -> search -> final trainings and curves

Every stage reads what the one before left in the run's folder, so `--resume` repeats nothing
that is finished. Only the final trainings see the test users, once.
"""

from collections.abc import Callable
from pathlib import Path

from scpo.distributed.ray_start import check_cluster
from sweeps.config import Say, SweepConfig
from sweeps.cost.needs import check_room
from sweeps.jobs.folds import choose_folds, describe_folds
from sweeps.ledger.records import Ledger
from sweeps.probe.user_features import weigh_users
from sweeps.run.inputs import open_workspace
from sweeps.run.mirror import Mirror
from sweeps.run.run_folder import keep_folds, kept_folds, open_run
from sweeps.stages.final_and_curves import FinalTrainings
from sweeps.stages.heads import check_heads, compare_heads
from sweeps.stages.search import search_countries


def run_sweep(
    config: SweepConfig,
    run: Path,
    *,
    resume: bool,
    say: Say,
    mirror: Mirror | None,
    on_ledger: Callable[[Ledger], None],
) -> str | None:
    """Run a sweep into a folder, or resume one.

    Args:
        config: The sweep.
        run: Its folder.
        resume: Continue what the folder holds; an empty folder starts fresh.
        say: Called with a line of progress.
        mirror: The copy of the folder in an object store, if it has one.
        on_ledger: Called with the ledger before the first training, to listen to its records; what
            a listener raises ends the sweep.

    Returns:
        Which limit of the search stopped the sweep before its final trainings, None for the end.

    Raises:
        ValueError: The folder holds a run and `resume` is off, or holds one of another
            configuration; what it was begun with has changed; data or countries do not suffice.
        Stopped: It was interrupted.
        OSError: The object store does not answer, or the disk has no room for the models.
        RuntimeError: The cluster does not hold one lane, or a global training went wrong.
    """
    check_cluster()
    if mirror is None:
        check_room(config, run)
    config = kept_folds(config, run)
    ledger = open_run(config, run, resume=resume)
    if mirror is not None:
        mirror.push()
        ledger = mirror.open_ledger()
    on_ledger(ledger)
    workspace = weigh_users(config, open_workspace(config, run, say, mirror=mirror), run, say)
    check_heads(config, workspace.countries)
    if config.search.folds is None:
        folds = choose_folds(workspace.countries.values())
        config = keep_folds(config, run, folds)
        say(describe_folds(folds))
    if mirror is not None:
        mirror.push()
    finals = FinalTrainings(config, workspace, ledger, run, say)
    if limit := search_countries(config, workspace, ledger, run, say, finals):
        return limit
    finals.train_rest()
    compare_heads(config, workspace, ledger, say)
    return None
