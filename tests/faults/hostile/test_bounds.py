"""Small or endless inputs that ask for too much: each is read or refused within 10 s and 256 MiB.

Seconds are those of the processor, since machines are shared; one that waits ends after 30 s.

`make faults` makes each whole, in a process of its own, whose memory is measured over its imports
and the size of the input. By default small forms are read in this process.
"""

import gzip
import io
import json
import os
import re
import resource
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scpo.config import DataConfig, load_config
from scpo.data.sources.prepare import prepare_source
from scpo.text.terminal import one_line
from scpo.tokens import chat_template
from scpo.tokens.chat_template import TemplateFailure, render_conversations
from sweeps.config import SweepConfig
from tests.faults.hostile.refusals import KIB, MOST_BYTES, MOST_S
from tests.faults.table import shorten
from tests.forked import Forked

_PAIR = {"prompt": "a", "chosen": "b", "rejected": "c", "country": "Chile"}
_ROW = json.dumps(_PAIR).encode() + b"\n"
_HEAD = b"prompt,chosen,rejected,country\n"
Make = Callable[[Path, bool], None]  # writes the input; whole, or its small form


def _many(name: str, unit: bytes, small: int, whole: int, before: bytes = b"") -> Make:
    return lambda file, is_whole: _write(
        file.with_name(name), before + unit * (whole if is_whole else small)
    )


def _write(file: Path, content: bytes) -> None:
    is_packed = file.suffix == ".gz"
    file.write_bytes(gzip.compress(content, 9) if is_packed else content)


def _make_keys(file: Path, is_whole: bool) -> None:
    keys = [f'"k{number}": 1' for number in range(60_000 if is_whole else 6_000)]
    _write(file.with_name("rows.jsonl"), f"{{{', '.join([*keys, keys[-1]])}}}\n".encode())


def _make_responses(file: Path, is_whole: bool) -> None:
    num = 100_000 if is_whole else 10_000
    answers = [{"answer": f"a{number}", "rank": number} for number in range(num)]
    row = {"prompt": "a", "answers": answers, "country": "Chile"}
    _write(
        file.with_name("rows.jsonl"), _ROW.replace(b"chosen", b"other") + json.dumps(row).encode()
    )


def _make_texts(text: str) -> Make:
    def make(file: Path, is_whole: bool) -> None:
        said = text * (1_000_000 if is_whole else 100_000) + "x"
        rows = [{**_PAIR, field: said} for field in ("prompt", "chosen", "rejected", "country")]
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        _write(file.with_name("rows.jsonl"), _ROW + content)

    return make


def _make_countries(file: Path, is_whole: bool) -> None:
    rows = range(50_000 if is_whole else 1_000)
    lines = (json.dumps({**_PAIR, "country": f"Qx{row}zq"}) + "\n" for row in rows)
    _write(file.with_name("rows.jsonl"), "".join(lines).encode())


def _make_columns(file: Path, is_whole: bool) -> None:
    more = b"".join(b",c%d" % number for number in range(100_000 if is_whole else 10_000))
    empty = b"," * more.count(b",")
    _write(file.with_name("rows.csv"), _HEAD.rstrip() + more + b"\na,b,c,Chile" + empty + b"\n")


def _make_parquet_bomb(file: Path, is_whole: bool) -> None:
    text = "x" * (1 << (22 if is_whole else 20))
    names = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), [text])
    table = pa.table({"prompt": ["a"] * 4000, "chosen": names, "rejected": ["c"] * 4000})
    pq.write_table(table, file.with_name("rows.parquet"))


def _make_parquet_counts(file: Path, is_whole: bool) -> None:
    """Declare 2^62 rows and bytes where there are few: the numbers are varints of the footer."""
    sink = io.BytesIO()
    pq.write_table(pa.table({name: [text] for name, text in _PAIR.items()}), sink)
    content = sink.getvalue()
    at = content.rindex(b"\x16\x02")  # num_rows of the file: 1, as a zigzag varint
    huge = b"\x16" + b"\xfe" * 8 + b"\x7f"
    footer = int.from_bytes(content[-8:-4], "little") + len(huge) - 2
    changed = content[:at] + huge + content[at + 2 : -8]
    file.with_name("rows.parquet").write_bytes(changed + footer.to_bytes(4, "little") + b"PAR1")


def _make_config(text: str) -> Make:
    return lambda file, is_whole: _write(file.with_name("a.yaml"), text.encode())


def _make_bomb(file: Path, is_whole: bool) -> None:
    levels = "abcdefghijk" if is_whole else "abcdef"
    lines = (f"{n}: &{n} [{','.join(['*' + o] * 9)}]" for o, n in pairwise(levels))
    _write(file.with_name("a.yaml"), "\n".join(["a: &a [x,x,x,x,x,x,x,x]", *lines]).encode())


def _make_link(file: Path, is_whole: bool) -> None:
    file.with_name("a.yaml").symlink_to("/dev/zero")


def _make_pipe(file: Path, is_whole: bool) -> None:
    os.mkfifo(file.with_name("a.yaml"))


def _make_name(name: str) -> Make:
    return lambda file, is_whole: _write(file.with_name("name"), name.encode())


_DATA: dict[str, Make] = {
    "JSON nested deep": _many("rows.jsonl", b"[", 10**5, 10**7, _ROW + b'{"a": '),
    "60,000 keys, one of them twice": _make_keys,
    "gzip that unpacks to 1 GiB": _many("rows.jsonl.gz", b"\0", 1 << 25, 1 << 30),
    "a line of 1 GiB, 32 MiB is the most": _many(
        "rows.jsonl", b"x", (1 << 25) + 99, 1 << 30, b'{"a": "'
    ),
    "64 MiB of line breaks": _many("rows.jsonl", b"\n", 1_100_000, 1 << 26),
    "30 MB of {} lines": _many("rows.jsonl", b"{}\n", 10**5, 10**7),
    "100,000 responses in a row": _make_responses,
    "texts of a million spaces": _make_texts(" "),
    "texts of a million line breaks": _make_texts("\n\n"),
    "50,000 names of countries": _make_countries,
    "a quote over 100,000 rows": _many("rows.csv", b"a,b,c,Chile\n", 10**4, 10**5, _HEAD + b'a,"'),
    "100,000 columns": _make_columns,
    "Parquet that unpacks to 16 GiB": _make_parquet_bomb,
    "Parquet that declares 2^62 rows": _make_parquet_counts,
    "a number of 6,000 digits": _many("rows.jsonl", b'{"margin": ' + b"9" * 6000 + b"}\n", 9, 999),
    "no end: /dev/zero as data": _make_name("/dev/zero"),
    "a name of 300 bytes": _make_name("x" * 300 + ".jsonl"),
    "a name of control characters": _make_name("a\nb\x1b[31m\u202e.jsonl"),
}
_CONFIGS: dict[str, Make] = {
    "YAML aliases that grow to 10^9 values": _make_bomb,
    "YAML nested deep": _make_config("[" * 10**4),
    "YAML with a number of 6,000 digits": _make_config("name: " + "9" * 6000),
    "YAML of 256 KiB in one value": _make_config("name: " + "a." * 130_000),
    "YAML of 50,000 buckets": _make_config("name: " + "s3://" * 50_000),
    "no end: /dev/zero as configuration": _make_link,
    "no end: a pipe as configuration": _make_pipe,
}
_TEMPLATES = {
    "a template that loops": "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}"
    "{% endfor %}{% endfor %}",
    "a template that makes a long text": "{{ 'x' * 999999999 }}",
    "a template of large powers": "{{ 9 ** 9 ** 9 }}",
    "a template that recurs": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
}


def _read_data(folder: Path) -> None:
    name = folder / "name"
    given = name.read_text() if name.is_file() else str(next(folder.glob("rows.*")))
    config = DataConfig(source="pairs", path=given, default_country="Chile")
    summary = prepare_source(config, folder / "out")
    raise ValueError(f"{given} is read; refused {sum(summary.rejected.values()):,} rows.")


def _read_config(folder: Path) -> None:
    load_config(SweepConfig, folder / "a.yaml")


def _render(template: str, folder: Path) -> None:
    chat_template._stop()  # one of the parent
    render_conversations(template, {}, [[{"role": "user", "content": "a"}]])


def _measure(read: Callable[..., None], arguments: tuple[Any, ...], answer: Path) -> None:
    """Write how a reader ended, its seconds, and how far its memory rose."""
    before, started = _peak(), _cpu_s()
    try:
        read(*arguments)
        said = "read"
    except (ValueError, OSError, RuntimeError, TemplateFailure) as error:
        said = one_line(str(error))
    except BaseException as error:
        said = f"Traceback {error!r}"
    answer.write_text(json.dumps([said, _cpu_s() - started, _peak() - before]))


def _cpu_s() -> float:
    own, children = os.times(), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.user + own.system + children.ru_utime + children.ru_stime


def _peak() -> int:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) * KIB


def _run(is_whole: bool, read: Callable[..., None], *arguments: Any) -> tuple[str, float, int]:
    """Return how a reader ended: the whole input in another process, a small one in this one."""
    answer = arguments[-1].with_suffix(".answer")
    if not is_whole:
        _measure(read, arguments, answer)
        return tuple(json.loads(answer.read_text()))
    try:
        Forked(_measure, read, arguments, answer).wait(3 * MOST_S)
    except TimeoutError:
        return "Traceback: no answer", 3.0 * MOST_S, 0
    said, took_s, rise = json.loads(answer.read_text())
    return said, took_s, rise


whole = pytest.mark.parametrize(
    "is_whole", [False, pytest.param(True, marks=pytest.mark.faults)], ids=["small", "whole"]
)


def _without_folders(said: str) -> str:
    return re.sub(r"/\S*/in/", "", said)


def check(
    kind: str, found: tuple[str, float, int], size: int, named: str, tell: Callable[..., None]
) -> None:
    said, took_s, rise = found
    bad = [f"{took_s:.1f} s: {said}"] if took_s > MOST_S else []
    bad += [f"{rise >> 20} MiB: {said}"] if rise > MOST_BYTES + size else []
    bad += [said] if "Traceback" in said or named not in said else []
    tell(f"bounds: {kind}", 1, bad, noticed_s=took_s, says=shorten(_without_folders(said)))


@whole
@pytest.mark.parametrize("kind", [*_DATA, *_CONFIGS])
def test_an_input_that_asks_for_too_much(
    kind: str, is_whole: bool, tmp_path: Path, tell: Callable[..., None]
) -> None:
    make, read = (_DATA[kind], _read_data) if kind in _DATA else (_CONFIGS[kind], _read_config)
    folder = tmp_path / "in"
    folder.mkdir()
    make(folder / "input", is_whole)
    [file] = folder.iterdir()
    size = file.stat().st_size if file.is_file() else 0
    name = file.read_bytes() if file.name == "name" else b""
    named = "" if name else file.name
    check(kind, _run(is_whole, read, folder), size, named, tell)


@whole
@pytest.mark.parametrize("kind", _TEMPLATES)
def test_a_template_that_asks_for_too_much(
    kind: str,
    is_whole: bool,
    tmp_path: Path,
    tell: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat_template, "RENDER_S", 8.0 if is_whole else 0.5)
    found = _run(is_whole, _render, _TEMPLATES[kind], tmp_path / "in")
    check(kind, found, chat_template.LIMIT_BYTES - MOST_BYTES, "", tell)
