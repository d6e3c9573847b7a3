"""Options that are paths, in every command."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from scpo.__main__ import COMMANDS, main
from scpo.commands.options import in_home

EVERY = [command for group in COMMANDS.values() for command in group]


def path_options(command: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a command that are paths here, by name."""
    found = {}
    for name, hint in get_type_hints(command, include_extras=True).items():
        if get_origin(hint) is not Annotated:
            continue
        kind, option = get_args(hint)[:2]
        is_place = option.metavar in ("DIR", "FILE") or name == "run"
        if Path in (kind, *get_args(kind)) or is_place:
            found[name] = option
    return found


@pytest.mark.parametrize("command", EVERY, ids=lambda command: command.__name__)
def test_home_is_known_in_every_path(command: Callable[..., Any], tmp_path: Path) -> None:
    kinds = {name: p.annotation for name, p in inspect.signature(command).parameters.items()}
    for name, option in path_options(command).items():
        given = "~/x" if get_args(kinds[name])[0] is str else Path("~/x")
        assert str(option.callback(given)) == str(Path("~/x").expanduser()), name


@pytest.mark.parametrize("command", EVERY, ids=lambda command: command.__name__)
def test_a_uri_is_refused_where_a_local_path_is_written(command: Callable[..., Any]) -> None:
    kinds = {name: p.annotation for name, p in inspect.signature(command).parameters.items()}
    written = {"out", "cache", "page", "to", "json_file"}
    for name, option in path_options(command).items():
        if name in written and Path in (
            get_args(kinds[name])[0],
            *get_args(get_args(kinds[name])[0]),
        ):
            for uri in ("s3://bucket/a", "gs://bucket/a", "https://bucket/a", "S3://b"):
                with pytest.raises(
                    ValueError, match=f"local folder or file, but got the URI {uri}"
                ):
                    option.callback(Path(uri))


def test_paths_in_home() -> None:
    home = str(Path.home())
    assert in_home(["~/a", "b~", "s3://bucket/~"]) == [f"{home}/a", "b~", "s3://bucket/~"]
    assert in_home(Path("~")) == Path(home)
    assert in_home("~nobody-of-this-name/x") == "~nobody-of-this-name/x"
    assert in_home(None) is None


def test_a_command_writes_into_home_and_keeps_tildes_of_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.csv").write_text("prompt,chosen,rejected,country\n~/p,~/a,~,Chile\n")
    words = ["prepare", "pairs", "--path", "~/pairs.csv", "--out", "~/out", "--user-column", "~"]
    monkeypatch.setattr(sys, "argv", ["scpo", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "must have the columns ['~']" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["scpo", *words[:-2]])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert b"~/a" in (tmp_path / "out" / "interactions.parquet").read_bytes()
    assert not (tmp_path / "~").exists()
