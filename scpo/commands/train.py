"""Commands of data and of one training: prepare, train-global, score, train."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from scpo.commands.options import (
    Budget,
    Cache,
    Data,
    DryRun,
    Json,
    LongTexts,
    MaxTokens,
    OnBadRows,
    Out,
    Overwrite,
    Set,
    encoder_settings,
    in_home,
    show_json,
    stop_if_dry_run,
)
from scpo.text.counts import format_count
from scpo.text.terminal import console

if TYPE_CHECKING:
    from scpo.config import GlobalModelConfig

GlobalModel = Annotated[
    str,
    Option(
        "--global-model",
        metavar="MODEL",
        help="Hub name (@REVISION), folder or URI.",
        callback=in_home,
    ),
]


def prepare(
    source: Annotated[
        str, Argument(help="prism, pairs, community_alignment, opinions or synthetic.")
    ],
    out: Out,
    path: Annotated[
        str | None,
        Option(
            help="File, folder or (pairs) OWNER/NAME on the hub; default: the hub.",
            callback=in_home,
        ),
    ] = None,
    prompt_column: Annotated[str, Option(help="Column of the prompt (pairs).")] = "prompt",
    chosen_column: Annotated[str, Option(help="Of the preferred response.")] = "chosen",
    rejected_column: Annotated[str, Option(help="Of the other response.")] = "rejected",
    margin_column: Annotated[str, Option(help="Of how much better it is.")] = "margin",
    user_column: Annotated[str, Option(help="Column of the user (pairs).")] = "user",
    country_column: Annotated[str, Option(help="Column of the country (pairs).")] = "country",
    default_country: Annotated[
        str | None, Option(help="Country of rows without one (pairs).")
    ] = None,
    layout: Annotated[
        str | None, Option(help="Layout of the rows (pairs); default: by the columns.")
    ] = None,
    on_bad_rows: OnBadRows = "quarantine",
    overwrite: Overwrite = False,
    set_: Set = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Read preference data, check it and write interactions.parquet.

    Other settings by --set, such as --set margin_from_scores=true.
    """
    from scpo.config import DataConfig, parse_options
    from scpo.data.sources.prepare import (
        describe_source,
        hash_sources,
        prepare_source,
        summary_table,
    )
    from scpo.files.output_folder import output_folder

    given = {
        "source": source,
        "path": path,
        "layout": layout,
        "prompt_column": prompt_column,
        "chosen_column": chosen_column,
        "rejected_column": rejected_column,
        "margin_column": margin_column,
        "user_column": user_column,
        "country_column": country_column,
        "default_country": default_country,
        "on_bad_rows": on_bad_rows,
    }
    config = parse_options(DataConfig, given, set_)
    stop_if_dry_run(config, dry_run)
    files = hash_sources(config)
    made_from = describe_source(config, files)
    earlier = {**config.model_dump(), "files": files}
    with output_folder(out, "data", made_from, earlier=earlier, overwrite=overwrite, keep=[path]):
        summary = prepare_source(config, out)
    console.print(summary_table(summary))
    console.print(f"Written: {out / 'interactions.parquet'}, {out / 'quarantine.jsonl'}")
    show_json(as_json, asdict(summary))


def train_global(
    data: Data,
    backbone: Annotated[
        str, Option(metavar="MODEL", help="Base model: hub name or folder.", callback=in_home)
    ],
    out: Out,
    exclude: Annotated[str, Option(help="Countries to leave out, comma-separated.")] = "",
    extra_pairs: Annotated[
        Path | None, Option(help="Pairs file to train on as well.", callback=in_home)
    ] = None,
    max_extra_pairs: Annotated[int | None, Option(help="Most extra pairs; default: all.")] = None,
    max_tokens: MaxTokens = 512,
    overwrite: Overwrite = False,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Train a global reward model.

    Exclude the countries that you will steer to.
    """
    from scpo.config import GlobalModelConfig, TrainingConfig, parse_options
    from scpo.data.interactions import hash_interactions, read_interactions
    from scpo.data.reading.countries import parse_countries
    from scpo.data.splits import name_users
    from scpo.files.output_folder import output_folder
    from scpo.training.global_model import pool_interactions, train_global_model

    given = {
        "backbone": backbone,
        "extra_pairs": None if extra_pairs is None else str(extra_pairs),
        "max_extra_pairs": max_extra_pairs,
    }
    model = parse_options(GlobalModelConfig, given, set_)
    stop_if_dry_run(model, dry_run)
    excluded = parse_countries(exclude)
    earlier = {
        **model.model_dump(),
        "data": hash_interactions(data),
        "exclude": excluded,
        "max_tokens": max_tokens,
    }
    with output_folder(
        out,
        "model",
        {**earlier, **_content(model, excluded)},
        earlier=earlier,
        overwrite=overwrite,
        replaced=True,
        keep=[data, backbone, extra_pairs],
    ) as marker:
        pooled = pool_interactions(
            read_interactions(data),
            model,
            exclude=excluded,
            quarantine=out.parent / f"{out.name}-quarantine.jsonl",
            seed=0,
        )
        result = train_global_model(
            pooled, model, TrainingConfig(), out=out, max_tokens=max_tokens
        )
        marker["trained_on"] = name_users(pooled["user_id"].to_pylist())
    console.print(result.in_words())
    console.print(f"Written: {out}")


def score(
    data: Data,
    global_model: GlobalModel,
    countries: Annotated[str, Option(help="Comma-separated; default: all.")] = "",
    workers: Annotated[int, Option(help="Devices, by Ray; 0: all; 1: this process.")] = 1,
    sharded: Annotated[
        bool, Option("--sharded", help="Divide the weights among the workers (ZeRO stage 3).")
    ] = False,
    cache: Cache = Path("runs/cache"),
    max_tokens: Budget = None,
    overlong: LongTexts = None,
    precision: Annotated[str, Option(help="As in training: auto, fp32 or bf16.")] = "auto",
    as_json: Json = False,
) -> None:
    """Score every response with the global model.

    Rewards are cached: scoring the same data again runs no model.
    With --sharded no device need hold the whole model.
    """
    from scpo.countries.one_country import score_data
    from scpo.data.reading.countries import parse_countries
    from scpo.models.devices import pick_device

    score_on = None
    if sharded and workers < 2:
        raise ValueError(f"--sharded needs --workers of 2 or more, but got {workers}.")
    _check_cluster(workers)
    if sharded:
        score_on = _sharded_scoring(workers, "none", cache)
    elif workers != 1:
        from scpo.distributed.ray_scoring import score_on_ray

        use_gpu = pick_device().type == "cuda"
        score_on = partial(score_on_ray, workers=workers or None, use_gpu=use_gpu)
    report, folder = score_data(
        data,
        global_model,
        parse_countries(countries),
        cache=cache,
        encoder=encoder_settings(max_tokens, overlong),
        precision=precision,  # type: ignore[arg-type]  # checked there
        score_on=score_on,
        is_sharded=sharded,
    )
    console.print(
        f"{report.num_scored} texts scored, {report.num_cached} from the cache, "
        f"{report.num_quarantined} damaged parts moved aside. Rewards: {folder}"
    )
    counts = {name: getattr(report, name) for name in ("num_scored", "num_cached")}
    show_json(as_json, {**counts, "rewards": str(folder)})


def train(
    data: Data,
    global_model: GlobalModel,
    country: Annotated[str, Option("--country", help="Country to steer to.")],
    out: Out,
    arm: Annotated[
        str, Option(help="full, filter, weight, inverse, scpo, random_k or user.")
    ] = "scpo",
    tau: Annotated[float, Option(help="Filter threshold, above 0, at most 1.")] = 0.7,
    beta: Annotated[float, Option(help="Weighting temperature, above 0.")] = 1.1,
    user_strength: Annotated[
        float | None, Option(help="Arm user; default: 1, or 0.5 below 30 users.")
    ] = None,
    workers: Annotated[int, Option(help="1: this process; N: Ray and DeepSpeed.")] = 1,
    zero_stage: Annotated[int, Option(help="DeepSpeed ZeRO stage: 0, 1, 2 or 3.")] = 2,
    offload: Annotated[str, Option(help="To CPU: none, optimizer or weights (both).")] = "none",
    cache: Cache = Path("runs/cache"),
    max_tokens: Budget = None,
    overlong: LongTexts = None,
    overwrite: Overwrite = False,
    set_: Set = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train the reward model of one country.

    Writes a Hugging Face model folder, and checkpoints to OUT.checkpoints.
    Run the same command again to resume an interrupted training.
    """
    from scpo.choices import check_workers
    from scpo.config import TrainingConfig, parse_options
    from scpo.countries.one_country import ready_training
    from scpo.data.interactions import hash_interactions
    from scpo.data.reading.countries import one_names
    from scpo.data.splits import name_users
    from scpo.files.output_folder import output_folder
    from scpo.models.reward_model import content_hash
    from scpo.training.checkpoint_storage import refuse_other_folder
    from scpo.training.fit import fit_on_device

    training = parse_options(TrainingConfig, {}, set_)
    stop_if_dry_run(training, dry_run)
    check_workers(workers, zero_stage, offload)  # type: ignore[arg-type]  # checked there
    _check_cluster(workers)
    is_sharded = workers > 1 and zero_stage == 3  # no device need hold the whole model
    if user_strength is not None and arm != "user":
        raise ValueError(f"--user-strength is of the arm user, but got --arm {arm}.")
    setting: dict[str, Any] = {"arm": arm, "tau": tau, "beta": beta}
    if user_strength is not None:
        setting["user_strength"] = user_strength
    encoder = encoder_settings(max_tokens, overlong)
    earlier = {
        **setting,
        "data": hash_interactions(data),
        "global_model": global_model,
        "country": country,
        "encoder": encoder.model_dump(),
        "training": training.model_dump(exclude={"checkpoint_every"}),
    }
    content = {"global_model": content_hash(global_model), "country": one_names([country])}
    with output_folder(
        out,
        "model",
        {**earlier, **content},
        earlier=earlier,
        overwrite=overwrite,
        replaced=True,
        keep=[data, global_model],
    ) as marker:
        checkpoints = out.with_name(f"{out.name}.checkpoints")
        refuse_other_folder(checkpoints)
        ready = ready_training(
            data,
            global_model,
            country,
            cache=cache,
            encoder=encoder,
            training=training,
            score_on=_sharded_scoring(workers, offload, cache) if is_sharded else None,
            features_on=_sharded_features(workers, offload, global_model, cache)
            if is_sharded and arm == "user"
            else None,
            **setting,
        )
        if workers == 1:
            result = fit_on_device(
                ready.reward, ready.pairs, training, out=out, checkpoints=checkpoints
            )
        else:
            from scpo.distributed.ray_training import train_on_ray

            group = _group(workers, zero_stage, offload)
            result = train_on_ray(
                ready.model, ready.pairs, training, group, out=out, checkpoints=checkpoints
            )
        marker["trained_on"] = name_users(ready.users)
    for line in result.moved_aside:
        console.print(f"Damaged checkpoint moved aside: {line}")
    if result.resumed_from:
        console.print(f"Resumed from step {result.resumed_from}.")
    console.print(
        f"{ready.pairs.country}, {arm}: {len(ready.pairs.chosen)} of "
        f"{format_count(ready.num_available, 'pair')} ({ready.effective_pairs:.0f} effective), "
        f"{format_count(len(result.losses), 'step')}, "
        f"{result.train_s:.1f} s, last loss {result.losses[-1]:.4f}"
    )
    if ready.user_strength:
        from scpo.method.user_weights import USER_WARNING

        console.print(f"User strength {ready.user_strength:g}. {USER_WARNING}")
    elif arm == "user":
        console.print("Weights of users lost accuracy on held-out users, so all of them are 1.")
    if ready.losses:
        console.print(f"{ready.pairs.country}: {ready.losses}")
    console.print(f"Written: {out}")
    show_json(
        as_json,
        {
            **{"country": ready.pairs.country, **setting, "out": str(out)},
            **{"pairs_trained": len(ready.pairs.chosen), "pairs_available": ready.num_available},
            **{"effective_pairs": ready.effective_pairs, "steps": len(result.losses)},
            **{"train_s": result.train_s, "last_loss": result.losses[-1]},
        },
    )


def _content(model: "GlobalModelConfig", excluded: list[str]) -> dict[str, Any]:
    """Return what a global model is made from, by content instead of names."""
    from scpo.data.layouts.row_places import list_files
    from scpo.data.reading.countries import one_names
    from scpo.files.atomic import hash_file
    from scpo.models.model_source import find_model
    from scpo.models.reward_model import content_hash

    extra = [] if model.extra_pairs is None else list_files(model.extra_pairs)
    return {
        "backbone": content_hash(find_model(str(model.backbone), revision=model.revision)),
        "extra_pairs": [hash_file(file) for file in extra] or model.extra_pairs,
        "exclude": sorted(one_names(excluded)),
    }


def _check_cluster(workers: int) -> None:
    """Refuse a dead RAY_ADDRESS before anything is prepared for workers of Ray."""
    if workers != 1:
        from scpo.distributed.ray_start import check_cluster

        check_cluster()


def _group(workers: int, zero_stage: int, offload: str) -> Any:
    from scpo.distributed.worker_group import WorkerGroup
    from scpo.models.devices import pick_device

    return WorkerGroup(
        workers,
        zero_stage=zero_stage,  # type: ignore[arg-type]  # checked there
        offload=offload,  # type: ignore[arg-type]  # checked there
        use_gpu=pick_device().type == "cuda",
    )


def _sharded_scoring(workers: int, offload: str, cache: Path) -> Any:
    """Return how reference rewards come from workers that share the weights."""
    from scpo.distributed.sharded_scoring import score_sharded

    group = _group(workers, 3, offload)
    return partial(score_sharded, group=group, storage=cache.absolute() / ".ray-train")


def _sharded_features(workers: int, offload: str, global_model: str, cache: Path) -> Any:
    """Return how features come from workers that share the weights."""
    from scpo.distributed.sharded_scoring import features_sharded
    from scpo.models.model_source import find_model

    group = _group(workers, 3, offload)
    storage = cache.absolute() / ".ray-train"
    return partial(features_sharded, find_model(global_model), group=group, storage=storage)
