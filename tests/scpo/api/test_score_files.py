"""Files of rows scored and ranked, interrupted and gone on."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scpo
from scpo.api import row_files
from scpo.api.score_files import rerank_file, score_file
from scpo.files.output_folder import one_writer

ROWS = [
    {"id": number, "prompt": f"{'abcdefgh'[number % 8]} b", "response": text, "note": None}
    for number, text in enumerate(("good", "bad d", "fine", "long a", "warm", "cold", "h"))
]


@pytest.fixture(scope="module")
def model(model_folder):
    return scpo.RewardModel.from_pretrained(model_folder("bert"))


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(row_files, "ROWS_OF_PART", 3)


@pytest.fixture
def rewards(model):
    prompts, responses = ([row[name] for row in ROWS] for name in ("prompt", "response"))
    return [float(reward) for reward in model.score(prompts, responses)]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_json_lines_and_parquet_get_the_same_rewards(model, rewards, small_parts, tmp_path):
    (tmp_path / "in.jsonl").write_text(lines(ROWS))
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(lines(ROWS).encode()))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "in.parquet", row_group_size=2)
    for name in ("in.jsonl", "in.jsonl.gz"):
        out = tmp_path / "out" / "scored.jsonl"
        assert score_file(model, tmp_path / name, out).rows == 7
        found = read(out)
        assert [row.pop("reward") for row in found] == pytest.approx(rewards, abs=1e-6)
        assert found == ROWS
        out.unlink()
    out = tmp_path / "scored.parquet"
    score_file(model, tmp_path / "in.parquet", out, column="r")
    table = pq.read_table(out)
    assert table.schema.names == ["id", "prompt", "response", "note", "r"]
    assert table["r"].to_pylist() == pytest.approx(rewards, abs=1e-6)
    assert table.drop_columns(["r"]).equals(pa.Table.from_pylist(ROWS))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("in.jsonl", "in.jsonl.gz", "in.parquet", "out", "scored.parquet")
    ]


def test_a_column_that_is_no_text_of_utf8_stays_as_it_was(model, tmp_path):
    row = {"prompt": "a", "response": "é", "note": "half of a pair: \ud800"}
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
    score_file(model, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    [found] = read(tmp_path / "out.jsonl")
    assert {name: found[name] for name in row} == row


def test_an_interrupted_run_goes_on(model, rewards, small_parts, tmp_path, monkeypatch):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(lines(ROWS))
    scored = []

    def score(prompts, responses):
        scored.append(len(prompts))
        if len(scored) == 2:
            raise KeyboardInterrupt
        return type(model).score(model, prompts, responses)

    monkeypatch.setattr(model, "score", score, raising=False)
    with pytest.raises(KeyboardInterrupt):
        score_file(model, source, out)
    assert not out.exists()
    assert score_file(model, source, out).rows == 7
    assert scored == [3, 3, 3, 1]  # the first part was kept
    assert [row["reward"] for row in read(out)] == pytest.approx(rewards, abs=1e-6)
    scored.clear()
    with pytest.raises(KeyboardInterrupt):
        score_file(model, source, out)
    source.write_text(lines(ROWS[::-1]))  # the kept part is of another file
    assert score_file(model, source, out).rows == 7
    assert [row["reward"] for row in read(out)] == pytest.approx(rewards[::-1], abs=1e-6)


def test_a_damaged_part_is_scored_again(model, rewards, small_parts, tmp_path, monkeypatch):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(lines(ROWS))
    scored = []

    def score(prompts, responses):
        scored.append(len(prompts))
        if len(scored) == 2:
            raise KeyboardInterrupt
        return type(model).score(model, prompts, responses)

    monkeypatch.setattr(model, "score", score, raising=False)
    with pytest.raises(KeyboardInterrupt):
        score_file(model, source, out)
    (part,) = (tmp_path / ".out.jsonl.parts").glob("00000000-*")
    part.write_bytes(part.read_bytes().replace(b'"reward": ', b'"reward": 1', 1))
    assert score_file(model, source, out).rows == 7
    assert scored == [3, 3, 3, 3, 1]
    assert [row["reward"] for row in read(out)] == pytest.approx(rewards, abs=1e-6)


def test_ranking_follows_the_rewards(model, tmp_path):
    texts = [row["response"] for row in ROWS]
    rows = [
        {"prompt": "a b", "responses": texts},
        {"prompt": "c", "responses": []},
        {"prompt": [{"role": "user", "content": "d"}], "responses": texts[:2]},
    ]
    (tmp_path / "in.jsonl").write_text(lines(rows))
    assert rerank_file(model, tmp_path / "in.jsonl", tmp_path / "out.jsonl", top_k=3).rows == 3
    found = read(tmp_path / "out.jsonl")
    expected = [each["corpus_id"] for each in model.rank("a b", texts, 3)]
    assert found[0]["ranking"] == expected
    assert found[0]["rewards"] == pytest.approx(model.score(["a b"] * 7, texts).tolist(), abs=1e-6)
    assert (found[1]["ranking"], found[1]["rewards"]) == ([], [])
    assert found[2]["rewards"] == pytest.approx(model.score(["d"] * 2, texts[:2]), abs=1e-6)


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"prompt": "a"}, r"in\.jsonl:2: column 'response': the row has no 'response'"),
        ({"prompt": 7, "response": "a"}, r"in\.jsonl:2: column 'prompt'"),
        ({"prompt": "a", "response": [{"role": "user", "content": "b"}]}, "messages of user"),
        (
            {"prompt": "a", "response": "b \ud83d"},
            r"in\.jsonl:2: column 'response': .* has '\\ud83d', half of a surrogate pair",
        ),
        ({"prompt": "a", "response": "b", "reward": 1}, "has a column 'reward' already"),
    ],
)
def test_a_row_that_cannot_be_scored_is_named(model, tmp_path, row, match):
    (tmp_path / "in.jsonl").write_text(lines([ROWS[0], row]))
    with pytest.raises(ValueError, match=match):
        score_file(model, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_files_that_cannot_be_meant_are_refused(model, tmp_path):
    (tmp_path / "in.jsonl").write_text(lines(ROWS))
    for out, match in (
        ("out.parquet", "must be of the kind of"),
        ("out.csv", r"must end in \.jsonl or \.parquet"),
        ("in.jsonl", "is the file that is read"),
    ):
        with pytest.raises(ValueError, match=match):
            score_file(model, tmp_path / "in.jsonl", tmp_path / out)
    with pytest.raises(FileNotFoundError, match="No file at"):
        score_file(model, tmp_path / "none.jsonl", tmp_path / "out.jsonl")
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(ValueError, match="must be a whole Parquet file"):
        score_file(model, tmp_path / "bad.parquet", tmp_path / "out.parquet")


def test_files_of_others_are_not_written_over(model, tmp_path):
    (tmp_path / "in.jsonl").write_text(lines(ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "in.parquet")
    for name in ("mine.jsonl", "mine.parquet"):
        source = tmp_path / f"in{Path(name).suffix}"
        for content in (b"my notes\n", b'{"prompt": "a"}\n', b"\xff\x00"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(
                ValueError,
                match=r"mine\.\w+ is there and has no rows with just id, prompt",
            ):
                score_file(model, source, tmp_path / name)
            with pytest.raises(
                ValueError, match=r"no rows with just .*, rewards, ranking, so it is not"
            ):
                rerank_file(model, source, tmp_path / name)
            assert (tmp_path / name).read_bytes() == content
        scored = [{**row, "reward": 1.0} for row in ROWS]
        for rows, why in (
            ([{**row, "my_label": 1} for row in scored], "no rows with just"),
            (scored[:3], "has 3 rows, not the 7 of the file that is read"),
        ):
            if name.endswith(".parquet"):
                pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
            else:
                (tmp_path / name).write_text(lines(rows))
            before = (tmp_path / name).read_bytes()
            with pytest.raises(ValueError, match=why):
                score_file(model, source, tmp_path / name)
            assert (tmp_path / name).read_bytes() == before
        (tmp_path / name).write_bytes(b"")
        assert score_file(model, source, tmp_path / name).rows == 7
        assert score_file(model, source, tmp_path / name).rows == 7  # its own is made again
    (tmp_path / ".new.jsonl.parts").mkdir()
    (tmp_path / ".new.jsonl.parts" / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="is for unfinished rows, but holds other files"):
        score_file(model, tmp_path / "in.jsonl", tmp_path / "new.jsonl")
    assert (tmp_path / ".new.jsonl.parts" / "thesis.tex").exists()


def test_a_second_writer_of_a_file_is_refused(model, tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(lines(ROWS))
    with (
        one_writer(tmp_path / ".out.jsonl.lock", out),
        pytest.raises(ValueError, match=r"out\.jsonl is being written by process \d+ of"),
    ):
        score_file(model, source, out)
    assert score_file(model, source, out).rows == 7
    assert not (tmp_path / ".out.jsonl.lock").exists()


def test_cut_texts_are_counted_over_a_stop(model_folder, small_parts, tmp_path, monkeypatch):
    model = scpo.RewardModel.from_pretrained(model_folder("bert"), max_tokens=8)
    rows = [{**row, "response": "a b c d e f g h " * 2} for row in ROWS]
    (tmp_path / "in.jsonl").write_text(lines(rows))

    def stop_at_the_second(prompts, responses):
        if model.num_cut:
            raise KeyboardInterrupt
        return type(model).score(model, prompts, responses)

    monkeypatch.setattr(model, "score", stop_at_the_second, raising=False)
    with pytest.warns(UserWarning, match="are cut"), pytest.raises(KeyboardInterrupt):
        score_file(model, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    again = scpo.RewardModel.from_pretrained(model_folder("bert"), max_tokens=8)
    with pytest.warns(UserWarning, match="are cut"):
        assert score_file(again, tmp_path / "in.jsonl", tmp_path / "out.jsonl") == (7, 7)
    assert again.num_cut == 4


def test_a_bad_row_of_parquet_is_named_by_its_number(model, small_parts, tmp_path):
    for bad, match in (
        ({"response": None}, r"in\.parquet:6: column 'response': the value is null"),
        ({"response": "a", "prompt": None}, r"in\.parquet:6: column 'prompt': the value is null"),
    ):
        rows = [*ROWS[:5], {**ROWS[5], **bad}]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet", row_group_size=2)
        with pytest.raises(ValueError, match=match):
            score_file(model, tmp_path / "in.parquet", tmp_path / "out.parquet")


def test_new_columns_of_parquet_have_types_where_nothing_is_in_them(model, tmp_path):
    kind = pa.schema([("prompt", pa.string()), ("responses", pa.list_(pa.string()))])
    rows = [{"prompt": "a", "responses": []}] * 128 + [{"prompt": "a", "responses": ["b", "c"]}]
    pq.write_table(pa.Table.from_pylist(rows, kind), tmp_path / "in.parquet")
    assert rerank_file(model, tmp_path / "in.parquet", tmp_path / "out.parquet").rows == 129
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.field("rewards").type == pa.list_(pa.float64())
    assert [len(each) for each in table["ranking"].to_pylist()[127:]] == [0, 2]
    empty = pa.table({"prompt": pa.array([], pa.string()), "response": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "none.parquet")
    for _ in range(2):  # the second writes over the first
        score_file(model, tmp_path / "none.parquet", tmp_path / "scored.parquet")
        assert pq.read_schema(tmp_path / "scored.parquet").field("reward").type == pa.float64()
