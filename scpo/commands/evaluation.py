"""Commands that evaluate models: evaluate, opinions."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from scpo.commands.options import (
    Budget,
    Cache,
    Json,
    LongTexts,
    MaxTokens,
    OnBadRows,
    Out,
    Overwrite,
    encoder_settings,
    in_home,
    local_path,
    say,
    show_json,
)
from scpo.text.terminal import console

Models = Annotated[
    list[str] | None,
    Option(
        "--model", metavar="LABEL=MODEL", help="LABEL: ARM, COUNTRY or COUNTRY/ARM; repeatable."
    ),
]


def evaluate(
    data: Annotated[
        Path | None,
        Option(metavar="DIR", help="Folder written by `scpo prepare`.", callback=in_home),
    ] = None,
    global_model: Annotated[
        str | None, Option(help="Same as --model global=MODEL.", callback=in_home)
    ] = None,
    model: Models = None,
    country: Annotated[
        list[str] | None, Option(metavar="NAME", help="Country to test on; repeatable.")
    ] = None,
    run: Annotated[
        list[str] | None,
        Option(metavar="DIR", help="Sweep; repeat to pool folds.", callback=in_home),
    ] = None,
    part: Annotated[str, Option(help="Users to test on: test or validation.")] = "test",
    out: Annotated[
        Path | None,
        Option(metavar="DIR", help="Folder for tables, figures, pairs.", callback=local_path),
    ] = None,
    card_facts: Annotated[
        Path | None,
        Option(metavar="FILE", help="YAML of licences and data, for cards.", callback=in_home),
    ] = None,
    cache: Cache = Path("runs/cache"),
    max_tokens: Budget = None,
    overlong: LongTexts = None,
    trust_remote_code: Annotated[
        bool, Option("--trust-remote-code", help="Run code of the models of --run.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Evaluate reward models on held-out users.

    Give --data and --model, or --run.
    A --model without LABEL is the model of --country.
    Reports accuracy, paired tests, calibration and steering.
    """
    from scpo.evaluation.labelled_models import describe_content, models_to_judge
    from scpo.evaluation.reporting.card_facts import read_card_facts
    from scpo.evaluation.reporting.evaluate import run_evaluation
    from scpo.evaluation.reporting.evaluation_page import write_evaluation_page
    from scpo.evaluation.reporting.figures import draw_evaluation
    from scpo.evaluation.reporting.terminal import evaluation_tables
    from scpo.files.output_folder import output_folder
    from sweeps.run.mirror import working_folder
    from sweeps.run.models_of_run import card_facts_of_run, models_of_run

    given = (data, global_model, model, country)
    if run and any(given):
        raise ValueError("--run has its own data, models and countries: do not give them too.")
    encoder = encoder_settings(max_tokens, overlong)
    with ExitStack() as stack:
        runs = [stack.enter_context(working_folder(each, models=True))[0] for each in run or ()]
        known = card_facts_of_run(runs[0]) if len(runs) == 1 else {}
        judged = [models_of_run(each) for each in runs] or [
            models_to_judge(*given, cache=cache, encoder=encoder)
        ]
        if any(each.trust_remote_code for each in judged) and not trust_remote_code:
            raise ValueError(
                "The configuration of --run has trust_remote_code, so its models may run code of "
                "their own here. If you trust who made this run, give --trust-remote-code."
            )
        facts = read_card_facts(card_facts, known) if card_facts else known
        if out is not None:
            made_from = [[describe_content(each) for each in judged], part, facts]
            more: dict[str, Any] = {
                "earlier": [given, run, part, card_facts, encoder],
                "keep": [data, global_model, *(run or ())],
            }
            stack.enter_context(
                output_folder(out, "evaluation", made_from, overwrite=overwrite, **more)
            )
        tables = run_evaluation(judged, out, part=part, facts=facts, say=say)
        if out is not None:
            draw_evaluation(tables, out)
            write_evaluation_page(tables, out, part=part)
    for table in evaluation_tables(tables):
        console.print(table)
    if out is not None:
        console.print(
            f"Written: {out}: report.html, evaluation.json, pairs.parquet, tables, figures"
        )
    show_json(as_json, tables)


def opinions(
    out: Out,
    model: Models = None,
    path: Annotated[
        Path | None, Option(help="GlobalOpinionQA as a file; default: the hub.", callback=in_home)
    ] = None,
    countries: Annotated[
        str, Option(help="Comma-separated; default: those with a model, else by --min-questions.")
    ] = "",
    min_questions: Annotated[
        int, Option(help="Of a country, where none is named or has a model.")
    ] = 100,
    part: Annotated[str, Option(help="Questions: all, validation or test.")] = "all",
    temperature: Annotated[float, Option(help="T of softmax(reward / T).")] = 1.0,
    fit_temperature: Annotated[
        bool, Option("--fit-temperature", help="Fit T on the other countries.")
    ] = False,
    max_tokens: MaxTokens = 512,
    on_bad_rows: OnBadRows = "quarantine",
    overwrite: Overwrite = False,
) -> None:
    """Compare reward models with survey answers of each country."""
    from scpo.data.reading.countries import one_names, parse_countries
    from scpo.evaluation.labelled_models import parse_models
    from scpo.files.atomic import hash_file
    from scpo.files.output_folder import output_folder
    from scpo.models.model_source import find_models
    from scpo.models.reward_model import content_hash
    from scpo.opinions.judge_models import OpinionSettings, run_opinions
    from scpo.opinions.opinion_tables import countries_table, overall_table

    settings = OpinionSettings(
        countries=tuple(parse_countries(countries)),
        min_questions=min_questions,
        part=part,
        temperature=None if fit_temperature else temperature,
        max_tokens=max_tokens,
    )
    models = parse_models(model or [])
    hashes = {label: content_hash(found) for label, found in find_models(models).items()}
    survey = hash_file(path) if path is not None and path.is_file() else path
    asked = replace(settings, countries=tuple(one_names(settings.countries)))
    with output_folder(
        out,
        "opinions",
        [hashes, survey, asked, on_bad_rows],
        earlier=[models, path, settings, on_bad_rows],
        overwrite=overwrite,
        keep=[path, *models.values()],
    ):
        records = run_opinions(
            models,
            path,
            out,
            settings,
            on_bad_rows=on_bad_rows,  # type: ignore[arg-type]  # checked there
            say=say,
        )
    console.print(overall_table(records))
    console.print(countries_table(records))
    console.print(f"Written: {out / 'opinions.csv'}, {out / 'opinions.json'}")
