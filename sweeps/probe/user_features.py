"""Features for the weights of users: once a country, before its lanes start."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from scpo.countries.country_data import CountryData
from scpo.countries.user_agreement import (
    add_differences,
    country_agreement,
    why_no_user_weights,
)
from scpo.method.user_weights import default_user_strength, user_weights
from scpo.models.model_source import ModelSource
from sweeps.config import Say, SweepConfig
from sweeps.ledger.weights_file import WEIGHTS_FILE, UserWeight, write_user_weights
from sweeps.ledger.words import USER
from sweeps.probe.probed_pairs import open_features, texts_features
from sweeps.run.pins import made_file
from sweeps.run.workspace import Workspace


def with_user_features(
    config: SweepConfig,
    countries: Mapping[str, CountryData],
    model: ModelSource,
    say: Say,
    *,
    arms: Sequence[str] = (),
) -> dict[str, CountryData]:
    """Return the countries, with features where a search or an arm may weigh their users.

    `arms` are those asked for by name beside the configuration's.

    Raises:
        ValueError: A setting asks for users' weights where there can be none.
        RuntimeError: A feature is not finite.
    """
    asked = (*config.asks_for_users, *(f"the arm {USER}" for arm in arms if arm == USER))
    if not asked and config.search.user_strength is not None:
        return dict(countries)
    faults = {name: why_no_user_weights(data) for name, data in countries.items()}
    for country, fault in faults.items():
        if fault and asked:
            raise ValueError(
                f"{country}: {asked[0]} asks to weigh users, which cannot be, for {fault}."
            )
        if fault:
            say(f"{country}: users are not weighed, for {fault}")
    if all(faults.values()):
        return dict(countries)
    features_of = partial(texts_features, open_features(config, model), say=say)
    try:
        return {
            name: data if faults[name] else add_differences(data, features_of)
            for name, data in countries.items()
        }
    except ValueError as error:  # the model has no linear head
        if asked:
            raise
        say(f"users are not weighed: {error}")
        return dict(countries)


def weigh_users(
    config: SweepConfig, workspace: Workspace, run: Path, say: Say, *, arms: Sequence[str] = ()
) -> Workspace:
    """Return a workspace with features for users' weights; write these weights into its run.

    `arms` as of `with_user_features`.

    Raises:
        ValueError: As of `with_user_features`.
    """
    countries = with_user_features(config, workspace.countries, workspace.model, say, arms=arms)
    write_weights_of(config, countries, run)
    return replace(workspace, countries=countries)


def write_weights_of(
    config: SweepConfig, countries: Mapping[str, CountryData], run: Path
) -> list[UserWeight]:
    """Write and return the weights of all users that can be weighed, where there are any."""
    rows = [
        row
        for data in countries.values()
        if data.differences is not None
        for row in user_weight_rows(data, config.user_strength)
    ]
    if rows:
        with made_file(run, "weights of users", run / WEIGHTS_FILE):
            write_user_weights(rows, run)
    return rows


def user_weight_rows(data: CountryData, strength: float | None = None) -> list[UserWeight]:
    """Return the weight of each training user in the arm `user`, the least first.

    Without a `strength`, as of the arm, it is the default one.
    """
    which = data.pairs_in("train")
    agreement = country_agreement(data, which)
    users, first, counts = np.unique(data.user[which], return_index=True, return_counts=True)
    weights = user_weights(agreement, strength or default_user_strength(len(users)))
    rows = [
        UserWeight(data.country, str(user), int(count), float(agreement[at]), float(weights[at]))
        for user, at, count in zip(users, first.tolist(), counts.tolist(), strict=True)
    ]
    return sorted(rows, key=lambda row: (row.agreement, row.user))
