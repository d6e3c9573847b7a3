"""Run a sweep from Python, as `scpo sweep` does, and get its results back."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from scpo.config import fields_of, load_config, parse_options
from scpo.interrupts import restored_process
from scpo.text.settings import dotted_keys, plain_values
from scpo.text.terminal import warn
from sweeps.api.configurations import find_configuration
from sweeps.api.run_results import Run
from sweeps.config import Say, SweepConfig
from sweeps.ledger.records import Ledger, Listener, TrialRecord
from sweeps.ranking.recommendation import rule_of
from sweeps.report.model_names import MODELS_FILE
from sweeps.report.write_all import Outputs, write_outputs
from sweeps.run.mirror import Mirror, working_folder
from sweeps.run.pins import made_file
from sweeps.run.run_folder import one_run_writer
from sweeps.stages.whole_sweep import run_sweep
from sweeps.tracking.reporting import Reporting

# Variables that Ray and a sweep set for this process, and which the caller's own code reads.
_CHANGED = ("PYTHONBREAKPOINT", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "TUNE_GLOBAL_CHECKPOINT_S")


def sweep(
    config: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    resume: bool = False,
    overrides: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callable[[TrialRecord], None]] = (),
    say: Say = print,
) -> Run:
    """Search, train, test and rank; write records, models, tables and the report.

    Args:
        config: A configuration that comes with the package ("demo", "prism"), a YAML file, or its
            values.
        out: Folder of the run, or a URI of an object store.
        resume: Go on with the run that the folder holds.
        overrides: Settings to change, by dotted key ("search.num_trials") or nested.
        callbacks: Each is called with the record of every training, once that is on disk; what
            one raises ends the sweep, which can be resumed.
        say: Called with each line of progress.

    Returns:
        The run; its `stopped` names the limit that ended it before the final trainings.

    Raises:
        FileNotFoundError: No such configuration.
        ValueError: A setting is unknown or out of range, or the folder holds a run and `resume`
            is off.
        scpo.interrupts.Stopped: It was interrupted.
        RuntimeError: The cluster does not hold one lane, or the package of a tracker is missing.

    Example:
        >>> few = {"search.num_trials": 4}
        >>> run = scpo.sweep("demo", "runs/demo", overrides=few)  # doctest: +SKIP
    """
    resolved = resolve_configuration(config, overrides)
    was_there = ray.is_initialized()
    try:
        with (
            restored_process(_CHANGED),
            one_run_writer(out, resolved),
            working_folder(out, writes=True) as (folder, mirror),
        ):
            _, stopped = run_and_write(
                resolved, folder, resume=resume, say=say, mirror=mirror, listeners=callbacks
            )
    finally:
        if not was_there:
            ray.shutdown()  # a notebook goes on without the cluster
    return Run(out, stopped=stopped)


def run_and_write(
    config: SweepConfig,
    folder: Path,
    *,
    resume: bool,
    say: Say,
    mirror: Mirror | None,
    listeners: Sequence[Listener] = (),
) -> tuple[Outputs, str | None]:
    """Run a sweep, write its results, and send both to the trackers of `report_to`.

    Returns:
        What was written, and which limit stopped the sweep, if one did.

    Raises:
        RuntimeError: The package of a tracker is missing. See also `run_sweep`.
        ValueError: Another process sends this run to a tracker. See also `run_sweep`.
    """
    with Reporting(config.report_to, folder, warn) as trackers:

        def listen(ledger: Ledger) -> None:
            ledger.listeners += listeners
            trackers.listen(ledger)

        stopped = run_sweep(
            config, folder, resume=resume, say=say, mirror=mirror, on_ledger=listen
        )
        with made_file(folder, "names of models", folder / MODELS_FILE):
            return write_outputs(folder, rule=rule_of(config)), stopped


def resolve_configuration(
    config: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None
) -> SweepConfig:
    """Return a configuration by name, file or values, with overrides.

    Raises:
        FileNotFoundError: No such configuration.
        ValueError: A setting is unknown or out of range.
    """
    plain = plain_values(overrides or {})
    given = {key: value for key, value in _empty_keys(plain) if _is_none_by_default(key)}
    given |= dotted_keys(plain)
    texts = [f"{key}={json.dumps(value, default=str)}" for key, value in given.items()]
    if isinstance(config, Mapping):
        return parse_options(SweepConfig, config, texts)
    return load_config(SweepConfig, find_configuration(config), texts)


def _empty_keys(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the mappings without a key, such as that of `{"final": {"heads": {}}}`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _empty_keys(value, f"{above}{key}.") if value else [(f"{above}{key}", {})]


def _is_none_by_default(key: str) -> bool:
    """Tell whether {} asks for a section's defaults; elsewhere it changes nothing."""
    fields: Mapping[str, Any] = SweepConfig.model_fields
    *parents, name = key.split(".")
    for parent in parents:
        fields = fields_of(fields[parent].annotation) if parent in fields else {}
    return name not in fields or fields[name].default is None
