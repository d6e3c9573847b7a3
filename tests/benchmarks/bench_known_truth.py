"""What the paper says of its arms, on many worlds whose truth is known.

Every arm is trained on worlds of a cultural shift, of none, and of many outliers, at two training
strengths, and tuned. A claim whose interval must lie on its side has a line with the distance of
the interval's nearer end from 0, in points, and the reach that it is above 0. A last line counts
all claims that hold; `detail` says how many do not, and of how many the worlds cannot tell.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from figures import figure_line, machine

from sweeps.research.worlds.truth import NUM_SEEDS, run_truth
from sweeps.research.worlds.truth_claims import FAILS, HOLDS, OPEN, PaperClaim

FEWEST_SEEDS = 10
MUST_HOLD = (  # claim, measure, world, at hard training
    ("filter > full", "distinctive", "shift"),
    ("filter < full", "overall", "shift"),
    ("filter < global", "overall", "shift"),
    ("inverse < global", "overall", "shift"),
    ("weight < full", "distinctive", "shift"),
    ("scpo > random_k", "overall", "shift"),
    ("full < global", "overall", "no shift"),
)


def measure(num_seeds: int, num_processes: int) -> list[str]:
    """Return a line for each claim that must hold, and one that counts them all."""
    with tempfile.TemporaryDirectory() as folder:
        truth = run_truth(Path(folder), num_seeds, _silent, num_processes=num_processes)
    against = f"{num_seeds} worlds of each kind, intervals of 95 % over worlds"
    on = machine("float32")
    lines = []
    for name, of, world in MUST_HOLD:
        claim = _find(truth.claims, name, of, world)
        low, high = claim.low or 0.0, claim.high or 0.0
        lines.append(
            figure_line(
                f"{name}, {of}, world: {world}",
                100 * (low if ">" in name else -high),
                "points beyond 0",
                reach=">= 0",
                against=against,
                on=on,
                detail={"difference": 100 * claim.difference},
            )
        )
    verdicts = [claim.verdict for claim in truth.claims]
    detail = {name: float(verdicts.count(name)) for name in (HOLDS, FAILS, OPEN)}
    held = figure_line(
        "claims that hold",
        detail[HOLDS],
        "claims",
        reach=">= 7",
        against=against,
        on=on,
        detail=detail,
    )
    return [*lines, held]


def main() -> None:
    """Measure, and print a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=NUM_SEEDS["large"])
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.seeds < FEWEST_SEEDS:
        parser.error(f"seeds must be at least {FEWEST_SEEDS}, but got {arguments.seeds}")
    torch.set_num_threads(1)
    for line in measure(arguments.seeds, arguments.processes):
        print(line, flush=True)


def _find(claims: tuple[PaperClaim, ...], name: str, measure: str, world: str) -> PaperClaim:
    """Return one claim at hard training."""
    wanted = (name, measure, world, "hard")
    return next(c for c in claims if (c.claim, c.measure, c.world, c.training) == wanted)


def _silent(line: str) -> None:
    """Tell nothing of the progress: standard output is for figures."""


if __name__ == "__main__":
    main()
