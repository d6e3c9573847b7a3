"""Opening the folder of a run, for the first time or to resume it."""

import os
import platform
from pathlib import Path

from scpo.config import Config, dump_config, load_config
from scpo.files.atomic import write_json, write_text
from scpo.files.provenance import installed_versions, source_commit, utc_now
from sweeps.config import SweepConfig
from sweeps.ledger.records import Ledger


def open_run(config: SweepConfig, run: Path, *, resume: bool) -> Ledger:
    """Open a run's folder and write its configuration, versions and commit.

    Raises:
        ValueError: It holds a run and `resume` is off, or one of another configuration.
    """
    if not resume and (run / "config.yaml").is_file():
        raise ValueError(
            f"{run} holds a run already. Resume it with --resume, or choose another --out."
        )
    if keep_config(config, run):
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


def keep_config(config: Config, run: Path) -> bool:
    """Write the configuration into a folder that has none, and return whether it had none.

    Raises:
        ValueError: The folder is of another configuration.
    """
    file, resolved = run / "config.yaml", dump_config(config)
    if not file.is_file():
        write_text(file, resolved)
        return True
    if _read_again(type(config), file) != resolved:
        raise ValueError(
            f"{file} differs from the configuration given, and a run has one configuration. "
            "Choose another --out, or resume with the same settings."
        )
    return False


def _read_again(kind: type[Config], file: Path) -> str:
    """Return a kept configuration as today's dump; keys that came since have their defaults."""
    try:
        return dump_config(load_config(kind, file))
    except ValueError:
        return ""
