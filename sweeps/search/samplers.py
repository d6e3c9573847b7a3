"""Samplers of the search by name, each seeded for one proposal.

A proposal depends on the seed, the country, the trial's number and the trials of the study, and
on nothing that this process proposed before, so a resumed search proposes what the killed one
would have. With `random` that always holds; with `tpe` where the same trials are known, as in one
lane (in several it depends on which trial ended first). `gp` proposes nearly the same: its fit is
not exact. NSGA-II's generations are not in the ledger: they start over.

A sampler learns nothing from a point that must not start, and prefers fewer pairs, so it may
propose such points again and again. After some refusals the point is drawn evenly.
"""

import hashlib

import optuna
from optuna.samplers import BaseSampler

from sweeps.config import SearchConfig

_MAX_MODELLED = 10  # refusals of one trial's points after which they are drawn evenly


def make_sampler(
    config: SearchConfig, country: str, *, number: int = 0, attempt: int = 0
) -> BaseSampler:
    """Return the sampler that a configuration names.

    Args:
        config: Names the sampler and its seed.
        country: Whose study it serves.
        number: Number of the trial that is proposed.
        attempt: Proposals for that trial that were refused.
    """
    key = f"{config.seed}:{country}:{number}:{attempt}"
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
    if attempt >= _MAX_MODELLED:
        return optuna.samplers.RandomSampler(seed=seed)
    if config.sampler == "tpe":
        startup = min(10, max(4, config.num_trials // 3))
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
    if config.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    if config.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)
