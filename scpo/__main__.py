"""The command line: `scpo COMMAND ...`, also as `python -m scpo`.

A handler reads its options, calls one function of the room that does the work, and prints what
came of it. Handlers import what they need themselves, so that `scpo --help`, ranking and the
report start without torch or Ray. Errors that a user can cause end in one line and exit code 2.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from scpo.config import EncoderConfig

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reward models of one country's preferences: train, search, rank, report.",
)
WIDTH = None if sys.stdout.isatty() else 150  # a file or a pipe has no width of its own
console = Console(soft_wrap=True, highlight=False, width=WIDTH)

Config = Annotated[Path, typer.Argument(help="YAML file; sweeps/configs/ has some.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
Data = Annotated[Path, typer.Option("--data", help="Folder that `scpo prepare` wrote.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override: key.sub=value; may be repeated.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration only.")]
Cache = Annotated[Path, typer.Option(help="Folder of cached reference rewards.")]
MaxTokens = Annotated[int, typer.Option(help="Longest text, in tokens.")]
Overlong = Annotated[
    str,
    typer.Option(help="Longer texts: truncate_prompt, truncate_left, or drop their pairs."),
]
Run = Annotated[Path, typer.Argument(help="Folder of a sweep.")]
Address = Annotated[str | None, typer.Option(help="Ray's dashboard address, http://host:8265.")]
ClusterProfile = Annotated[
    str | None, typer.Option("--profile", help="A file of cluster/profiles/, by name or path.")
]
RunName = Annotated[str, typer.Argument(help="Run name.")]
GlobalModel = Annotated[str, typer.Option("--global-model", help="Hub name or folder.")]
Country = Annotated[str, typer.Option("--country", help="The country to steer to.")]


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(help="prism, pairs, opinions or synthetic")],
    out: Out,
    path: Annotated[Path | None, typer.Option(help="File or folder; none: the hub.")] = None,
    user_column: Annotated[str, typer.Option(help="pairs: column of the user.")] = "user",
    country_column: Annotated[str, typer.Option(help="pairs: column of the country.")] = "country",
    default_country: Annotated[
        str | None, typer.Option(help="pairs: country of rows that name none.")
    ] = None,
    on_bad_rows: Annotated[
        str, typer.Option(help="quarantine: go on without them; stop: end at the first.")
    ] = "quarantine",
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Read preferences, check them, and write interactions.parquet."""
    from scpo.config import DataConfig, dump_config, parse_options
    from scpo.data.prepare import summary_table
    from scpo.sources import prepare_source

    config = parse_options(
        DataConfig,
        {
            "source": source,
            "path": None if path is None else str(path),
            "user_column": user_column,
            "country_column": country_column,
            "default_country": default_country,
            "on_bad_rows": on_bad_rows,
        },
        set_,
    )
    if dry_run:
        console.print(dump_config(config), markup=False)
        return
    console.print(summary_table(prepare_source(config, out)))
    console.print(f"Written: {out / 'interactions.parquet'}, {out / 'quarantine.jsonl'}")


@app.command("train-global")
def train_global(
    data: Data,
    backbone: Annotated[str, typer.Option(help="Hub name or folder; gets a new reward head.")],
    out: Out,
    exclude: Annotated[
        str, typer.Option(help="Countries to leave out, comma-separated: those to steer to.")
    ] = "",
    extra_pairs: Annotated[Path | None, typer.Option(help="A further pairs file.")] = None,
    max_extra_pairs: Annotated[int | None, typer.Option(help="At most so many of it.")] = None,
    max_tokens: MaxTokens = 512,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Train a global reward model on the countries that are not steered to."""
    from scpo.config import GlobalModelConfig, TrainingConfig, dump_config, parse_options
    from scpo.data.interactions import read_interactions
    from scpo.global_model import pool_interactions, train_global_model

    given = {
        "backbone": backbone,
        "extra_pairs": None if extra_pairs is None else str(extra_pairs),
        "max_extra_pairs": max_extra_pairs,
    }
    model = parse_options(GlobalModelConfig, given, set_)
    if dry_run:
        console.print(dump_config(model), markup=False)
        return
    pooled = pool_interactions(
        read_interactions(data),
        model,
        exclude=_names(exclude),
        quarantine=out.parent / f"{out.name}-quarantine.jsonl",
        seed=0,
    )
    result = train_global_model(pooled, model, TrainingConfig(), out=out, max_tokens=max_tokens)
    console.print(result.in_words())
    console.print(f"Written: {out}")


@app.command()
def score(
    data: Data,
    global_model: GlobalModel,
    countries: Annotated[str, typer.Option(help="Comma-separated; none: all.")] = "",
    workers: Annotated[
        int, typer.Option(help="1: this process; more: Ray actors, a device each; 0: all devices.")
    ] = 1,
    cache: Cache = Path("runs/cache"),
    max_tokens: MaxTokens = 512,
    overlong: Overlong = "truncate_prompt",
) -> None:
    """Score every response once with the global model; a second call runs no model."""
    from scpo.single import score_data

    score_on = None
    if workers != 1:
        from scpo.ray_scoring import score_on_ray

        score_on = partial(score_on_ray, workers=workers or None)
    report, folder = score_data(
        data,
        global_model,
        _names(countries),
        cache=cache,
        encoder=_encoder(max_tokens, overlong),
        score_on=score_on,
    )
    console.print(
        f"{report.num_scored} texts scored, {report.num_cached} from the cache, "
        f"{report.num_quarantined} damaged parts moved aside. Rewards: {folder}"
    )


@app.command()
def train(
    data: Data,
    global_model: GlobalModel,
    country: Country,
    out: Out,
    arm: Annotated[str, typer.Option(help="full, filter, weight, inverse, scpo, random_k")] = (
        "scpo"
    ),
    tau: Annotated[float, typer.Option(help="Filter threshold, (0, 1].")] = 0.7,
    beta: Annotated[float, typer.Option(help="Weighting temperature, positive.")] = 1.1,
    workers: Annotated[
        int, typer.Option(help="1: this process, plain torch; more: Ray Train and DeepSpeed.")
    ] = 1,
    zero_stage: Annotated[int, typer.Option(help="DeepSpeed ZeRO stage, 0 to 3.")] = 2,
    offload: Annotated[
        str, typer.Option(help="To CPU memory: none, optimizer, or weights with it.")
    ] = "none",
    cache: Cache = Path("runs/cache"),
    max_tokens: MaxTokens = 512,
    overlong: Overlong = "truncate_prompt",
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Train one country's reward model; the result is a Hugging Face folder.

    Checkpoints go to OUT.checkpoints; the same command again goes on from there.
    """
    from scpo.config import TrainingConfig, dump_config, parse_options
    from scpo.fitting import fit_on_device
    from scpo.single import ready_training

    training = parse_options(TrainingConfig, {}, set_)
    if dry_run:
        console.print(dump_config(training), markup=False)
        return
    ready = ready_training(
        data,
        global_model,
        country,
        arm=arm,
        tau=tau,
        beta=beta,
        cache=cache,
        encoder=_encoder(max_tokens, overlong),
        seed=training.seed,
    )
    checkpoints = out.with_name(f"{out.name}.checkpoints")
    if workers == 1:
        result = fit_on_device(
            ready.reward, ready.pairs, training, out=out, checkpoints=checkpoints
        )
    else:
        from scpo.ray_training import Cluster, train_on_ray

        result = train_on_ray(
            ready.folder,
            ready.pairs,
            training,
            Cluster(
                workers,
                zero_stage=zero_stage,  # type: ignore[arg-type]  # checked there
                offload=offload,  # type: ignore[arg-type]  # checked there
                use_gpu=ready.reward.model.device.type == "cuda",
            ),
            out=out,
            checkpoints=checkpoints,
        )
    for line in result.moved_aside:
        console.print(f"Damaged checkpoint moved aside: {line}", markup=False)
    if result.resumed_from:
        console.print(f"Gone on from step {result.resumed_from}.")
    console.print(
        f"{country}, {arm}: {len(ready.pairs.chosen)} of {ready.num_available} pairs "
        f"({ready.effective_pairs:.0f} effective), {len(result.losses)} steps, "
        f"{result.train_s:.1f} s, last loss {result.losses[-1]:.4f}"
    )
    if ready.losses:
        console.print(f"{country}: {ready.losses}")
    console.print(f"Written: {out}")


@app.command()
def evaluate(
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder that `scpo prepare` wrote.")
    ] = None,
    global_model: Annotated[
        str | None, typer.Option("--global-model", help="Or --model global=MODEL.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="LABEL=MODEL, repeated: full=DIR for all, Mexico=DIR or Mexico/scpo=DIR for "
            "one country; DIR alone is the model of --country.",
        ),
    ] = None,
    country: Annotated[
        list[str] | None,
        typer.Option("--country", help="Whose pairs judge, repeated; none: as labels name."),
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            "--run",
            help="A sweep's folder: its data and final models; repeated: folds of one study, "
            "pooled per user.",
        ),
    ] = None,
    part: Annotated[str, typer.Option(help="test or validation users")] = "test",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of tables, figures and pairs.parquet.")
    ] = None,
    card_facts: Annotated[
        Path | None,
        typer.Option(help="YAML with licences and data: a model card beside each model."),
    ] = None,
    cache: Cache = Path("runs/cache"),
    max_tokens: MaxTokens = 512,
    overlong: Overlong = "truncate_prompt",
) -> None:
    """Judge models on countries' held-out users: layers, paired tests, calibration, the knob."""
    from scpo.evaluation.card_facts import read_card_facts
    from scpo.evaluation.command import run_evaluation
    from scpo.evaluation.sources import models_to_judge
    from scpo.evaluation.summary import summary_tables
    from sweeps.evaluation_figures import draw_evaluation
    from sweeps.run_models import card_facts_of_run, models_of_run

    given = (data, global_model, model, country)
    if run and any(given):
        raise ValueError("--run has its own data, models and countries: give none beside it.")
    known = card_facts_of_run(run[0]) if run and len(run) == 1 else {}
    encoder = _encoder(max_tokens, overlong)
    judged = [models_of_run(each) for each in run or ()] or [
        models_to_judge(*given, cache=cache, encoder=encoder)
    ]
    facts = read_card_facts(card_facts, known) if card_facts else known
    tables = run_evaluation(judged, out, part=part, facts=facts, say=_say)
    for table in summary_tables(tables):
        console.print(table)
    if out is not None:
        draw_evaluation(tables, out)
        console.print(f"Written: {out}: evaluation.json, pairs.parquet, tables and figures")


@app.command()
def opinions(
    out: Out,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="LABEL=MODEL, repeated: global=DIR, Mexico=DIR or Mexico/scpo=DIR.",
        ),
    ] = None,
    path: Annotated[
        Path | None, typer.Option(help="CSV file of GlobalOpinionQA; none: the hub.")
    ] = None,
    countries: Annotated[
        str, typer.Option(help="Comma-separated; none: those with a model, or many questions.")
    ] = "",
    min_questions: Annotated[int, typer.Option(help="What is many.")] = 100,
    part: Annotated[
        str, typer.Option(help="all questions; or validation or test, as `scpo train` splits.")
    ] = "all",
    temperature: Annotated[float, typer.Option(help="T of softmax(reward / T).")] = 1.0,
    fit_temperature: Annotated[
        bool, typer.Option("--fit-temperature", help="Fit T to the other countries' answers.")
    ] = False,
    max_tokens: MaxTokens = 512,
    on_bad_rows: Annotated[str, typer.Option(help="quarantine or stop")] = "quarantine",
) -> None:
    """Compare reward models with what the people of each country answered in surveys."""
    from scpo.evaluation.sources import parse_models
    from scpo.opinions.command import OpinionSettings, run_opinions
    from scpo.opinions.tables import countries_table, overall_table

    settings = OpinionSettings(
        countries=tuple(_names(countries)),
        min_questions=min_questions,
        part=part,
        temperature=None if fit_temperature else temperature,
        max_tokens=max_tokens,
    )
    records = run_opinions(
        parse_models(model or []),
        path,
        out,
        settings,
        on_bad_rows=on_bad_rows,  # type: ignore[arg-type]  # checked there
        say=_say,
    )
    console.print(overall_table(records))
    console.print(countries_table(records))
    console.print(f"Written: {out / 'opinions.csv'}, {out / 'opinions.json'}")


@app.command()
def sweep(
    config: Config,
    out: Out,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what OUT holds.")] = False,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Search, train, test and rank: a whole sweep into one folder."""
    resolved = _sweep_config(config, set_, dry_run)
    if resolved is None:
        return
    from sweeps.driver import run_sweep

    run_sweep(resolved, out, resume=resume, say=_say)
    _show_run(out, resolved.search.non_inferiority)


@app.command()
def probe(
    config: Config,
    out: Out,
    settings: Annotated[int, typer.Option(help="Settings a country.")] = 1024,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Try thousands of settings on the frozen global model's features: minutes, not hours."""
    resolved = _sweep_config(config, set_, dry_run)
    if resolved is None:
        return
    from sweeps.probe import run_probe
    from sweeps.probe_table import probe_table, write_probe

    results = run_probe(resolved, out, _say, num_settings=settings)
    write_probe(results, out / "probe.csv")
    console.print(probe_table(results))
    console.print(f"Written: {out / 'probe.csv'}")


@app.command()
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
    from sweeps.plan import run_plan, selection_table, work_table

    planned = run_plan(resolved, out, _say, ledger=ledger, num_lanes=lanes)
    console.print(selection_table(planned))
    console.print(work_table(planned))
    console.print(f"Written: {out / 'plan.csv'}, {out / 'plan_work.csv'}")


@app.command()
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
    from sweeps.ablation import run_ablation
    from sweeps.ablation_table import ablation_rows, ablation_table, write_ablation

    seeds = tuple(seed or (0, 1, 2))
    records = run_ablation(resolved, out, _say, seeds=seeds, part=part, resume=resume)
    rows = ablation_rows(records, part)
    write_ablation(rows, out / "ablation.csv")
    console.print(ablation_table(rows, part))
    console.print(f"Written: {out / 'ablation.csv'}")


@app.command()
def rank(run: Run) -> None:
    """Rank a sweep's settings per country and recommend one."""
    from sweeps.leaderboard import describe, leaderboard_table, write_leaderboard
    from sweeps.ranking import rank_run
    from sweeps.records import read_records
    from sweeps.regret import describe_regret, regret_table, write_regret

    rankings = rank_run(run, margin=_margin(run))
    write_leaderboard(rankings, run / "leaderboard.csv")
    regret = regret_table(read_records(run), rankings)
    write_regret(regret, run / "regret.csv")
    console.print(leaderboard_table(rankings))
    for ranking in rankings:
        console.print(describe(ranking))
    console.print(describe_regret(regret))
    console.print(f"Written: {run / 'leaderboard.csv'}, {run / 'regret.csv'}")


@app.command()
def curves(
    run: Run,
    target: Annotated[
        float | None, typer.Option(help="A further accuracy to reach, 0..1.")
    ] = None,
) -> None:
    """Draw accuracy against pairs trained and labelled, and tell how many pairs arms need."""
    from sweeps.curves.figure import missing_curve
    from sweeps.curves.files import write_curve_files
    from sweeps.curves.points import curve_points
    from sweeps.curves.table import summary_tables
    from sweeps.records import read_records

    points = curve_points(read_records(run))
    rows, paths = write_curve_files(points, run, target=target)
    problem = missing_curve(points)
    if problem:
        raise ValueError(problem)
    for table in summary_tables(rows):
        console.print(table)
    console.print(f"Written: {', '.join(map(str, paths))}")


@app.command()
def science(
    study: Annotated[str, typer.Argument(help="truth, map or neighbours")],
    out: Out,
    size: Annotated[str, typer.Option(help="small: seconds; large: as published")] = "small",
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Train on synthetic worlds: what the paper's claims are worth, and when SCPO pays.

    A study that was cut off goes on with what OUT holds.
    """
    from sweeps.science.show import show_map, show_neighbours, show_truth

    studies = {"truth": show_truth, "map": show_map, "neighbours": show_neighbours}
    if study not in studies:
        raise ValueError(f"study must be of {', '.join(studies)}, but got {study!r}.")
    for shown in studies[study](out, size, _say, workers):
        console.print(shown)


@app.command()
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
    from sweeps.study.run import run_study

    results = run_study(config, out, _say, only=_names(only), page=page, workers=workers)
    done = ", ".join(result.title for result in results)
    console.print(f"Written: {page or out / 'STUDY.md'}, {out / 'study.csv'} ({done})")


@app.command()
def report(run: Run) -> None:
    """Write a sweep's page: report.html, one file that opens anywhere."""
    from sweeps.arms_table import arm_rows, write_arms
    from sweeps.records import read_records
    from sweeps.report import write_report

    write_arms(arm_rows(read_records(run)), run / "arms.csv")
    console.print(f"Written: {write_report(run, margin=_margin(run))}, {run / 'arms.csv'}")


@app.command()
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
    from cluster.submission import plan_submission

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
        from cluster.package import describe_submission

        address = address or (settings.address if settings else None)
        console.print_json(json.dumps(describe_submission(submission, address)))
        return
    address = _cluster_address(address, profile)
    from cluster.jobs import submit as submit_job
    from cluster.logs import follow_logs

    outcome = submit_job(submission, address=address)
    console.print(f"{submission.submission_id}: {outcome}")
    if settings and settings.tunnel:
        console.print(f"Dashboard: {settings.address}, through: {settings.tunnel}", markup=False)
    if follow:
        status = follow_logs(address, submission.submission_id)
        console.print(f"{submission.submission_id}: {status}")
        if status != "SUCCEEDED":
            raise typer.Exit(1)


@app.command()
def jobs(profile: ClusterProfile = None, address: Address = None) -> None:
    """List the jobs of a cluster, the newest first."""
    address = _cluster_address(address, profile)
    from cluster.jobs import describe_job, list_jobs

    for job in list_jobs(address):
        console.print(describe_job(job), markup=False)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="Run name; none: all jobs.")] = None,
    profile: ClusterProfile = None,
    address: Address = None,
) -> None:
    """Say how submitted jobs stand."""
    address = _cluster_address(address, profile)
    from cluster.jobs import describe_job, job_status, list_jobs

    for job in list_jobs(address) if name is None else [job_status(address, name)]:
        console.print(f"{describe_job(job)}  {job.message}".rstrip(), markup=False)


@app.command()
def logs(
    name: RunName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
    profile: ClusterProfile = None,
    address: Address = None,
) -> None:
    """Print a job's log."""
    address = _cluster_address(address, profile)
    from cluster.logs import follow_logs, job_log

    if not follow:
        sys.stdout.write(job_log(address, name))
    elif follow_logs(address, name) != "SUCCEEDED":
        raise typer.Exit(1)


@app.command()
def stop(name: RunName, profile: ClusterProfile = None, address: Address = None) -> None:
    """Stop a submitted job; what it finished stays, and submitting again resumes it."""
    address = _cluster_address(address, profile)
    from cluster.jobs import stop_job

    console.print(f"{name}: {stop_job(address, name)}")


@app.command()
def fetch(
    name: RunName,
    to: Annotated[Path | None, typer.Option(help="Local folder; default: runs/NAME.")] = None,
    models: Annotated[bool, typer.Option("--models", help="The trained models too.")] = False,
    profile: ClusterProfile = None,
    address: Address = None,
) -> None:
    """Copy what a submitted run has written into a local folder, also while it runs."""
    address = _cluster_address(address, profile)
    from cluster.fetching import fetch as fetch_run

    fetched = fetch_run(address, name, to or Path("runs") / name, with_models=models)
    console.print(f"{fetched.num_files} files of {fetched.source}: {fetched.folder}")


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Argument(help="A sweep, to see whether it fits.")] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="http://host:8265, or host:6379 on a node of the cluster; none: this machine."
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", help="Folder of the run, as the cluster sees it.")
    ] = "runs",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="JSON file of the findings to write.")
    ] = None,
    set_: Set = None,
) -> None:
    """Say within 15 s whether a cluster, or this machine, is ready, and what to do."""
    import time
    from dataclasses import asdict

    from cluster.doctor import LIMIT_S, Question, examine, findings_table, summarize
    from scpo.atomic import write_json

    until_s = time.monotonic() + LIMIT_S
    question = Question(storage=out)
    if config is not None:
        from scpo.config import load_config
        from sweeps.config import SweepConfig
        from sweeps.files_read import files_read

        resolved = load_config(SweepConfig, config, set_ or [])

        def estimate() -> Any:
            from sweeps.needs import estimate_needs  # takes seconds, in a thread of its own

            return estimate_needs(resolved)

        question = Question(out, *files_read(resolved), resolved.lanes.gpus > 0, estimate)
    found = examine(address, question, limit_s=until_s - time.monotonic())
    console.print(findings_table(found))
    console.print(summarize(found))
    if json_file is not None:
        write_json(json_file, {"findings": [asdict(finding) for finding in found]})
    if any(finding.level == "failure" for finding in found):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; an error a user can cause is one line on stderr, exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app()
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        if os.environ.get("SCPO_TRACEBACK"):
            raise
        sys.stderr.write(f"scpo: {error}\n")
        raise SystemExit(2) from None


def _show_run(run: Path, margin: float) -> None:
    """Write what a finished sweep leaves and say what it found."""
    from sweeps.arms_table import arms_rich_table
    from sweeps.leaderboard import describe
    from sweeps.outputs import write_outputs
    from sweeps.regret import describe_regret

    outputs = write_outputs(run, margin=margin)
    console.print(arms_rich_table(outputs.arms))
    console.print("Recommended, by validation users:")
    for ranking in outputs.rankings:
        console.print(f"- {describe(ranking)}")
    console.print(describe_regret(outputs.regret))
    console.print(f"Models: {run / 'models'}. The page: {outputs.page}")


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


def _encoder(max_tokens: int, overlong: str) -> "EncoderConfig":
    """Return how texts become tokens, checked."""
    from scpo.config import EncoderConfig, parse_config

    given = {"max_tokens": max_tokens, "overlong": overlong}
    return parse_config(EncoderConfig, given, "options")


def _cluster_settings(profile: str) -> Any:
    """Return the settings of a profile."""
    from cluster.profile import load_profile

    return load_profile(profile)


def _cluster_address(address: str | None, profile: str | None) -> str | None:
    """Return the address to use, once the token is in use; before anything imports Ray."""
    from cluster.token import use_token

    use_token(required=profile is not None)
    if profile is None:
        return address
    from cluster.connection import check_dashboard

    settings = _cluster_settings(profile)
    check_dashboard(address or settings.address, settings.advice())
    return address or settings.address


def _names(text: str) -> list[str]:
    """Return comma-separated names."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _say(line: str) -> None:
    """Print a line of progress at once."""
    console.print(line, markup=False)


if __name__ == "__main__":
    main()
