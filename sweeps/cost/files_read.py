"""Which files a sweep reads, to check them before it starts; imports no torch."""

from scpo.files.hub import is_data_set_name
from sweeps.config import SweepConfig


def files_read(config: SweepConfig) -> tuple[dict[str, str], dict[str, str]]:
    """Return what every node must read and what the driver alone must, by name."""
    model, data = config.global_model, config.data
    nodes = {} if model.name is None else {"model": model.name}
    path = None if data.path is None or is_data_set_name(data.path) else data.path
    driver = {
        "backbone": model.backbone,
        "data": path,
        "vetted users": data.vetted.file if data.vetted else None,
        "extra pairs": model.extra_pairs,
    }
    return nodes, {name: path for name, path in driver.items() if path is not None}
