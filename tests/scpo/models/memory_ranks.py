"""One rank of a DeepSpeed world on CPUs, which tells how much memory its tensors take.

`main` is called in a process of each rank, with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
MASTER_PORT in its environment. A case is {model, texts, tokens, stage, offload}. Rank 0 writes as
JSON to `out`, for each, the bytes of all tensors before a step and the peak within it.
"""

import json
from pathlib import Path
from typing import Any

import deepspeed
import torch

from scpo.distributed.deepspeed_engine import DeepSpeedEngine
from scpo.distributed.deepspeed_internals import skip_compilation
from scpo.models.loading import load_reward_model
from scpo.training.engines import Optimization
from tests.scpo.models.allocations import live_bytes, peak_above


def measure(case: dict[str, Any]) -> dict[str, int]:
    before = live_bytes()
    reward = load_reward_model(case["model"])
    engine = DeepSpeedEngine(
        reward, Optimization(1e-4, 9), zero_stage=case["stage"], offload=case["offload"]
    )
    ids = torch.ones(case["texts"], case["tokens"], dtype=torch.long)

    def step() -> None:
        rewards = engine.rewards({"input_ids": ids, "attention_mask": ids})
        engine.backward(rewards.sum())
        engine.step(last=True)

    step()
    step()
    steady = live_bytes() - before
    peak = steady + peak_above(step)
    engine.engine.destroy()
    return {"steady": steady, "peak": peak}


def main(cases: list[dict[str, Any]], out: Path) -> None:
    skip_compilation()
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    measured = [measure(case) for case in cases]
    if torch.distributed.get_rank() == 0:
        out.write_text(json.dumps(measured))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
