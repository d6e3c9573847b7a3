"""Readers of preference data, and valid rows of every layout to begin with."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from scpo.config import DataConfig
from scpo.data.interactions import read_interactions
from scpo.data.pairs import build_pairs
from scpo.data.reading.bad_rows import BadRows
from scpo.data.reading.countries import canonical_country, parse_countries, tell_near_names
from scpo.data.reading.jsonl import read_jsonl
from scpo.data.reading.printed_literals import parse_printed
from scpo.data.sources.prepare import prepare_source
from tests.faults.hostile.refusals import Reader
from tests.faults.hostile.strange_inputs import TEXTS, as_json, changed_bytes, changed_value

_TURNS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
_OTHER = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "No."}]
_PLAIN = {
    "prompt": "a",
    "chosen": "b",
    "rejected": "c",
    "country": "Chile",
    "user": "u",
    "margin": 1,
}
_RATED = [{"response": "a", "overall_score": 2.0}, {"response": "b", "overall_score": 1.0}]
LAYOUTS: list[list[dict[str, Any]]] = [
    [_PLAIN, {**_PLAIN, "user": "v", "margin": None}],
    [{"chosen": _TURNS, "rejected": _OTHER, "user": 1}],
    [{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}],
    [{"prompt": _TURNS[:1], "chosen": _TURNS[1:], "rejected": _OTHER[1:], "country": "PE"}],
    [{"question": "a", "system": "s", "chosen": "b", "rejected": "c", "score_chosen": 2}],
    [{"prompt": "a", "answers": [{"answer": "b", "rank": 1}, {"answer": "c", "rank": 2}]}],
    [{"instruction": "a", "completions": _RATED}],
    [{"prompt": "a", "response": text, "helpfulness": n} for n, text in enumerate("bc")],
    [{"prompt": "a", "completion": text, "label": text == "b"} for text in "bc"],
    [{"conversation_a": _TURNS, "conversation_b": _OTHER, "winner": "model_a", "judge": "j"}],
    [
        {"prompt": '["a"]', "response_a": '["b"]', "response_b": '["c"]', "winner_model_a": 1}
        | {"winner_model_b": 0, "winner_tie": 0}
    ],
    [
        {"history": "a", "human_ref_A": "b", "human_ref_B": "c", "labels": 1, "score_A": 2}
        | {"score_B": 1}
    ],
    [{"prompt": "a", "response_0": "b", "response_1": "c", "better_response_id": 1}],
    [{"prompt": "a", "response_1": "b", "response_2": "c", "preference_strength": -2}],
    [{"context": _TURNS[:1], "response1": "b", "response2": "c", "overall_preference": 2}],
    [
        {"annotator_id": 1, "annotator_country": "india", "first_turn_prompt": "a"}
        | {"first_turn_preferred_response": "response_a", "first_turn_response_a": "b"}
        | {"first_turn_response_b": "c"}
    ],
]
_SURVEY = [{"user_id": f"u{n}", "location": {"reside_country": "Chile"}} for n in range(2)]
_UTTERANCES = [
    {"utterance_id": f"t{n}", "interaction_id": "i", "user_id": "u0", "turn": 0}
    | {"user_prompt": "a", "model_response": text, "score": 10 * n + 5}
    for n, text in enumerate("bcd")
]
_OPINIONS = (
    b"question,selections,options\n"
    b"\"Why?\",\"defaultdict(<class 'list'>, {'Chile': [0.5, 0.5], 'Peru': [1, 0]})\","
    b"\"['a', 'b']\"\n"
    b'"How?","{\'Chile\': [0.2, 0.8]}","[1, 2.5]"\n'
)
_LITERALS = (
    *(b"['a', 'b']", b"{'Chile': [0.5, nan]}", b"defaultdict(<class 'list'>, {'a': [1e5, -inf]})"),
    *(b"('a', 0x1f, 1_000, None, True, b'x', 1j)", b"{'a': {'b': [[], (), set()]}}"),
)
_NAMES = tuple(
    name.encode()
    for name in (
        *("Chile", "Korea, Rep.", "côte d'Ivoire", "日本", "India (Current national sample)"),
        *("U.S.A.", "NO", "[NO]", "unknown / other", "#REF!", "004", "Gambia, The, Peru"),
    )
)


def _json_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _csv_of(delimiter: str) -> tuple[bytes, ...]:
    head, *rows = (",".join(_PLAIN), 'a,"b, ""c""\nd",e,Chile,u,1', "a,b,c,PE,v,")
    return tuple(
        end.join([head, *rows, ""]).replace(",", delimiter).encode(code)
        for end in ("\n", "\r\n", "\r")
        for code in ("utf-8", "utf-8-sig", "utf-16")
    )


def _parquet_of(rows: Any) -> bytes:
    """Return rows as Parquet, as far as Arrow can hold them; else those that are valid."""
    sink = io.BytesIO()
    try:
        pq.write_table(pa.Table.from_pylist(rows), sink)
    except (pa.ArrowException, TypeError, ValueError, LookupError, OverflowError, AttributeError):
        return json.dumps(rows, default=repr).encode()
    return sink.getvalue()


def _parquet_columns() -> tuple[bytes, ...]:
    """Return files whose columns are of every type that Arrow writes, the texts too."""
    texts = pa.array(["a", "b"])
    kinds: list[pa.Array] = [
        pa.array([b"\xff", b"a"]),
        pa.array([1, 2], pa.timestamp("ns", "Europe/Oslo")),
        pa.array([2**45, 1], pa.timestamp("s")),
        pa.array([2**31 - 1, 1], pa.date32()),
        pa.array([1, 2], pa.decimal128(38, 2)),
        pa.array([1, 2], pa.duration("us")),
        pa.array([1, 2], pa.time64("ns")),
        pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
        pa.array([{"role": "user"}, None]),
        texts.dictionary_encode(),
        texts.cast(pa.large_string()),
        pa.array([None, None]),
        pa.array([float("nan"), 1.0], pa.float16()),
    ]
    files = []
    for kind in kinds:
        for name in ("chosen", "country", "margin", "user"):
            table = pa.table(
                {"prompt": texts, "chosen": texts, "rejected": ["c", "d"], name: kind}
            )
            sink = io.BytesIO()
            pq.write_table(table, sink)
            files.append(sink.getvalue())
    return tuple(files)


def _prepare(source: str, file: str, **values: Any) -> Callable[[Path], None]:
    """Return what prepares a source and reads everything that it wrote back."""

    def read(folder: Path) -> None:
        out = folder / "out"
        config = DataConfig(source=source, path=str(folder / file), **values)
        summary = prepare_source(config, out)
        listed = sum(1 for _ in read_jsonl(out / "quarantine.jsonl", BadRows("stop")))
        assert listed == sum(summary.rejected.values())
        build_pairs(read_interactions(out))

    return read


def _pairs(ending: str, inputs: st.SearchStrategy[bytes]) -> Reader:
    read = _prepare("pairs", f"rows.{ending}", default_country="Chile")
    return Reader(f"pairs, .{ending}", f"rows.{ending}", inputs, read)


def _rows() -> st.SearchStrategy[Any]:
    return changed_value(LAYOUTS)


def _either(lines: list[list[dict[str, Any]]]) -> st.SearchStrategy[bytes]:
    seeds = [_json_lines(rows) for rows in lines]
    return as_json(changed_value(lines), lines=True) | changed_bytes(seeds)


def _read_names(folder: Path) -> None:
    label = (folder / "name").read_bytes().decode("utf-8", "surrogateescape")
    tell_near_names([name for name in map(canonical_country, parse_countries(label)) if name])


def data_readers() -> list[Reader]:
    """Return the readers of data."""
    jsonl = _either(LAYOUTS)
    arrays = [json.dumps(rows, indent=1).encode() for rows in LAYOUTS]
    packed = [gzip.compress(_json_lines(rows)) for rows in LAYOUTS]
    tables = [_parquet_of(rows) for rows in LAYOUTS[:6]]
    literals = st.sampled_from(TEXTS).map(lambda text: repr([text]).encode())
    return [
        _pairs("jsonl", jsonl),
        _pairs("json", as_json(_rows(), lines=False) | changed_bytes(arrays)),
        _pairs("csv", changed_bytes(_csv_of(",") + _csv_of(";"))),
        _pairs("tsv", changed_bytes(_csv_of("\t"))),
        _pairs("jsonl.gz", jsonl.map(gzip.compress) | changed_bytes(packed)),
        _pairs(
            "parquet",
            _rows().map(_parquet_of) | changed_bytes(tables) | st.sampled_from(_parquet_columns()),
        ),
        Reader(
            "PRISM, survey",
            "prism/survey.jsonl",
            _either([_SURVEY]),
            lambda folder: _read_prism(folder, "utterances.jsonl", _UTTERANCES),
            named="prism",
        ),
        Reader(
            "PRISM, utterances",
            "prism/utterances.jsonl",
            _either([_UTTERANCES]),
            lambda folder: _read_prism(folder, "survey.jsonl", _SURVEY),
            named="prism",
        ),
        Reader(
            "GlobalOpinionQA",
            "opinions.csv",
            changed_bytes([_OPINIONS]),
            _prepare("opinions", "opinions.csv"),
        ),
        Reader(
            "printed literals",
            "literal",
            changed_bytes(_LITERALS) | literals,
            lambda folder: repr(
                parse_printed((folder / "literal").read_text("utf-8", "replace"), "options")
            ),
            named="",
        ),
        Reader("country names", "name", changed_bytes(_NAMES), _read_names, named=""),
    ]


def _read_prism(folder: Path, other: str, rows: list[dict[str, Any]]) -> None:
    (folder / "prism" / other).write_bytes(_json_lines(rows))
    _prepare("prism", "prism")(folder)
