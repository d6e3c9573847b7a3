"""Settings that every country tried, and the one to use if there may be only one.

In come the records of a run and its rankings; out come, per country, the right pairs by user of
the country's own settings and of the shared ones, on the same validation pairs. Since every
country searches other points, shared are named arms and points of the search that are equal;
their seeds are averaged.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scpo.arrays import FloatArray
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.same_setting import Identity, is_whole, setting_identity
from sweeps.ledger.user_counts import align_by_user, evaluation_of
from sweeps.ranking.consensus import judge_consensus
from sweeps.ranking.ranking import CountryRanking, RankedSetting, candidates_of
from sweeps.ranking.recommendation import GLOBAL_ROW, Candidates

_ARMS = ("full", "filter", "weight", "scpo", "scpo_tuned")  # those that a (tau, beta) describes


@dataclass(frozen=True)
class SharedSettings:
    """One country's own settings and the K that all countries share, on the same U users."""

    ranking: CountryRanking  # it has settings
    candidates: Candidates  # its settings in its order, and the global model
    shared: FloatArray  # shape (K, U), right pairs of the shared settings, seeds averaged
    pairs_trained: FloatArray  # shape (K,), pairs the shared settings trained on
    feasible: NDArray[np.bool_]  # shape (K,), whether they keep the constraint here
    keys: Sequence[Identity]  # what identifies the shared settings

    @property
    def pairs(self) -> FloatArray:
        """Validation pairs of each user, shape (U,)."""
        return self.candidates.pairs

    @property
    def pairs_tuned(self) -> float:
        """Pairs that the recommended setting trained on; 0 where it is the global model."""
        chosen = self.ranking.recommended
        if (row := self._shared_row(chosen)) is not None:
            return float(self.pairs_trained[row])
        return 0.0 if chosen is None else chosen.pairs_trained

    @cached_property
    def rows(self) -> FloatArray:
        """Right pairs of its settings and the global model, as of `Candidates.rows`.

        Where a setting is a shared one too, seeds are averaged as there.
        """
        rows = self.candidates.rows
        for setting in self.ranking.settings:
            if (row := self._shared_row(setting)) is not None:
                rows[setting.rank - 1] = self.shared[row]
        return rows

    def right_pairs(self, common: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return right pairs by user of the recommended, the best and a shared setting, (U,)."""
        tuned, best = (
            self.rows[GLOBAL_ROW if setting is None else setting.rank - 1]
            for setting in (self.ranking.recommended, self.ranking.best)
        )
        return tuned, best, self.shared[common]

    def _shared_row(self, setting: RankedSetting | None) -> int | None:
        identity = None if setting is None else setting_identity(setting.record)
        return self.keys.index(identity) if identity in self.keys else None


def shared_settings(
    records: Sequence[TrialRecord], rankings: Sequence[CountryRanking]
) -> tuple[list[Identity], list[SharedSettings]]:
    """Return what identifies the K shared settings, and each country's figures of them.

    `records` are all those of the run that the rankings come from; rankings without settings are
    left out.

    Raises:
        ValueError: Records of one country and the same users disagree in their pairs.
    """
    ranked = [ranking for ranking in rankings if ranking.settings]
    tried = [_tried(records, ranking) for ranking in ranked]
    names = [{setting_identity(record) for record in those} for those in tried]
    keys = sorted(set.intersection(*names)) if names else []
    countries = [_align(one, those, keys) for one, those in zip(ranked, tried, strict=True)]
    return keys, countries


def choose_common(
    countries: Sequence[SharedSettings], draws: Sequence[NDArray[np.int64]]
) -> list[int]:
    """Return, per resample, the shared setting of the highest mean accuracy over countries.

    Only settings that keep the constraint in every country count, all where there are none; of
    equal ones the first. At least one setting must be shared; `draws` says, per country of shape
    (B, U), how often each user counts.
    """
    feasible = np.all([country.feasible for country in countries], axis=0)
    mean = np.mean(
        [
            (drawn @ country.shared.T) / (drawn @ country.pairs)[:, None]
            for country, drawn in zip(countries, draws, strict=True)
        ],
        axis=0,
    )
    if feasible.any():
        mean[:, ~feasible] = -np.inf
    return [int(row) for row in mean.argmax(axis=1)]


def _tried(records: Sequence[TrialRecord], ranking: CountryRanking) -> list[TrialRecord]:
    """Return a country's ranked records, then other trainings judged on the same users."""
    own = [setting.record for setting in ranking.settings]
    others = [
        record
        for record in records
        if record.country == ranking.country
        and record.purpose != "search"
        and record.arm in _ARMS
        and is_whole(record)
        and record.evaluation is not None
        and record.evaluation.part == "validation"
    ]
    return own + [record for record in others if _users(record) == _users(own[0])]


def _align(
    ranking: CountryRanking, tried: list[TrialRecord], keys: list[Identity]
) -> SharedSettings:
    """Return the figures of one country, its shared settings in the order of the keys."""
    counts = align_by_user(tried, "validation")
    rows: dict[Identity, list[int]] = defaultdict(list)
    for row, record in enumerate(tried):
        rows[setting_identity(record)].append(row)
    cost = [record.objectives["pairs_trained"] for record in tried]
    verdicts = judge_consensus(tried, counts, ranking.rule.max_consensus_drop)
    keeps = [verdict.violation == 0 for verdict in verdicts]
    return SharedSettings(
        ranking=ranking,
        candidates=candidates_of(ranking.settings),
        shared=np.array([counts.correct[rows[key]].mean(axis=0) for key in keys]),
        pairs_trained=np.array([np.mean([cost[row] for row in rows[key]]) for key in keys]),
        feasible=np.array([all(keeps[row] for row in rows[key]) for key in keys], dtype=bool),
        keys=keys,
    )


def _users(record: TrialRecord) -> frozenset[str]:
    return frozenset(evaluation_of(record, "validation").by_user.users)
