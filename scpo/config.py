"""Configuration: YAML files into frozen, checked values; unknown keys are refused by name.

`${NAME}` and `${NAME:-default}` in a string are taken from the environment. Overrides are dotted
`key.sub=value` texts. Configuration stops at the boundary: functions take `beta=`, not a config.
"""

import os
import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from scpo.choices import Overlong, Pooling, Precision, ScheduleKind
from scpo.text.near_words import nearest
from scpo.text.prompt_prefix import check_template
from scpo.text.settings import (
    apply_override,
    expand_variables,
    place_of,
    plain_values,
    refuse_secrets,
)
from scpo.text.yaml_files import KeyPath, YamlValue, read_yaml

Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
LocalPath = Annotated[str, AfterValidator(os.path.expanduser)]  # `~/x` is in the home folder

_MAX_FAULTS = 10  # shown


class Config(BaseModel):
    """Base of every configuration: frozen, unknown keys refused, no NaN, no yes for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_yes(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where they would be read as 1 and 0."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and kind is not bool and bool not in get_args(kind):
            raise PydanticCustomError("yes_or_no", "Input should not be true or false")
        return value


class SyntheticConfig(Config):
    """A world of synthetic cultures; see `scpo.data.sources.synthetic.make_synthetic`."""

    num_countries: int = Field(8, ge=1, le=16, description="countries that are made")
    users_per_country: int = Field(24, ge=1, le=999, description="users of each country")
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
    vetted_users_per_country: int = Field(
        0,
        ge=0,
        le=999,
        description="further users, none an outlier or noise, who alone validate and test; "
        "0: all users may",
    )
    seed: int = Field(0, ge=0, description="another seed makes other people")

    @model_validator(mode="after")
    def _check_shares(self) -> "SyntheticConfig":
        if self.outlier_share + self.noise_user_share > 1:
            raise ValueError(
                "`outlier_share + noise_user_share <= 1` must hold, but got "
                f"{self.outlier_share} + {self.noise_user_share}."
            )
        return self


class VettedConfig(Config):
    """Who is known to judge well: they alone validate and test, everybody trains."""

    column: str | None = Field(None, description="pairs: column that says so, true or false")
    file: LocalPath | None = Field(None, description="file of user ids, one a line")

    @model_validator(mode="after")
    def _one_of_two(self) -> "VettedConfig":
        if (self.column is None) == (self.file is None):
            raise ValueError("set either vetted.column or vetted.file")
        return self


class DataConfig(Config):
    """Where preferences come from."""

    source: Literal[
        "prism", "pairs", "community_alignment", "opinions", "synthetic", "prepared"
    ] = Field("prism", description="`prepared`: a folder that `scpo prepare` wrote")
    path: LocalPath | None = Field(
        None,
        description="file or folder; pairs: also OWNER/NAME on the hub; none: the hub, or made",
    )
    subset: str | None = Field(None, description="pairs: configuration of a data set on the hub")
    layout: str | None = Field(
        None, description="pairs: layout of the rows by name; none: recognised by the columns"
    )
    prompt_column: str = Field("prompt", description="pairs: column that holds the prompt")
    chosen_column: str = Field("chosen", description="pairs: column of the preferred response")
    rejected_column: str = Field("rejected", description="pairs: column of the other response")
    margin_column: str = Field("margin", description="pairs: column of the pair's margin")
    margin_from_scores: bool = Field(
        False, description="pairs: the difference of the two responses' scores is the margin"
    )
    user_column: str = Field("user", description="pairs: column that names the user")
    country_column: str = Field("country", description="pairs: column that names the country")
    default_country: str | None = Field(None, description="pairs: for rows that name none")
    vetted: VettedConfig | None = Field(
        None, description="users who may validate and test; none: all"
    )
    prompt_prefix: Annotated[str, AfterValidator(check_template)] | None = Field(
        None,
        description="'In {country}: {prompt}': names the country in each prompt, for the global "
        "model and the countries alike",
    )
    on_bad_rows: Literal["quarantine", "stop"] = Field(
        "quarantine",
        description="list what cannot be used in quarantine.jsonl and go on; or stop at the first",
    )
    synthetic: SyntheticConfig = SyntheticConfig()

    @model_validator(mode="after")
    def _belongs_to_the_source(self) -> "DataConfig":
        if self.prompt_prefix is not None and self.source == "prepared":
            raise ValueError(
                "prompt_prefix belongs to a source that is read: prepared data have it already"
            )
        if self.vetted is None:
            return self
        if self.vetted.column is not None and self.source != "pairs":
            raise ValueError("vetted.column belongs to the source `pairs`; set vetted.file")
        if self.source in ("synthetic", "prepared"):
            raise ValueError(
                "vetted belongs to a source that is read: prepared data have it already, and "
                "synthetic ones set synthetic.vetted_users_per_country"
            )
        return self


class SplitConfig(Config):
    """How a country's users are divided."""

    seed: int = Field(0, ge=0, description="another seed draws other users")
    validation_share: Fraction = Field(0.15, description="share of users who choose the setting")
    test_share: Fraction = Field(0.15, description="share of users who judge the final models")
    min_users: int = Field(6, ge=3, description="a country with fewer users is refused")
    folds: int | None = Field(
        None, ge=3, description="deal users into so many folds instead: `fold` tests"
    )
    fold: int = Field(0, ge=0, description="which of the folds tests; the next one validates")

    @model_validator(mode="after")
    def _can_be_dealt(self) -> "SplitConfig":
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                "`validation_share + test_share < 1` must hold, but got "
                f"{self.validation_share} + {self.test_share}"
            )
        if self.fold >= (self.folds or 1):
            folds = "no folds" if self.folds is None else f"folds {self.folds}"
            raise ValueError(
                f"`fold < folds` must hold, counted from 0, but got fold {self.fold} and {folds}"
            )
        return self


class GlobalModelConfig(Config):
    """The model that represents everybody: a finished one, or one to train here."""

    name: LocalPath | None = Field(
        None, description="reward model: hub name or folder; none: train one from `backbone`"
    )
    revision: str | None = Field(None, description="hub revision, best a commit")
    trust_remote_code: bool = Field(
        False, description="run code that the model brings; from the command line alone (--set)"
    )
    backbone: LocalPath | None = Field(
        None, description="hub name or folder, gets a new reward head"
    )
    pooling: Pooling = Field(
        "head",
        description="what the new head reads: what the backbone's class reads by itself; or the "
        "mean of the last hidden states, of modernbert and eurobert (mean)",
    )
    extra_pairs: LocalPath | None = Field(None, description="a pairs file to add to the training")
    max_extra_pairs: int | None = Field(None, ge=1, description="at most so many of them")
    max_pairs: int | None = Field(None, ge=1, description="at most so many pairs of countries")
    epochs: Positive = Field(1.0, description="passes over the pairs, where it is trained here")
    learning_rate: Positive = Field(5e-5, description="at its highest, where it is trained here")


class EncoderConfig(Config):
    """How a text becomes tokens."""

    max_tokens: int = Field(512, ge=8, description="longest text, in tokens")
    overlong: Overlong = Field(
        "truncate_prompt",
        description="a longer text loses the left of its prompt; or its left (truncate_left); "
        "or its pairs are dropped (drop)",
    )


class FeaturesConfig(Config):
    """The vector of each text that heads on a frozen model read."""

    pooling: Pooling = Field(
        "mean",
        description="mean of the last hidden states over the tokens; or what the model's own "
        "reward head reads (head)",
    )


class LoraConfig(Config):
    """Low-rank adapters instead of full fine-tuning; the reward head is trained whole."""

    rank: Count = Field(16, description="rank of each adapter")
    alpha: Positive = Field(32.0, description="an adapter's output is scaled by alpha / rank")
    target_modules: str | list[str] = Field(
        "all-linear", description="layers that get an adapter, as peft names them"
    )
    merge: bool = Field(True, description="export one model; else the adapter beside its base")


class TrainingConfig(Config):
    """One training; the defaults are the paper's where it has them."""

    pairs_per_step: int = Field(
        8, ge=1, le=10**6, description="pairs of an optimizer step, over all devices"
    )
    learning_rate: Positive = Field(1e-6, description="of AdamW, at its highest")
    epochs: Positive = Field(1.0, description="passes over the pairs trained on")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    max_grad_norm: Positive = Field(1.0, description="a longer gradient is shortened to it")
    centring: float = Field(0.0, ge=0, description="coefficient c of the centring term")
    schedule: ScheduleKind = Field("linear", description="of the learning rate")
    warmup_share: float = Field(0.0, ge=0, lt=1, description="share of steps in which it rises")
    accumulation: Count = Field(1, description="backward passes of a step: less memory")
    activation_checkpointing: bool = Field(False, description="compute twice, keep less memory")
    lora: LoraConfig | None = None
    precision: Precision = Field(
        "auto", description="of matrix products; auto: bf16 where the device has it, else fp32"
    )
    seed: int = Field(0, ge=0, description="of the order of pairs and of a new head")
    max_tokens_per_forward: Count | None = Field(
        None, description="padded tokens of a forward pass; none: 4096, on a GPU 16384"
    )
    checkpoint_every: Count = Field(100, description="steps between checkpoints, where kept")

    @model_validator(mode="after")
    def _each_pass_has_a_pair(self) -> "TrainingConfig":
        if self.accumulation > self.pairs_per_step:
            raise ValueError(
                f"`accumulation <= pairs_per_step` must hold, but got {self.accumulation} and "
                f"{self.pairs_per_step}"
            )
        return self


ConfigType = TypeVar("ConfigType", bound=Config)


def load_config(
    kind: type[ConfigType], path: Path, overrides: Sequence[str] = (), *, is_own: bool = False
) -> ConfigType:
    """Read a YAML file into a configuration; overrides are texts `key.sub=value`, the value YAML.

    A file that a run keeps `is_own`: what it was begun with was checked then, and its variables
    were replaced, so those of whoever reads it are left alone.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Broken YAML, a key given twice, an unknown key (the nearest valid one is
            named), a value out of range or that carries a secret, `trust_remote_code` in the
            file, or an override that is not `key=value`. File, line and setting are named.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No configuration at {path}.")
    read = read_yaml(path)
    if not isinstance(read.value, dict):
        holds = "nothing" if read.value is None else f"a {type(read.value).__name__}"
        raise ValueError(f"{path} must hold keys and values, but holds {holds}.")
    if is_own:
        refuse_secrets(read, str(path))
        return _check(kind, read, str(path))
    _refuse_trust(read, overrides, path)
    return _parse(kind, read, overrides, str(path))


def parse_config(kind: type[ConfigType], raw: Mapping[str, Any], origin: str) -> ConfigType:
    """Check plain nested values into a configuration; `origin` names them in the message.

    Raises:
        ValueError: As of `load_config`; every fault is listed.
    """
    return _check(kind, YamlValue(raw, {}), origin)


def parse_options(
    kind: type[ConfigType], values: Mapping[str, Any], overrides: Sequence[str] | None
) -> ConfigType:
    """Check the options of a command line, and its `--set` overrides, into a configuration.

    Raises:
        ValueError: As of `load_config`.
    """
    return _parse(kind, YamlValue(plain_values(values), {}), overrides or (), "options")


def dump_config(config: Config) -> str:
    """Return the resolved configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)


def _refuse_trust(read: YamlValue, overrides: Sequence[str], path: Path) -> None:
    """Refuse a file that lets a model run code of its own: files come from others."""
    section = read.value.get("global_model")
    key = "global_model.trust_remote_code"
    is_set = isinstance(section, dict) and section.get("trust_remote_code") not in (None, False)
    if is_set and not any(text.partition("=")[0].strip() == key for text in overrides):
        line = place_of(("global_model", "trust_remote_code"), read.places)
        raise ValueError(
            f"{path}: {line}{key} is taken from the command line alone, because it runs code that "
            f"comes with the model. If you trust its author, add --set {key}=true."
        )


def _parse(
    kind: type[ConfigType], read: YamlValue, overrides: Sequence[str], origin: str
) -> ConfigType:
    for override in overrides:
        apply_override(read, override)
    return _check(kind, expand_variables(read, origin), origin)


def _check(kind: type[ConfigType], read: YamlValue, origin: str) -> ConfigType:
    try:
        return kind.model_validate(read.value)
    except ValidationError as error:
        faults = error.errors()
        lines = [_explain(kind, fault, read.places) for fault in faults[:_MAX_FAULTS]]
        if len(faults) > _MAX_FAULTS:
            lines.append(f"and {len(faults) - _MAX_FAULTS} faults more")
        raise ValueError(f"{origin}: " + "; ".join(lines)) from error


def _explain(kind: type[Config], fault: Any, places: Mapping[KeyPath, str]) -> str:
    location = [key for key in fault["loc"] if isinstance(key, str)]
    where = ".".join(map(str, fault["loc"]))
    line = place_of(fault["loc"], places)
    given = fault["input"]
    if fault["type"] == "missing":
        return f"{line}{where}: {fault['msg']}"
    if fault["type"] != "extra_forbidden":
        choices = re.findall(r"'([^']*)'", str(fault.get("ctx", {}).get("expected", "")))
        near = nearest(given, choices) if isinstance(given, str) else None
        said = str(fault["msg"]).replace("a valid tuple", "a list, such as [a, b]")
        said = said.removeprefix("Value error, ")
        said = re.sub("a valid dictionary or .*", "keys and values, such as {key: value}", said)
        if not where:  # of several settings together, which the message names
            return said
        said = f"{where}: {said}"
        hint = f"; did you mean {near!r}?" if near else ""
        return f"{line}{said} (got {reprlib.repr(given)}){hint}"
    fields: Mapping[str, Any] = kind.model_fields
    for key in location[:-1]:
        if key in fields:  # else it is the key of a dictionary of such fields
            fields = fields_of(fields[key].annotation)
    parent = ".".join(location[:-1])
    if near := nearest(location[-1], fields):
        whole = ".".join([*location[:-1], near])
        return f"{line}unknown key {where!r}; did you mean {whole!r}?"
    of_parent = f" of {parent}" if parent else ""
    return f"{line}unknown key {where!r}; valid keys{of_parent} are {', '.join(fields)}."


def fields_of(annotation: Any) -> Mapping[str, Any]:
    """Return the fields of the configuration within an annotation such as `Lanes | None`."""
    if hasattr(annotation, "model_fields"):
        return dict(annotation.model_fields)
    return next(filter(None, map(fields_of, get_args(annotation))), {})
