"""Opening the folder of a run, for the first time or to resume it."""

import os
import platform
from pathlib import Path

from scpo.config import dump_config, load_config
from scpo.files.atomic import write_json, write_text
from scpo.files.provenance import installed_versions, source_commit, utc_now
from sweeps.config import SweepConfig
from sweeps.ledger.records import Ledger


def open_run(config: SweepConfig, run: Path, *, resume: bool) -> Ledger:
    """Open a run's folder and write its configuration, versions and commit.

    Raises:
        ValueError: It holds a run and `resume` is off, or one of another configuration.
    """
    resolved = dump_config(config)
    file = run / "config.yaml"
    if file.is_file():
        if not resume:
            raise ValueError(
                f"{run} holds a run already. Resume it with --resume, or choose another --out."
            )
        if _read_again(file) != resolved:
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


def _read_again(file: Path) -> str:
    """Return a run's configuration as today's dump; keys that came since have their defaults."""
    try:
        return dump_config(load_config(SweepConfig, file))
    except ValueError:
        return ""
