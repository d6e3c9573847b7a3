"""One rank of DeepSpeed on a CPU that trains with engine after engine, as a lane does.

`main` is called in a process with DS_ACCELERATOR, RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
MASTER_PORT in its environment. It writes, for each ZeRO stage, how many parameters each of two
engines left alive.
"""

import gc
import json
from functools import partial
from pathlib import Path

import deepspeed
import torch

from scpo.config import TrainingConfig
from scpo.distributed.deepspeed_engine import DeepSpeedEngine
from scpo.distributed.deepspeed_internals import skip_compilation
from scpo.models.loading import load_reward_model
from scpo.tokens.batches import TrainingSet
from scpo.training.fit import fit_with


def parameters_alive() -> int:
    gc.collect()
    return len([o for o in gc.get_objects() if isinstance(o, torch.nn.Parameter)])


def main(model: str, data: TrainingSet, config: TrainingConfig, out: Path) -> None:
    skip_compilation()
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    before = parameters_alive()
    alive: dict[str, list[int]] = {}
    for stage in (0, 2, 3):
        for _ in range(2):
            make_engine = partial(DeepSpeedEngine, zero_stage=stage)
            fit_with(make_engine, load_reward_model(model), data, config).engine.release()
            alive.setdefault(f"zero{stage}", []).append(parameters_alive() - before)
    out.write_text(json.dumps(alive))
    torch.distributed.destroy_process_group()
