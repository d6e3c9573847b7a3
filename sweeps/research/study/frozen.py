"""Every arm as a head on frozen features, for one data set: from its source to all results.

Interactions and features are made once, then every country is a cell: it is computed once, by
any process, and kept in a file, so an interrupted study resumes.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scpo.choices import Precision
from scpo.countries.features import features_folder, features_with_cache
from scpo.data.interactions import read_interactions
from scpo.data.pairs import build_pairs
from scpo.data.sources.prepare import prepare_source
from scpo.models.devices import pick_device, resolve_precision
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import content_hash
from sweeps.config import Say
from sweeps.lanes.cells import finish_cells
from sweeps.ledger.words import slug
from sweeps.research.study.frozen_arrays import (
    AGAINST_FILE,
    FEATURES_FILE,
    count_units,
    encode_table,
    read_against,
)
from sweeps.research.study.frozen_cells import FrozenCell, compute_frozen_cell
from sweeps.research.study.study_config import FrozenConfig


def run_frozen(
    config: FrozenConfig,
    folder: Path,
    say: Say,
    *,
    backbone: str,
    precision: Precision,
    seeds: tuple[int, ...],
    folds: int,
    num_processes: int | None,
) -> list[dict[str, Any]]:
    """Return the results of all countries of a data set, as `compute_frozen_cell` gives them.

    Raises:
        FileNotFoundError: No such data or backbone.
        ValueError: No country has enough users, or a file is of other settings.
    """
    table = prepare_arrays(config, folder, say, backbone=backbone, precision=precision)
    counts = count_units(table)
    steered = config.countries
    if steered is None:
        steered = tuple(name for name, count in counts.items() if count >= config.min_units)
    if not steered:
        raise ValueError(
            f"One country at least must have {config.min_units} {config.unit}s with pairs, but "
            f"the most is {max(counts.values(), default=0)}. Lower min_units."
        )
    cells = {
        slug(country): FrozenCell(
            str(folder), country, steered, backbone, seeds, folds, config.model_dump(mode="json")
        )
        for country in steered
    }
    say(f"{config.title}: {len(cells)} countries, heads on frozen features")
    found = finish_cells(
        cells, compute_frozen_cell, folder / "cells", say, num_processes=num_processes
    )
    return list(found.values())


def prepare_arrays(
    config: FrozenConfig, folder: Path, say: Say, *, backbone: str, precision: Precision
) -> pa.Table:
    """Make what a data set's folder lacks, interactions and features, and return the former."""
    if not (folder / "data" / "interactions.parquet").is_file():
        prepare_source(config.data, folder / "data")
    table = read_interactions(folder / "data")
    if (folder / FEATURES_FILE).is_file() and (folder / AGAINST_FILE).is_file():
        return table
    started = time.monotonic()
    reward = load_reward_model(backbone, new_head=True).to(pick_device())
    texts = encode_table(table, folder, reward, config.encoder)
    resolved = resolve_precision(precision, reward.model.device)
    cache = features_folder(folder, model_hash=content_hash(backbone), precision=resolved)
    which = np.arange(len(texts))
    features = features_with_cache(reward, texts, which, cache, precision=resolved).features
    against = np.full(len(build_pairs(table)), "")
    if config.against_column is not None:
        against = read_against(Path(str(config.data.path)), config.against_column, table)
    np.save(folder / AGAINST_FILE, against)
    np.save(folder / FEATURES_FILE, features)
    say(f"{config.title}: features of {len(texts)} texts, {time.monotonic() - started:.0f} s")
    return table
