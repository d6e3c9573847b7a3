"""Peak memory of a training: this project's loop against TRL's RewardTrainer, the same work.

Each way runs in a process of its own, on the same pairs of MiniLM in float32, and reports how far
its peak resident memory rose above what it held with the model loaded: gradients, optimizer and
activations. Libraries and weights, equal or larger in TRL's process, are left out of both.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from bench_training import train_ours, train_with_trl
from datasets import disable_progress_bars
from figures import figure_line, machine
from transformers.utils import logging as transformers_logging
from workload import load_minilm, load_plain_minilm, make_workload

NUM_INTERACTIONS = 16
KIB_PER_MIB = 1024


def measure_one(way: str) -> dict[str, float]:
    """Return resident memory before training and its peak, in MiB, of one way in this process."""
    torch.set_num_threads(1)
    reward = load_minilm() if way == "ours" else load_plain_minilm()
    work = make_workload(reward, num_interactions=NUM_INTERACTIONS, seed=1)
    before = _status_mib("VmRSS")
    if way == "ours":
        train_ours(reward, work)
    else:
        with tempfile.TemporaryDirectory() as folder:
            train_with_trl(reward, work, Path(folder))
    return {"before": before, "peak": _status_mib("VmHWM")}


def main() -> None:
    """Measure both ways and print the line of their ratio, or measure the way named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=("ours", "trl"))
    way = parser.parse_args().way
    if way is not None:
        warnings.simplefilter("ignore")
        transformers_logging.set_verbosity_error()
        disable_progress_bars()
        print(json.dumps(measure_one(way)))
        return
    rises = {name: _measure_apart(name) for name in ("ours", "trl")}
    print(
        figure_line(
            "peak memory of training, ratio to trl",
            rises["ours"] / rises["trl"],
            "x",
            reach="<= 0.8",
            against="TRL RewardTrainer",
            on=machine("fp32"),
            detail={f"{name}_mib": rise for name, rise in rises.items()},
        )
    )


def _measure_apart(way: str) -> float:
    """Return how far the peak rose in a process of its own, in MiB."""
    command = [sys.executable, __file__, "--way", way]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return float(found["peak"] - found["before"])


def _status_mib(name: str) -> float:
    """Return a figure of this process's memory in MiB, as Linux counts it."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / KIB_PER_MIB
    raise RuntimeError(f"/proc/self/status must tell {name}, but it does not.")


if __name__ == "__main__":
    main()
