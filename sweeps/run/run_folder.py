"""Opening the folder of a run, for the first time or to resume it."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scpo.config import Config, SplitConfig, dump_config, load_config
from scpo.data.splits import SPLIT_FILE, read_split
from scpo.files.atomic import hash_file, write_text
from scpo.files.provenance import installed_versions, source_commit, utc_now
from sweeps.config import SweepConfig
from sweeps.ledger.records import LEDGER_NAME, Ledger
from sweeps.run.pins import check_pins, read_run_file, update_run_file

_CONFIG_FILE = "config.yaml"
# Settings that change no result, so a run may be resumed with others.
_FREE = (
    *("lanes", "country_lanes", "curves.lanes", "final.lanes", "global_model.lanes", "cache"),
    *("search.num_trials", "search.max_wall_s", "search.max_device_hours"),
    *("search.target_accuracy", "training.checkpoint_every", "report_to"),
)
_INPUTS = {"data", "split", "countries", "global_countries", "encoder", "training", "global_model"}


def open_run(config: SweepConfig, run: Path, *, resume: bool) -> Ledger:
    """Open a run's folder and write its configuration, versions and commit.

    Raises:
        ValueError: It holds a run and `resume` is off, or one of another configuration, or what
            it was begun with has changed.
    """
    if not resume and (run / _CONFIG_FILE).is_file():
        raise ValueError(
            f"{run} holds a run already. Resume it with --resume, or choose another --out."
        )
    if keep_config(config, run):
        update_run_file(
            run,
            {
                "name": config.name,
                "started": utc_now(),
                "versions": installed_versions(),
                "commit": source_commit(),
                "machine": {"cpus": os.cpu_count(), "architecture": platform.machine()},
            },
        )
        _pin_config(run)
    check_pins(run)
    return Ledger(run)


def keep_config(config: Config, run: Path) -> bool:
    """Write the configuration into a folder that has none, and return whether it had none.

    Settings that change no result are written anew where they differ.

    Raises:
        ValueError: The folder is of another configuration, or has records but none.
    """
    file = run / _CONFIG_FILE
    if not file.is_file():
        if (run / LEDGER_NAME).is_file() and (run / LEDGER_NAME).stat().st_size:
            raise ValueError(
                f"{run} holds records but no {_CONFIG_FILE}, so it is not known what they are of. "
                "Restore it, or choose another --out."
            )
        write_text(file, dump_config(config))
        return True
    check_pins(run)
    changed = _changed_keys(_read_again(config, file, run), config)
    fixed = [key for key in changed if not any(f"{key}.".startswith(f"{f}.") for f in _FREE)]
    if fixed:
        words = "; ".join(f"{k}: {changed[k][0]} there, {changed[k][1]} here" for k in fixed)
        raise ValueError(
            f"{file} differs from the configuration given ({words}), and a run has one "
            "configuration. Choose another --out, or resume with the same settings."
        )
    if changed:
        write_text(file, dump_config(config))
        _pin_config(run)
    return False


def split_of_run(config: SweepConfig, run: Path) -> SplitConfig | dict[str, str]:
    """Return the part of each user by the run's own file, or how to divide them where it has none.

    Raises:
        ValueError: The file is damaged.
    """
    file = run / SPLIT_FILE
    return read_split(file) if file.is_file() else config.split


def shared_inputs(config: SweepConfig) -> dict[str, Any]:
    """Return what all commands that write into a run's folder must have in common."""
    values = config.model_dump(mode="json", include=_INPUTS)
    values["global_model"].pop("lanes")
    values["training"].pop("checkpoint_every")
    return values


def _pin_config(run: Path) -> None:
    pins = read_run_file(run).get("pins", {})
    own = {"file": _CONFIG_FILE, "sha256": hash_file(run / _CONFIG_FILE)}
    update_run_file(run, {"pins": {**pins, "configuration": own}})


def _read_again(config: Config, file: Path, run: Path) -> Config:
    """Return a kept configuration; keys that came since have their defaults."""
    try:
        return load_config(type(config), file, is_own=True)
    except ValueError as error:
        wrote = read_run_file(run).get("versions", {}).get("scpo", "another version")
        raise ValueError(
            f"{error} This scpo cannot read the run that {wrote} wrote: go on with that version, "
            "or choose another --out."
        ) from error


def _changed_keys(before: Config, after: Config) -> dict[str, tuple[Any, Any]]:
    """Return dotted keys whose values differ, with both; a section that is missing is None."""
    old, new = (_flatten(config.model_dump(mode="json")) for config in (before, after))
    keys = dict.fromkeys([*new, *old])
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def _flatten(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value
    return flat
