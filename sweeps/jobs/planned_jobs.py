"""Jobs that no search chooses: points of the curves, and final trainings of named arms."""

from collections.abc import Sequence
from dataclasses import replace

from sweeps.config import SweepConfig
from sweeps.jobs.job import Job
from sweeps.ledger.words import USER, slug


def curve_jobs(config: SweepConfig, countries: Sequence[str] | None = None) -> list[Job]:
    """Return the points of the data-efficiency curves: arms at nested budgets.

    `countries` are some of the configuration's, None for all.
    """
    return [
        replace(
            arm_job(config, country, arm, f"curve-{arm}-{budget:g}-{seed}"),
            purpose="curve",
            budget=budget,
            folds=config.search.num_folds,
            seed=seed,
        )
        for country in countries or config.countries
        for seed in config.curves.seeds
        for arm in config.curves.arms
        for budget in config.curves.budgets
    ]


def arm_job(config: SweepConfig, country: str, arm: str, name: str) -> Job:
    """Return the final training of an arm with the configuration's own numbers."""
    return Job(
        trial_id=f"{slug(country)}-{name}",
        purpose="final",
        country=country,
        arm=arm,
        tau=config.tau,
        beta=config.beta,
        user_strength=config.user_strength if arm == USER else None,
        learning_rate=config.training.learning_rate,
        epochs=config.training.epochs,
        seed=config.final.seeds[0],
    )
