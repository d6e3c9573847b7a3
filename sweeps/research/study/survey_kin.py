"""What other countries know, with a country's heads on top: rows of nearness to a survey.

Similarities of countries are of training questions only. How much kinship and heads count is
chosen on inner folds of them, by heads that saw neither the inner fold nor the held-out questions.

Legend: Q questions of the country, P pairs, U options, D features.
"""

from collections.abc import Sequence

import numpy as np

from scpo.arrays import FeatureArray, FloatArray, IntArray
from scpo.countries.country_data import CountryData
from scpo.heads.linear_heads import ProbedPairs
from scpo.opinions.answers import arrange_rewards, score_answers
from scpo.opinions.kinship import INNER_FOLDS, KIN, deal_questions, predict_kin
from sweeps.config import HeadsConfig
from sweeps.ledger.words import BASELINE
from sweeps.probe.choose_heads import ChosenHead, train_candidates
from sweeps.research.study.frozen_arrays import pair_differences
from sweeps.research.study.survey_similarity import Survey

KIN_MODEL = f"kin + {BASELINE}"


def kin_similarity(
    survey: Survey,
    data: CountryData,
    features: FeatureArray,
    rewards: FloatArray,
    chosen: Sequence[ChosenHead],
    fold: IntArray,
    *,
    config: HeadsConfig,
    seed: int,
) -> dict[str, FloatArray]:
    """Return the scores, each of shape (Q, 3), of kin alone and of kin with the heads of `full`.

    Args:
        survey: The country's answers.
        data: Its pairs, an interaction a question, and the global head's rewards.
        features: Of its options, shape (U, D).
        rewards: Of its options, each by the head that did not see the question, shape (U,).
        chosen: The head of each fold.
        fold: The fold of each pair, shape (P,).
        config: How heads are trained.
        seed: Of the inner folds.
    """
    number = data.pairs.interaction  # rows are questions
    fold_of = np.zeros(len(survey.num_options), dtype=np.int64)  # without a pair: any head
    fold_of[number] = fold
    of_text = np.repeat(np.arange(len(fold_of)), survey.num_options)
    margin = data.reference_margin
    pairs = ProbedPairs(pair_differences(features, data.pairs), margin, margin, data.user)
    alone, with_head = np.full((2, *survey.shares.shape), np.nan)
    for each, head in enumerate(chosen):
        seen, judged = np.flatnonzero(fold_of != each), np.flatnonzero(fold_of == each)
        inner = np.full(len(fold_of), -1)
        inner[seen] = deal_questions(len(seen), INNER_FOLDS, seed=seed)
        own = rewards.copy()
        for part in range(INNER_FOLDS):
            kept = np.flatnonzero((fold != each) & (inner[number] != part))
            (moved,), _ = train_candidates(pairs.take(kept), [head.candidate], config, seed=seed)
            texts = inner[of_text] == part
            own[texts] = data.reference[texts] + features[texts].astype(np.float64) @ moved
        folds = [(seen, judged, inner)]
        matrix = arrange_rewards(own, survey.num_options)
        alone[judged] = predict_kin(survey.kin, None, folds)[judged]
        with_head[judged] = predict_kin(survey.kin, matrix, folds)[judged]
    return {
        name: score_answers(predicted, survey.shares)
        for name, predicted in ((KIN, alone), (KIN_MODEL, with_head))
    }
