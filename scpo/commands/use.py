"""Commands that use models and data elsewhere: score-file, rerank, serve, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from scpo.commands.options import Json, in_home, local_path, show_json
from scpo.text.counts import format_count
from scpo.text.terminal import console, warn

if TYPE_CHECKING:
    from scpo.api.exported_pairs import Weighting
    from scpo.api.models import RewardModel
    from scpo.api.row_files import Written

Model = Annotated[str, Argument(metavar="MODEL", help="Folder, hub name (@REVISION) or URI.")]
Source = Annotated[
    Path, Argument(metavar="FILE", help="Rows: .jsonl (also .gz) or .parquet.", callback=in_home)
]
OutFile = Annotated[
    Path, Option("--out", metavar="FILE", help="File of the same kind.", callback=local_path)
]
Device = Annotated[str, Option(help="auto, cpu or cuda.")]
MatrixPrecision = Annotated[str, Option(help="fp32, bf16 or auto.")]
Trust = Annotated[bool, Option("--trust-remote-code", help="Run code that the model brings.")]


def score_file(
    model: Model,
    file: Source,
    out: OutFile,
    prompt_column: Annotated[str, Option(help="Texts or lists of messages.")] = "prompt",
    response_column: Annotated[str, Option(help="Texts or messages.")] = "response",
    column: Annotated[str, Option(help="Name of the new column.")] = "reward",
    device: Device = "auto",
    precision: MatrixPrecision = "fp32",
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Score a file of prompts and responses.

    Adds a column to each row. Run the same command again to resume.

    Example: scpo score-file models/mexico answers.jsonl --out scored.jsonl
    """
    from scpo.api import score_files

    loaded = _load(model, device, precision, trust_remote_code=trust_remote_code)
    names = {"prompt": prompt_column, "response": response_column, "column": column}
    written = score_files.score_file(loaded, file, out, say=console.print, **names)
    _tell_written(written, loaded.max_tokens, out, as_json=as_json)


def rerank(
    model: Model,
    file: Source,
    out: OutFile,
    prompt_column: Annotated[str, Option(help="Texts or lists of messages.")] = "prompt",
    responses_column: Annotated[str, Option(help="Lists of responses.")] = "responses",
    top_k: Annotated[int | None, Option(help="Keep the best of the ranking.")] = None,
    device: Device = "auto",
    precision: MatrixPrecision = "fp32",
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Rank the responses of each row of a file, the best first.

    Adds their rewards and the ranking. Run the same command again to resume.

    Example: scpo rerank models/mexico samples.jsonl --out ranked.jsonl
    """
    from scpo.api.score_files import rerank_file

    loaded = _load(model, device, precision, trust_remote_code=trust_remote_code)
    names = {"prompt": prompt_column, "responses": responses_column}
    written = rerank_file(loaded, file, out, top_k=top_k, say=console.print, **names)
    _tell_written(written, loaded.max_tokens, out, as_json=as_json)


def serve(
    model: Model,
    host: Annotated[str, Option(help="Address; 0.0.0.0 for every machine.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Port; 0 for a free one.")] = 5000,
    max_mb: Annotated[int, Option(min=1, help="Largest request, in MiB.")] = 32,
    device: Device = "auto",
    precision: MatrixPrecision = "fp32",
    trust_remote_code: Trust = False,
) -> None:
    """Serve rewards over HTTP, as OpenRLHF asks for them.

    POST /get_reward {"query": [...], "prompts": [...]} answers {"rewards": [...]}.
    There is no password: whoever reaches the address may ask. Ctrl-C ends it.

    Example: scpo serve models/mexico --port 5000
    """
    from scpo.api.server import RewardServer

    loaded = _load(model, device, precision, trust_remote_code=trust_remote_code)
    with RewardServer(loaded, host, port, max_bytes=max_mb << 20) as server:
        if not host.startswith("127.") and host not in ("localhost", "::1"):
            warn(f"{host} may be reached from other machines, and there is no password.")
        console.print(f"Serving {loaded} at {server.url}/get_reward. Ctrl-C ends it.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("Stopped.")


def export(
    source: Annotated[str, Argument(metavar="RUN_OR_DATA", help="Sweep, or prepared folder.")],
    out: Annotated[
        Path, Option("--out", metavar="FILE", help=".jsonl or .parquet.", callback=local_path)
    ],
    country: Annotated[
        list[str] | None, Option(metavar="NAME", help="Default: all; repeatable.")
    ] = None,
    global_model: Annotated[
        str | None, Option(metavar="MODEL", help="Weighs the pairs of a prepared folder.")
    ] = None,
    arm: Annotated[
        str | None, Option(help="How pairs are kept and weighted; default: scpo.")
    ] = None,
    tau: Annotated[float | None, Option(help="Default: as the run, else 0.7.")] = None,
    beta: Annotated[float | None, Option(help="Default: as the run, else 1.1.")] = None,
    part: Annotated[
        str | None,
        Option(
            help="Users: train, validation, test or all; default: train if weighted, else all."
        ),
    ] = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Export pairs with their weights, in the columns of TRL.

    prompt, chosen, rejected, weight, margin, country, user, part.
    Without a global model, all weights are 1.

    Example: scpo export runs/prism --country Mexico --out mexico.parquet
    """
    from scpo.api.exported_pairs import export_pairs
    from scpo.data.interactions import read_interactions
    from scpo.data.splits import SIDES

    if part not in (None, *SIDES, "all"):
        raise ValueError(f"--part must be one of {', '.join(SIDES)}, all, but got {part!r}.")
    given = {"arm": arm, "tau": tau, "beta": beta}
    setting = {name: value for name, value in given.items() if value is not None}
    data, weighting, countries = _weighting_of(source, global_model, setting, trust_remote_code)
    part = part or ("all" if weighting is None else "train")
    rows = export_pairs(
        read_interactions(data),
        out,
        data=data,
        countries=country or countries,
        weighting=weighting,
        part=None if part == "all" else part,
        say=console.print,
    )
    console.print(f"Written: {format_count(rows, 'pair')}, {out}")
    show_json(as_json, {"pairs": rows, "out": str(out)})


def _weighting_of(
    source: str, global_model: str | None, setting: dict[str, Any], trusted: bool
) -> "tuple[Path, Weighting | None, list[str]]":
    """Return the data of a folder, how its pairs are weighted, and the countries."""
    from scpo.api.exported_pairs import Weighting

    folder = Path(source)
    if not (folder / "config.yaml").is_file():
        if global_model is None:
            if setting:
                raise ValueError(
                    f"--{next(iter(setting))} weighs pairs by a global model. Give --global-model "
                    "too."
                )
            return folder, None, []
        return folder, Weighting(global_model, trust_remote_code=trusted, **setting), []
    if global_model is not None:
        raise ValueError(f"{source} is a run, which has its own global model: give none.")
    from sweeps.api.run_results import Run

    run = Run(folder)
    judged = run.judged()
    if judged.trust_remote_code and not trusted:
        raise ValueError(
            f"The models of {source} bring code of their own. If you trust who made this run, "
            "give --trust-remote-code."
        )
    usual = {"tau": run.config.tau, "beta": run.config.beta}
    weighting = Weighting(
        judged.global_model,
        split=judged.split,
        encoder=judged.encoder,
        cache=judged.cache,
        precision=run.config.training.precision,
        trust_remote_code=trusted,
        **{**usual, **setting},
    )
    return judged.data, weighting, list(judged.countries)


def _load(name: str, device: str, precision: str, *, trust_remote_code: bool) -> "RewardModel":
    from scpo.api.models import RewardModel
    from scpo.models.devices import pick_device, resolve_precision

    resolve_precision(precision, pick_device())  # type: ignore[arg-type]  # refuses another
    return RewardModel.from_pretrained(
        name,
        device=device,
        precision=precision,  # type: ignore[arg-type]  # checked above
        trust_remote_code=trust_remote_code,
    )


def _tell_written(written: "Written", max_tokens: int, out: Path, *, as_json: bool) -> None:
    rows, num_cut = written
    cut = f", {format_count(num_cut, 'text')} cut to {max_tokens} tokens" if num_cut else ""
    console.print(f"Written: {out}: {format_count(rows, 'row')}{cut}")
    show_json(as_json, {"rows": rows, "texts_cut": num_cut, "out": str(out)})
