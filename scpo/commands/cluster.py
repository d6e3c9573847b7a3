"""Commands of clusters: submit, follow, stop and fetch jobs, and the doctor."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from scpo.commands.options import Set, console

Address = Annotated[str | None, typer.Option(help="Ray's dashboard address, http://host:8265.")]
ClusterProfile = Annotated[
    str | None, typer.Option("--profile", help="A file of cluster/profiles/, by name or path.")
]
RunName = Annotated[str, typer.Argument(help="Run name.")]


def submit(
    config: Annotated[Path, typer.Argument(help="YAML file inside this folder.")],
    out: Annotated[
        str | None,
        typer.Option("--out", help="Absolute folder on the cluster; none: the profile's storage."),
    ] = None,
    profile: ClusterProfile = None,
    address: Address = None,
    name: Annotated[
        str | None, typer.Option(help="Run name; default: the end of OUT or of CONFIG.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(help="Environment variable to pass on, by name.")
    ] = None,
    follow: Annotated[bool, typer.Option(help="Follow the log until the job ends.")] = True,
    set_: Set = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent.")] = False,
) -> None:
    """Run a sweep as a job of a Ray cluster; submitting again resumes it."""
    from cluster.jobs.submission import plan_submission

    settings = _cluster_settings(profile) if profile else None
    submission = plan_submission(
        config,
        out=out,
        run_name=name,
        overrides=set_ or [],
        env_names=env or [],
        profile=settings,
    )
    if dry_run:
        from cluster.jobs.package import describe_submission

        address = address or (settings.address if settings else None)
        console.print_json(json.dumps(describe_submission(submission, address)))
        return
    address = _cluster_address(address, profile)
    from cluster.jobs.client import submit_job
    from cluster.jobs.logs import follow_logs

    outcome = submit_job(submission, address=address)
    console.print(f"{submission.submission_id}: {outcome}")
    if settings and settings.tunnel:
        console.print(f"Dashboard: {settings.address}, through: {settings.tunnel}", markup=False)
    if follow:
        status = follow_logs(address, submission.submission_id)
        console.print(f"{submission.submission_id}: {status}")
        if status != "SUCCEEDED":
            raise typer.Exit(1)


def jobs(profile: ClusterProfile = None, address: Address = None) -> None:
    """List the jobs of a cluster, the newest first."""
    address = _cluster_address(address, profile)
    from cluster.jobs.client import describe_job, list_jobs

    for job in list_jobs(address):
        console.print(describe_job(job), markup=False)


def status(
    name: Annotated[str | None, typer.Argument(help="Run name; none: all jobs.")] = None,
    profile: ClusterProfile = None,
    address: Address = None,
) -> None:
    """Say how submitted jobs stand."""
    address = _cluster_address(address, profile)
    from cluster.jobs.client import describe_job, job_status, list_jobs

    for job in list_jobs(address) if name is None else [job_status(address, name)]:
        console.print(f"{describe_job(job)}  {job.message or ''}".rstrip(), markup=False)


def logs(
    name: RunName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
    profile: ClusterProfile = None,
    address: Address = None,
) -> None:
    """Print a job's log."""
    address = _cluster_address(address, profile)
    from cluster.jobs.logs import follow_logs, job_log

    if not follow:
        sys.stdout.write(job_log(address, name))
    elif follow_logs(address, name) != "SUCCEEDED":
        raise typer.Exit(1)


def stop(name: RunName, profile: ClusterProfile = None, address: Address = None) -> None:
    """Stop a submitted job; what it finished stays, and submitting again resumes it."""
    address = _cluster_address(address, profile)
    from cluster.jobs.client import stop_job

    console.print(f"{name}: {stop_job(address, name)}")


def fetch(
    name: RunName,
    to: Annotated[Path | None, typer.Option(help="Local folder; default: runs/NAME.")] = None,
    models: Annotated[bool, typer.Option("--models", help="The trained models too.")] = False,
    profile: ClusterProfile = None,
    address: Address = None,
) -> None:
    """Copy what a submitted run has written into a local folder, also while it runs."""
    address = _cluster_address(address, profile)
    from cluster.jobs.fetch import fetch_run

    to = to or Path("runs") / name
    source, num_files = fetch_run(address, name, to, with_models=models)
    console.print(f"{num_files} files of {source}: {to}")


def doctor(
    config: Annotated[Path | None, typer.Argument(help="A sweep, to see whether it fits.")] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="http://host:8265, or host:6379 on a node of the cluster; none: this machine."
        ),
    ] = None,
    profile: ClusterProfile = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            help="Folder of the run as the cluster sees it; none: the profile's, or runs.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="JSON file of the findings to write.")
    ] = None,
    set_: Set = None,
) -> None:
    """Say within 15 s whether a cluster, or this machine, is ready, and what to do."""
    import time
    from dataclasses import asdict

    begun_s = time.monotonic()
    names = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
    if profile or address or any(map(os.environ.get, names)):
        address = _cluster_address(address, profile)
    out = out or (_cluster_settings(profile).storage if profile else "runs")
    from cluster.doctor.doctor import LIMIT_S, Question, examine, findings_table, summarize
    from scpo.files.atomic import write_json

    until_s = begun_s + LIMIT_S
    question = Question(storage=out)
    if config is not None:
        from scpo.config import load_config
        from sweeps.config import SweepConfig
        from sweeps.cost.files_read import files_read

        resolved = load_config(SweepConfig, config, set_ or [])

        def estimate() -> Any:
            from sweeps.cost.needs import estimate_needs  # takes seconds, in a thread of its own

            return estimate_needs(resolved)

        question = Question(out, *files_read(resolved), resolved.lanes.gpus > 0, estimate)
    found = examine(address, question, limit_s=until_s - time.monotonic())
    console.print(findings_table(found))
    console.print(summarize(found))
    if json_file is not None:
        write_json(json_file, {"findings": [asdict(finding) for finding in found]})
    if any(finding.level == "failure" for finding in found):
        raise typer.Exit(1)


def _cluster_settings(profile: str) -> Any:
    """Return the settings of a profile."""
    from cluster.access.profile import load_profile

    return load_profile(profile)


def _cluster_address(address: str | None, profile: str | None) -> str | None:
    """Return the address to use, once the token is in use; before anything imports Ray."""
    from cluster.access.token import use_token

    use_token(required=profile is not None)
    if profile is None:
        return address
    from cluster.access.connection import asks_for_token, resolve_address

    settings = _cluster_settings(profile)
    address = resolve_address(address or settings.address)
    asks_for_token(address, settings.advice())
    return address
