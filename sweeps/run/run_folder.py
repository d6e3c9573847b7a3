"""Opening the folder of a run, for the first time or to resume it."""

import os
import platform
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

from scpo.config import Config, SplitConfig, dump_config, load_config
from scpo.data.splits import SPLIT_FILE, read_split
from scpo.files.atomic import hash_file, write_text
from scpo.files.output_folder import output_folder
from scpo.files.places import is_remote
from scpo.files.provenance import installed_versions, source_commit, utc_now
from scpo.text.settings import dotted_keys
from sweeps.config import SweepConfig
from sweeps.ledger.records import LEDGER_NAME, Ledger
from sweeps.run.pins import check_pins, read_run_file, update_run_file

C = TypeVar("C", bound=Config)

_CONFIG_FILE = "config.yaml"
# Settings that change no result, so a run may be resumed with others.
_FREE = (
    *("lanes", "country_lanes", "curves.lanes", "final.lanes", "global_model.lanes", "cache"),
    *("search.num_trials", "search.max_wall_s", "search.max_device_hours"),
    *("search.target_accuracy", "training.checkpoint_every", "final.which", "report_to"),
)
_WORDS = ("title", "about", "note")  # of a study's page
_INPUTS = {"data", "split", "countries", "global_countries", "encoder", "training", "global_model"}


def open_run(config: SweepConfig, run: Path, *, resume: bool) -> Ledger:
    """Open a run's folder and write its configuration, versions and commit.

    Raises:
        ValueError: It holds a run and `resume` is off, or one of another configuration, or what
            it was begun with has changed.
    """
    if not resume and (run / _CONFIG_FILE).is_file():
        raise ValueError(
            f"{run} holds a run already. Resume it with --resume (resume=True in Python), or "
            "choose another --out."
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
    _refuse_changed(file, {key: both for key, both in changed.items() if not _is_free(key)})
    if changed:
        write_text(file, dump_config(config))
        _pin_config(run)
    return False


def _refuse_changed(file: Path, changed: Mapping[str, tuple[Any, Any]]) -> None:
    if changed:
        words = "; ".join(f"{key}: {old} there, {new} here" for key, (old, new) in changed.items())
        raise ValueError(
            f"{file} differs from the configuration given ({words}), and a run has one "
            "configuration. Choose another --out, or resume with the same settings."
        )


def _is_free(key: str) -> bool:
    return key.rpartition(".")[2] in _WORDS or any(
        f"{key}.".startswith(f"{free}.") for free in _FREE
    )


def kept_folds(config: SweepConfig, run: Path) -> SweepConfig:
    """Return a configuration that leaves the folds open with those that its run has chosen."""
    file = run / _CONFIG_FILE
    if config.search.folds is not None or not file.is_file():
        return config
    return with_folds(config, _read_again(config, file, run).search.folds)


def keep_folds(config: SweepConfig, run: Path, folds: int) -> SweepConfig:
    """Write the folds that the data have chosen into a run's configuration, and return it."""
    config = with_folds(config, folds)
    write_text(run / _CONFIG_FILE, dump_config(config))
    _pin_config(run)
    return config


def with_folds(config: SweepConfig, folds: int | None) -> SweepConfig:
    """Return a configuration with other folds of its search."""
    return config.model_copy(update={"search": config.search.model_copy(update={"folds": folds})})


def read_run_config(run: Path) -> SweepConfig:
    """Return the configuration that a sweep's folder keeps.

    Raises:
        FileNotFoundError: It keeps none.
        ValueError: It cannot be read.
    """
    file = run / _CONFIG_FILE
    if not file.is_file():
        raise FileNotFoundError(f"No {file}. Is {run} the folder of a sweep?")
    return load_config(SweepConfig, file, is_own=True)


def split_of_run(config: SweepConfig, run: Path) -> SplitConfig | dict[str, str]:
    """Return the part of each user by the run's own file, or how to divide them where it has none.

    Raises:
        ValueError: The file is damaged.
    """
    file = run / SPLIT_FILE
    return read_split(file) if file.is_file() else config.split


def one_run_writer(out: str | Path, config: SweepConfig) -> AbstractContextManager[Any]:
    """Let this process alone write a run's folder; all that write into it read the same inputs."""
    if is_remote(out):
        return nullcontext()  # the mirror has a lock in the store
    inputs, file = shared_inputs(config), Path(out) / _CONFIG_FILE
    changed: dict[str, tuple[Any, Any]] = {}
    with suppress(ValueError, OSError):  # of a file that is not there or damaged: told later
        changed = _changed_keys(load_config(type(config), file, is_own=True), config)
    shared = dotted_keys(inputs)
    _refuse_changed(file, {key: both for key, both in changed.items() if key in shared})
    return output_folder(Path(out), "run", inputs, overwrite=None)


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


def _read_again(config: C, file: Path, run: Path) -> C:
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
    old, new = (dotted_keys(config.model_dump(mode="json")) for config in (before, after))
    keys = dict.fromkeys([*new, *old])
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}
