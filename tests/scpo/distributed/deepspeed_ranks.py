"""DeepSpeed worlds on CPUs, without Ray: every rank trains all cases, one after another.

`main` is called in a process of each rank, with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
MASTER_PORT in its environment. The job is a pickle of the cases; rank 0 writes what came of each
as a pickle to `out`. A case that is to die at a step ends its process by SIGKILL; one that is to
leave ends there, and the next begins.
"""

import os
import pickle
import signal
import socket
from collections.abc import Mapping, Sequence
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
from tests.forked import Forked


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
        "pairs_seen": fitted.result.pairs_seen,
        "real_tokens": fitted.result.real_tokens,
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


Ranks = list[Forked]


def start_ranks(
    folder: Path, cases: Sequence[Mapping[str, Any]], world_size: int
) -> tuple[Ranks, Path]:
    """Start the ranks of one world, which do the cases one after another."""
    job, out = folder / f"job-{world_size}.pickle", folder / f"out-{world_size}.pickle"
    job.write_bytes(pickle.dumps(cases))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(world_size):
        environment = os.environ | {
            "DS_ACCELERATOR": "cpu",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TOKENIZERS_PARALLELISM": "false",
        }
        log = folder / f"log-{world_size}-{rank}"
        log.unlink(missing_ok=True)
        ranks.append(Forked(main, job, out, environment=environment, out=log, err=log))
    return ranks, out


def await_ranks(folder: Path, ranks: Ranks, out: Path) -> list[dict[str, Any]]:
    """Return the results of a world that ends well."""
    try:
        for number, rank in enumerate(ranks):
            code = rank.wait(timeout=900)
            log = (folder / f"log-{len(ranks)}-{number}").read_text()
            assert code == 0, log[-4000:]
    finally:
        for rank in ranks:
            rank.kill()
    results: list[dict[str, Any]] = pickle.loads(out.read_bytes())
    return results


def run_ranks(
    folder: Path, cases: Sequence[Mapping[str, Any]], world_size: int
) -> list[dict[str, Any]]:
    """Do the cases in a world of so many ranks, and return the results."""
    folder.mkdir(exist_ok=True)
    return await_ranks(folder, *start_ranks(folder, cases, world_size))
