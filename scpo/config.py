"""Configuration: YAML files into frozen, checked values; unknown keys are refused by name.

`${NAME}` and `${NAME:-default}` in a string are taken from the environment. Overrides are dotted
`key.sub=value` texts. Configuration stops at the boundary: functions take `beta=`, not a config.
"""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scpo.choices import Overlong, Precision, ScheduleKind

Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Config(BaseModel):
    """Base of every configuration: frozen, unknown keys refused, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SyntheticConfig(Config):
    """A world of synthetic cultures; see `scpo.data.sources.synthetic.make_synthetic`."""

    num_countries: int = Field(8, ge=1, le=16)
    users_per_country: int = Field(24, ge=1, le=999)
    interactions_per_user: int = Field(6, ge=1, le=24, description="different questions")
    responses_per_interaction: int = Field(4, ge=2, le=8, description="of different levels")
    shift: float = Field(
        0.8,
        ge=0,
        description="how far a country's weights are from the shared ones; 1: as far as these "
        "are from indifference",
    )
    outlier_share: float = Field(0.1, ge=0, le=1, description="users who choose against it")
    noise_user_share: float = Field(0.1, ge=0, le=1, description="users who choose at random")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check_shares(self) -> "SyntheticConfig":
        if self.outlier_share + self.noise_user_share > 1:
            raise ValueError(
                "`outlier_share + noise_user_share <= 1` must hold, but got "
                f"{self.outlier_share} + {self.noise_user_share}."
            )
        return self


class DataConfig(Config):
    """Where preferences come from."""

    source: Literal["prism", "pairs", "opinions", "synthetic", "prepared"] = Field(
        "prism", description="`prepared`: a folder that `scpo prepare` wrote"
    )
    path: str | None = Field(None, description="file or folder; none: the hub, or made")
    user_column: str = Field("user", description="pairs: column that names the user")
    country_column: str = Field("country", description="pairs: column that names the country")
    default_country: str | None = Field(None, description="pairs: for rows that name none")
    on_bad_rows: Literal["quarantine", "stop"] = "quarantine"
    synthetic: SyntheticConfig = SyntheticConfig()


class SplitConfig(Config):
    """How a country's users are divided."""

    seed: int = Field(0, ge=0)
    validation_share: Fraction = 0.15
    test_share: Fraction = 0.15
    min_users: int = Field(6, ge=3, description="a country with fewer users is refused")
    folds: int | None = Field(
        None, ge=3, description="deal users into so many folds instead: `fold` tests"
    )
    fold: int = Field(0, ge=0, description="which of the folds tests; the next one validates")


class GlobalModelConfig(Config):
    """The model that represents everybody: a finished one, or one to train here."""

    name: str | None = Field(
        None, description="reward model: hub name or folder; none: train one from `backbone`"
    )
    revision: str | None = Field(None, description="hub revision, best a commit")
    trust_remote_code: bool = False
    backbone: str | None = Field(None, description="hub name or folder, gets a new reward head")
    extra_pairs: str | None = Field(None, description="a pairs file to add to the training")
    max_extra_pairs: int | None = Field(None, ge=1, description="at most so many of them")
    max_pairs: int | None = Field(None, ge=1, description="at most so many pairs of countries")
    epochs: Positive = 1.0
    learning_rate: Positive = 5e-5


class EncoderConfig(Config):
    """How a text becomes tokens."""

    max_tokens: int = Field(512, ge=8, description="longest text, in tokens")
    overlong: Overlong = Field(
        "truncate_prompt",
        description="a longer text loses the left of its prompt; or its left (truncate_left); "
        "or its pairs are dropped (drop)",
    )


class LoraConfig(Config):
    """Low-rank adapters instead of full fine-tuning; the reward head is trained whole."""

    rank: Count = 16
    alpha: Positive = 32.0
    target_modules: str | list[str] = "all-linear"
    merge: bool = Field(True, description="export one model; else the adapter beside its base")


class TrainingConfig(Config):
    """One training; the defaults are the paper's where it has them."""

    pairs_per_step: Count = 8
    learning_rate: Positive = 1e-6
    epochs: Positive = Field(1.0, description="passes over the pairs trained on")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: Positive = 1.0
    centring: float = Field(0.0, ge=0, description="coefficient c of the centring term")
    schedule: ScheduleKind = Field("linear", description="of the learning rate")
    warmup_share: float = Field(0.0, ge=0, lt=1, description="share of steps in which it rises")
    accumulation: Count = Field(1, description="backward passes of a step: less memory")
    activation_checkpointing: bool = Field(False, description="compute twice, keep less memory")
    lora: LoraConfig | None = None
    precision: Precision = "auto"
    seed: int = Field(0, ge=0)
    max_tokens_per_forward: Count | None = Field(
        None, description="padded tokens of a forward pass; none: 4096, on a GPU 16384"
    )
    checkpoint_every: Count = Field(100, description="steps between checkpoints, where kept")


ConfigType = TypeVar("ConfigType", bound=Config)


def load_config(kind: type[ConfigType], path: Path, overrides: Sequence[str] = ()) -> ConfigType:
    """Read a YAML file into a configuration; overrides are texts `key.sub=value`, the value YAML.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Broken YAML, an unknown key (the nearest valid one is named), a value out of
            range, or an override that is not `key=value`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No configuration at {path}.")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{path} must hold keys and values, but holds {type(raw).__name__}.")
    for override in overrides:
        _apply_override(raw, override)
    return parse_config(kind, _expand(raw), str(path))


def parse_config(kind: type[ConfigType], raw: Mapping[str, Any], origin: str) -> ConfigType:
    """Check plain nested values into a configuration; `origin` names them in the message.

    Raises:
        ValueError: As of `load_config`; every fault is listed.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(kind, fault) for fault in error.errors()]
        raise ValueError(f"{origin}: " + "; ".join(lines)) from error


def parse_options(
    kind: type[ConfigType], values: Mapping[str, Any], overrides: Sequence[str] | None
) -> ConfigType:
    """Check the options of a command line, and its `--set` overrides, into a configuration.

    Raises:
        ValueError: As of `load_config`.
    """
    raw = dict(values)
    for override in overrides or []:
        _apply_override(raw, override)
    return parse_config(kind, raw, "options")


def dump_config(config: Config) -> str:
    """Return the resolved configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ValueError(f"An override is key.sub=value, but got {override!r}.")
    *parents, last = key.split(".")
    section = raw
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ValueError(f"{override!r}: {parent!r} holds a value, no keys.")
    try:
        section[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"{override!r}: the value is not YAML: {error}") from error


def _expand(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", _from_environment, value)
    return value


def _from_environment(found: re.Match[str]) -> str:
    name, default = found.group(1), found.group(2)
    value = os.environ.get(name, default)
    if value is None:
        raise ValueError(f"The configuration needs the environment variable {name}; set it.")
    return value


def _explain(kind: type[Config], fault: Any) -> str:
    location = [key for key in fault["loc"] if isinstance(key, str)]
    where = ".".join(map(str, fault["loc"]))
    if fault["type"] != "extra_forbidden":
        return f"{where}: {fault['msg']} (got {fault['input']!r})"
    fields: Mapping[str, Any] = kind.model_fields
    for key in location[:-1]:
        fields = getattr(fields[key].annotation, "model_fields", {})
    parent = ".".join(location[:-1])
    if near := difflib.get_close_matches(location[-1], fields, n=1, cutoff=0.5):
        return f"unknown key {where!r}; did you mean {'.'.join([*location[:-1], near[0]])!r}?"
    of_parent = f" of {parent}" if parent else ""
    return f"unknown key {where!r}; valid keys{of_parent} are {', '.join(fields)}."
