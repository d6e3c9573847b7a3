"""A whole sweep, from a configuration to a ranked, tested run folder.

    data -> global model -> reference rewards -> search -> final trainings and curves

Every stage reads what the one before left in the run's folder, so `--resume` repeats nothing
that is finished. The test users are looked at by the final trainings only, once.
"""

import os
import platform
from pathlib import Path

from scpo.config import dump_config
from scpo.files.atomic import write_json, write_text
from scpo.files.provenance import installed_versions, source_commit, utc_now
from sweeps.config import Say, SweepConfig
from sweeps.jobs.planned_jobs import run_planned
from sweeps.ledger.records import Ledger
from sweeps.mirror import Mirror
from sweeps.needs import check_room
from sweeps.preparation import open_workspace
from sweeps.studies import search_countries


def run_sweep(
    config: SweepConfig, run: Path, *, resume: bool, say: Say, mirror: Mirror | None = None
) -> None:
    """Run a sweep, or what is left of it, into a folder.

    Args:
        config: The sweep.
        run: Its folder.
        resume: Go on with what the folder holds; an empty folder starts fresh.
        say: Called with a line of progress.
        mirror: The twin of the folder in an object store, if it has one.

    Raises:
        ValueError: The folder holds a run and `resume` is off, or holds one of another
            configuration; data or countries do not suffice.
        OSError: The object store does not answer, or the disk has no room for the models.
        RuntimeError: The cluster does not hold one lane, or a global training went wrong.
    """
    if mirror is None:
        check_room(config, run)
    ledger = open_run(config, run, resume=resume)
    if mirror is not None:
        mirror.push()
        ledger = mirror.open_ledger()
    workspace = open_workspace(config, run, say, mirror=mirror)
    if mirror is not None:
        mirror.push()
    search_countries(config, workspace, ledger, run, say)
    run_planned(config, workspace, ledger, run, say)


def open_run(config: SweepConfig, run: Path, *, resume: bool) -> Ledger:
    """Open a run's folder and write down what it is.

    Raises:
        ValueError: It holds a run and `resume` is off, or one of another configuration.
    """
    resolved = dump_config(config)
    file = run / "config.yaml"
    if file.is_file():
        if not resume:
            raise ValueError(
                f"{run} holds a run already. Go on with it by --resume, or choose another --out."
            )
        if file.read_text(encoding="utf-8") != resolved:
            raise ValueError(
                f"{file} differs from the configuration given, and a run has one configuration. "
                "Choose another --out, or resume with the same settings."
            )
    else:
        write_text(file, resolved)
        write_json(
            run / "run.json",
            {
                "name": config.name,
                "started": utc_now(),
                "versions": installed_versions(),
                "commit": source_commit(),
                "machine": {"cpus": os.cpu_count(), "architecture": platform.machine()},
            },
        )
    return Ledger(run)
