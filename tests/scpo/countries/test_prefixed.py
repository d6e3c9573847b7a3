"""A prompt prefix from the data to the contract of a model, and back to its rewards."""

import json

import numpy as np
import pyarrow as pa
import pytest

from scpo.api.models import RewardModel
from scpo.config import DataConfig, SplitConfig, parse_config
from scpo.countries.build import score_table, steer_countries
from scpo.countries.prefixed import check_prefix, fit_prefix, prefixed_prompts
from scpo.data.interactions import INTERACTIONS_SCHEMA, read_interactions
from scpo.data.prefixes import prefix_of, prefix_prompts
from scpo.data.sources.prepare import prepare_source
from scpo.models.folder.contract import ModelFacts, verify_folder, write_facts
from scpo.models.loading import load_reward_model
from scpo.text.prompt_prefix import check_template, fill_prompt, fill_turns
from scpo.tokens.prompts import Dialogue

TEMPLATE = "a {country} : {prompt}"


@pytest.mark.parametrize(
    "template", ["{country}", "{prompt} {prompt}", "{prompt} {x}", "{prompt} {", "{}{prompt}", ""]
)
def test_only_the_two_placeholders_are_taken(template):
    with pytest.raises(ValueError, match=r"must hold {prompt} once and no other braces"):
        check_template(template)
    with pytest.raises(ValueError, match="prompt_prefix"):
        parse_config(DataConfig, {"prompt_prefix": template}, "test")


def test_braces_of_a_prompt_are_its_own():
    assert check_template("{prompt} ({country})") == "{prompt} ({country})"
    assert fill_prompt("{prompt} ({country})", "Why {prompt} {country}?", "Peru") == (
        "Why {prompt} {country}? (Peru)"
    )
    with pytest.raises(ValueError, match="a country must be named to score"):
        fill_prompt(TEMPLATE, "x")


def test_a_dialogue_has_it_in_the_last_turn_of_the_user():
    turns = [("user", "no"), ("assistant", "b"), ("user", "no"), ("assistant", "c")]
    text = "User: no\n\nAssistant: b\n\nUser: no\n\nAssistant: c"
    filled, new = fill_turns(TEMPLATE, text, turns, "Peru")
    assert new == [*turns[:2], ("user", "a Peru : no"), turns[3]]
    assert filled == "User: no\n\nAssistant: b\n\nUser: a Peru : no\n\nAssistant: c"
    assert fill_turns(TEMPLATE, "System: b", [("system", "b")], "Peru")[1] == [
        ("system", "a Peru : b")
    ]


def rows(**changes):
    return [
        {
            "interaction_id": f"{country}{user}",
            "user_id": f"{country}{user}",
            "country": country,
            "prompt": "c d",
            "responses": ["good", "bad"],
            "scores": [1.0, 2.0],
            "turn": 0,
            **changes,
        }
        for country in ("Chile", "Peru")
        for user in range(6)
    ]


@pytest.fixture
def table():
    return pa.Table.from_pylist(rows(), schema=INTERACTIONS_SCHEMA)


def test_prepared_prompts_name_their_own_country(tmp_path):
    file = tmp_path / "p.jsonl"
    lines = [
        {"prompt": "c d", "chosen": "good", "rejected": "bad", "country": name, "user": name}
        for name in ("Chile", "Peru")
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = {"source": "pairs", "path": str(file), "prompt_prefix": TEMPLATE}
    summary = prepare_source(parse_config(DataConfig, given, "test"), tmp_path / "d")
    assert summary.prompt_prefix == TEMPLATE
    made = read_interactions(tmp_path / "d")
    assert made["prompt"].to_pylist() == ["a Chile : c d", "a Peru : c d"]
    assert prefix_of(made) == TEMPLATE


def test_rows_of_no_country_and_messages(table):
    messages = [{"role": "user", "content": "c"}, {"role": "user", "content": "d"}]
    talk = pa.Table.from_pylist(
        rows(prompt="User: c\n\nUser: d", messages=messages), schema=INTERACTIONS_SCHEMA
    )
    made = prefix_prompts(talk, TEMPLATE).to_pylist()[0]
    assert made["messages"][1]["content"] == "a Chile : d"
    assert made["prompt"] == "User: c\n\nUser: a Chile : d"
    unnamed = prefix_prompts(
        pa.Table.from_pylist(rows(country="extra"), schema=INTERACTIONS_SCHEMA), TEMPLATE
    )
    assert prefix_of(unnamed) is None
    assert unnamed["prompt"][0].as_py() == "c d"


def with_facts(model_writer, folder, **facts):
    model_writer(folder, "bert")
    write_facts(folder, ModelFacts(max_tokens=32, overlong="truncate_prompt", **facts))
    return load_reward_model(folder)


def test_a_model_s_prefix_is_applied_to_data_without_one(table, model_writer, tmp_path):
    reward = with_facts(model_writer, tmp_path / "m", arm="global", prompt_prefix=TEMPLATE)
    assert json.loads((tmp_path / "m" / "scpo.json").read_text())["format"] == 2
    assert verify_folder(tmp_path / "m").prompt_prefix == TEMPLATE
    scoring = {"max_tokens": 32, "precision": "fp32"}
    _, found, _ = score_table(table, reward, "m", cache=tmp_path / "a", **scoring)
    prefixed = prefix_prompts(table, TEMPLATE)
    _, same, _ = score_table(prefixed, reward, "m", cache=tmp_path / "b", **scoring)
    np.testing.assert_array_equal(found.rewards, same.rewards)
    function = RewardModel.from_pretrained(tmp_path / "m", country="Peru")
    assert function(["c d"], ["bad"]) == pytest.approx([found.rewards[-1]], abs=1e-5)
    (peru,) = steer_countries(
        table, ["Peru"], reward, "m", split=SplitConfig(), cache=tmp_path / "c", **scoring
    ).countries.values()
    assert peru.facts["prompt_prefix"] == "a Peru : {prompt}"
    with pytest.raises(ValueError, match="a country must be named"):
        RewardModel.from_pretrained(tmp_path / "m")


def test_a_country_s_model_names_it_by_itself(model_writer, tmp_path):
    filled = "a Peru : {prompt}"
    reward = with_facts(model_writer, tmp_path / "m", country="Peru", prompt_prefix=filled)
    scored = RewardModel.from_pretrained(tmp_path / "m")(["c d"], ["bad"])
    plain = RewardModel.from_pretrained(model_writer(tmp_path / "plain", "bert"))
    assert scored == pytest.approx(plain(["a Peru : c d"], ["bad"]), abs=1e-6)
    assert scored != pytest.approx(plain(["c d"], ["bad"]), abs=1e-3)
    talk = Dialogue("x c", (("user", "x"), ("user", "c")))
    assert prefixed_prompts(reward.facts, [talk])[0].turns[1] == ("user", "a Peru : c")


def test_another_prefix_than_the_model_s_is_refused(table, model_writer, tmp_path):
    filled = "a Peru : {prompt}"
    reward = with_facts(model_writer, tmp_path / "m", country="Peru", prompt_prefix=filled)
    prefixed = prefix_prompts(table, TEMPLATE)
    assert fit_prefix(prefixed, reward) is prefixed
    with pytest.raises(ValueError, match=r"trained with the prompt prefix 'a Peru : {prompt}'"):
        fit_prefix(prefix_prompts(table, "b {country} {prompt}"), reward)
    with pytest.raises(ValueError, match=r"but these prompts have None"):
        check_prefix(reward, None)
    plain = with_facts(model_writer, tmp_path / "n", arm="global")
    with pytest.raises(ValueError, match=r"trained with the prompt prefix None"):
        fit_prefix(prefixed, plain)
    stranger = load_reward_model(model_writer(tmp_path / "o", "bert"))
    assert fit_prefix(prefixed, stranger) is prefixed
