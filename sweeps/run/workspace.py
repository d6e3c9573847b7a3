"""What every lane of a run reads: the global model and the countries."""

from dataclasses import dataclass, replace
from pathlib import Path

from scpo.config import TrainingConfig
from scpo.countries.country_data import CountryData
from scpo.distributed.ray_start import start_ray
from scpo.files.places import Place
from scpo.models.model_source import ModelSource
from sweeps.config import Say, SweepConfig
from sweeps.run.inputs import prepare_countries, prepare_table_and_model
from sweeps.run.mirror import Mirror


@dataclass(frozen=True)
class Workspace:
    """What all lanes share; Ray's object store holds it once a node."""

    model: ModelSource  # the global model, as every node loads it
    countries: dict[str, CountryData]
    training: TrainingConfig  # what jobs do not set
    trust_remote_code: bool = False
    place: Place | None = None  # URI of the run; None where every node reaches its folder


def open_workspace(
    config: SweepConfig, run: Path, say: Say, *, mirror: Mirror | None = None
) -> Workspace:
    """Return what all lanes of a run share, made if missing; starts or joins Ray.

    Without a `mirror` every node must reach the run's folder.
    """
    table, model = prepare_table_and_model(config, run, say)
    shared = model
    if mirror is not None:
        shared = replace(model, name=mirror.share_model(model.folder()), commit=None)
    steered = prepare_countries(config, table, model, run, say, shared=shared)
    start_ray()
    return Workspace(
        model=shared,
        countries=steered.countries,
        training=config.training,
        trust_remote_code=config.global_model.trust_remote_code,
        place=None if mirror is None else mirror.remote.uri,
    )
