"""Commands of clusters: submit, follow, stop and fetch jobs, and the doctor."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from scpo.commands.options import Set, in_home, local_path
from scpo.text.counts import format_count
from scpo.text.terminal import console, warn

Address = Annotated[str | None, Option(metavar="URL", help="Ray dashboard, http://host:8265.")]
ProfileName = Annotated[
    str | None,
    Option("--profile", metavar="NAME", help="local, kuberay-raycluster, aws, gcp or file."),
]
RunName = Annotated[str, Argument(help="Run name.")]


def submit(
    config: Annotated[
        Path,
        Argument(metavar="CONFIG", help="YAML file in this folder or below.", callback=in_home),
    ],
    out: Annotated[
        str | None, Option(help="Folder on the cluster; default: the profile's.")
    ] = None,
    profile: ProfileName = None,
    address: Address = None,
    name: Annotated[str | None, Option(help="Run name; default: end of OUT or CONFIG.")] = None,
    env: Annotated[
        list[str] | None, Option(metavar="VARIABLE", help="Variable to pass on; repeatable.")
    ] = None,
    include: Annotated[
        list[str] | None,
        Option(metavar="PATH", help="File or folder to send though git has it not; repeatable."),
    ] = None,
    follow: Annotated[bool, Option(help="Print the log until the job ends.")] = True,
    set_: Set = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Print what would be sent.")] = False,
) -> None:
    """Run a sweep as a job on a Ray cluster.

    Sends what git tracks here, without data, runs, caches and secrets.
    Submit again to resume a job that failed or was stopped.
    Exit code 1 if the job fails.
    """
    from cluster.access.token import use_token

    if not dry_run:
        use_token(required=False)  # before anything imports Ray, which looks for it once

    from cluster.jobs.submission import plan_submission

    settings = _load_profile(profile) if profile else None
    submission = plan_submission(
        config,
        out=out,
        run_name=name,
        overrides=set_ or [],
        env_names=env or [],
        included=include or [],
        profile=settings,
    )
    from cluster.jobs.package import check_package, describe_submission

    if dry_run:
        address = address or (settings.address if settings else None)
        console.print_json(json.dumps(describe_submission(submission, address)))
        return
    submission, package = check_package(submission)
    console.print(package.summary())
    address = _use_cluster(address, profile)
    if "scpo/__main__.py" not in package.files:
        warn(
            "scpo itself is not sent, since it is not tracked here: the image of the nodes must "
            "have it. To send it, submit from the root of its repository."
        )
    from cluster.jobs.client import submit_job
    from cluster.jobs.logs import follow_logs
    from cluster.jobs.sent_files import staged

    with staged(submission, package.files) as sent:
        outcome = submit_job(sent, address=address)
    console.print(f"{submission.submission_id}: {outcome}")
    if settings and settings.tunnel:
        console.print(f"Dashboard: {settings.address}, through: {settings.tunnel}")
    if follow:
        status = follow_logs(address, submission.submission_id)
        console.print(f"{submission.submission_id}: {status}")
        if status != "SUCCEEDED":
            raise typer.Exit(1)


def jobs(profile: ProfileName = None, address: Address = None) -> None:
    """List jobs, newest first."""
    address = _use_cluster(address, profile)
    from cluster.jobs.client import describe_job, list_jobs

    for job in list_jobs(address):
        console.print(describe_job(job))


def status(
    name: Annotated[str | None, Argument(help="Run name; default: all jobs.")] = None,
    profile: ProfileName = None,
    address: Address = None,
) -> None:
    """Show job status."""
    address = _use_cluster(address, profile)
    from cluster.jobs.client import describe_job, job_status, list_jobs

    for job in list_jobs(address) if name is None else [job_status(address, name)]:
        console.print(f"{describe_job(job)}  {job.message or ''}".rstrip())


def logs(
    name: RunName,
    follow: Annotated[bool, Option("--follow", "-f", help="Print until the job ends.")] = False,
    profile: ProfileName = None,
    address: Address = None,
) -> None:
    """Print the log of a job."""
    address = _use_cluster(address, profile)
    from cluster.jobs.logs import follow_logs, job_log

    if not follow:
        sys.stdout.write(job_log(address, name))
    elif follow_logs(address, name) != "SUCCEEDED":
        raise typer.Exit(1)


def stop(name: RunName, profile: ProfileName = None, address: Address = None) -> None:
    """Stop a job.

    Finished work is kept. Submit again to resume.
    """
    address = _use_cluster(address, profile)
    from cluster.jobs.client import stop_job

    console.print(f"{name}: {stop_job(address, name)}")


def fetch(
    name: RunName,
    to: Annotated[
        Path | None, Option(help="Local folder; default: runs/NAME.", callback=local_path)
    ] = None,
    models: Annotated[bool, Option("--models", help="Include the trained models.")] = False,
    profile: ProfileName = None,
    address: Address = None,
) -> None:
    """Copy the outputs of a job to this machine.

    Works while the job runs, too.
    """
    address = _use_cluster(address, profile)
    from cluster.jobs.fetch import fetch_run
    from scpo.files.output_folder import output_folder

    to = to or Path("runs") / name
    with output_folder(to, "fetched run", name, overwrite=None):
        source, num_files = fetch_run(address, name, to, with_models=models)
    console.print(f"{format_count(num_files, 'file')} of {source}: {to}")


def doctor(
    config: Annotated[
        Path | None, Argument(help="Sweep to check: data, models, memory.", callback=in_home)
    ] = None,
    address: Annotated[
        str | None, Option(help="http://host:8265, or host:6379 from a node; default: here.")
    ] = None,
    profile: ProfileName = None,
    out: Annotated[str | None, Option(help="Output folder; default: the profile's.")] = None,
    json_file: Annotated[
        Path | None, Option("--json", help="Write the findings as JSON.", callback=local_path)
    ] = None,
    set_: Set = None,
) -> None:
    """Check whether a cluster or this machine is ready.

    Takes up to 15 s, and says how to fix what it finds.
    Exit code 1 if a check fails.
    """
    import time
    from dataclasses import asdict

    started_s = time.monotonic()
    if not (address or profile):
        address = os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
    if address or profile:
        address = _use_cluster(address, profile)
    if out is None and profile:
        out = _load_profile(profile).storage
    elif out is None and "://" not in (address or ""):  # runs/ of a job goes with its folder
        out = "runs"
    from cluster.doctor.doctor import HANG_S, Question, examine, findings_table, summarize
    from scpo.files.atomic import write_json

    question = Question(out)
    if config is not None:
        from scpo.config import load_config
        from sweeps.config import SweepConfig
        from sweeps.cost.files_read import files_read

        resolved = load_config(SweepConfig, config, set_ or [])

        def estimate() -> Any:
            from sweeps.cost.needs import estimate_needs  # slow, so imported in its own thread

            return estimate_needs(resolved)

        question = Question(out, *files_read(resolved), resolved.lanes.gpus > 0, estimate)
    found = examine(address, question, limit_s=started_s + HANG_S - time.monotonic())
    console.print(findings_table(found))
    console.print(summarize(found))
    if json_file is not None:
        write_json(json_file, {"findings": [asdict(finding) for finding in found]})
    if any(finding.level == "failure" for finding in found):
        raise typer.Exit(1)


def _load_profile(profile: str) -> Any:
    from cluster.access.profile import load_profile

    return load_profile(profile)


def _use_cluster(address: str | None, profile: str | None) -> str | None:
    """Make Ray send the token, before anything imports Ray; return the address of the cluster."""
    from cluster.access.token import use_token

    use_token(required=profile is not None)
    if profile is None:
        return address
    from cluster.access.connection import asks_for_token, resolve_address

    settings = _load_profile(profile)
    origin = "--address" if address else f"the profile {profile}"
    address = resolve_address(address or settings.address)
    # An error here says how to start this cluster.
    asks_for_token(address, f"The address is from {origin}. {settings.advice()}")
    return address
