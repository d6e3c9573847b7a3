import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scpo.data.reading.bad_rows import BadRows
from scpo.data.reading.tabular import column_names, read_csv, read_parquet


def read(tmp_path: Path, content: bytes) -> tuple[list[tuple[int, dict[str, str]]], BadRows]:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    bad_rows = BadRows()
    return list(read_csv(path, bad_rows)), bad_rows


def test_csv_with_mark_line_breaks_in_quotes_and_blank_lines(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfa, b\r\n1,"x\r\ny"\r\n\r\n2,"say ""hi"""\r\n'
    rows, bad_rows = read(tmp_path, content)
    assert rows == [(2, {"a": "1", "b": "x\r\ny"}), (5, {"a": "2", "b": 'say "hi"'})]
    assert bad_rows.notes == {"byte_order_mark": 1, "blank_line": 1}
    assert bad_rows.num_rows_read == 2


@pytest.mark.parametrize(
    ("record", "reason", "message"),
    [
        (b"1\n", "invalid_csv", "2 fields must hold"),
        (b"1,2,3\n", "invalid_csv", "got 3"),
        (b'1,"x"y\n', "invalid_csv", "expected after"),
        (b"1,\xff\n", "not_utf8", "byte 0xff at byte offset 10"),
        (b'"x\n\xff",2\n', "not_utf8", "byte offset 11"),
    ],
)
def test_bad_record_is_refused(tmp_path: Path, record: bytes, reason: str, message: str) -> None:
    rows, bad_rows = read(tmp_path, b"a,b\n8,9\n" + record + b"5,6\n")
    assert [row for _, row in rows] == [{"a": "8", "b": "9"}, {"a": "5", "b": "6"}]
    assert bad_rows.counts == {reason: 1}
    assert bad_rows.rejected[0]["line"] == 3
    assert message in bad_rows.rejected[0]["message"]


@pytest.mark.parametrize("lines", [[""], ["", '6,"y"\n']])
def test_rows_that_an_open_quote_swallows_are_all_counted(
    tmp_path: Path, lines: list[str]
) -> None:
    swallowed = "2,3\n" * 400
    rows, bad_rows = read(tmp_path, f'a,b\n8,9\n1,"x\n{swallowed}{"".join(lines)}'.encode())
    num_bad = 401 + len(lines) - 1
    assert rows == [(2, {"a": "8", "b": "9"})]
    assert bad_rows.counts == {"invalid_csv": num_bad}
    assert bad_rows.num_rows_read == num_bad + 1
    first, second, *_, last = bad_rows.rejected
    assert (first["line"], first["row"]) == (3, '1,"x\n')
    assert f"runs on for {num_bad} lines" in first["message"]
    assert (second["row"], last["line"]) == ("2,3\n", 2 + num_bad)


@pytest.mark.parametrize("breaks", ["", "\n", '""'])
def test_field_of_any_length(tmp_path: Path, breaks: str) -> None:
    text = f"{'x' * 70_000}{breaks}" * 4
    rows, bad_rows = read(tmp_path, f'a,b\n1,"{text}"\n2,3\n'.encode())
    assert [row["b"] for _, row in rows] == [text.replace('""', '"'), "3"]
    assert not bad_rows.rejected


def test_record_without_end_is_refused_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scpo.data.reading.tabular.MAX_LINE_BYTES", 1 << 20)
    with pytest.raises(
        ValueError, match=r"rows\.csv:3: a CSV record is longer than 1 MiB: a quote"
    ):
        read(tmp_path, b'a,b\n8,9\n1,"x\n' + b"2,3\n" * 300_000)


def test_line_ends_of_two_kinds_are_told_in_words(tmp_path: Path) -> None:
    rows, bad_rows = read(tmp_path, b"a,b\n1,2\r3,4\n5,6\n")
    assert rows == [(3, {"a": "5", "b": "6"})]
    assert "a carriage return (CR) stands outside of quotes" in bad_rows.rejected[0]["message"]
    with pytest.raises(ValueError, match=r"1: a CSV header must .* carriage return .* tr '.r'"):
        read(tmp_path, b"a,b\r1,2\r3,4\n")


@pytest.mark.parametrize(
    "content",
    [
        "a;b\n1;x, y\n",
        "a\tb\n1\tx, y\n",
        "a|b\n1|x, y\n",
        'a,b\n1,"x, y"\n',
        'sep=;\na;b\n1;"x, y"\n',
        '"a, or";b\n1;x, y\n',
        'a,b\r1,"x, y"\r',
        'a,b\r\n1,"x, y"\r\n',
        '"a","b"\n"1","x, y"',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_dialects_and_encodings_as_people_have_them(
    tmp_path: Path, content: str, encoding: str
) -> None:
    rows, bad_rows = read(tmp_path, content.encode(encoding))
    assert [list(row.values()) for _, row in rows] == [["1", "x, y"]]
    assert rows[0][0] == 2 + content.startswith("sep=")
    assert not bad_rows.rejected


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("a,é\n".encode("latin-1"), "byte 0xe9 .* iconv -f WINDOWS-1252 -t UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "looks like UTF-16 without a byte order mark"),
        ("a,b\n1,2\n".encode("utf-16-be"), "looks like UTF-16 without a byte order mark"),
        ("a,b\n1,2\n".encode("utf-16")[:-1], "begins as UTF-16 or UTF-32, but is damaged"),
    ],
)
def test_other_encodings_are_named(tmp_path: Path, content: bytes, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        read(tmp_path, content)


def test_repeated_header_is_skipped(tmp_path: Path) -> None:
    rows, bad_rows = read(tmp_path, b"a,b\n1,2\na,b\n3,4\n")
    assert [line for line, _ in rows] == [2, 4]
    assert bad_rows.notes == {"repeated_header": 1}


def test_empty_csv_and_gzip(tmp_path: Path) -> None:
    assert read(tmp_path, b"")[0] == []
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"a\n1\n"))
    assert list(read_csv(path, BadRows())) == [(2, {"a": "1"})]


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (b"a,a\n", "column names must be unique"),
        (b"\xff,b\n", "0xff at byte offset 0"),
        (b'a,"b\n', "a CSV header must stand here"),
    ],
)
def test_unreadable_header(tmp_path: Path, header: bytes, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        read(tmp_path, header)


def test_parquet_rows_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": ["x", None], "b": [[{"role": "user"}], []], "c": [1, 2]}), path)
    rows = list(read_parquet(path, ["b", "a", "absent"], BadRows()))
    assert rows == [(1, {"b": [{"role": "user"}], "a": "x"}), (2, {"b": [], "a": None})]


def test_names_of_columns_and_of_what_is_nested(tmp_path: Path) -> None:
    pq.write_table(pa.table({"meta": [{"user": "u", "n": 1}], "b": ["x"]}), tmp_path / "x.parquet")
    assert column_names(tmp_path / "x.parquet") == ["meta.user", "meta.n", "b"]


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    offsets, data = pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"x\xff")
    column = pa.StringArray.from_buffers(2, offsets, data)
    pq.write_table(pa.table({"a": column}), path)
    bad_rows = BadRows()
    assert list(read_parquet(path, ["a"], bad_rows)) == [(1, {"a": "x"})]
    assert bad_rows.counts == {"not_utf8": 1}
    assert bad_rows.rejected[0]["line"] == 2


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(ValueError, match="must be a whole Parquet file"):
        list(read_parquet(path, ["a"], BadRows()))
    with pytest.raises(FileNotFoundError, match="No file at"):
        list(read_parquet(tmp_path / "no.parquet", ["a"], BadRows()))
