"""The models of a finished sweep, for `scpo evaluate --run`: what to judge, and their cards.

The run's configuration says who was held out, its ledger which final trainings left a model, in
which setting and on how many pairs.
"""

from collections.abc import Mapping
from pathlib import Path

from scpo.config import SplitConfig
from scpo.countries.build import divide_users
from scpo.data.interactions import read_interactions
from scpo.evaluation.labelled_models import ModelsToJudge
from scpo.evaluation.reporting.card_facts import CardFacts, DataSource
from scpo.models.model_source import PIN_FILE, ModelSource, pin_model
from scpo.models.reward_model import content_hash
from sweeps.config import SweepConfig
from sweeps.ledger.records import TrialRecord, read_records
from sweeps.ledger.words import KEPT_GLOBAL
from sweeps.run.pins import check_pins, compare_pin
from sweeps.run.run_folder import read_run_config, split_of_run
from sweeps.run.shared_cache import local_cache

UNKNOWN_LICENSE = "unknown"
SETTING = ("retention", "strength", "user_strength", "learning_rate", "epochs", "lora_rank")
PUBLISHED = {
    "prism": DataSource(
        name="HannahRoseKirk/prism-alignment",
        license="cc-by-4.0 for what people wrote, cc-by-nc-4.0 for answers of models",
    ),
    "opinions": DataSource(name="Anthropic/llm_global_opinions", license="cc-by-nc-sa-4.0"),
    "synthetic": DataSource(name="synthetic cultures", license="none, made by this package"),
}


def models_of_run(run: Path) -> ModelsToJudge:
    """Return the models that a run's final trainings left, by "COUNTRY/ARM".

    Raises:
        FileNotFoundError: No configuration or ledger there.
        ValueError: A record is broken, no final training left a model, or a file is not the one
            that the run was begun with, or that a training left.
    """
    check_pins(run)
    config = read_run_config(run)
    finals = _finals(config, run)
    if not finals and _keeps_global(run):
        raise ValueError(
            f"Every country of {run} keeps the global model, so no model was trained that could "
            "be judged beside it. See arms.csv and models.json there."
        )
    if not finals:
        raise ValueError(
            f"Final trainings must have left a model to be judged, but {run} has none. Resume "
            "it: `scpo sweep CONFIG --out RUN --resume`."
        )
    given = config.global_model
    name = given.name or str(run / "global")
    global_model: str | ModelSource = name
    if (file := run / PIN_FILE).is_file():
        source = pin_model(name, revision=given.revision, file=file)
        global_model = name if source.commit is None else source
    if not isinstance(global_model, ModelSource) and Path(global_model).is_dir():
        compare_pin(run, "global model", content_hash(global_model))  # a commit never changes
    # A folder in this run, wherever the run was moved or copied from.
    models = {
        label: run / "models" / Path(str(record.model_path)).name
        for label, record in finals.items()
    }
    for label, record in finals.items():
        if record.model_hash is not None and record.model_hash != content_hash(models[label]):
            raise ValueError(
                f"{label}: {models[label]} has other bytes than the sweep wrote. Set it "
                f"aside with `scpo repair {run}`, then resume the sweep with --resume."
            )
    return ModelsToJudge(
        data=_data_of(config, run),
        global_model=global_model,
        models={label: str(folder) for label, folder in models.items()},
        cache=local_cache(config.cache),
        countries=config.countries,
        split=split_of_run(config, run),
        encoder=config.encoder,
        revision=given.revision,
        trust_remote_code=given.trust_remote_code,
    )


def card_facts_of_run(run: Path) -> dict[str, CardFacts]:
    """Return the facts for the models' cards, by label; the run does not know licences.

    Raises:
        FileNotFoundError: No configuration, ledger or data there.
        ValueError: A record is broken, or a file is not the one that the run was begun with.
    """
    check_pins(run)
    config = read_run_config(run)
    given = config.global_model
    unnamed = DataSource(name=_last(config.data.path), license=UNKNOWN_LICENSE)
    source = PUBLISHED.get(config.data.source, unnamed)
    trained = _users_trained(config, run)
    return {
        label: CardFacts(
            base_model=_last(given.name) or f"a global model made from {_last(given.backbone)}",
            license=UNKNOWN_LICENSE,
            data=(source,),
            setting={
                **{key: record.config.get(key) for key in SETTING if key in record.config},
                **{key: record.setting.get(key) for key in ("tau", "beta")},
            },
            users_trained=trained.get(record.country),
            pairs_trained=round(record.counts.get("pairs_trained", 0)) or None,
            pairs_labelled=round(record.counts.get("pairs_labelled", 0)) or None,
        )
        for label, record in _finals(config, run).items()
    }


def _data_of(config: SweepConfig, run: Path) -> Path:
    is_prepared = config.data.source == "prepared" and config.data.path
    return Path(str(config.data.path)) if is_prepared else run / "data"


def _finals(config: SweepConfig, run: Path) -> Mapping[str, TrialRecord]:
    """Return the final trainings that left a model, by label, countries in their order."""
    left = [
        record
        for record in read_records(run)
        if record.purpose == "final" and record.state == "complete" and record.model_path
    ]
    left.sort(key=lambda record: config.countries.index(record.country))
    return {f"{record.country}/{record.arm}": record for record in left}


def _keeps_global(run: Path) -> bool:
    """Tell whether a country's final is the global model, since nothing was shown to be better."""
    return any(
        record.purpose == "final" and record.config.get("retention") == KEPT_GLOBAL
        for record in read_records(run)
    )


def _users_trained(config: SweepConfig, run: Path) -> dict[str, int]:
    table = read_interactions(_data_of(config, run))
    owner = dict(zip(table["user_id"].to_pylist(), table["country"].to_pylist(), strict=True))
    parts = split_of_run(config, run)
    if isinstance(parts, SplitConfig):
        parts = divide_users(table, config.countries, parts)
    trained = [owner[user] for user, part in parts.items() if part == "train"]
    return {country: trained.count(country) for country in set(trained)}


def _last(name: str | None) -> str:
    """Return a hub name as it is, and of a path its last name: no card shows where it lies."""
    is_hub = name is not None and name.count("/") == 1 and not name.startswith((".", "/", "~"))
    return str(name) if is_hub else Path(name or "").name
