"""The configuration of a sweep: data, global model, search, curves, final trainings."""

import logging
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from scpo.choices import Offload, ZeroStage, check_offload
from scpo.config import (
    Config,
    Count,
    DataConfig,
    EncoderConfig,
    FeaturesConfig,
    GlobalModelConfig,
    LocalPath,
    Positive,
    SplitConfig,
    TrainingConfig,
)
from scpo.data.reading.countries import nearest_names, require_country
from scpo.method.arms import TRAINED_ARMS
from scpo.method.weighting import PAPER_BETA, PAPER_TAU
from scpo.statistics.lower_bound import CAUTION
from scpo.text.near_words import nearest

TRACKERS = ("wandb", "mlflow", "tensorboard", "trackio")

_log = logging.getLogger(__name__)


def _check_arms(arms: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [arm for arm in arms if arm not in TRAINED_ARMS]
    if unknown:
        near = nearest(unknown[0], TRAINED_ARMS)
        hint = f"; did you mean {near!r}?" if near else ""
        raise ValueError(f"arms must be of {', '.join(TRAINED_ARMS)}, but got {unknown}{hint}")
    return _once(arms)


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse values that come twice, as the names of trainings have them: to six digits."""
    names = [f"{value:g}" if isinstance(value, float) else value for value in values]
    if len(set(names)) < len(names):
        raise ValueError(f"each must come once, but got {list(values)}")
    return values


def _check_range(name: str, ends: tuple[float, float]) -> None:
    low, high = ends
    if not 0 <= low <= high:
        raise ValueError(f"`0 <= low <= high` must hold for {name}, but got {low}, {high}")


def check_trackers(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of trackers, each once.

    Raises:
        ValueError: One is none; the nearest is named.
    """
    for name in names:
        if name not in TRACKERS:
            near = nearest(name, TRACKERS)
            hint = f"; did you mean {near!r}?" if near else ""
            raise ValueError(f"trackers are {', '.join(TRACKERS)}, but got {name!r}{hint}")
    return tuple(dict.fromkeys(names))


def _name_country(label: Any) -> Any:
    if isinstance(label, bool):
        raise ValueError(
            "a country must be named; write 'NO' in quotes, which YAML takes for false"
        )
    return require_country(label) if isinstance(label, str) else label


def _name_lanes(lanes: Any) -> Any:
    """Return lanes by the one name of their country, refusing two of a country."""
    if not isinstance(lanes, dict):
        return lanes
    named = {_name_country(label): own for label, own in lanes.items()}
    if len(named) < len(lanes):
        raise ValueError(f"each country must come once, but got {list(lanes)}")
    return named


Country = Annotated[str, BeforeValidator(_name_country)]
Arms = Annotated[tuple[str, ...], AfterValidator(_check_arms)]
Trackers = Annotated[tuple[str, ...], AfterValidator(check_trackers)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], AfterValidator(_once)]
Share = Annotated[float, Field(gt=0, le=1)]
Caution = Annotated[float, Field(ge=0, allow_inf_nan=True)]  # `.inf` keeps the base always
Answer = Literal["accuracy", "thrift", "balance"]
Say = Callable[[str], None]


class SearchConfig(Config):
    """The search of one country: an Optuna study with two objectives."""

    num_trials: Count = Field(20, description="trials per country, failed ones included")
    sampler: Literal["tpe", "nsga2", "gp", "random"] = Field(
        "tpe", description="who proposes settings: gp for few costly trials, nsga2 for many"
    )
    seed: int = Field(0, ge=0, description="of the settings that are proposed")
    retention: tuple[Share, Share] = Field((0.2, 1.0), description="share of pairs kept")
    strength: tuple[float, float] = Field((0.0, 3.0), description="scale / beta, 0 is none")
    user_strength: tuple[float, float] | None = Field(
        None,
        description="strength of users' weights, 0 is none; none: 0 to 2 where pairs name their "
        "users and a country has 10 training users or more, else 0",
    )
    learning_rate: tuple[Positive, Positive] = Field(
        (1e-6, 1e-4), description="learning rate of the training, searched by its logarithm"
    )
    epochs: tuple[Positive, Positive] = Field(
        (0.5, 2.0), description="passes over the pairs trained on, searched by their logarithm"
    )
    lora_rank: tuple[Count, Count] | None = Field(
        None, description="rank of low-rank adapters; none: as `training.lora` says"
    )
    probe_points: int = Field(
        0, ge=0, description="first trials from the front of `scpo probe`, at most"
    )
    max_consensus_drop: float = Field(
        0.25,
        ge=0,
        le=1,
        description="how far consensus accuracy may be shown, by its interval, to fall below the "
        "global's",
    )
    caution: Caution = Field(
        CAUTION,
        description="standard errors by which a setting must gain on plain fine-tuning, or on the "
        "global model, to be recommended",
    )
    non_inferiority: float = Field(
        0.01, ge=0, lt=1, description="accuracy that the thriftiest setting may lose"
    )
    min_pairs: Count = Field(8, description="a setting that keeps fewer never starts")
    min_effective_pairs: Positive = Field(
        4.0, description="a setting whose weights leave fewer never starts"
    )
    folds: Count | None = Field(
        None,
        description="trainings per setting, each judged on other users; 1 keeps the split; none: "
        "1 where every country has 30 validation users, else 3",
    )
    rungs: tuple[Count, ...] = Field(
        (), description="labelled pairs, ascending, at which a trial may be stopped early"
    )
    reduction: int = Field(3, ge=2, description="one trial in so many continues after a rung")
    max_wall_s: Positive | None = Field(None, description="no trial starts after so long")
    max_device_hours: Positive | None = Field(
        None, description="no trial starts after so much training, over all lanes"
    )
    target_accuracy: float | None = Field(
        None, gt=0, le=1, description="a country with a feasible trial this good gets no more"
    )

    @property
    def num_folds(self) -> int:
        """Return the folds of each setting; 1 as long as the data have not chosen."""
        return self.folds or 1

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of what is searched."""
        names = ["retention", "strength", "learning_rate", "epochs"]
        if self.weighs_users:
            names.insert(2, "user_strength")
        return (*names, "lora_rank") if self.lora_rank is not None else tuple(names)

    @property
    def weighs_users(self) -> bool:
        """Tell whether the strength of users' weights is searched, as far as it is set here."""
        return self.user_strength not in (None, (0.0, 0.0))

    @model_validator(mode="after")
    def _ranges_ascend(self) -> "SearchConfig":
        for name in self.parameters:
            _check_range(name, getattr(self, name))
        users = self.user_strength or (0.0, 0.0)
        if self.retention[1] < 1 or self.strength[0] > 0 or users[0] > 0:
            raise ValueError(
                "retention must reach 1 and both strengths must begin at 0, since every setting "
                "is compared with plain fine-tuning, but got "
                f"{self.retention}, {self.strength} and {users}"
            )
        if any(low >= high for low, high in pairwise(self.rungs)):
            raise ValueError(f"rungs must ascend, but got {list(self.rungs)}")
        return self


class LanesConfig(Config):
    """A lane, in which trainings run one after another, and how many of them there are."""

    workers: Count = Field(
        1, description="devices of a lane; from 2 on DeepSpeed shards each training over them"
    )
    zero_stage: ZeroStage = Field(2, description="what DeepSpeed shards, where workers >= 2")
    offload: Offload = Field("none", description="to CPU memory: optimizer, or weights with it")
    cpus: Positive = Field(1.0, description="CPUs (and threads) of a worker")
    gpus: float = Field(
        0.0, ge=0, description="GPUs of a worker; a fraction shares one, where workers = 1"
    )
    num_lanes: int | None = Field(None, ge=1, description="none: as many as the cluster fits")
    hang_s: Positive | None = Field(
        None,
        description="seconds without progress after which a lane is replaced; none: 300, or 20 "
        "times the longest step so far",
    )

    @property
    def needs(self) -> dict[str, float]:
        """Return what a worker takes, by Ray's names."""
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}

    @model_validator(mode="after")
    def _can_be_sharded(self) -> "LanesConfig":
        if self.workers == 1:
            if self.offload != "none":
                raise ValueError(f"offload {self.offload} needs workers >= 2, but got workers 1")
            return self
        check_offload(self.zero_stage, self.offload)
        if self.gpus not in (0, 1):
            raise ValueError(
                f"each of {self.workers} workers has one GPU or none, but got gpus {self.gpus:g}"
            )
        return self


class LanesOfStage(Config):
    """A stage that may have lanes of its own."""

    lanes: LanesConfig | None = Field(None, description="none: as `lanes` of the sweep says")


class CurvesConfig(LanesOfStage):
    """Data-efficiency curves: arms at nested shares of the labelled pairs."""

    arms: Arms = Field(
        ("full", "scpo", "random_k"), description=f"a curve each; of {', '.join(TRAINED_ARMS)}"
    )
    budgets: Annotated[tuple[Share, ...], AfterValidator(_once)] = Field(
        (0.25, 0.5, 1.0), description="shares of the labelled pairs, a point each"
    )
    seeds: Seeds = Field((0,), description="trainings of each point")


class HeadsConfig(Config):
    """Arms that train a linear head on frozen features, each with a pull chosen within folds."""

    l2: tuple[Positive, ...] = Field(
        (0.003, 0.03, 0.3, 3.0),
        min_length=1,
        description="pulls to the global head that every arm chooses from",
    )
    num_settings: Count = Field(64, description="settings that `scpo_tuned` chooses from")
    retention: tuple[Share, Share] = Field(
        (0.2, 1.0), description="share of pairs kept, range of `scpo_tuned`"
    )
    strength: tuple[float, float] = Field(
        (0.0, 3.0), description="scale / beta, range of `scpo_tuned`, 0 is none"
    )
    user_strength: tuple[float, float] = Field(
        (0.0, 0.0), description="range of `scpo_tuned`, 0 is no weighting of users"
    )
    steps: Count = Field(24, description="steps of each head")
    inner_folds: int = Field(3, ge=2, description="folds of the training users that choose")
    inner_deals: Count = Field(2, description="times that the users are dealt into those folds")
    caution: Caution = Field(CAUTION, description="as `search.caution` of a sweep")
    tau: Share = Field(PAPER_TAU, description="filter threshold of the named arms")
    beta: Positive = Field(PAPER_BETA, description="weighting temperature of the named arms")
    global_l2: Positive = Field(0.01, description="pull of the global head to nothing")
    max_global_pairs: Count = Field(20_000, description="pairs that train it, at most")

    @model_validator(mode="after")
    def _ranges_ascend(self) -> "HeadsConfig":
        for name in ("retention", "strength", "user_strength"):
            _check_range(name, getattr(self, name))
        return self


class FinalConfig(LanesOfStage):
    """Trainings that are tested, once, on the test users."""

    arms: Arms = Field(
        ("full", "filter", "weight", "inverse", "scpo"),
        description="trained and tested beside the chosen setting, `scpo_tuned`; as `curves.arms`",
    )
    seeds: Seeds = Field(
        (1,), min_length=1, description="not the search's; the first gives the model"
    )
    whole: bool = Field(
        False,
        description="train all weights where the search trained adapters, at "
        "training.learning_rate",
    )
    which: Answer = Field(
        "accuracy", description="the answer of the search that is trained and tested"
    )
    heads: HeadsConfig | None = Field(
        None,
        description="test every arm as a linear head on frozen features too, with tau and beta of "
        "the sweep; {} for the defaults",
    )

    @field_validator("heads")
    @classmethod
    def _refuse_foreign(cls, heads: HeadsConfig | None) -> HeadsConfig | None:
        foreign = ("tau", "beta", "global_l2", "max_global_pairs")  # a written run has them all
        for name in foreign if heads is not None else ():
            if getattr(heads, name) != HeadsConfig.model_fields[name].default:
                raise ValueError(
                    f"{name} has no meaning here: tau and beta are the sweep's own, and its "
                    "global model has a head. Remove it."
                )
        return heads


class PooledModelConfig(GlobalModelConfig, LanesOfStage):
    """The global model of a sweep, and the lanes that train it."""

    @field_validator("lanes")
    @classmethod
    def _refuse_hang_s(cls, lanes: LanesConfig | None) -> LanesConfig | None:
        if lanes is not None and lanes.hang_s is not None:
            raise ValueError("hang_s has no meaning where the global model trains. Remove it.")
        return lanes


class SweepConfig(Config):
    """A whole sweep."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="of the sweep")
    countries: tuple[Country, ...] = Field(min_length=1, description="the countries to steer to")
    global_countries: tuple[Country, ...] | None = Field(
        None, description="whose pairs train a global model; none: all that are not steered"
    )
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    global_model: PooledModelConfig = PooledModelConfig()
    encoder: EncoderConfig = EncoderConfig()
    features: FeaturesConfig = FeaturesConfig()
    training: TrainingConfig = TrainingConfig()
    tau: Share = Field(PAPER_TAU, description="filter threshold of the named arms")
    beta: Positive = Field(PAPER_BETA, description="weighting temperature of the named arms")
    user_strength: Positive | None = Field(
        None, description="strength of the arm `user`; none: 1, or 0.5 with fewer than 30 users"
    )
    search: SearchConfig = SearchConfig()
    curves: CurvesConfig = CurvesConfig()
    final: FinalConfig = FinalConfig()
    lanes: LanesConfig = LanesConfig()
    country_lanes: Annotated[dict[str, LanesConfig], BeforeValidator(_name_lanes)] = Field(
        {}, description="lanes of single countries, by name, where their stage has none"
    )
    cache: LocalPath = Field(
        "runs/cache", description="folder or URI of reference rewards, shared by runs"
    )
    report_to: Trackers = Field(
        (), description=f"trackers that are sent every training: {', '.join(TRACKERS)}"
    )

    @property
    def asks_for_users(self) -> tuple[str, ...]:
        """Return the settings that ask for users' weights, which then must be possible."""
        arms = {"curves.arms": self.curves.arms, "final.arms": self.final.arms}
        asking = [name for name, given in arms.items() if "user" in given]
        return (*asking, "search.user_strength") if self.search.weighs_users else tuple(asking)

    @property
    def trains_adapters(self) -> bool:
        """Tell whether the search trains low-rank adapters."""
        return self.search.lora_rank is not None or self.training.lora is not None

    @property
    def may_read_features(self) -> bool:
        """Tell whether features may be read: for heads, the probe or users' weights."""
        is_open = self.search.user_strength is None  # the data decide
        heads = self.final.heads is not None or self.search.probe_points > 0
        return heads or is_open or bool(self.asks_for_users)

    def lanes_of(self, purpose: str, country: str) -> LanesConfig:
        """Return the lanes of a job, given its purpose and country."""
        stage = {"final": self.final, "curve": self.curves}.get(purpose)
        own = None if stage is None else stage.lanes
        return own or self.country_lanes.get(country) or self.lanes

    def all_lanes(self) -> list[LanesConfig]:
        """Return the different lanes of all jobs, those of most jobs first."""
        stages = (self.final.lanes, self.curves.lanes)
        given = [lanes for lanes in (*self.country_lanes.values(), *stages) if lanes is not None]
        if self.global_model.name is None and self.global_model.lanes is not None:
            given.append(self.global_model.lanes)
        return list(dict.fromkeys([self.lanes, *given]))

    @model_validator(mode="before")
    @classmethod
    def _read_sharded_finals(cls, raw: Any) -> Any:
        """Read `final.sharded` of older configurations as `final.lanes`."""
        final = raw.get("final") if isinstance(raw, dict) else None
        if not isinstance(final, dict) or "sharded" not in final:
            return raw
        final = dict(final)
        sharded = dict(final.pop("sharded") or {})
        countries = sharded.pop("countries", None) or ()
        steered = map(_name_country, raw.get("countries") or ())
        if unknown := set(map(_name_country, countries)) - set(steered):
            raise ValueError(f"final.sharded.countries {sorted(unknown)} must be among countries")
        if countries:
            gpus = 1.0 if (raw.get("lanes") or {}).get("gpus") else 0.0
            final.setdefault("lanes", {"workers": 2, "cpus": 0.9, "gpus": gpus, **sharded})
            _log.warning(
                "final.sharded is read as final.lanes: all final trainings run in sharded lanes."
            )
        return {**raw, "final": final}

    @model_validator(mode="after")
    def _parts_agree(self) -> "SweepConfig":
        duplicates = {c for c in self.countries if self.countries.count(c) > 1}
        if duplicates:
            raise ValueError(f"countries must differ, but {sorted(duplicates)} occur twice")
        if unknown := set(self.country_lanes) - set(self.countries):
            near = [each for name in unknown for each in nearest_names(name, self.countries)]
            advice = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"country_lanes of {sorted(unknown)} must be among countries{advice}")
        if (self.global_model.name is None) == (self.global_model.backbone is None):
            raise ValueError("set either global_model.name or global_model.backbone")
        return self
