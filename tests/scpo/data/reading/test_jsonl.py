import gzip
import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scpo.data.reading.bad_rows import BadRows
from scpo.data.reading.jsonl import read_json, read_jsonl


def read(tmp_path: Path, content: bytes) -> tuple[list[tuple[int, dict]], BadRows]:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    bad_rows = BadRows()
    return list(read_jsonl(path, bad_rows)), bad_rows


def test_lines_are_numbered_and_blank_lines_skipped(tmp_path: Path) -> None:
    rows, bad_rows = read(tmp_path, b'{"a": 1}\r\n\n  \n{"a": "\xc3\xa9"}')
    assert rows == [(1, {"a": 1}), (4, {"a": "é"})]
    assert bad_rows.rejected == []
    assert bad_rows.notes == {"blank_line": 2}
    assert bad_rows.num_rows_read == 2


def test_unicode_line_separator_does_not_split(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, '{"a": "x\u2028y\x85z"}\n'.encode())
    assert rows == [(1, {"a": "x\u2028y\x85z"})]


@pytest.mark.parametrize(
    ("line", "reason", "message"),
    [
        (b'{"a": "\xff"}\n', "not_utf8", "byte 0xff at byte offset 14 of the file"),
        (b'{"a": 1\n', "invalid_json", "One JSON object must hold"),
        (b'{"a": 1} {"b": 2}\n', "invalid_json", "Extra data"),
        (b"[1]\n", "invalid_json", "got a list"),
        (b'{"a": 1, "a": 2}\n', "invalid_json", "'a' comes twice"),
        (b'{"a": ' + b"[" * 100_000 + b"\n", "invalid_json", "nested over 64 deep"),
        (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}\n", "invalid_json", "nested over 64 deep"),
        (b'{"a": ' + b"9" * 5000 + b"}\n", "invalid_json", "4300 digits"),
        (b'{"a": "\0"}\n', "nul_character", "NUL at byte offset 14"),
        (b'{"a": "cut of', "torn_line", "One JSON object"),
        (b'{"a": "\xc3', "torn_line", "A whole line must hold"),
        (b'{"a": {"b": 1}', "torn_line", "One JSON object"),
        (b'{"a": "\xff"}', "not_utf8", "0xff"),
        (b'{"a": 1, "a": 2}', "invalid_json", "twice"),
    ],
)
def test_bad_line_is_refused(tmp_path: Path, line: bytes, reason: str, message: str) -> None:
    rows, bad_rows = read(tmp_path, b"{}    \n" + line)
    assert rows == [(1, {})]
    assert bad_rows.counts == {reason: 1}
    assert bad_rows.rejected[0]["line"] == 2
    assert message in bad_rows.rejected[0]["message"]


def test_line_of_very_many_lists_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scpo.text.json_text.MAX_BRACKETS", 1000)
    line = b'{"a": [' + b"{}," * 998 + b"1]}\n"
    rows, bad_rows = read(tmp_path, line + line.replace(b"1]", b"[]]"))
    assert len(rows) == 1
    assert "over 1,000 lists and objects" in bad_rows.rejected[0]["message"]


def test_byte_order_marks_are_removed_and_counted(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    rows, bad_rows = read(tmp_path, mark + b'{"a": 1}\n' + mark + b'{"a": 2}\n')
    assert rows == [(1, {"a": 1}), (2, {"a": 2})]
    assert bad_rows.notes == {"byte_order_mark": 2}


def test_gzip_is_read_and_a_damaged_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n{"a": 2}\n'))
    assert list(read_jsonl(path, BadRows())) == [(1, {"a": 1}), (2, {"a": 2})]
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 1000)[:-20])
    with pytest.raises(ValueError, match=r"rows\.jsonl\.gz:\d+: the gzip stream is damaged"):
        list(read_jsonl(path, BadRows()))
    path.write_bytes(b'{"a": 1}\n')
    with pytest.raises(ValueError, match="damaged"):
        list(read_jsonl(path, BadRows()))


def test_array_of_objects(tmp_path: Path) -> None:
    bad_rows = BadRows()
    path = tmp_path / "rows.json"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_text('[{"a": "é"},\n "x", {"a": 2}]', encoding=encoding)
        assert list(read_json(path, bad_rows)) == [(1, {"a": "é"}), (3, {"a": 2})]
    assert bad_rows.counts == {"invalid_json": 3}
    assert bad_rows.num_rows_read == 9
    path.write_text(" [ ]\n")
    assert list(read_json(path, bad_rows)) == []
    path.write_text('{"a": 1}\n{"a": 2}\n')  # lines by the name of an array
    assert list(read_json(path, BadRows())) == [(1, {"a": 1}), (2, {"a": 2})]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b'[{"a": 1}', "must be a JSON array of objects, but"),
        (b'[{"a": 1, "a": 2}]', "'a' comes twice"),
        (b'["\xe9"]', "0xe9 .* iconv"),
        (b"[" * 100_000, "after 0 of them"),
        (b'[{"a": 1}, {"a"', "after 1 of them"),
        (b'[{"a": 1},]', "after 1 of them: Expecting value"),
        (b'[{"a": 1} {"a": 2}]', "Expecting ',' delimiter"),
        (b'[{"a": 1}] {"a": 2}', "after 1 of them: Extra data"),
        (b"[" + b"[" * 65 + b"]" * 66, "after 0 of them: .* nested over 64 deep"),
        (b'[{"a": 1}, "' + b"x" * 900 + b'"]', "after 1 of them: Unterminated string"),
    ],
)
def test_array_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, match: str
) -> None:
    if len(content) > 900:
        monkeypatch.setattr("scpo.data.reading.lines._CHUNK_BYTES", 400)
        monkeypatch.setattr("scpo.data.reading.jsonl.MAX_LINE_BYTES", 350)
    (tmp_path / "rows.json").write_bytes(content)
    with pytest.raises(ValueError, match=match):
        list(read_json(tmp_path / "rows.json", BadRows()))
    with pytest.raises(FileNotFoundError, match="No file at"):
        list(read_json(tmp_path / "no.json", BadRows()))


def test_many_keys_with_one_twice_take_no_time(tmp_path: Path) -> None:
    keys = [f'"k{number}": 1' for number in range(60_000)]
    started = time.process_time()
    _, bad_rows = read(tmp_path, f"{{{', '.join(keys)}, {keys[-1]}}}\n".encode())
    assert "'k59999' comes twice" in bad_rows.rejected[0]["message"]
    assert time.process_time() - started < 5  # quadratic: 40 s


def test_small_files_that_unpack_to_huge_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scpo.data.reading.lines.MAX_LINE_BYTES", 1 << 21)
    monkeypatch.setattr("scpo.data.reading.lines.MAX_BLANK_LINES", 1000)
    path = tmp_path / "rows.jsonl.gz"
    for content, match in (
        (b"{}\n" + b"\0" * (1 << 23), r"rows\.jsonl\.gz:2: a line is longer than 2 MiB"),
        (b'{"a": "' + b"x" * (1 << 23), "a line is longer than 2 MiB"),
        (b"\n \r\n" * 501, "gz:1001: 1,001 of the lines up to here are blank"),
        (b"\r" * 1001, "1,001 of the lines"),
        ((b"\n" * 400 + b"{}\n") * 3, "gz:1007: 1,005 of the lines"),
    ):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(ValueError, match=match):
            list(read_jsonl(path, BadRows()))


def test_gzip_that_unpacks_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scpo.data.reading.lines._FREE_BYTES", 1000)
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": "x"}\n' * 9000))
    with pytest.raises(ValueError, match=r"gz:1: unpacks to over 100 times its size"):
        list(read_jsonl(path, BadRows()))
    path.write_bytes(gzip.compress(b'{"a": "x"}\n' * 90))  # within what is free
    assert len(list(read_jsonl(path, BadRows()))) == 90


def test_lines_over_the_borders_of_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [(1, {"a": "é"}), (3, {"b": 1}), (4, {"c": "€"})]
    for size in range(1, 12):
        monkeypatch.setattr("scpo.data.reading.lines._CHUNK_BYTES", size)
        assert read(tmp_path, '{"a": "é"}\n\n{"b": 1}\n{"c": "€"}'.encode())[0] == expected


@given(
    st.recursive(
        st.none() | st.integers(-99, 9999) | st.floats(allow_nan=False) | st.text(max_size=6),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=12,
    ).map(lambda value: value if isinstance(value, list) else [value]),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_array_in_chunks_is_what_json_reads(
    tmp_path: Path, array: list, size: int, indent: int | None
) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(array, ensure_ascii=False, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scpo.data.reading.lines._CHUNK_BYTES", size)
        rows = list(read_json(path, BadRows()))
    assert rows == [(n, row) for n, row in enumerate(array, start=1) if isinstance(row, dict)]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No file at"):
        list(read_jsonl(tmp_path / "no.jsonl", BadRows()))


def test_stop_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a"\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: One JSON object"):
        list(read_jsonl(path, BadRows("stop")))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from([b'{"a": 1}', b"{", b"\xff", b"\0", b"", b'"x"', b"\xef\xbb\xbf"])
        | st.binary(max_size=8)
    )
)
def test_every_line_is_read_refused_or_blank(tmp_path: Path, parts: list[bytes]) -> None:
    content = b"\n".join(parts)
    rows, bad_rows = read(tmp_path, content)
    num_lines = content.count(b"\n") + (not content.endswith(b"\n") and content != b"")
    assert len(rows) + len(bad_rows.rejected) + bad_rows.notes["blank_line"] == num_lines
    assert bad_rows.num_rows_read == len(rows) + len(bad_rows.rejected)
