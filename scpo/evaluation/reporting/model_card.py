"""A model card for one country's reward model: README.md beside the exported model.

In come the tables of an evaluation and what they cannot know (base model, setting, data and
licences); out goes a card with every figure's interval, how many users and pairs it comes from,
and what the model must not be used for. Nothing is sent anywhere.

Reference:
    Mitchell et al., Model Cards for Model Reporting, 2019.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from scpo.arrays import Row
from scpo.evaluation.panels import BASELINES
from scpo.evaluation.reporting.card_facts import INTENDED, MISUSES, SETTING_WORDS, CardFacts
from scpo.evaluation.reporting.terminal import difference_in_words, share_in_words
from scpo.evaluation.tables import Tables
from scpo.files.atomic import write_text
from scpo.statistics.accuracy import LAYERS

METHOD = "https://arxiv.org/abs/2606.18606"


def model_card(
    facts: CardFacts, tables: Tables, *, country: str, arm: str, part: str = "test"
) -> ModelCard:
    """Return the card of one country's model.

    Args:
        facts: What no table holds.
        tables: As `scpo.evaluation.tables.evaluate_models` returns them.
        country: The country.
        arm: Which of its models.
        part: Whose pairs the tables judge by.

    Raises:
        ValueError: The tables have no figures of that model.
    """
    by_layer = {
        row["layer"]: row
        for row in tables["accuracy"]
        if (row["country"], row["arm"]) == (country, arm)
    }
    if not by_layer:
        known = sorted({f"{row['country']}/{row['arm']}" for row in tables["accuracy"]})
        raise ValueError(
            f"The evaluation must hold {country}/{arm}, but it holds {', '.join(known)}."
        )
    words = {"country": country, "users_trained": _annotators(facts)}
    sections = [
        f"# Reward model of preferences in {country}",
        f"Scores an answer to a prompt; a higher reward is more likely preferred by annotators in "
        f"{country}. It was tuned from {_base(facts)} by steerable cultural preference "
        f"optimization ([SCPO]({METHOD})), arm `{arm}`.",
        "## Figures",
        _figures(tables, by_layer, country, arm, part),
        _calibration(tables, country, arm),
        _other_countries(tables, country, arm),
        "## Training",
        _training(facts),
        "## Data and licences",
        _data(facts),
        "## Intended use",
        _bullets(line.format_map(words) for line in INTENDED),
        "## What it must not be used for",
        _bullets(line.format_map(words) for line in MISUSES),
    ]
    body = "\n\n".join(section for section in sections if section)
    header = _header(facts, by_layer["overall"], country, part)
    return ModelCard(f"---\n{header.to_yaml()}\n---\n\n{body}\n", ignore_metadata_errors=False)


def write_model_cards(
    facts: Mapping[str, CardFacts],
    tables: Tables,
    folders: Mapping[str, Path],
    *,
    part: str = "test",
) -> list[Path]:
    """Write the cards of countries' models beside them, and return their paths.

    Args:
        facts: What no table holds, by label.
        tables: As `scpo.evaluation.tables.evaluate_models` returns them.
        folders: Folder of each model, by label.
        part: Whose pairs the tables judge by.

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
        card = model_card(each, tables, country=country, arm=arm, part=part)
        paths.append(write_model_card(card, folders[label]))
    return paths


def write_model_card(card: ModelCard, folder: Path) -> Path:
    """Write a card as README.md beside a model, whole or not at all, and return its path.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"A card goes beside its model, but there is no folder {folder}.")
    path = folder / "README.md"
    write_text(path, str(card))
    return path


def _header(facts: CardFacts, overall: Row, country: str, part: str) -> ModelCardData:
    """Return the metadata that the hub reads."""
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
        tags=["reward-model", "scpo", "pluralistic-alignment"],
        eval_results=[result],
    )


def _figures(
    tables: Tables, by_layer: Mapping[str, Row], country: str, arm: str, part: str
) -> str:
    """Return accuracy by layer, the differences, and what they allow to say."""
    overall = by_layer["overall"]
    units = f"{overall['unit']}s"
    lines = [
        f"On {overall['pairs']:,} pairs of {overall['users']:,} {part} {units} that no training "
        f"saw. Intervals are 95 %, from a bootstrap that draws whole {units}; a tie counts as "
        f"wrong (there are {overall['ties']:,}). Distinctive pairs are those the global model "
        "orders wrong, consensus pairs the rest.",
        "",
        f"| pairs | accuracy | pairs | {units} |",
        "|---|---|---|---|",
    ]
    for layer in LAYERS:
        row = by_layer[layer]
        lines.append(f"| {layer} | {share_in_words(row)} | {row['pairs']:,} | {row['users']:,} |")
    lines += ["", "| on the same pairs, against | points | McNemar's p, pairs as independent |"]
    lines += ["|---|---|---|"]
    paired = [
        row
        for row in tables["paired"]
        if (row["country"], row["arm"], row["layer"]) == (country, arm, "overall")
    ]
    names = dict(zip(BASELINES, ("the global model", "full", "the longer answer"), strict=True))
    for row in paired:
        points, chance = difference_in_words(row), row["mcnemar_exact_p"]
        lines.append(f"| {names[row['baseline']]} | {points} | {chance:.3g} |")
    lines += ["", *(_verdict(row) for row in paired if row["baseline"] == BASELINES[0])]
    return "\n".join(lines).rstrip()


def _verdict(row: Row) -> str:
    """Return what the difference to the global model allows to say."""
    if row["low"] is None:
        return "**With one user no interval can be given: these figures show nothing yet.**"
    if min(row["low"], row["t_low"]) > 0:
        return "The gain over the global model is shown at this level."
    if max(row["high"], row["t_high"]) < 0:
        return "**It is worse than the global model on these pairs: use that one.**"
    return "**A difference to the global model is not shown: an interval holds 0.**"


def _calibration(tables: Tables, country: str, arm: str) -> str:
    """Return how far sigmoid of the reward difference can be read as a probability."""
    for row in tables["calibration"]:
        if (row["country"], row["arm"]) == (country, arm):
            return (
                f"sigmoid(r1 - r2) as the probability that answer 1 is preferred: expected "
                f"calibration error {row['ece_width']:.3f} ({row['ece_if_calibrated']:.3f} would "
                f"be expected of a calibrated model on as many pairs), Brier score "
                f"{row['brier']:.3f}; mean confidence {100 * row['confidence']:.1f} %, right "
                f"{100 * row['right']:.1f} %."
            )
    return ""


def _other_countries(tables: Tables, country: str, arm: str) -> str:
    """Return the model's accuracy on other countries' pairs, nothing where none was judged."""
    rows = [
        row
        for row in tables["matrix"]
        if (row["model_country"], row["arm"]) == (country, arm) and row["country"] != country
    ]
    if not rows:
        return ""
    lines = [
        "### On other countries' pairs",
        "",
        "| country | accuracy | points against the global model |",
        "|---|---|---|",
    ]
    for row in rows:
        points = difference_in_words(row | {"against": row["against_global"]}, "against")
        lines.append(f"| {row['country']} | {share_in_words(row)} | {points} |")
    return "\n".join(lines)


def _training(facts: CardFacts) -> str:
    """Return the setting and how much it was trained on."""
    counts = {
        "users trained on": facts.users_trained,
        "pairs trained on": facts.pairs_trained,
        "pairs labelled, before the filter": facts.pairs_labelled,
    }
    setting = {SETTING_WORDS.get(key, key): value for key, value in facts.setting.items()}
    known = {**setting, **{key: value for key, value in counts.items() if value is not None}}
    if not known:
        return "The setting was not recorded with this card."
    lines = ["| what | value |", "|---|---|"]
    for key, value in known.items():
        shown = f"{value:,.4g}" if isinstance(value, float) else value
        lines.append(f"| {key} | {'not used' if value is None else shown} |")
    return "\n".join(lines)


def _data(facts: CardFacts) -> str:
    """Return the data with their licences."""
    lines = [f"This model: licence {facts.license}. It was made from:", ""]
    lines += [f"- {each.name} ({each.use}): licence {each.license}" for each in facts.data]
    lines += ["", "A licence of the data may bind the use of the model beyond its own."]
    return "\n".join(lines)


def _base(facts: CardFacts) -> str:
    """Return what it was tuned from, a hub name as code."""
    return f"`{facts.base_model}`" if facts.base_model.count("/") == 1 else facts.base_model


def _annotators(facts: CardFacts) -> str:
    """Return whom it was tuned to, in words."""
    if facts.users_trained is None:
        return "the annotators who happened to take part"
    return f"{facts.users_trained:,} annotators"


def _bullets(lines: Iterable[str]) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {line}" for line in lines)
