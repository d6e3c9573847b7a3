"""Schedules of the learning rate: a kind and a number of steps come in, step -> factor goes out.

With w steps of warm-up out of N, the factor of the peak learning rate is

    step < w      step / w
    linear        1 - p                  p = (step - w) / (N - w), the share of the rest done
    cosine        (1 + cos(pi p)) / 2
    constant      1

and stays where it is from step N on: at 0, or at 1.
"""

import math
from collections.abc import Callable
from typing import get_args

from scpo.choices import ScheduleKind


def make_schedule(
    kind: ScheduleKind, *, num_steps: int, warmup_share: float = 0.0
) -> Callable[[int], float]:
    """Return step -> factor of the peak learning rate, in 0..1; the first step is 0.

    Args:
        kind: What follows the warm-up: a line to 0, half a cosine to 0, or the peak.
        num_steps: Optimizer steps of the training, N.
        warmup_share: Share of them that rise from 0, in [0, 1); rounded to whole steps, of
            which one at least is left for what follows.

    Raises:
        ValueError: No such kind, or `num_steps >= 1` or `0 <= warmup_share < 1` does not hold.
    """
    if kind not in get_args(ScheduleKind):
        raise ValueError(f"kind must be one of {list(get_args(ScheduleKind))}, but got {kind!r}.")
    if num_steps < 1:
        raise ValueError(f"`num_steps >= 1` must hold, but got num_steps={num_steps}.")
    if not 0.0 <= warmup_share < 1.0:
        raise ValueError(
            f"`0 <= warmup_share < 1` must hold, but got warmup_share={warmup_share}."
        )
    num_warmup = min(round(warmup_share * num_steps), num_steps - 1)

    def factor(step: int) -> float:
        if step < num_warmup:
            return step / num_warmup
        done = min(1.0, (step - num_warmup) / (num_steps - num_warmup))
        if kind == "linear":
            return 1.0 - done
        return 0.5 * (1.0 + math.cos(math.pi * done)) if kind == "cosine" else 1.0

    return factor
