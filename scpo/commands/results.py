"""Commands on the folder of a sweep: rank, curves, report, repair."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from scpo.commands.options import Json, RunPlace, in_home, show_json
from scpo.text.terminal import console, warn

if TYPE_CHECKING:
    from scpo.arrays import Row

_CHOICE = ("non_inferiority", "caution", "max_consensus_drop")
_MANY_OBJECTS = 100_000  # made since the last look; Python's own bound is 700


def rank(run: RunPlace, as_json: Json = False) -> None:
    """Rank the settings of a sweep and recommend one per country."""
    from sweeps.ledger.records import read_records
    from sweeps.ranking.ranking import rank_searched
    from sweeps.ranking.regret import describe_regret, regret_table, write_regret
    from sweeps.report.leaderboard import (
        describe,
        leaderboard_rows,
        leaderboard_table,
        write_leaderboard,
    )
    from sweeps.run.mirror import working_folder

    _collect_rarely()
    with working_folder(run) as (folder, _):
        records = read_records(folder)
        rankings = rank_searched(records, folder, rule=_rule(folder))
        write_leaderboard(rankings, folder / "leaderboard.csv")
        regret = regret_table(records, rankings)
        write_regret(regret, folder / "regret.csv")
    console.print(leaderboard_table(rankings))
    for ranking in rankings:
        console.print(describe(ranking))
    console.print(describe_regret(regret))
    console.print(f"Written: {run}/leaderboard.csv, {run}/regret.csv")
    show_json(as_json, {"leaderboard": leaderboard_rows(rankings)})


def curves(
    run: RunPlace,
    target: Annotated[float | None, Option(help="Report the pairs for this accuracy too.")] = None,
    as_json: Json = False,
) -> None:
    """Draw accuracy against the number of pairs.

    Also estimates how many pairs each arm needs, trained on and labelled.
    """
    from sweeps.run.mirror import working_folder
    from sweeps.run.pins import check_pins

    _collect_rarely()
    with working_folder(run) as (folder, _):
        check_pins(folder)
        summary = show_curves(folder, target)
    show_json(as_json, {"curve_summary": summary})


def report(
    run: RunPlace,
    live: Annotated[
        bool, Option("--live", help="Show it while the sweep runs, on this machine alone.")
    ] = False,
    port: Annotated[int, Option(min=0, max=65535, help="Port of --live; 0 for a free one.")] = 0,
    as_json: Json = False,
) -> None:
    """Write report.html, one self-contained page about a sweep.

    With --live it is not written but shown in a browser, made anew from the ledger at every
    request. It loads itself anew every 10 s; Ctrl-C ends it, and the sweep goes on.

    Example: scpo report runs/prism --live
    """
    if live:
        _show_live(run, port)
    else:
        _write_report(run, as_json)


def _write_report(run: str, as_json: bool) -> None:
    from sweeps.ledger.records import read_records
    from sweeps.ranking.ranking import rank_records
    from sweeps.ranking.tested import describe_tests
    from sweeps.report.arms_table import arm_columns, arm_rows, write_arms
    from sweeps.report.report_page import write_report
    from sweeps.run.mirror import working_folder
    from sweeps.run.pins import absent_files

    _collect_rarely()
    with working_folder(run) as (folder, _):
        rule, records = _rule(folder), read_records(folder)
        for file in absent_files(folder):
            warn(f"{file} is missing, and left out; the sweep writes it again with --resume.")
        rankings = rank_records(records, rule=rule)
        notes = describe_tests(records, rankings)
        rows = arm_rows(records)
        write_arms(rows, folder / "arms.csv", notes)
        page = write_report(folder, rule=rule, records=records, rankings=rankings)
    console.print(f"Written: {page}, {run}/arms.csv")
    show_json(as_json, {"page": str(page), "arms": arm_columns(rows, notes)})


def _show_live(run: str, port: int) -> None:
    """Serve the page of a run until Ctrl-C."""
    from scpo.files.places import is_remote
    from sweeps.report.live import LiveReport

    if is_remote(run):
        raise ValueError(
            f"--live shows a run in a folder of this machine, but got {run}. Use `scpo report "
            f"{run}`, which reads it once."
        )
    folder = Path(run)
    with LiveReport(folder, _rule(folder), port) as server:
        console.print(f"{server.url} shows {run} as it grows. Ctrl-C ends it.")
        server.serve_forever()


def watch(
    run: RunPlace,
    once: Annotated[bool, Option("--once", help="Show it once and end.")] = False,
) -> None:
    """Follow a running sweep: a live table, until it ends or Ctrl-C. The sweep goes on.

    A run in a bucket is shown once.
    """
    from scpo.files.places import is_remote
    from sweeps.progress.watch import watch_run
    from sweeps.run.mirror import working_folder

    with working_folder(run) as (folder, _):
        watch_run(folder, console, once=once or is_remote(run))


def track(
    run: RunPlace,
    to: Annotated[list[str], Option(help="wandb, mlflow, tensorboard or trackio; repeatable.")],
) -> None:
    """Send a finished or running sweep to a tracker.

    What the tracker has is not sent again. `report_to` in the configuration sends while it runs.
    """
    from sweeps.config import check_trackers
    from sweeps.ledger.records import read_records
    from sweeps.run.mirror import working_folder
    from sweeps.tracking.delivery import send_run

    names = check_trackers(tuple(to))
    with working_folder(run) as (folder, _):
        send_run(names, folder, read_records(folder), console.print)


def repair(
    run: Annotated[
        Path,
        Argument(help="Output folder of `scpo sweep`, on this machine.", callback=in_home),
    ],
) -> None:
    """Check a sweep's files; keep what is sound and set the rest aside.

    `scpo sweep --resume` then trains what is missing. Exit code 1 if a file is damaged that
    cannot be made again: data, split, configuration, global model.
    """
    from scpo.files.output_folder import LOCK, one_writer
    from sweeps.run.repair import repair_run

    if not run.is_dir():
        raise FileNotFoundError(f"No folder {run}. Give the output folder of a sweep.")
    with one_writer(run / LOCK, run):
        parts = repair_run(run)
    for part in parts:
        console.print(f"{part.state:9}{part.name}: {part.word}")
    damaged = [part.name for part in parts if part.state == "damaged"]
    if damaged:
        console.print(f"Restore {', '.join(damaged)}, or start a new run with another --out.")
        raise typer.Exit(1)


def show_curves(run: Path, target: float | None) -> "list[Row]":
    """Write and print the curves of a run; return the rows of their summary."""
    from sweeps.curves.output.files import write_curve_files
    from sweeps.curves.output.latex import target_tables
    from sweeps.curves.points import curve_points, missing_curve
    from sweeps.ledger.records import read_records

    points = curve_points(read_records(run))
    rows, paths = write_curve_files(points, run, target=target)
    if problem := missing_curve(points):
        raise ValueError(problem)
    for table in target_tables(rows):
        console.print(table)
    console.print(f"Written: {', '.join(map(str, paths))}")
    return rows


def _collect_rarely() -> None:
    """Let Python look for garbage once in many objects: a fifth of the time on 5,000 trials.

    Records and figures live to the end of the command, and are looked through each time.
    """
    gc.set_threshold(_MANY_OBJECTS)


def _rule(run: Path) -> Any:
    """Return how a run chooses settings, once its files are those it was begun with."""
    from pydantic import ValidationError

    from scpo.text.yaml_files import read_yaml
    from sweeps.config import FinalConfig, SearchConfig
    from sweeps.ranking.recommendation import ChoiceRule
    from sweeps.run.pins import check_pins

    check_pins(run)
    file = run / "config.yaml"
    if not file.is_file():
        raise FileNotFoundError(f"No {file}. Is {run} the folder of a sweep?")
    config = read_yaml(file).value
    sections = config if isinstance(config, dict) else {}
    search: Any = sections.get("search")
    final: Any = sections.get("final") or {}
    try:  # only what the choice reads, so that runs of other versions can be ranked
        if search is None:
            raise KeyError("search")
        chosen = SearchConfig(**{key: search[key] for key in _CHOICE if key in search})
        which = FinalConfig(which=final.get("which", "accuracy")).which
        margin = float(search["non_inferiority"])
    except (ValidationError, TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{file} must be the configuration of a sweep, with a number search.non_inferiority, "
            f"but has search: {search!r} there. Is {run} the folder of a sweep?"
        ) from error
    return ChoiceRule(margin, chosen.caution, chosen.max_consensus_drop, which)
