import math

import numpy as np
import pytest

from scpo.countries.country_data import build_country, utterance_texts
from scpo.countries.scoring import score_pairs, score_texts
from scpo.data.splits import split_users
from scpo.evaluation.held_out import evaluate_margins
from scpo.statistics.accuracy import pair_accuracy
from scpo.tokens.encoding import encode_texts


@pytest.fixture
def data(pair_tokenizer, interactions):
    table = interactions(users={"A": 20})
    prompts, responses = utterance_texts(table)
    texts = encode_texts(pair_tokenizer, prompts, responses, max_tokens=32)
    reference = np.random.default_rng(1).normal(size=len(texts)).round(1)
    return build_country("A", table, split_users(table, ["A"]), texts, reference)


def test_the_model_is_judged_on_the_pairs_of_the_part(tiny_bert, data):
    which = data.pairs_in("validation")
    scored = score_pairs(tiny_bert, data, which, precision="fp32")
    evaluation = evaluate_margins(scored, data, "validation")
    rewards = score_texts(tiny_bert, data.texts, np.arange(len(data.texts)), precision="fp32")
    margin = rewards[data.pairs.chosen[which]] - rewards[data.pairs.rejected[which]]
    expected = pair_accuracy(margin, data.user[which]).as_dict()
    assert evaluation["overall"] == expected
    assert evaluation["part"] == "validation"
    np.testing.assert_allclose(scored, margin, atol=1e-5)


def test_only_texts_of_the_part_are_scored(tiny_bert, data):
    seen = []
    tiny_bert.model.register_forward_pre_hook(
        lambda module, inputs, named: seen.append(len(named["input_ids"])), with_kwargs=True
    )
    which = data.pairs_in("test")
    score_pairs(tiny_bert, data, which)
    assert sum(seen) == len({*data.pairs.chosen[which], *data.pairs.rejected[which]})


def test_the_global_model_and_the_length_stand_beside(data):
    which = data.pairs_in("test")
    evaluation = evaluate_margins(data.reference_margin[which], data, "test")
    assert evaluation["overall"] == evaluation["global_overall"]
    assert evaluation["by_user"] == evaluation["global_by_user"]
    assert evaluation["distinctive"]["accuracy"] == 0.0
    assert evaluation["length"]["accuracy"] == np.mean(data.length_margin[which] > 0)
    assert sum(evaluation["by_user"]["pairs"]) == len(which)
    layers = [evaluation[name] for name in ("distinctive", "consensus")]
    assert sum(layer["pairs"] for layer in layers) == len(which)
    right = sum(layer["pairs"] * layer["accuracy"] for layer in layers)
    assert right == pytest.approx(sum(evaluation["by_user"]["correct"]))


def test_margins_must_fit_the_part(data):
    with pytest.raises(ValueError, match="Margins and user must have one shape"):
        evaluate_margins(np.ones(3), data, "test")
    margin = np.full(len(data.pairs_in("test")), math.nan)
    with pytest.raises(ValueError, match="Margins must be finite"):
        evaluate_margins(margin, data, "test")
    with pytest.raises(ValueError, match="part must be one of"):
        evaluate_margins(margin, data, "held-out")
