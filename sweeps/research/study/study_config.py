"""The configuration of the study: what is fine-tuned, what trains heads, how it is judged."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from scpo.choices import Precision
from scpo.config import Config, Count, DataConfig, EncoderConfig, FeaturesConfig
from sweeps.config import Country, HeadsConfig, Share

Unit = Literal["user", "question"]
Pool = Literal["not steered", "others"]


class AnnotatorsConfig(Config):
    """People made up who label the pairs: some of them cannot be relied on."""

    number: Count = Field(40, description="annotators; each labels questions of its own")
    unreliable: Share = Field(description="share of them that chooses otherwise")
    choice: Literal["reversed", "against global"] = Field(
        "reversed",
        description="what these choose: always the other response, or the one that the global "
        "model likes less",
    )


class FrozenConfig(Config):
    """A data set whose arms train heads."""

    title: str = Field(description="heading of the page's section")
    about: str = Field("", description="what the data are and are not, for the page")
    data: DataConfig
    unit: Unit = Field(description="what is held out and resampled whole")
    countries: tuple[Country, ...] | None = Field(None, description="none: those with `min_units`")
    min_units: Count = Field(100, description="users or questions that a country must have")
    pool: Pool = Field(description="whose pairs train a country's global head")
    against_column: str | None = Field(
        None,
        description="pairs: names the country whose answer was refused; such pairs train no "
        "global head of that country",
    )
    has_shares: bool = Field(False, description="scores are shares of people: compare with them")
    encoder: EncoderConfig = EncoderConfig(max_tokens=256)
    heads: HeadsConfig = HeadsConfig()
    annotators: AnnotatorsConfig | None = Field(
        None, description="who labels the pairs that arms are trained on; none: as the data say"
    )

    @model_validator(mode="after")
    def _parts_agree(self) -> "FrozenConfig":
        if self.against_column is not None and self.data.source != "pairs":
            raise ValueError("against_column belongs to the source `pairs`")
        if self.has_shares and self.data.source != "opinions":
            raise ValueError("has_shares belongs to the source `opinions`")
        return self


class TunedConfig(Config):
    """A data set whose arms fine-tune the global model of a sweep's configuration."""

    title: str = Field(description="heading of the page's section")
    about: str = Field("", description="what the data are and are not, for the page")
    sweep: str = Field(description="file of a sweep's configuration, beside this one")
    unit: Unit = Field("user", description="what is held out and resampled whole")
    heads: HeadsConfig = Field(HeadsConfig(), description="choose retention and strength")


class StudyConfig(Config):
    """The whole study."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="of the study")
    note: str = Field("", description="what a reader of the page must know of its choices")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0, 1, 2, 3, 4), min_length=1, description="repetitions, over which figures are averaged"
    )
    folds: int = Field(5, ge=2, description="each seed deals the users anew")
    tuned_folds: int = Field(3, ge=2, description="the same where models are fine-tuned")
    backbone: str = Field(description="whose frozen features the heads read")
    features: FeaturesConfig = FeaturesConfig()
    precision: Precision = Field(
        "auto", description="of the features; auto: bf16 where the device has it, else fp32"
    )
    files: tuple[str, ...] = Field((), description="files that must be there before all else")
    fine_tuned: dict[str, TunedConfig] = Field({}, description="data sets by name")
    frozen: dict[str, FrozenConfig] = Field({}, description="data sets by name")

    @model_validator(mode="after")
    def _parts_agree(self) -> "StudyConfig":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must differ, but got {list(self.seeds)}")
        twice = set(self.fine_tuned) & set(self.frozen)
        if twice:
            raise ValueError(f"data sets must have names of their own, but {sorted(twice)} repeat")
        return self
