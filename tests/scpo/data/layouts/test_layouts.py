"""Rows made up in the layouts of known data sets, and the interactions they become."""

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scpo.api.preferences import Preferences
from scpo.data.layouts import hub_rows, recognise
from scpo.data.reading.bad_rows import BadRows
from scpo.data.sources.pairs_file import PairColumns, read_pair_rows, read_pairs_file

ASKED = [{"role": "user", "content": "Sky?"}]


def say(text: str, *before: dict[str, str]) -> list[dict[str, str]]:
    return [*before, *ASKED, {"role": "assistant", "content": text}]


def read(rows: list[dict[str, Any]], **options: Any) -> tuple[list[dict[str, Any]], BadRows]:
    bad_rows = BadRows()
    numbered = list(enumerate(rows, start=1))
    options = {"default_country": "Chile", **options}
    table = read_pair_rows(numbered, "rows", bad_rows, **options)
    return table.to_pylist(), bad_rows


def pairs_of(rows: list[dict[str, Any]]) -> set[tuple[str, str, str, float | None]]:
    """Return (prompt, chosen, rejected, margin) of every comparison."""
    found = set()
    for row in rows:
        margins = row["margins"] or [None] * len(row["comparisons"])
        for (first, second), margin in zip(row["comparisons"], margins, strict=True):
            found.add((row["prompt"], row["responses"][first], row["responses"][second], margin))
    return found


HELPSTEER_3 = {"domain": "general", "context": ASKED, "response1": "blue", "response2": "red"}
HELPSTEER_2 = {"split": "train", "prompt": "Sky?", "response_1": "blue", "response_2": "red"}
PKU = {
    "prompt": "Sky?",
    "response_0": "red",
    "response_1": "blue",
    "is_response_0_safe": True,
    "better_response_id": 1,
    "safer_response_id": 0,
}
SHP = {
    "post_id": "p",
    "history": "Sky?",
    "human_ref_A": "blue",
    "human_ref_B": "red",
    "labels": 1,
    "score_A": 7,
    "score_B": 2,
}
ARENA = {
    "question_id": "q",
    "model_a": "x",
    "model_b": "y",
    "winner": "model_b",
    "judge": "arena_user_9",
    "conversation_a": say("red"),
    "conversation_b": say("blue"),
}
ARENA_LISTS = {
    "id": 1,
    "prompt": '["Sky?"]',
    "response_a": '["blue"]',
    "response_b": '["red"]',
    "winner_model_a": 1,
    "winner_model_b": 0,
    "winner_tie": 0,
}
BINARIZED = {
    "prompt": "Sky?",
    "prompt_id": "1",
    "messages": say("blue"),
    "chosen": say("blue"),
    "rejected": say("red"),
    "score_chosen": 8.5,
    "score_rejected": 6.0,
}
ORCA = {"system": "", "question": "Sky?", "chosen": "blue", "rejected": "red"}
DISTILABEL = {"input": "Sky?", "chosen": "blue", "rejected": "red", "generations": ["a", "b"]}
SKYWORK = {"chosen": say("blue"), "rejected": say("red"), "source": "s"}
SHAREGPT = {
    "conversations": [{"from": "human", "value": "Sky?"}],
    "chosen": {"from": "gpt", "value": "blue"},
    "rejected": {"from": "gpt", "value": "red"},
}


@pytest.mark.parametrize(
    ("row", "margin"),
    [
        (HELPSTEER_3 | {"overall_preference": -2}, 2.0),
        (HELPSTEER_2 | {"preference_strength": -3}, 3.0),
        (PKU, None),
        (SHP, 5.0),
        (ARENA, None),
        (ARENA_LISTS, None),
        (BINARIZED, 2.5),
        (ORCA, None),
        (DISTILABEL, None),
        (SKYWORK, None),
        (SHAREGPT, None),
    ],
)
def test_a_row_of_each_layout_is_one_pair(row: dict[str, Any], margin: float | None) -> None:
    rows, bad_rows = read([row])
    assert pairs_of(rows) == {("Sky?", "blue", "red", None)}
    assert not bad_rows.rejected
    scored, _ = read([row], margin_from_scores=True)
    assert pairs_of(scored) == {("Sky?", "blue", "red", margin)}


@pytest.mark.parametrize(
    "row",
    [
        HELPSTEER_3 | {"overall_preference": 1},
        HELPSTEER_2 | {"preference_strength": 2},
        PKU | {"better_response_id": 0},
        SHP | {"labels": 0},
        ARENA | {"winner": "model_a"},
        ARENA_LISTS | {"winner_model_a": 0, "winner_model_b": 1},
    ],
)
def test_the_other_judgement_turns_the_pair_round(row: dict[str, Any]) -> None:
    rows, _ = read([row])
    assert pairs_of(rows) == {("Sky?", "red", "blue", None)}


@pytest.mark.parametrize(
    "row",
    [
        HELPSTEER_3 | {"overall_preference": 0},
        HELPSTEER_2 | {"preference_strength": 0},
        ARENA | {"winner": "tie (bothbad)"},
        ARENA_LISTS | {"winner_model_a": 0, "winner_tie": 1},
        {"prompt": "Sky?", "answers": [{"answer": t, "rank": 1} for t in ("blue", "red")]},
    ],
)
def test_a_tie_is_no_pair_and_is_counted(row: dict[str, Any]) -> None:
    rows, bad_rows = read([row])
    assert rows == []
    assert bad_rows.notes == {"no_preference": 1}


def test_several_responses_give_every_pair_with_a_difference() -> None:
    nectar = {
        "prompt": "\n\nHuman: Sky?\n\nAssistant: ",
        "answers": [
            {"answer": "blue", "model": "m", "rank": 1.0},
            {"answer": "red", "model": "m", "rank": 2.0},
            {"answer": "grey", "model": "m", "rank": 2.0},
        ],
        "turns": 1,
    }
    rows, _ = read([nectar], margin_from_scores=True)
    assert pairs_of(rows) == {("Sky?", "blue", "red", 1.0), ("Sky?", "blue", "grey", 1.0)}
    ultra = {
        "source": "s",
        "instruction": "Sky?",
        "completions": [
            {"response": "red", "overall_score": 3.0, "fine-grained_score": 9.0},
            {"response": "blue", "overall_score": 8.0, "fine-grained_score": 1.0},
            {"response": "grey", "overall_score": None, "fine-grained_score": 4.5},
        ],
    }
    rows, _ = read([ultra], margin_from_scores=True)
    assert pairs_of(rows) == {
        ("Sky?", "blue", "red", 5.0),
        ("Sky?", "blue", "grey", 3.5),
        ("Sky?", "grey", "red", 1.5),
    }


def test_one_response_a_row_is_gathered_by_prompt() -> None:
    ratings = [
        {"prompt": asked, "response": text, "helpfulness": score, "verbosity": 1}
        for asked, text, score in (
            *(("Sky?", "blue", 4), ("Sea?", "wet", 3), ("Sky?", "red", 1), ("Sea?", "dry", 3)),
        )
    ]
    rows, bad_rows = read(ratings, margin_from_scores=True)
    assert pairs_of(rows) == {("Sky?", "blue", "red", 3.0)}
    assert bad_rows.notes == {"no_preference": 1}
    unpaired = [
        {"prompt": "Sky?", "completion": text, "label": label, "user": user}
        for text, label, user in (
            *(("blue", True, "u"), ("red", False, "u"), ("grey", False, "u"), ("red", True, "v")),
        )
    ]
    rows, _ = read(unpaired, margin_from_scores=True)
    assert pairs_of(rows) == {("Sky?", "blue", "red", None), ("Sky?", "blue", "grey", None)}
    assert {row["user_id"] for row in rows} == {"u"}


def test_rows_are_gathered_within_the_columns_that_are_named() -> None:
    rows, bad_rows = read(
        [
            {"prompt": asked, "completion": text, "label": label, "who": who, "where": where}
            for asked, text, label, who, where in (
                ("Sky?", "blue", True, 1, "MX"),
                ("Sky?", "red", False, 2, "MX"),
                ("Sky?", "grey", False, 1, "Peru"),
                ("Sky?\n", "wet", False, 1.0, "Mexico"),
            )
        ],
        columns=PairColumns(user="who", country="where"),
    )
    assert pairs_of(rows) == {("Sky?", "blue", "wet", None)}
    assert [(row["user_id"], row["country"]) for row in rows] == [("1", "Mexico")]
    assert bad_rows.notes == {"no_preference": 2}


def test_a_row_with_no_label_is_refused_alone_where_rows_are_gathered() -> None:
    labels = {"blue": "1", "red": "0.0", "grey": "maybe", "wet": " FALSE"}
    rows, bad_rows = read(
        [{"prompt": "Sky?", "completion": text, "label": said} for text, said in labels.items()]
    )
    assert pairs_of(rows) == {("Sky?", "blue", "red", None), ("Sky?", "blue", "wet", None)}
    assert [(entry["line"], entry["field"]) for entry in bad_rows.rejected] == [(3, "label")]
    assert bad_rows.rejected[0]["message"].startswith("One of 1, true, 0, false must stand here")


def test_a_row_without_a_response_is_refused_alone_where_rows_are_gathered() -> None:
    rows, bad_rows = read(
        [
            {"prompt": "Sky?", "completion": "blue", "label": True},
            {"prompt": "Sky?", "label": False},
            {"prompt": "Sky?", "completion": "red", "label": False},
        ]
    )
    assert pairs_of(rows) == {("Sky?", "blue", "red", None)}
    assert bad_rows.counts == {"missing_field": 1}


def test_the_arena_has_users_and_turns() -> None:
    earlier = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    same = ARENA | {
        "conversation_a": say("red", *earlier),
        "conversation_b": say("blue", *earlier),
    }
    other = [earlier[0], {"role": "assistant", "content": "Hey"}]
    apart = ARENA | {"conversation_a": say("red", *earlier), "conversation_b": say("blue", *other)}
    rows, bad_rows = read([same, apart])
    assert [row["user_id"] for row in rows] == ["arena_user_9"]
    assert [turn["content"] for turn in rows[0]["messages"]] == ["Hi", "Hello", "Sky?"]
    assert bad_rows.counts.total() == 1  # a preference between two conversations
    lists = ARENA_LISTS | {
        "prompt": '["Hi", "Sky?"]',
        "response_a": '["Hello", "blue"]',
        "response_b": '["Hello", "red"]',
    }
    rows, _ = read([lists])
    assert [turn["content"] for turn in rows[0]["messages"]] == ["Hi", "Hello", "Sky?"]
    assert pairs_of(rows) == {("User: Hi\n\nAssistant: Hello\n\nUser: Sky?", "blue", "red", None)}


def community(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"conversation_id": "c1", "annotator_id": "a7", "assigned_lang": "en"}
    row |= {"annotator_country": "India", "annotator_age": "25-34", "in_balanced_subset": True}
    for turn in ("first", "second", "third", "fourth"):
        row |= {f"{turn}_turn_{name}": None for name in ("prompt", "preferred_response")}
        row |= {f"{turn}_turn_response_{letter}": None for letter in "abcd"}
    row |= {"first_turn_prompt": "Sky?", "first_turn_preferred_response": "response_b"}
    row |= {f"first_turn_response_{letter}": f"1{letter}" for letter in "abcd"}
    return row | changes


SECOND = {
    "second_turn_prompt": "Why?",
    "second_turn_preferred_response": "response_d",
    **{f"second_turn_response_{letter}": f"2{letter}<|end_of_text|>" for letter in "abcd"},
}


def test_community_alignment_gives_three_pairs_a_turn(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([community(**SECOND)]), file)
    bad_rows = BadRows()
    first, second = sorted(
        read_pairs_file(file, bad_rows).to_pylist(), key=lambda row: len(row["prompt"])
    )
    assert not bad_rows.rejected
    assert {(row["user_id"], row["country"]) for row in (first, second)} == {("a7", "India")}
    assert pairs_of([first]) == {("Sky?", "1b", f"1{letter}", None) for letter in "acd"}
    assert second["messages"] == [
        {"role": "user", "content": "Sky?"},
        {"role": "assistant", "content": "1b"},
        {"role": "user", "content": "Why?"},
    ]
    chosen = {(pair[1], pair[2]) for pair in pairs_of([second])}
    assert chosen == {("2d", f"2{letter}") for letter in "abc"}


def test_community_alignment_without_a_preference() -> None:
    rows, bad_rows = read([community(**SECOND | {"second_turn_preferred_response": None})])
    assert [row["prompt"] for row in rows] == ["Sky?"]
    for changes, field in (
        ({"first_turn_preferred_response": "response_e"}, "first_turn_preferred_response"),
        ({"first_turn_preferred_response": None}, "first_turn_preferred_response"),
        ({"first_turn_response_b": None}, "first_turn_response_b"),
        ({"first_turn_response_b": 7}, "first_turn_response_b"),
    ):
        rows, bad_rows = read([community(**changes), community()])
        assert [entry["field"] for entry in bad_rows.rejected] == [field]
        assert len(rows) == 1


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (HELPSTEER_3 | {"overall_preference": "much"}, "overall_preference"),
        (HELPSTEER_3 | {"overall_preference": float("nan")}, "overall_preference"),
        (PKU | {"better_response_id": 2}, "better_response_id"),
        (PKU | {"response_0": None}, "response_0"),
        (SHP | {"labels": None}, "labels"),
        (ARENA | {"winner": "me"}, "winner"),
        (ARENA_LISTS | {"winner_tie": 1}, "winner_tie"),
        (ARENA_LISTS | {"response_a": "blue"}, "response_a"),
        (ARENA_LISTS | {"response_b": '["a", "b"]'}, "response_b"),
        ({"prompt": "Sky?", "answers": "blue"}, "answers"),
        ({"prompt": "Sky?", "answers": [{"answer": "blue"}]}, "rank"),
    ],
)
def test_a_row_that_breaks_its_layout_is_refused(row: dict[str, Any], field: str) -> None:
    rows, bad_rows = read([row])
    assert rows == []
    assert [entry["field"] for entry in bad_rows.rejected] == [field]


def test_ambiguous_rows_are_refused_by_name() -> None:
    both = PKU | {"chosen": "blue", "rejected": "red"}
    with pytest.raises(
        ValueError, match="layouts chosen_rejected and pku_saferlhf, by its columns"
    ):
        read([both])
    assert pairs_of(read([both], layout="chosen_rejected")[0]) == {("Sky?", "blue", "red", None)}
    safe, _ = read([PKU], layout="pku_saferlhf_safety")
    assert pairs_of(safe) == {("Sky?", "red", "blue", None)}
    columns = PairColumns(chosen="response_1", rejected="response_0")
    assert pairs_of(read([PKU], columns=columns)[0]) == {("Sky?", "blue", "red", None)}
    two = ORCA | {"instruction": "Look up."}
    with pytest.raises(ValueError, match="in the columns question, instruction"):
        read([two])
    assert pairs_of(read([two], columns=PairColumns(prompt="question"))[0])
    with pytest.raises(ValueError, match=r"`layout` must be one of chosen_rejected, .* 'nectr'"):
        read([ORCA], layout="nectr")
    with pytest.raises(ValueError, match="must have the columns answers of the layout nectar"):
        read([PKU], layout="nectar")


def test_system_messages_and_inputs_are_part_of_the_prompt() -> None:
    rows, _ = read([ORCA | {"system": "Be brief."}])
    assert rows[0]["messages"] == [{"role": "system", "content": "Be brief."}, ASKED[0]]
    brief = {"system": "Be brief."}
    transcript = "\n\nHuman: Sky?\n\nAssistant:"
    for row in (
        SKYWORK | brief,
        {"chosen": "Sky? blue", "rejected": "Sky? red"} | brief,
        {"prompt": transcript, "chosen": "blue", "rejected": "red"} | brief,
        {"chosen": f"{transcript} blue", "rejected": f"{transcript} red"} | brief,
        {"prompt": ASKED[0], "chosen": "blue", "rejected": "red"} | brief,
        {"prompt": "Sky?", "chosen": "Sky? blue", "rejected": "Sky? red"} | brief,
        {"prompt": {"role": "system", "content": "Be brief."}} | SKYWORK,
    ):
        again, bad_rows = read([row])
        assert again == rows, (row, bad_rows.rejected)
    _, bad_rows = read([SKYWORK | {"prompt": [{"role": "system", "content": "Be long."}]} | brief])
    assert [(each["reason"], each["field"]) for each in bad_rows.rejected] == [
        ("prompts_differ", "system")
    ]
    plain, _ = read([ORCA])
    silent = {"role": "system", "content": " "}
    for row in (
        SKYWORK | {"prompt": [silent, *ASKED]},
        {"chosen": [silent, *SKYWORK["chosen"]], "rejected": SKYWORK["rejected"]},
    ):
        assert read([row])[0] == plain
    late = [*ASKED, {"role": "system", "content": "Be brief."}]
    answers = {name: [*late, SKYWORK[name][-1]] for name in ("chosen", "rejected")}
    rows, _ = read([answers | {"prompt": late}])
    assert rows[0]["messages"] == late
    rows, _ = read([DISTILABEL | {"instruction": "Answer.", "input": "Sky?"}])
    assert rows[0]["prompt"] == "Answer.\nSky?"
    rows, _ = read([DISTILABEL | {"instruction": "Sky?", "input": ""}])
    assert rows[0]["prompt"] == "Sky?"


def test_nested_columns_by_option() -> None:
    row = ORCA | {"meta": {"who": "u3", "where": "Peru"}}
    rows, _ = read([row], columns=PairColumns(user="meta.who", country="meta.where"))
    assert [(each["user_id"], each["country"]) for each in rows] == [("u3", "Peru")]


def test_a_margin_that_is_given_counts_more_than_scores() -> None:
    rows, _ = read([BINARIZED | {"margin": 0.5}], margin_from_scores=True)
    assert pairs_of(rows) == {("Sky?", "blue", "red", 0.5)}
    _, bad_rows = read([BINARIZED | {"score_chosen": "high"}], margin_from_scores=True)
    assert [entry["field"] for entry in bad_rows.rejected] == ["score_chosen"]


def test_files_folders_and_saved_data_sets_give_the_same(tmp_path: Path) -> None:
    rows = [ORCA | {"question": f"Sky {n}?"} for n in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    header = "\t".join(ORCA)
    lines = ["\t".join(map(str, row.values())) for row in rows]
    (tmp_path / "rows.tsv").write_text("\n".join([header, *lines]) + "\n")
    shards = tmp_path / "hub" / "data"
    shards.mkdir(parents=True)
    for number in range(2):
        part = pa.Table.from_pylist(rows[3 * number : 3 * number + 3])
        pq.write_table(part, shards / f"train-0000{number}-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist([ORCA]), shards / "test-00000-of-00001.parquet")
    dataset = datasets.Dataset.from_list(rows)
    dataset.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": dataset}).save_to_disk(str(tmp_path / "splits"))
    tables = {}
    for name in ("rows.jsonl", "rows.json", "rows.tsv", "hub", "saved", "splits"):
        bad_rows = BadRows()
        tables[name] = read_pairs_file(tmp_path / name, bad_rows, default_country="Chile")
        assert bad_rows.num_rows_read == 6, name
        assert bad_rows.notes == ({"other_split": 1} if name == "hub" else {})
    assert tables["rows.jsonl"].num_rows == 6
    assert all(table.equals(tables["rows.jsonl"]) for table in tables.values())


@pytest.mark.parametrize(
    ("train", "other"),
    [
        ("train.jsonl", "test.jsonl"),
        ("traindata.jsonl", "devdata.jsonl"),
        ("pairs_train.jsonl", "pairs_test.jsonl"),
        ("chile-training-0.jsonl", "chile-validation-0.jsonl"),
        ("v1.train.jsonl", "v1.eval.jsonl"),
    ],
)
def test_files_of_other_splits_are_not_read(tmp_path: Path, train: str, other: str) -> None:
    for name, asked in ((train, "Sky?"), (other, "Sea?"), ("latest_values.jsonl", "Sun?")):
        (tmp_path / name).write_text(json.dumps(ORCA | {"question": asked}) + "\n")
    bad_rows = BadRows()
    table = read_pairs_file(tmp_path, bad_rows, default_country="Chile")
    assert table["prompt"].to_pylist() == ["Sky?"]
    assert bad_rows.notes == {"other_split": 2}
    (tmp_path / other).unlink()
    assert read_pairs_file(tmp_path, BadRows(), default_country="Chile").num_rows == 2
    (tmp_path / train).rename(tmp_path / other)
    with pytest.raises(ValueError, match="must hold files of the split 'train', but has "):
        read_pairs_file(tmp_path, BadRows(), default_country="Chile")


@pytest.mark.parametrize("kind", ["saved", "hub", "memory", "stream"])
def test_class_labels_are_read_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    label = datasets.ClassLabel(names=["Chile", "Peru"])
    dataset = datasets.Dataset.from_list([ORCA | {"country": 1}, ORCA | {"country": -1}])
    dataset = dataset.cast_column("country", label)
    dataset.save_to_disk(str(tmp_path / "saved"))
    monkeypatch.setattr(hub_rows, "load_dataset", lambda *_, **__: dataset)
    bad_rows = BadRows()
    if kind in ("saved", "hub"):
        place = tmp_path / "saved" if kind == "saved" else "owner/name"
        table = read_pairs_file(place, bad_rows)
        assert bad_rows.counts == {"user_without_country": 1}
    else:
        given = dataset if kind == "memory" else dataset.to_iterable_dataset()
        table = Preferences.from_dataset(given).table
    assert table["country"].to_pylist() == ["Peru"]


def test_a_refused_row_is_named_by_its_shard_and_line(tmp_path: Path) -> None:
    good, bad = (json.dumps(ORCA | {"rejected": text}) for text in ("red", "blue"))
    (tmp_path / "a.jsonl").write_text(f"{good}\n\n{bad}\n{{oops\n{bad}\n")
    (tmp_path / "b.jsonl").write_text(f"{bad}\n{good}\n{bad}\n")
    bad_rows = BadRows()
    read_pairs_file(tmp_path, bad_rows, default_country="Chile")
    found = sorted((Path(entry["file"]).stem, entry["line"]) for entry in bad_rows.rejected)
    assert found == [("a", 3), ("a", 4), ("a", 5), ("b", 1), ("b", 3)]
    (tmp_path / "a.jsonl").write_text(good + "\n")
    with pytest.raises(ValueError, match=r"b\.jsonl:1: field 'rejected': Two different"):
        read_pairs_file(tmp_path, BadRows("stop"), default_country="Chile")


def test_hidden_files_are_no_shards_and_endings_may_be_in_capitals(tmp_path: Path) -> None:
    line = json.dumps(ORCA) + "\n"
    (tmp_path / "a.jsonl.GZ").write_bytes(gzip.compress(line.encode()))
    (tmp_path / "._a.jsonl").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / ".scpo.json").write_text("{}")
    expected = read_pairs_file(tmp_path, BadRows(), default_country="Chile")
    assert expected.num_rows == 1
    pq.write_table(pa.Table.from_pylist([ORCA]), tmp_path / "a.PARQUET")
    found = read_pairs_file(tmp_path / "a.PARQUET", BadRows(), default_country="Chile")
    assert found.equals(expected)


def test_folders_that_are_not_clear_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold files of rows of one kind"):
        read_pairs_file(tmp_path, BadRows())
    (tmp_path / "a.jsonl").write_text("{}\n")
    (tmp_path / "b.csv").write_text("chosen,rejected\n")
    with pytest.raises(ValueError, match="holds files of csv, jsonl"):
        read_pairs_file(tmp_path, BadRows())
    dataset = datasets.DatasetDict({"dev": datasets.Dataset.from_list([ORCA])})
    dataset.save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(ValueError, match="must have a split 'train', but has dev"):
        read_pairs_file(tmp_path / "splits", BadRows())


def test_a_name_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, config: str | None, split: str) -> list[dict[str, Any]]:
        asked.append((name, config, split))
        return [ORCA]

    monkeypatch.setattr("scpo.data.layouts.hub_rows.load_dataset", load)
    table = read_pairs_file("owner/pairs", BadRows(), subset="en", default_country="Chile")
    assert table["prompt"].to_pylist() == ["Sky?"]
    assert asked == [("owner/pairs", "en", "train")]


def test_every_layout_has_its_own_columns() -> None:
    recognised = [each for each in recognise.LAYOUTS if not each.is_only_named]
    for first in recognised:
        assert not any(other.needs <= first.needs for other in recognised if other is not first)


def test_the_page_lists_every_layout() -> None:
    page = (Path(__file__).parents[4] / "docs" / "layouts.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in recognise.NAMES)


@pytest.mark.parametrize(
    ("column", "field"),
    [
        *(("User", "user"), ("userId", "user"), ("annotator_id", "user"), ("WorkerID", "user")),
        *(("Country", "country"), ("country_code", "country"), ("location", "country")),
        *(("query", "prompt"), ("User Prompt", "prompt"), ("PROMPT", "prompt")),
    ],
)
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_columns_that_look_like_unnamed_ones_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str, field: str, ending: str
) -> None:
    whole = {"prompt": "Sky?", "chosen": "It is blue", "rejected": "It is red"}
    whole |= {"user": "u1", "country": "Peru"}
    row = {name: text for name, text in whole.items() if name != field} | {column: whole[field]}
    file = tmp_path / f"rows.{ending}"
    if ending == "jsonl":
        file.write_text(json.dumps(row) + "\n")
    else:
        pq.write_table(pa.Table.from_pylist([row]), file)
    bad_rows = BadRows()
    read_pairs_file(file, bad_rows, default_country="Chile")
    assert bad_rows.notes == {"unread_column": 1}
    assert f"No column is named {field}, so " in caplog.text
    assert f"If {column} is it, name it by --{field}-column ({field}= in Python)." in caplog.text
    bad_rows = BadRows()
    table = read_pairs_file(file, bad_rows, columns=PairColumns(**{field: column}))
    assert table.select(["user_id", "country", "prompt"]).to_pylist() == [
        {"user_id": "u1", "country": "Peru", "prompt": "Sky?"}
    ]
    assert bad_rows.notes == {}


def test_columns_beside_those_that_are_read_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    row = {"prompt": "Sky?", "chosen": "blue", "rejected": "red", "user": "u1", "country": "Peru"}
    beside = {"user_id": 1, "Country": "Chile", "query": "Sea?", "input": "x"}
    assert read([row | beside])[1].notes == {}
    assert read([ORCA | {"query": "Sea?"}])[1].notes == {}
    assert caplog.text == ""
