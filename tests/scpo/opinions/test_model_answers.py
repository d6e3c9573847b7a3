from dataclasses import replace

import numpy as np
import pytest

from scpo.countries.scoring import score_texts
from scpo.data.sources.global_opinions import SurveyQuestion
from scpo.data.sources.opinion_pairs import make_opinion_interactions, question_user
from scpo.data.splits import split_users
from scpo.opinions.answers import METRICS, build_answers
from scpo.opinions.model_answers import baseline_rows, own_and_others, parse_labels, score_options
from scpo.opinions.opinion_scores import ScoredRow
from scpo.opinions.selection import pick_countries, select_answers
from scpo.tokens.encoding import encode_texts

SURVEY = [
    SurveyQuestion(
        f"{word} ?", ("a b", "c", "d e f")[: 2 + number % 2], dict.fromkeys(names, shares)
    )
    for number, word in enumerate("a b c d e f g h".split())
    for names, shares in [(("Chile", "Peru"), ((0.2, 0.8), (0.1, 0.3, 0.6))[number % 2])]
]
COUNTS = {"Chile": 8, "Peru": 8, "Mali": 2}


def test_labels_name_countries_in_any_spelling():
    labels = parse_labels(["global", "S. Korea/scpo", "Peru"], ["Peru", "South Korea"])
    assert [(item.name, item.country, item.arm) for item in labels] == [
        ("global", None, ""),
        ("S. Korea/scpo", "South Korea", "scpo"),
        ("Peru", "Peru", ""),
    ]


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["Kenya/scpo"], "A label with an arm is COUNTRY/ARM, but 'Kenya' is no country"),
        (["South Korea/x", "S. Korea/x"], "One model a label must hold"),
        (["Perru"], "A label must be a country or unlike one, but 'Perru' is close to 'Peru'"),
        (["uniform"], r"Models must not be called \['uniform'\]"),
        (["Peru/scpo", "own scpo"], r"Models must not be called \['own scpo'\]"),
    ],
)
def test_labels_that_do_not_fit_are_refused(names, match):
    with pytest.raises(ValueError, match=match):
        parse_labels(names, ["Peru", "South Korea"])


def test_each_option_is_scored_as_the_answer_to_its_question(tiny_bert):
    rewards = score_options(tiny_bert, SURVEY, max_tokens=32, precision="fp32")
    assert rewards.shape == (8, 3)
    assert np.isinf(rewards[0, 2])
    for row, item in zip(rewards, SURVEY, strict=True):
        for option, reward in zip(item.options, row, strict=False):
            text = encode_texts(tiny_bert.tokenizer, [item.question], [option], max_tokens=32)
            alone = score_texts(tiny_bert, text, np.arange(1), precision="fp32")
            assert reward == pytest.approx(alone[0], abs=1e-5)


def test_own_is_the_own_model_and_others_the_mean_of_the_rest():
    labels = parse_labels(["Chile/x", "Mali/x", "Peru/x", "global"], list(COUNTS))
    country_of = ["Chile", "Peru", "Chile", "Mali"]
    rng = np.random.default_rng(0)
    scores = {label.name: rng.random((4, len(METRICS))) for label in labels}
    rows = [ScoredRow(name, "model", values) for name, values in scores.items()]
    own, others = own_and_others(labels, rows, country_of)
    assert (own.name, own.kind, others.name, others.kind) == ("own x", "own", "others x", "others")
    for place, country in enumerate(country_of):
        np.testing.assert_array_equal(own.scores[place], scores[f"{country}/x"][place])
        rest = [scores[f"{name}/x"][place] for name in COUNTS if name != country]
        np.testing.assert_allclose(others.scores[place], np.mean(rest, axis=0))
    alone, none = parse_labels(["Peru/x", "global"], list(COUNTS))
    own, others = own_and_others([alone, none], rows, country_of)
    assert np.isnan(own.scores[[0, 2, 3]]).all()  # Peru's model is no other country's own
    assert np.isnan(others.scores[1]).all()


def test_baselines_know_the_average_of_countries():
    survey = [replace(SURVEY[0], shares={"Chile": (0.2, 0.8), "Peru": (0.6, 0.4)})]
    answers = build_answers(survey)
    rows = {row.name: row.scores[:, 2] for row in baseline_rows(answers, np.arange(2))}
    assert rows["uniform"] == pytest.approx([0.3, 0.1])
    assert rows["average"] == pytest.approx([0.2, 0.2])
    assert rows["average of others"] == pytest.approx([0.4, 0.4])


def test_countries_are_those_named_or_with_a_model_or_with_many_questions():
    def picked(named=(), with_model=()):
        return pick_countries(COUNTS, named=named, with_model=with_model, min_questions=8)

    assert picked() == ["Chile", "Peru"]
    assert picked(with_model=["Mali"]) == ["Mali"]
    assert picked(named=["Peru", "Chile"], with_model=["Mali"]) == ["Chile", "Peru"]
    with pytest.raises(ValueError, match=r"'Kenya'.* must be among the survey's countries"):
        picked(named=["Kenya"])
    with pytest.raises(ValueError, match="One country at least must have 9 questions, but the"):
        pick_countries(COUNTS, named=(), with_model=(), min_questions=9)


def test_a_part_is_what_training_holds_out():
    sides = split_users(make_opinion_interactions(SURVEY), ["Chile"])
    for part in ("validation", "test"):
        questions, side = select_answers(SURVEY, ["Chile"], part)
        answers = build_answers(questions)
        which = np.flatnonzero(side == part)
        judged = [questions[number].question for number in answers.question[which]]
        assert {answers.countries[each] for each in answers.country[which]} == {"Chile"}
        held_out = [
            item.question
            for item in SURVEY
            if sides[question_user("Chile", item.question)] == part
        ]
        assert judged == held_out != []
        mine = answers.country == answers.countries.index("Chile")
        assert side[mine].tolist() == [
            sides[question_user("Chile", item.question)] for item in questions
        ]
        assert set(side[~mine]) == {""}
    questions, side = select_answers(SURVEY, ["Peru"], "all")
    assert (len(questions), np.count_nonzero(side == "all")) == (8, 8)
    with pytest.raises(ValueError, match="`part` must be one of"):
        select_answers(SURVEY, ["Chile"], "dev")
