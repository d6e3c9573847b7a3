"""What a model card says that no evaluation holds: base model, setting, data, licences, limits.

Facts of several models lie in one YAML file: those that all share at the top, those of one model
under `models`, by its label.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from scpo.config import Config, parse_config
from scpo.text.yaml_files import read_yaml

SETTING_WORDS = {
    "tau": "filter threshold tau",
    "beta": "weighting temperature beta, in reward units",
    "retention": "retention, share of the country's training pairs kept",
    "strength": "weighting strength, scale of the margins / beta",
    "user_strength": "strength of the users' weights; 0 for none",
    "learning_rate": "peak learning rate",
    "epochs": "passes over the pairs trained on",
    "lora_rank": "rank of low-rank adapters",
}


class DataSource(Config):
    """Data that went into the model."""

    name: str = Field(description="what it is called; a hub name links to it")
    license: str = Field(description="its licence, which binds the use of the model too")
    use: str = Field("preference pairs", description="what it was used for")


class CardFacts(Config):
    """What a card says that no table holds."""

    base_model: str = Field(description="the global model: hub name or a description")
    license: str = Field(description="licence of the model, an identifier of the hub")
    data: tuple[DataSource, ...] = Field(min_length=1, description="all data that went in")
    language: tuple[str, ...] = Field((), description="language codes of prompts and responses")
    setting: dict[str, float | int | str | None] = Field(
        default_factory=dict,
        description="tau, beta, retention, strength and what else was set; null: not used",
    )
    users_trained: int | None = Field(None, ge=1, description="users whose pairs trained it")
    pairs_trained: int | None = Field(None, ge=1, description="pairs kept for the training")
    pairs_labelled: int | None = Field(None, ge=1, description="pairs before the filter")


def read_card_facts(
    path: Path, known: Mapping[str, CardFacts] | None = None
) -> dict[str, CardFacts]:
    """Return the facts of each model that a YAML file names, by label.

    What the file says goes before what a run tells, `known` by label.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is no YAML mapping, names no model where none is known, or a fact is
            missing, unknown or bad.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No file with the facts of model cards at {path}.")
    raw = read_yaml(path).value
    told = {label: facts.model_dump() for label, facts in (known or {}).items()}
    models = raw.get("models", dict.fromkeys(told)) if isinstance(raw, dict) else None
    if not isinstance(models, dict) or not models:
        raise ValueError(f"{path} must be a mapping with `models`, facts by label; it is not.")
    shared = {key: value for key, value in raw.items() if key != "models"}
    return {
        str(label): parse_config(
            CardFacts, {**told.get(label, {}), **shared, **(own or {})}, f"{path}: {label}"
        )
        for label, own in models.items()
    }
