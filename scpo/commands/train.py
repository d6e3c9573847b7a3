"""Commands of data and of one training: prepare, train-global, score, train."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from scpo.commands.options import (
    Cache,
    Data,
    DryRun,
    MaxTokens,
    Out,
    Overlong,
    Set,
    console,
    encoder_settings,
    split_names,
)

GlobalModel = Annotated[
    str, typer.Option("--global-model", help="Hub name (perhaps @REVISION), folder or URI.")
]
Country = Annotated[str, typer.Option("--country", help="The country to steer to.")]


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
    from scpo.data.sources.prepare import prepare_source, summary_table

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
    from scpo.training.global_model import pool_interactions, train_global_model

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
        exclude=split_names(exclude),
        quarantine=out.parent / f"{out.name}-quarantine.jsonl",
        seed=0,
    )
    result = train_global_model(pooled, model, TrainingConfig(), out=out, max_tokens=max_tokens)
    console.print(result.in_words())
    console.print(f"Written: {out}")


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
    from scpo.countries.one_country import score_data

    score_on = None
    if workers != 1:
        from scpo.distributed.ray_scoring import score_on_ray

        score_on = partial(score_on_ray, workers=workers or None)
    report, folder = score_data(
        data,
        global_model,
        split_names(countries),
        cache=cache,
        encoder=encoder_settings(max_tokens, overlong),
        score_on=score_on,
    )
    console.print(
        f"{report.num_scored} texts scored, {report.num_cached} from the cache, "
        f"{report.num_quarantined} damaged parts moved aside. Rewards: {folder}"
    )


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
    from scpo.countries.one_country import ready_training
    from scpo.training.fit import fit_on_device

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
        encoder=encoder_settings(max_tokens, overlong),
        training=training,
    )
    checkpoints = out.with_name(f"{out.name}.checkpoints")
    if workers == 1:
        result = fit_on_device(
            ready.reward, ready.pairs, training, out=out, checkpoints=checkpoints
        )
    else:
        from scpo.distributed.ray_training import Cluster, train_on_ray

        result = train_on_ray(
            ready.model,
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
