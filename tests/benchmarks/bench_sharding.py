"""ZeRO-2 on two workers against one worker with two threads: the same model, pairs and steps.

Each way runs in processes of its own and times its training loop; starting up is not timed. Told
beside the ratio is where two workers' time goes: what half of the work takes one rank alone, and
the rest, which is the exchange of gradients and weights and waiting for each other.
"""

import argparse
import json
import warnings
from functools import partial

import torch
from figures import figure_line, machine
from workload import load_minilm, make_workload, run_ranks

from scpo.config import TrainingConfig
from scpo.training.engines import TorchEngine
from scpo.training.fit import fit_with
from scpo.training.loop import TrainingResult

NUM_INTERACTIONS = 12
PAIRS_PER_STEP = 24


def train_here(way: str) -> TrainingResult:
    """Return what one process of a way did: "torch" with two threads, or a rank of "zero2"."""
    reward = load_minilm()
    work = make_workload(reward, num_interactions=NUM_INTERACTIONS, seed=1)
    config = TrainingConfig(pairs_per_step=PAIRS_PER_STEP, precision="fp32")
    if way == "torch":
        torch.set_num_threads(2)
        return fit_with(TorchEngine, reward, work.training_set(), config).result
    # Reads DS_ACCELERATOR when it is imported, which only ranks have.
    import deepspeed

    from scpo.distributed.deepspeed_engine import DeepSpeedEngine
    from scpo.distributed.deepspeed_internals import skip_compilation

    torch.set_num_threads(1)
    skip_compilation()
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    make_engine = partial(DeepSpeedEngine, zero_stage=2)
    result = fit_with(make_engine, reward, work.training_set(), config).result
    torch.distributed.destroy_process_group()
    return result


def main() -> None:
    """Measure and print the line, or train as one process of the way named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=("torch", "zero2"))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.way is not None:
        warnings.simplefilter("ignore")
        result = train_here(arguments.way)
        print(json.dumps({"train_s": result.train_s, "tokens": result.real_tokens}))
        return
    best: dict[str, float] = {}
    for _ in range(arguments.rounds):
        for name, way, world_size in (
            ("one_worker_s", "torch", 1),
            ("two_workers_s", "zero2", 2),
            ("one_rank_all_work_s", "zero2", 1),
        ):
            seconds = _train_apart(way, world_size)
            best[name] = min(best.get(name, seconds), seconds)
    half = best.pop("one_rank_all_work_s") / 2
    detail = {
        **best,
        "half_the_work_s": half,
        "exchange_and_waiting_s": best["two_workers_s"] - half,
    }
    print(
        figure_line(
            "training time of one worker with two threads / two ZeRO-2 workers of one thread",
            best["one_worker_s"] / best["two_workers_s"],
            "x",
            reach=">= 0.5",
            against="plain torch with two threads; told, the best of the rounds",
            on=machine("fp32"),
            detail=detail,
        )
    )


def _train_apart(way: str, world_size: int) -> float:
    """Return the seconds of the training loop, the slowest rank's."""
    threads = 2 if way == "torch" else 1
    done = run_ranks([__file__, "--way", way], world_size, threads=threads)
    return max(float(rank["train_s"]) for rank in done)


if __name__ == "__main__":
    main()
