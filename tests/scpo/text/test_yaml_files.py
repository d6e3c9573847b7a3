"""YAML as people write it: what it means, where it stands, and what is refused by line."""

from itertools import pairwise
from pathlib import Path

import pytest

from scpo.text.yaml_files import parse_yaml, read_yaml


def one(text: str | bytes) -> object:
    [document] = parse_yaml(text, "here")
    return document.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[NO, no, on, off, y, Yes]", ["NO", "no", "on", "off", "y", "Yes"]),
        ("[true, False, TRUE]", [True, False, True]),
        ("[~, null, '~', ]", [None, None, "~"]),
        ("[1, -2, +3, 0, 1_000, 0x1f]", [1, -2, 3, 0, 1000, 31]),
        ("[010, 1:30, 08, 1:30:00, 2001-01-01]", ["010", "1:30", "08", "1:30:00", "2001-01-01"]),
        ("[1.5, .5, 1.e+3, -1.5e-3]", [1.5, 0.5, 1000.0, -0.0015]),
        ("[1e5, 1.2.3, '1']", ["1e5", "1.2.3", "1"]),
        ("a: &b {x: 1, y: 2}\nc: {<<: *b, y: 3}", {"a": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}}),
        ("a: &b [1]\nc: *b", {"a": [1], "c": [1]}),
        ("a: [b\\c]", {"a": ["b\\c"]}),
        ("\ufeffa: 1", {"a": 1}),
    ],
)
def test_values(text: str, value: object) -> None:
    assert one(text) == value


def test_places_are_lines() -> None:
    [read] = parse_yaml("a: 1\nb:\n  c: [x,\n    y]\n", "here")
    assert read.places == {
        (): "line 1", ("a",): "line 1", ("b",): "line 3", ("b", "c"): "line 3",
        ("b", "c", 0): "line 3", ("b", "c", 1): "line 4",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: 1\nb: 2\na: 3",
            "line 3: the key 'a' is given twice, first in line 1. Keep one",
        ),
        ("x:\n  a: 1\n  'a': 2", "line 3: the key 'a' is given twice, first in line 2"),
        ("a: &b {x: 1}\nc: {<<: *b, x: 1, x: 2}", "line 2: the key 'x' is given twice"),
        ("a: 1\n1: 2", "line 2: a key must be text; put it in quotes"),
        ("true: 2", "line 1: a key must be text"),
        ("? [a]\n: 2", "line 1: a key must be text"),
        ("a: &b [*b]", "line 1: an anchor must not stand within itself"),
        ("a: &b {c: {d: *b}}", "an anchor must not stand within itself"),
        ("a:\n\tb: 1", "line 2 is not readable YAML: .*Indent with spaces, not with tabs"),
        ("a: [1\nb: 2", "line 2 is not readable YAML"),
        ("a: 'b", "line 1 is not readable YAML"),
        ("a: *b", "line 1 is not readable YAML: found undefined alias"),
        ("a: !!python/name:os.system x", "line 1 is not readable YAML"),
        ("a: !!set {b, c}", "line 1 is not readable YAML: the tag"),
        ("a: !own b", "line 1 is not readable YAML"),
        ("a: " + "9" * 6000, "line 1: Exceeds the limit"),
        (
            "a:\n- 9223372036854775808",
            "line 2: a number must be smaller than 2",
        ),
        ("[" * 3000, "is nested too deep"),
        (b"a: \xff", "not readable YAML: invalid start byte at position 3. Write it as UTF-8"),
        (b"a: \x00", "not readable YAML: special characters"),
        ('a:\n  b: "x\\0y"', "line 2: a text must hold no NUL"),
        ('a:\n  b: "\\ud800"', "line 2: 'utf-8' codec can't encode"),
    ],
)
def test_what_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_yaml(text, "here")


def test_aliases_that_grow_are_refused() -> None:
    levels = (f"{new}: &{new} [{','.join(['*' + old] * 9)}]" for old, new in pairwise("abcdefgh"))
    bomb = "\n".join(["a: &a [x,x,x,x,x,x,x,x,x]", *levels])
    with pytest.raises(ValueError, match="line 5: more than 20,000 values, aliases written out"):
        parse_yaml(bomb, "here")


def test_a_file_holds_one_document_of_its_size(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\n---\nb: 2\n")
    with pytest.raises(ValueError, match=r"a\.yaml must hold one YAML document, but holds 2"):
        read_yaml(file)
    file.write_text("")
    assert read_yaml(file).value is None
    file.write_text("#" * (2**20 + 1))
    with pytest.raises(ValueError, match="larger than 256 KiB"):
        read_yaml(file)
