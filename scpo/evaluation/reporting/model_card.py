"""A model card for one country's reward model: README.md beside the exported model.

In come the tables of an evaluation and what they cannot know (base model, setting, data and
licences); out goes a card with every figure's interval, how many users and pairs it comes from,
and what the model must not be used for. Nothing is sent anywhere.

Reference:
    Mitchell et al., Model Cards for Model Reporting, 2019.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from scpo.arrays import Row
from scpo.evaluation.pair_scores import GLOBAL, LENGTH
from scpo.evaluation.reporting.card_facts import SETTING_WORDS, CardFacts
from scpo.evaluation.tables import Tables
from scpo.files.atomic import MARKER, write_text
from scpo.models.export.card import CARD_FILE, TAGS, TESTED_BEFORE, use_section
from scpo.models.folder.contract import FACTS_FILE, verify_folder
from scpo.statistics.bootstrap import read_interval
from scpo.statistics.wording import format_accuracy, format_difference
from scpo.text.counts import format_count, format_number

_log = logging.getLogger(__name__)
ANY_ANNOTATORS = "the annotators who happened to take part"
BASELINE_WORDS = {GLOBAL: "the global model", "full": "full", LENGTH: "the longer answer"}


def model_card(
    facts: CardFacts,
    tables: Tables,
    *,
    country: str,
    arm: str,
    part: str = "test",
    folder: Path | None = None,
) -> ModelCard:
    """Return the card of a country's model of one arm; the tables judge by the pairs of `part`.

    A `folder` that was exported here adds how it is used.

    Raises:
        ValueError: The tables have no figures of that model.
    """
    rows = _rows(tables["accuracy"], country=country, arm=arm)
    by_layer = {row["layer"]: row for row in rows}
    if not by_layer:
        known = sorted({f"{row['country']}/{row['arm']}" for row in tables["accuracy"]})
        raise ValueError(
            f"The evaluation must hold {country}/{arm}, but it holds {', '.join(known)}."
        )
    overall = by_layer["overall"]
    exported = None if folder is None else verify_folder(folder)
    environment = Environment(  # nosec B701  # Markdown, no HTML
        loader=PackageLoader("scpo.evaluation.reporting", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        accuracy=format_accuracy,
        count=format_count,
        difference=format_difference,
        interval=read_interval,
    )
    of_model = {"country": country, "arm": arm}
    paired = _rows(tables["paired"], **of_model, layer="overall")
    others = _rows(tables["matrix"], model_country=country, arm=arm)
    is_named, users = facts.base_model.count("/") == 1, facts.users_trained
    body = environment.get_template("card.md.j2").render(
        **of_model,
        facts=facts,
        part=part,
        base=f"`{facts.base_model}`" if is_named else facts.base_model,
        overall=overall,
        units=f"{overall['unit']}s",
        layers=by_layer.values(),
        paired=paired,
        baselines=BASELINE_WORDS,
        verdict="\n".join(_verdict(row) for row in paired if row["baseline"] == GLOBAL),
        calibration=next(iter(_rows(tables["calibration"], **of_model)), None),
        others=[row for row in others if row["country"] != country],
        training=_training(facts, None if exported is None else exported.tested_before),
        use="" if folder is None or exported is None else use_section(folder, exported),
        annotators=f"{users:,} annotators" if users else ANY_ANNOTATORS,
    )
    header = _header(facts, overall, country, part)
    return ModelCard(f"---\n{header.to_yaml()}\n---\n\n{body}\n", ignore_metadata_errors=False)


def write_model_cards(
    facts: Mapping[str, CardFacts],
    tables: Tables,
    folders: Mapping[str, Path],
    *,
    part: str = "test",
) -> list[Path]:
    """Write the cards of countries' models as README.md into their folders, and return the paths.

    `facts` and `folders` are by label; the tables judge by the pairs of `part`. A README.md that
    was not written here is kept, with a warning.

    Raises:
        FileNotFoundError: A model has no folder here.
        ValueError: A label is no country's model that was judged.
    """
    owners = {row["model"]: (row["model_country"], row["arm"]) for row in tables["matrix"]}
    judged = [label for label, (country, _) in owners.items() if country and label in folders]
    unknown = sorted(set(facts) - set(judged))
    if unknown:
        raise ValueError(
            f"Cards are for countries' models that were judged ({', '.join(judged) or 'none'}), "
            f"but there are facts of {', '.join(unknown)}."
        )
    paths = []
    for label, each in facts.items():
        country, arm = owners[label]
        folder = folders[label]
        if not folder.is_dir():
            raise FileNotFoundError(f"A card goes beside its model, but no folder is at {folder}.")
        if _is_card_of_others(folder):
            _log.warning(
                "%s was not written by scpo, so it is kept. To get a card, move it away and "
                "evaluate again.",
                folder / CARD_FILE,
            )
            continue
        card = model_card(each, tables, country=country, arm=arm, part=part, folder=folder)
        paths.append(folder / CARD_FILE)
        write_text(paths[-1], str(card))
    return paths


def _is_card_of_others(folder: Path) -> bool:
    """Tell whether a folder that was not written here has a README.md without our tags."""
    card = folder / CARD_FILE
    if not card.exists() or any((folder / name).exists() for name in (MARKER, FACTS_FILE)):
        return False
    text = card.read_text(encoding="utf-8", errors="replace")
    return not all(f"\n- {tag}\n" in text for tag in TAGS)


def _header(facts: CardFacts, overall: Row, country: str, part: str) -> ModelCardData:
    result = EvalResult(
        task_type="text-classification",
        task_name="pairwise preference",
        dataset_type="preferences",
        dataset_name=f"{country}, {part} {overall['unit']}s",
        dataset_split=part,
        metric_type="accuracy",
        metric_name="pairwise accuracy",
        metric_value=round(overall["accuracy"], 4),
    )
    return ModelCardData(
        base_model=facts.base_model if facts.base_model.count("/") == 1 else None,
        datasets=[source.name for source in facts.data if source.name.count("/") == 1] or None,
        language=list(facts.language) or None,
        library_name="transformers",
        license=facts.license,
        model_name=f"Reward model of preferences in {country}",
        pipeline_tag="text-classification",
        tags=TAGS,
        eval_results=[result],
    )


def _verdict(row: Row) -> str:
    """Return what the difference to the global model allows to say."""
    if row["low"] is None:
        return "**With one user no interval can be given: these figures show nothing yet.**"
    if min(row["low"], row["t_low"]) > 0:
        return "The gain over the global model is shown at this level."
    if max(row["high"], row["t_high"]) < 0:
        return "**It is worse than the global model on these pairs: use that one.**"
    return "**A difference to the global model is not shown: an interval holds 0.**"


def _training(facts: CardFacts, tested_before: int | None) -> list[tuple[str, str]]:
    """Return the setting and how much it was trained on, in words."""
    counts = {
        "users trained on": facts.users_trained,
        "pairs trained on": facts.pairs_trained,
        "pairs labelled, before the filter": facts.pairs_labelled,
        TESTED_BEFORE: tested_before,
    }
    known: dict[str, object] = {SETTING_WORDS.get(k, k): v for k, v in facts.setting.items()}
    known |= {name: count for name, count in counts.items() if count is not None}
    return [
        (name, "not used" if value is None else _number(value)) for name, value in known.items()
    ]


def _number(value: object) -> str:
    return format_number(value) if isinstance(value, float) else str(value)


def _rows(table: Iterable[Row], **keys: str) -> list[Row]:
    return [row for row in table if all(row[name] == value for name, value in keys.items())]
