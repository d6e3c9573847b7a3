"""The weights of users as a run lists them."""

from dataclasses import replace

import numpy as np
import pytest

from sweeps.probe.user_features import user_weight_rows
from sweeps.run.workspace import Workspace


def test_users_are_listed_with_the_weight_that_the_arm_gives_them(workspace: Workspace) -> None:
    country = workspace.countries["Arvandia"]
    differences = np.random.default_rng(0).normal(size=(len(country.user), 6))
    data = replace(country, differences=differences)
    few, asked = user_weight_rows(data), user_weight_rows(data, 1.5)
    assert [row.user for row in few] == [row.user for row in asked]
    agreement = np.array([row.agreement for row in few])
    assert agreement.min() < 0 < agreement.max()
    assert np.all(np.diff(agreement) >= 0)
    for rows, strength in ((few, 0.5), (asked, 1.5)):
        expected = np.minimum(np.exp(strength * agreement), 1.0)
        assert [row.weight for row in rows] == pytest.approx(expected.tolist())
    train = country.pairs_in("train")
    assert {row.user: row.pairs for row in few} == dict(
        zip(*np.unique(country.user[train], return_counts=True), strict=True)
    )
