"""One rank of a DeepSpeed world on CPUs: every case is trained in one process, one after another.

`main` is called in a process of each rank, with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
MASTER_PORT in its environment. The job is a pickle of the cases; rank 0 writes what came of each
as a pickle to `out`. A case that is to die at a step ends its process by SIGKILL; one that is to
leave ends there, and the next begins.
"""

import os
import pickle
import signal
from functools import partial
from pathlib import Path
from typing import Any

import deepspeed
import torch

from scpo.distributed.deepspeed_engine import DeepSpeedEngine
from scpo.distributed.deepspeed_internals import skip_compilation
from scpo.models.loading import load_reward_model
from scpo.training.checkpoints import TrainingStopped
from scpo.training.fit import export_trained, fit_with


def run_case(case: dict[str, Any]) -> dict[str, Any]:
    def report(progress: Any) -> None:
        if progress.step == case.get("leave_at"):
            raise KeyboardInterrupt
        if progress.step == case.get("die_at") and torch.distributed.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    make_engine = partial(
        DeepSpeedEngine, zero_stage=case["stage"], offload=case.get("offload", "none")
    )
    try:
        fitted = fit_with(
            make_engine,
            load_reward_model(case["model"]),
            case["data"],
            case["config"],
            checkpoints=case.get("checkpoints"),
            report=report,
        )
        if "out" in case:
            export_trained(fitted, case["data"], case["config"], case["out"])
    except TrainingStopped as error:
        return {"stopped": str(error)}
    except KeyboardInterrupt:
        return {}
    return {
        "losses": fitted.result.losses,
        "resumed_from": fitted.result.resumed_from,
        "moved_aside": fitted.result.moved_aside,
        "warm_start": fitted.result.warm_start,
        "weights": dict(fitted.engine.weights()),
        "training": fitted.engine.engine.module.training,
    }


def main(job_file: Path, out: Path) -> None:
    torch.set_num_threads(1)
    cases = pickle.loads(job_file.read_bytes())
    skip_compilation()
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    results = [run_case(case) for case in cases]
    if torch.distributed.get_rank() == 0:
        out.write_bytes(pickle.dumps(results))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
