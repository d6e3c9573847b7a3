"""What every lane of a run reads, the global model and the countries, and a lane's workers."""

from dataclasses import dataclass

from scpo.config import TrainingConfig
from scpo.countries.country_data import CountryData
from scpo.distributed.worker_group import WorkerGroup
from scpo.files.places import Place
from scpo.models.model_source import ModelSource
from sweeps.config import LanesConfig


@dataclass(frozen=True)
class Workspace:
    """What all lanes share; Ray's object store holds it once a node."""

    model: ModelSource  # the global model, as every node loads it
    countries: dict[str, CountryData]
    training: TrainingConfig  # what jobs do not set
    trust_remote_code: bool = False
    place: Place | None = None  # URI of the run; None where every node reaches its folder


def worker_group(lanes: LanesConfig) -> WorkerGroup:
    """Return the workers of one lane."""
    return WorkerGroup(
        lanes.workers,
        zero_stage=lanes.zero_stage,
        offload=lanes.offload,
        use_gpu=lanes.gpus > 0,
        cpus=lanes.cpus,
    )
