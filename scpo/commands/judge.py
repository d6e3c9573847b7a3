"""Commands that judge models: evaluate, opinions."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from scpo.commands.options import (
    Cache,
    MaxTokens,
    Out,
    Overlong,
    console,
    encoder_settings,
    say,
    split_names,
)


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
        list[str] | None,
        typer.Option(
            "--run",
            help="A sweep's folder or URI: its data and final models; repeated: folds of one "
            "study, pooled per user.",
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
    from scpo.evaluation.labelled_models import models_to_judge
    from scpo.evaluation.reporting.card_facts import read_card_facts
    from scpo.evaluation.reporting.evaluate import run_evaluation
    from scpo.evaluation.reporting.figures import draw_evaluation
    from scpo.evaluation.reporting.terminal import summary_tables
    from sweeps.run.mirror import working_folder
    from sweeps.run.models_of_run import card_facts_of_run, models_of_run

    given = (data, global_model, model, country)
    if run and any(given):
        raise ValueError("--run has its own data, models and countries: give none beside it.")
    encoder = encoder_settings(max_tokens, overlong)
    with ExitStack() as stack:
        runs = [stack.enter_context(working_folder(each, models=True))[0] for each in run or ()]
        known = card_facts_of_run(runs[0]) if len(runs) == 1 else {}
        judged = [models_of_run(each) for each in runs] or [
            models_to_judge(*given, cache=cache, encoder=encoder)
        ]
        facts = read_card_facts(card_facts, known) if card_facts else known
        tables = run_evaluation(judged, out, part=part, facts=facts, say=say)
    for table in summary_tables(tables):
        console.print(table)
    if out is not None:
        draw_evaluation(tables, out)
        console.print(f"Written: {out}: evaluation.json, pairs.parquet, tables and figures")


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
    from scpo.evaluation.labelled_models import parse_models
    from scpo.opinions.judge_models import OpinionSettings, run_opinions
    from scpo.opinions.opinion_tables import countries_table, overall_table

    settings = OpinionSettings(
        countries=tuple(split_names(countries)),
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
        say=say,
    )
    console.print(overall_table(records))
    console.print(countries_table(records))
    console.print(f"Written: {out / 'opinions.csv'}, {out / 'opinions.json'}")
