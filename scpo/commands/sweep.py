"""Commands of many trainings: sweep and what is made from a ledger, and studies."""

from pathlib import Path
from typing import Annotated, Any

import typer

from scpo.commands.options import DryRun, Out, OutPlace, Run, Set, console, say, split_names

Config = Annotated[Path, typer.Argument(help="YAML file; sweeps/configs/ has some.")]


def sweep(
    config: Config,
    out: OutPlace,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what OUT holds.")] = False,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Search, train, test and rank: a whole sweep into one folder, or one of an object store."""
    resolved = _sweep_config(config, set_, dry_run)
    if resolved is None:
        return
    from sweeps.run.mirror import working_folder

    with working_folder(out) as (folder, mirror):
        from sweeps.stages.whole_sweep import (
            run_sweep,  # slow: a store that does not answer is told before
        )

        run_sweep(resolved, folder, resume=resume, say=say, mirror=mirror)
        ended_well = _show_run(folder, out, resolved.search.non_inferiority)
    if not ended_well:
        raise typer.Exit(1)


def probe(
    config: Config,
    out: Out,
    settings: Annotated[int, typer.Option(help="Settings a country.")] = 1024,
    draw: Annotated[
        bool, typer.Option("--curves", help="Instead: heads at each budget of `curves`, drawn.")
    ] = False,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Try thousands of settings on the frozen global model's features: minutes, not hours."""
    resolved = _sweep_config(config, set_, dry_run)
    if resolved is None:
        return
    if draw:
        from sweeps.probe.curves import run_probe_curves

        _show_curves(run_probe_curves(resolved, out, say), None)
        return
    from sweeps.probe.probe import run_probe
    from sweeps.probe.table import probe_table, write_probe

    results = run_probe(resolved, out, say, num_settings=settings)
    write_probe(results, out / "probe.csv")
    console.print(probe_table(results))
    console.print(f"Written: {out / 'probe.csv'}")


def plan(
    config: Config,
    out: Out,
    ledger: Annotated[
        Path | None, typer.Option(help="An earlier run, to take its speed from.")
    ] = None,
    lanes: Annotated[int | None, typer.Option(help="Lanes; none: as this machine has.")] = None,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Say what a sweep will keep, weigh and cost, before anything is trained."""
    resolved = _sweep_config(config, set_, dry_run)
    if resolved is None:
        return
    from sweeps.cost.selections import run_plan, selection_table, work_table

    planned = run_plan(resolved, out, say, ledger=ledger, num_lanes=lanes)
    console.print(selection_table(planned))
    console.print(work_table(planned))
    console.print(f"Written: {out / 'plan.csv'}, {out / 'plan_work.csv'}")


def ablate(
    config: Config,
    out: Out,
    seed: Annotated[list[int] | None, typer.Option(help="May be repeated; 0, 1, 2.")] = None,
    part: Annotated[str, typer.Option(help="validation or test users")] = "validation",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what OUT holds.")] = False,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Train every arm on the same splits, seeds and order of data, as a table."""
    resolved = _sweep_config(config, set_, dry_run)
    if resolved is None:
        return
    from sweeps.report.ablation_table import ablation_rows, ablation_table, write_ablation
    from sweeps.stages.ablation import run_ablation

    seeds = tuple(seed or (0, 1, 2))
    records = run_ablation(resolved, out, say, seeds=seeds, part=part, resume=resume)
    rows = ablation_rows(records, part)
    write_ablation(rows, out / "ablation.csv")
    console.print(ablation_table(rows, part))
    console.print(f"Written: {out / 'ablation.csv'}")


def rank(run: Run) -> None:
    """Rank a sweep's settings per country and recommend one."""
    from sweeps.ledger.records import read_records
    from sweeps.ranking.ranking import rank_run
    from sweeps.ranking.regret import describe_regret, regret_table, write_regret
    from sweeps.report.leaderboard import describe, leaderboard_table, write_leaderboard
    from sweeps.run.mirror import working_folder

    with working_folder(run) as (folder, _):
        rankings = rank_run(folder, margin=_margin(folder))
        write_leaderboard(rankings, folder / "leaderboard.csv")
        regret = regret_table(read_records(folder), rankings)
        write_regret(regret, folder / "regret.csv")
    console.print(leaderboard_table(rankings))
    for ranking in rankings:
        console.print(describe(ranking))
    console.print(describe_regret(regret))
    console.print(f"Written: {run}/leaderboard.csv, {run}/regret.csv")


def curves(
    run: Run,
    target: Annotated[
        float | None, typer.Option(help="A further accuracy to reach, 0..1.")
    ] = None,
) -> None:
    """Draw accuracy against pairs trained and labelled, and tell how many pairs arms need."""
    from sweeps.run.mirror import working_folder

    with working_folder(run) as (folder, _):
        _show_curves(folder, target)


def science(
    study: Annotated[str, typer.Argument(help="truth or map")],
    out: Out,
    size: Annotated[str, typer.Option(help="small: seconds; large: as published")] = "small",
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Train on synthetic worlds: what the paper's claims are worth, and when SCPO pays.

    A study that was cut off goes on with what OUT holds.
    """
    from sweeps.research.run_worlds import show_map, show_truth

    studies = {"truth": show_truth, "map": show_map}
    if study not in studies:
        raise ValueError(f"study must be of {', '.join(studies)}, but got {study!r}.")
    for shown in studies[study](out, size, say, workers):
        console.print(shown)


def study(
    config: Config,
    out: Out,
    only: Annotated[
        str, typer.Option(help="Data sets to work on, comma-separated; none: all.")
    ] = "",
    page: Annotated[Path | None, typer.Option(help="Page to write; none: into OUT.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes, and lanes; none: one a core.")
    ] = None,
) -> None:
    """Train and judge every arm on real data, and write the page of what came of it.

    A study that was cut off goes on with what OUT holds.
    """
    from sweeps.research.run_study import run_study

    results = run_study(config, out, say, only=split_names(only), page=page, workers=workers)
    done = ", ".join(result.title for result in results)
    console.print(f"Written: {page or out / 'STUDY.md'}, {out / 'study.csv'} ({done})")


def report(run: Run) -> None:
    """Write a sweep's page: report.html, one file that opens anywhere."""
    from sweeps.ledger.records import read_records
    from sweeps.report.arms_table import arm_rows, write_arms
    from sweeps.report.report_page import write_report
    from sweeps.run.mirror import working_folder

    with working_folder(run) as (folder, _):
        write_arms(arm_rows(read_records(folder)), folder / "arms.csv")
        page = write_report(folder, margin=_margin(folder))
    console.print(f"Written: {page}, {run}/arms.csv")


def _show_run(run: Path, out: str, margin: float) -> bool:
    """Write and say what a finished sweep found; return whether all that was planned is there."""
    from sweeps.ledger.records import read_records
    from sweeps.ranking.regret import describe_regret
    from sweeps.report.arms_table import arms_rich_table
    from sweeps.report.leaderboard import describe
    from sweeps.report.write_all import write_outputs

    outputs = write_outputs(run, margin=margin)
    console.print(arms_rich_table(outputs.arms))
    console.print("Recommended, by validation users:")
    for ranking in outputs.rankings:
        console.print(f"- {describe(ranking)}")
    console.print(describe_regret(outputs.regret))
    console.print(f"Models: {out}/models. The page: {outputs.page}")
    planned = [r for r in read_records(run) if r.purpose in ("final", "curve")]
    failed = [record for record in planned if record.state == "failed"]
    if failed:
        console.print(
            f"{len(failed)} of {len(planned)} final trainings and points of curves failed: first "
            f"{failed[0].trial_id}: {failed[0].error} The same command with --resume tries again."
        )
    return not failed


def _show_curves(run: Path, target: float | None) -> None:
    """Write the curves of a ledger and say how many pairs arms need."""
    from sweeps.curves.output.figure import missing_curve
    from sweeps.curves.output.files import write_curve_files
    from sweeps.curves.output.latex import summary_tables
    from sweeps.curves.points import curve_points
    from sweeps.ledger.records import read_records

    points = curve_points(read_records(run))
    rows, paths = write_curve_files(points, run, target=target)
    problem = missing_curve(points)
    if problem:
        raise ValueError(problem)
    for table in summary_tables(rows):
        console.print(table)
    console.print(f"Written: {', '.join(map(str, paths))}")


def _margin(run: Path) -> float:
    """Return the non-inferiority margin of a run's configuration."""
    import yaml

    file = run / "config.yaml"
    if not file.is_file():
        raise FileNotFoundError(f"No {file}. Is {run} the folder of a sweep?")
    return float(yaml.safe_load(file.read_text(encoding="utf-8"))["search"]["non_inferiority"])


def _sweep_config(config: Path, overrides: list[str] | None, dry_run: bool) -> Any:
    """Return a sweep's configuration, or print it and return None on a dry run."""
    from scpo.config import dump_config, load_config
    from sweeps.config import SweepConfig

    resolved = load_config(SweepConfig, config, overrides or [])
    if not dry_run:
        return resolved
    console.print(dump_config(resolved), markup=False)
    return None
