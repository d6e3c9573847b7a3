"""The arms as linear heads on frozen features, tested once: seconds where trainings take minutes.

Every arm chooses its setting in folds of all users of a country but the test users, judged by the
vetted ones where the data name them, and adds its head to the global model's rewards; the test
users judge all arms on the same pairs. The records stand in the run's ledger beside the trainings
of the whole model, and enter no table of those.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict

import numpy as np

from scpo.arrays import IntArray
from scpo.countries.country_data import CountryData
from scpo.countries.user_agreement import why_no_user_weights
from scpo.files.provenance import installed_versions, source_commit
from scpo.heads.linear_heads import ProbedPairs, head_margins
from scpo.text.counts import format_count
from sweeps.config import HeadsConfig, Say, SweepConfig
from sweeps.jobs.job_records import margin_record
from sweeps.ledger.records import Ledger, TrialRecord
from sweeps.ledger.words import (
    BASELINE,
    GLOBAL,
    TESTED_HEADS,
    TUNED_ARM,
    TUNED_USER,
    USER,
    slug,
)
from sweeps.probe.choose_heads import ChosenHead, choose_heads
from sweeps.probe.probed_pairs import open_features, probe_pairs
from sweeps.run.workspace import Workspace

_USER_STRENGTH = (0.0, 2.0)  # of the arm that searches weights of pairs and of users


def check_heads(config: SweepConfig, countries: Mapping[str, CountryData]) -> None:
    """Refuse `final.heads` for countries of too few users, before anything is trained.

    Raises:
        ValueError: A country has fewer users beside its test users than inner folds.
    """
    if config.final.heads is None:
        return
    folds = config.final.heads.inner_folds
    for country, data in countries.items():
        users = len(np.unique(data.user[_seen(data)]))
        if users < folds:
            raise ValueError(
                f"{country} has {format_count(users, 'user')} beside the test users, but "
                f"final.heads.inner_folds is {folds}. Lower it, or leave final.heads out."
            )


def compare_heads(config: SweepConfig, workspace: Workspace, ledger: Ledger, say: Say) -> None:
    """Append the record of each arm's head in each country that the ledger lacks.

    Raises:
        ValueError: The global model has no linear head, where `features.pooling` asks for one.
        RuntimeError: A feature is not finite.
    """
    if config.final.heads is None:
        return
    done = {record.trial_id for record in ledger.read()}
    missing = {
        country: data
        for country, data in workspace.countries.items()
        if not {_trial_id(country, arm) for arm in (GLOBAL, *_arms_of(data))} <= done
    }
    if not missing:
        return
    say("heads: every arm on frozen features, tested once")
    store = open_features(config, workspace.model)
    settings = config.final.heads.model_copy(update={"tau": config.tau, "beta": config.beta})
    for data in missing.values():
        seen = probe_pairs(store, data, _seen(data), say)
        test = probe_pairs(store, data, data.pairs_in("test"), say)
        heads = _choose(seen, data, settings, config.search.seed)
        for record in _records(data, heads, test, config.search.seed):
            if record.trial_id not in done:
                ledger.append(record)


def _seen(data: CountryData) -> IntArray:
    """Return the pairs of all users but the test users."""
    return np.flatnonzero(data.part != "test")


def _arms_of(data: CountryData) -> list[str]:
    """Return the arms that a country can have: users are weighed where there are enough."""
    weighs_users = why_no_user_weights(data) is None
    return [arm for arm in TESTED_HEADS if weighs_users or arm not in (USER, TUNED_USER)]


def _choose(
    seen: ProbedPairs, data: CountryData, config: HeadsConfig, seed: int
) -> dict[str, ChosenHead]:
    arms = _arms_of(data)
    named = [arm for arm in arms if arm != TUNED_USER]
    chosen = choose_heads(seen, config, seed=seed, arms=named, judges=data.judges)
    if TUNED_USER in arms:
        both = config.model_copy(update={"user_strength": _USER_STRENGTH})
        pair = (TUNED_ARM, BASELINE)
        found = choose_heads(seen, both, seed=seed, arms=pair, judges=data.judges)
        chosen[TUNED_USER] = found[TUNED_ARM]
    return chosen


def _records(
    data: CountryData, heads: Mapping[str, ChosenHead], test: ProbedPairs, seed: int
) -> Iterator[TrialRecord]:
    """Yield the record of the global model on the test pairs, then that of each head."""
    about = {"versions": installed_versions(), "commit": source_commit()}
    for arm in (GLOBAL, *heads):
        head = heads.get(arm)
        margin = test.reference_margin if head is None else head_margins(head.moved, test)
        record = margin_record(
            data,
            margin,
            trial_id=_trial_id(data.country, arm),
            part="test",
            arm=arm,
            config={} if head is None else asdict(head.candidate),
            seed=seed,
            counts={
                "pairs_available": float(len(_seen(data))),
                "pairs_trained": 0.0 if head is None else float(head.pairs_trained),
            },
        )
        yield record.model_copy(update=about)


def _trial_id(country: str, arm: str) -> str:
    return f"{slug(country)}-head-{arm}"
