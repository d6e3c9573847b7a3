"""One rank of DeepSpeed on a CPU that trains with engine after engine, as a lane does.

Usage: python engines_in_turn.py MODEL JOB, with DS_ACCELERATOR, RANK, WORLD_SIZE, LOCAL_RANK,
MASTER_ADDR and MASTER_PORT in the environment. JOB is a pickle of a training set and its
configuration. Prints, for each ZeRO stage, how many parameters are alive after each engine.
"""

import gc
import json
import pickle
import sys
from functools import partial
from pathlib import Path

import deepspeed
import torch

from scpo.distributed.deepspeed_engine import DeepSpeedEngine
from scpo.distributed.deepspeed_internals import skip_compilation
from scpo.models.loading import load_reward_model
from scpo.training.fit import fit_with


def main(model: str, job_file: Path) -> None:
    data, config = pickle.loads(job_file.read_bytes())
    skip_compilation()
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    alive: dict[str, list[int]] = {}
    for stage in (0, 2, 3):
        for _ in range(2):
            make_engine = partial(DeepSpeedEngine, zero_stage=stage)
            fit_with(make_engine, load_reward_model(model), data, config).engine.release()
            gc.collect()
            parameters = [o for o in gc.get_objects() if isinstance(o, torch.nn.Parameter)]
            alive.setdefault(f"zero{stage}", []).append(len(parameters))
            del parameters
    print(json.dumps(alive))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
