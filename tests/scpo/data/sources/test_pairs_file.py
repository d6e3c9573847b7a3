import gzip
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scpo.data.reading.bad_rows import BadRows
from scpo.data.sources.pairs_file import PairColumns, read_pairs_file
from scpo.data.splits import split_users


def pair(chosen: object, rejected: object, **changes: Any) -> dict[str, Any]:
    row = {"prompt": "Sky?", "chosen": chosen, "rejected": rejected, "country": "Canada"}
    return row | {"user": "u1"} | changes


def without_user(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "user"}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(
    tmp_path: Path, rows: list[dict[str, Any]], **options: Any
) -> tuple[list[dict[str, Any]], BadRows]:
    bad_rows = BadRows()
    path = write(tmp_path / "pairs.jsonl", rows)
    return read_pairs_file(path, bad_rows, **options).to_pylist(), bad_rows


def test_rows_of_one_user_and_prompt_become_one_interaction(tmp_path: Path) -> None:
    rows, bad_rows = read(
        tmp_path,
        [pair("blue", "red"), pair("blue", "grey"), pair("grey", "red"), pair("blue ", "red")],
    )
    assert rows == [
        {
            "interaction_id": hashlib.sha256(b"u1\x1fCanada\x1fSky?").hexdigest()[:16],
            "user_id": "u1",
            "country": "Canada",
            "prompt": "Sky?",
            "responses": ["blue", "grey", "red"],
            "scores": None,
            "comparisons": [[0, 1], [0, 2], [1, 2]],
            "margins": None,
            "turn": 0,
            "unit": None,
            "messages": None,
            "vetted": None,
            "prompt_prefix": None,
        }
    ]
    assert bad_rows.rejected == []
    assert bad_rows.notes == {"repeated_pair": 1}


def test_users_countries_and_prompts_are_kept_apart(tmp_path: Path) -> None:
    rows, _ = read(
        tmp_path,
        [pair("a", "b"), pair("b", "a", user="u2"), pair("b", "a", prompt="Sea?")],
    )
    assert [row["comparisons"] for row in rows] == [[[1, 0]], [[0, 1]], [[1, 0]]]
    assert [(row["user_id"], row["prompt"]) for row in rows] == [
        ("u1", "Sea?"),
        ("u1", "Sky?"),
        ("u2", "Sky?"),
    ]


def test_user_id_in_several_countries_is_qualified(tmp_path: Path) -> None:
    rows, bad_rows = read(tmp_path, [pair("a", "b"), pair("b", "a", country="Chile")])
    assert [row["user_id"] for row in rows] == ["Canada/u1", "Chile/u1"]
    assert bad_rows.notes == {"user_in_several_countries": 1}


def test_without_users_each_prompt_of_a_country_is_one(tmp_path: Path) -> None:
    rows, _ = read(
        tmp_path,
        [
            without_user(pair("a", "b")),
            without_user(pair("b", "c")),
            without_user(pair("b", "a", country="Chile")),
        ],
    )
    digest = hashlib.sha256(b"Canada\x1fSky?").hexdigest()
    assert [row["country"] for row in rows] == ["Canada", "Chile"]
    assert rows[0]["user_id"] == f"prompt-{digest[:12]}"
    assert rows[0]["comparisons"] == [[0, 1], [1, 2]]


@pytest.mark.parametrize(
    ("row", "reason", "field"),
    [
        (pair("a", "a"), "chosen_equals_rejected", "rejected"),
        (pair("", "a"), "empty_text", "chosen"),
        (pair("a", None), "missing_field", "rejected"),
        (pair("a", "b", country=None), "user_without_country", "country"),
        (pair("a", "b", country="Prefer not to say"), "user_without_country", "country"),
        (pair("a", "b", country="\ud800"), "lone_surrogate", "country"),
        (pair("a", "b", user=None), "unknown_user", "user"),
        (pair("a", "b", user=[1]), "wrong_type", "user"),
    ],
)
def test_one_planted_bad_row(tmp_path: Path, row: dict[str, Any], reason: str, field: str) -> None:
    rows, bad_rows = read(tmp_path, [pair("x", "y"), row, pair("x", "z")])
    assert len(rows) == 1
    assert rows[0]["comparisons"] == [[0, 1], [0, 2]]
    assert bad_rows.counts == {reason: 1}
    assert (bad_rows.rejected[0]["line"], bad_rows.rejected[0]["field"]) == (2, field)


def test_contradicting_rows_are_all_refused(tmp_path: Path) -> None:
    rows, bad_rows = read(
        tmp_path,
        [
            pair("a", "b"),
            pair("b", "c"),
            pair("b", "a"),
            pair("a", "b"),
            pair("b", "a", user="u2"),
        ],
    )
    assert [(row["user_id"], row["comparisons"]) for row in rows] == [
        ("u1", [[0, 1]]),
        ("u2", [[1, 0]]),
    ]
    assert rows[0]["responses"] == ["b", "c"]
    assert bad_rows.counts == {"contradiction": 3}
    assert [entry["line"] for entry in bad_rows.rejected] == [1, 3, 4]


def test_line_ends_make_no_other_prompt_nor_response(tmp_path: Path) -> None:
    rows = [pair("a\nb", "c", prompt="x\ny"), pair("c", "a\r\nb", prompt="x\r\ny")]
    _, bad_rows = read(tmp_path, rows)
    assert bad_rows.counts == {"contradiction": 2}
    shared = {"chosen": "Up\r\nor down? up", "rejected": "Up\nor down? down", "country": "Peru"}
    assert read(tmp_path, [shared])[0][0]["prompt"] == "Up\nor down?"


def test_margins_go_with_their_comparisons(tmp_path: Path) -> None:
    rows, bad_rows = read(
        tmp_path,
        [
            pair("b", "c", margin=2),
            pair("a", "b"),
            pair("a", "c", margin=-0.5),
            pair("a", "b", user="u2", margin=None),
            pair("a", "c", user="u3", margin=1.0),
            pair("a", "c", user="u3"),
            pair("a", "c", user="u3", margin=1),
        ],
    )
    assert [(row["comparisons"], row["margins"]) for row in rows] == [
        ([[0, 1], [0, 2], [1, 2]], [None, -0.5, 2.0]),
        ([[0, 1]], None),
        ([[0, 1]], [1.0]),  # a row without a margin says nothing against one
    ]
    assert not bad_rows.rejected
    assert bad_rows.notes == {"repeated_pair": 2}


def test_conflicting_margins_are_all_refused(tmp_path: Path) -> None:
    rows, bad_rows = read(
        tmp_path,
        [
            pair("a", "b", margin=1),
            pair("a", "c", margin=1),
            pair("a", "b"),
            pair("a", "b", margin=2),
            pair("a", "b", margin=2, user="u2"),
        ],
    )
    assert [(row["responses"], row["margins"]) for row in rows] == [
        (["a", "c"], [1.0]),
        (["a", "b"], [2.0]),
    ]
    assert bad_rows.counts == {"conflicting_margin": 3}
    assert [entry["line"] for entry in bad_rows.rejected] == [1, 3, 4]
    assert {entry["field"] for entry in bad_rows.rejected} == {"margin"}


def test_margin_by_another_name(tmp_path: Path) -> None:
    columns = PairColumns(margin="gap")
    rows, bad_rows = read(
        tmp_path,
        [pair("a", "b", gap=3, margin="no"), pair("a", "c", gap="no"), pair("a", "d", gap=10**5)],
        columns=columns,
    )
    assert rows[0]["margins"] == [3.0]
    assert [(entry["line"], entry["field"], entry["reason"]) for entry in bad_rows.rejected] == [
        (2, "gap", "wrong_type"),
        (3, "gap", "margin_out_of_range"),
    ]
    with pytest.raises(ValueError, match=r"\['gap'\] are in no row"):
        read(tmp_path, [pair("a", "b", margin=1)], columns=columns)


def test_margins_of_csv_parquet_and_json_are_the_same(tmp_path: Path) -> None:
    rows = [pair("a", "b", margin=0.25), pair("a", "c", margin=None)]
    write(tmp_path / "p.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    (tmp_path / "p.csv").write_text(
        "user,country,prompt,chosen,rejected,margin\nu1,Canada,Sky?,a,b,0.25\nu1,Canada,Sky?,a,c,\n"
    )
    tables = [
        read_pairs_file(tmp_path / name, BadRows()) for name in ("p.jsonl", "p.parquet", "p.csv")
    ]
    assert tables[0]["margins"].to_pylist() == [[0.25, None]]
    assert all(table.equals(tables[0]) for table in tables)


def test_stop_names_the_margin(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", [pair("a", "b", margin=float("nan"))])
    with pytest.raises(ValueError, match=r"pairs\.jsonl:1: field 'margin': `\|margin\| <= 10000`"):
        read_pairs_file(path, BadRows("stop"))


def test_default_country(tmp_path: Path) -> None:
    pairs = [pair("a", "b", country=None), pair("a", "b", country="US")]
    rows, _ = read(tmp_path, pairs, default_country="UK")
    assert [row["country"] for row in rows] == ["United Kingdom", "United States"]
    with pytest.raises(ValueError, match="`default_country` must name a country, but got ' '"):
        read(tmp_path, [pair("a", "b")], default_country=" ")


def test_columns_by_other_names(tmp_path: Path) -> None:
    row = {"question": "Sky?", "yes": "a", "no": "b", "where": "Chile", "who": 7, "chosen": "no"}
    columns = PairColumns("question", "yes", "no", "where", "who")
    rows, _ = read(tmp_path, [row], columns=columns)
    assert (rows[0]["user_id"], rows[0]["country"]) == ("7", "Chile")
    assert rows[0]["responses"] == ["a", "b"]


def test_absent_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\['rejected'\] are in no row; found \['chosen'\]"):
        read(tmp_path, [{"chosen": "a"}])
    pq.write_table(pa.table({"Prompt": ["a"], "Chosen": ["b"]}), tmp_path / "capital.parquet")
    with pytest.raises(ValueError, match=r"in no row; found \['Prompt', 'Chosen'\]"):
        read_pairs_file(tmp_path / "capital.parquet", BadRows())
    with pytest.raises(ValueError, match=r"\['who'\] are in no row"):
        read(tmp_path, [pair("a", "b")], columns=PairColumns(user="who"))
    with pytest.raises(ValueError, match=r"\['place'\] are in no row"):
        read(tmp_path, [pair("a", "b")], columns=PairColumns(country="place"))


def test_csv_parquet_and_gzip_give_the_same_table(tmp_path: Path) -> None:
    rows = [pair("a", "b"), pair("c, d", 'say "x"'), pair("b", "c, d")]
    write(tmp_path / "p.jsonl", rows)
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress((tmp_path / "p.jsonl").read_bytes()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    (tmp_path / "p.csv").write_text(
        "user,country,prompt,chosen,rejected,extra\n"
        'u1,Canada,Sky?,a,b,1\nu1,Canada,Sky?,"c, d","say ""x""",2\nu1,Canada,Sky?,b,"c, d",3\n'
    )
    tables = [
        read_pairs_file(tmp_path / name, BadRows())
        for name in ("p.jsonl", "p.jsonl.gz", "p.parquet", "p.csv")
    ]
    assert tables[0].num_rows == 1
    assert all(table.equals(tables[0]) for table in tables)


def test_csv_row_without_a_country_takes_the_default(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("country,prompt,chosen,rejected\n,Sky?,a,b\n")
    table = read_pairs_file(path, BadRows(), default_country="Chile")
    assert table["country"].to_pylist() == ["Chile"]


def test_conversational_parquet(tmp_path: Path) -> None:
    row = {
        "prompt": [{"role": "user", "content": "Sky?"}],
        "chosen": [{"role": "assistant", "content": "blue"}],
        "rejected": [{"role": "assistant", "content": "red"}],
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "p.parquet")
    table = read_pairs_file(tmp_path / "p.parquet", BadRows(), default_country="Chile")
    assert table["prompt"].to_pylist() == ["Sky?"]
    assert table["responses"].to_pylist() == [["blue", "red"]]


DIALOGUE = [
    {"role": "user", "content": "Which dish?"},
    {"role": "assistant", "content": "Soup?"},
    {"role": "user", "content": "Which soup?"},
]


def test_one_dialogue_in_several_layouts_is_one_interaction(tmp_path: Path) -> None:
    human = "\n\nHuman: Which dish?\n\nAssistant: Soup?\n\nHuman: Which soup?\n\nAssistant:"
    texts = ["Lentil.", "Leek.", "Fish.", "None."]
    rows, bad_rows = read(
        tmp_path,
        [
            pair(texts[0], texts[1], prompt=DIALOGUE),
            pair(f"{human} {texts[1]}", f"{human} {texts[2]}", prompt=human),
            pair(*({"from": "gpt", "value": text} for text in texts[2:]), prompt=DIALOGUE),
            pair(
                "Lentil.",
                "None.",
                prompt="User: Which dish?\n\nAssistant: Soup?\n\nUser: Which soup?",
            ),
        ],
    )
    assert not bad_rows.rejected
    assert [row["messages"] for row in rows] == [None, DIALOGUE]  # a text that looks alike is none
    assert len({row["interaction_id"] for row in rows}) == 2
    assert rows[1]["responses"] == ["Fish.", "Leek.", "Lentil.", "None."]
    assert rows[1]["comparisons"] == [[0, 3], [1, 0], [2, 1]]
    assert rows[1]["prompt"] == "User: Which dish?\n\nAssistant: Soup?\n\nUser: Which soup?"


def test_spellings_of_a_country_are_one_and_none_is_refused(tmp_path: Path) -> None:
    labels = ["Mexico", "MX", "México", "-", "nan", float("nan"), "[NO]", "Arvandia"]
    rows, bad_rows = read(tmp_path, [pair("a", "b", country=label) for label in labels])
    assert [row["country"] for row in rows] == ["Arvandia", "Mexico"]
    assert bad_rows.counts == {"user_without_country": 4}
    assert [entry["line"] for entry in bad_rows.rejected] == [4, 5, 6, 7]
    assert "but got '[NO]'" in bad_rows.rejected[-1]["message"]


def test_float_user_ids_of_any_file_are_the_same(tmp_path: Path) -> None:
    rows = [pair("a", "b", user=1.0), pair("a", "c", user=2.0), pair("a", "d", user=None)]
    write(tmp_path / "p.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    (tmp_path / "p.json").write_text(json.dumps(rows))
    (tmp_path / "p.tsv").write_text(
        "user\tcountry\tprompt\tchosen\trejected\n1.0\tCanada\tSky?\ta\tb\n"
        "2.0\tCanada\tSky?\ta\tc\n\tCanada\tSky?\ta\td\n"
    )
    for name in ("p.jsonl", "p.parquet", "p.json", "p.tsv"):
        bad_rows = BadRows()
        assert read_pairs_file(tmp_path / name, bad_rows)["user_id"].to_pylist() == ["1", "2"]
        assert bad_rows.counts == {"unknown_user": 1}


def test_tools_that_are_not_read_are_counted(tmp_path: Path) -> None:
    row = pair("a", "b", tools=[{"name": "weather"}])
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "p.parquet")
    bad_rows = BadRows()
    read_pairs_file(tmp_path / "p.parquet", bad_rows)
    assert read(tmp_path, [row, pair("a", "b", tools=[])])[1].notes["ignored_tools"] == 1
    assert bad_rows.notes == {"ignored_tools": 1}


def test_documents_are_counted_and_pairs_about_images_refused(tmp_path: Path) -> None:
    none = {"documents": None, "functions": None, "images": None}
    given = [{"documents": [{"text": "x"}]}, {"functions": ["f"]}, {"images": ["x.png"]}]
    rows = [pair("a", "bcd"[n], **none | more) for n, more in enumerate(given)]
    rows.append(pair("a", "e", **none | {"images": []}))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    of_parquet = BadRows()
    read_pairs_file(tmp_path / "p.parquet", of_parquet)
    for bad_rows in (read(tmp_path, rows)[1], of_parquet):
        assert bad_rows.counts == {"unread_content": 1}
        assert bad_rows.rejected[0]["line"] == 3
        assert bad_rows.rejected[0]["field"] == "images"
    assert read(tmp_path, rows)[1].notes["ignored_tools"] == 2


def test_other_columns_of_a_parquet_file_are_named(tmp_path: Path) -> None:
    rows = [{"meta": {"user": "u"}, "chosen": "a", "answer": "b"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    with pytest.raises(ValueError, match=r"\['rejected'\] .* \['meta.user', 'chosen', 'answer'\]"):
        read_pairs_file(tmp_path / "p.parquet", BadRows())


def test_file_of_other_rows_is_not_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scpo.data.sources.pairs_file.NUM_FIRST_ROWS", 10)
    bad_rows = BadRows()
    (tmp_path / "p.jsonl").write_text("{}\n" * 1000)
    with pytest.raises(ValueError, match=r"\['chosen', 'rejected'\] are in no row; found \[\]"):
        read_pairs_file(tmp_path / "p.jsonl", bad_rows)
    assert bad_rows.num_rows_read == 10


def test_file_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must end in"):
        read_pairs_file(tmp_path / "pairs.xlsx", BadRows())
    with pytest.raises(FileNotFoundError, match="No file at"):
        read_pairs_file(tmp_path / "pairs.jsonl", BadRows())


def test_stop_raises_at_the_first_bad_row(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", [pair("a", "b"), pair("a", "a")])
    with pytest.raises(ValueError, match=r"pairs\.jsonl:2: field 'rejected': Two different"):
        read_pairs_file(path, BadRows("stop"))


def test_result_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    generator = random.Random(0)
    pairs = [
        pair(
            generator.choice("abcd"),
            generator.choice("abcd"),
            user=generator.choice(["u1", "u2", "u3"]),
            country=generator.choice(["Chile", "Canada"]),
            prompt=generator.choice(["Sky?", "Sea?", "Soil?"]),
            margin=generator.choice([None, None, None, 0.0, -0.0, 0.5]),
        )
        for _ in range(80)
    ]
    pairs += [pair("a", "b", user="u4", margin=margin) for margin in (1, 2, None)]
    expected, bad_rows = read(tmp_path, pairs)
    assert bad_rows.counts["contradiction"] > 0
    assert bad_rows.counts["conflicting_margin"] >= 3
    for seed in range(3):
        rows, shuffled = read(tmp_path, random.Random(seed).sample(pairs, len(pairs)))
        assert rows == expected
        assert shuffled.counts == bad_rows.counts
        assert shuffled.notes == bad_rows.notes


def count_pairs(table: pa.Table) -> int:
    return sum(map(len, table["comparisons"].to_pylist()))


@pytest.mark.data
def test_real_observed_pairs(data_folder: Path) -> None:
    bad_rows = BadRows()
    table = read_pairs_file(data_folder / "prism" / "observed_pairs.jsonl", bad_rows)
    assert bad_rows.num_rows_read == 2614
    # 93 rows name a country but no user, 6 have the literal EMPTY STRING as a response.
    assert bad_rows.counts == {"unknown_user": 93, "empty_text": 6}
    assert count_pairs(table) == 2614 - 99
    assert not bad_rows.notes
    assert len(table["user_id"].unique()) == 252


@pytest.mark.data
def test_real_blend_pairs(data_folder: Path) -> None:
    bad_rows = BadRows()
    columns = PairColumns(user="question_id")
    table = read_pairs_file(
        data_folder / "blend" / "conflict_pairs.jsonl", bad_rows, columns=columns
    )
    assert bad_rows.num_rows_read == 18326
    assert not bad_rows.rejected
    # One answer may be the top one of several other countries: the same pair for this country.
    assert bad_rows.notes == {"repeated_pair": 3079, "user_in_several_countries": 491}
    assert count_pairs(table) == 18326 - 3079
    countries = sorted(set(table["country"].to_pylist()))
    assert len(countries) == 8
    assert len(split_users(table, countries)) == 2798  # one user a question and country


@pytest.mark.data
def test_real_hh_rlhf(data_folder: Path) -> None:
    bad_rows = BadRows()
    path = data_folder / "hh_rlhf" / "both_test.jsonl.gz"
    table = read_pairs_file(path, bad_rows, default_country="Everywhere")
    assert bad_rows.num_rows_read == 4043
    assert bad_rows.counts == {
        "empty_text": 6,
        "chosen_equals_rejected": 2,
        "prompt_answered": 6,  # turns of "Human:" within those of the assistant
    }
    assert count_pairs(table) == 4029
    assert not any("Human:" in prompt[:6] for prompt in table["prompt"].to_pylist())
    responses = [text for texts in table["responses"].to_pylist() for text in texts]
    assert not any(text.startswith("Assistant:") for text in responses)


def test_a_prompt_is_cut_off_only_where_nearly_all_rows_repeat_it(tmp_path: Path) -> None:
    greeting = pair("Good day to you", "Good day my friend", prompt="Good day")
    rows, bad_rows = read(tmp_path, [greeting, pair("blue", "red")])
    assert rows[0]["responses"] == ["Good day my friend", "Good day to you"]
    assert bad_rows.notes == {}
    echoes = [pair(f"Sky? blue {n}", "Sky? red") for n in range(18)]
    rows, bad_rows = read(tmp_path, [*echoes, greeting, pair("green", "red")])
    assert rows[0]["responses"] == ["my friend", "to you"]
    assert {"blue 0", "green", "red"} < set(rows[1]["responses"])
    assert bad_rows.notes == {"repeated_prompt": 19}
