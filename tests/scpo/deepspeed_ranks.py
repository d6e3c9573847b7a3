"""One rank of a DeepSpeed world on CPUs: every case is trained in one process, one after another.

Usage: python deepspeed_ranks.py JOB OUT, with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
MASTER_PORT in the environment. JOB is a pickle of the model's folder and the cases; rank 0 writes
the losses and the gathered weights of each case as a pickle to OUT.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

import deepspeed
import torch

from scpo.deepspeed_engine import DeepSpeedEngine
from scpo.fitting import batch_inputs
from scpo.model import load_reward_model
from scpo.training import train_reward_model


def run_case(model: str, case: dict[str, Any]) -> dict[str, Any]:
    reward = load_reward_model(model)
    engine = DeepSpeedEngine(
        reward,
        zero_stage=case["stage"],
        learning_rate=case["learning_rate"],
        num_steps=case["num_steps"],
        weight_decay=case["weight_decay"],
        max_grad_norm=case["max_grad_norm"],
    )
    result = train_reward_model(
        engine,
        case["data"],
        batch_inputs(reward),
        num_steps=case["num_steps"],
        pairs_per_step=case["pairs_per_step"],
        seed=case["seed"],
        centring=case["centring"],
        max_tokens=case["max_tokens"],
    )
    weights = engine.gather_weights()
    return {"losses": result.losses, "weights": weights, "training": engine.engine.module.training}


def main(job_file: Path, out: Path) -> None:
    torch.set_num_threads(1)
    job = pickle.loads(job_file.read_bytes())
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    results = [run_case(job["model"], case) for case in job["cases"]]
    if torch.distributed.get_rank() == 0:
        out.write_bytes(pickle.dumps(results))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
