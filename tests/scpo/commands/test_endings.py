"""How a command ends: by an error, by a signal, by a program that stops it."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import psutil
import pytest
import typer

from scpo import __main__ as command_line
from scpo.commands import endings
from scpo.commands.endings import LastLine
from scpo.interrupts import Stopped

PROGRAM = """
import signal, subprocess, sys, time
from types import SimpleNamespace
import typer
from scpo.commands.endings import LastLine
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
how = sys.argv[1]

def sweep() -> None:
    if how == "swallowing":  # as Ray's own handlers do
        signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if how == "deaf":
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: None)
        sys.modules["ray"] = SimpleNamespace(shutdown=lambda: time.sleep(0.5))
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        print(child.pid, flush=True)
        while True:
            time.sleep(0.1)
    finally:
        print("cleaning", flush=True)
        time.sleep(0.3)
        print("clean", flush=True)

app = typer.Typer()
app.callback()(lambda: None)
app.command()(sweep)
import scpo.interrupts
scpo.interrupts.GRACE_S = 1.0
with LastLine(["sweep"]) as ending:
    ending.run(app)
"""


def start_program(how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("how", "number"),
    [
        ("plain", signal.SIGINT),
        ("plain", signal.SIGTERM),
        ("plain", signal.SIGHUP),
        ("swallowing", signal.SIGINT),
        ("deaf", signal.SIGTERM),
    ],
)
def test_a_signal_ends_a_command_and_its_children(how: str, number: signal.Signals) -> None:
    with start_program(how) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        child = psutil.Process(int(process.stdout.readline()))
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == 128 + number
    cause = "Ctrl-C" if number == signal.SIGINT else number.name
    assert said == (
        f"scpo: stopped by {cause}. Finished trials are kept: run the same command with --resume "
        "to go on.\n"
    )
    deadline = time.monotonic() + 10
    while child.is_running() and child.status() != "zombie":
        assert time.monotonic() < deadline


def test_a_deaf_command_is_ended_with_one_line_however_many_signals_came() -> None:
    with start_program("deaf") as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(3):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        said = process.communicate()[1]
    assert process.returncode == 143
    assert said.count("stopped by SIGTERM") == 1


def test_signals_that_follow_the_first_do_not_cut_short_what_cleans_up() -> None:
    with start_program("plain") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "cleaning\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        written, said = process.communicate()
    assert written == "clean\n"
    assert process.returncode == 130
    assert said.startswith("scpo: stopped by Ctrl-C. Finished trials are kept")
    assert said.count("\n") == 1


def end_with(
    error: BaseException, capsys: pytest.CaptureFixture[str], command: str = "train"
) -> tuple[int | str | None, str]:
    """Return the exit code and the line of a command that ends so."""

    def run() -> None:
        raise error

    app = typer.Typer()
    app.callback()(lambda: None)
    app.command(command)(run)
    with pytest.raises(SystemExit) as caught, LastLine([command]) as ending:
        ending.run(app)
    return caught.value.code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCPO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SCPO_TRACEBACK", raising=False)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyError("search"), "KeyError: 'search'."),
        (RuntimeError("one\n\ntwo"), "RuntimeError: one."),
        (
            RuntimeError("a\nTraceback (most recent\nOSError: cause"),
            "RuntimeError: OSError: cause.",
        ),
        (MemoryError(), "MemoryError."),
        (RecursionError("too deep"), "RecursionError: too deep."),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "UnicodeDecodeError: 'utf-8' codec"),
        (ValueError("s3://K:SECRETSECRET@b"), "ValueError: s3://***@b."),
        (AssertionError("x" * 9000), "AssertionError: " + "x" * 500 + "."),
    ],
)
def test_a_foreign_error_is_one_line_and_a_private_file(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, said = end_with(error, capsys)
    assert code == 2
    assert said.startswith(f"scpo: {line}")
    assert said.count("\n") == 1
    assert "SECRETSECRET" not in said
    [file] = (tmp_path / "home" / "logs").iterdir()
    assert f" The traceback is in {file}.\n" in said
    assert file.stat().st_mode & 0o777 == 0o600
    assert "Traceback (most recent call last)" in file.read_text()
    assert "SECRETSECRET" not in file.read_text()


def test_no_secret_of_the_environment_is_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_PASS", "correct-horse")
    _, said = end_with(LookupError("no correct-horse here"), capsys)
    assert "LookupError: no *** here." in said
    [file] = (tmp_path / "home" / "logs").iterdir()
    assert "correct-horse" not in file.read_text().replace('"no correct-horse here"', "")


def test_a_program_may_stop_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = Stopped("Stopped at 3 of 9.")
    assert end_with(stopped, capsys) == (130, "scpo: Stopped at 3 of 9.\n")


def test_exit_codes_of_commands_stay(capsys: pytest.CaptureFixture[str]) -> None:
    assert end_with(typer.Exit(1), capsys) == (1, "")
    assert end_with(KeyboardInterrupt(), capsys)[0] == 130
    code, said = end_with(OSError(28, "No space left on device", "/x"), capsys, "sweep")
    assert code == 2
    assert "No space left on device: '/x'. The disk or your quota is full." in said


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "No such command 'trian'"),
        (["rank"], "Missing argument 'run'. Try `scpo rank --help`."),
        (["rank", "x", "--nope"], "No such option: --nope"),
        (["score", "--data"], "Option '--data' requires an argument"),
        (["rank", "s3://K:SECRETSECRET@b/x"], "s3://***@b/x: an argument must carry no credent"),
        (["rank", "r\udcff"], r"'r\udcff': an argument must be UTF-8"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    words: list[str],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["scpo", *words])
    with pytest.raises(SystemExit) as caught:
        command_line.main()
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert line in said
    assert said.count("\n") == 1


def test_a_current_directory_that_was_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(sys, "argv", ["scpo", "prepare", "synthetic", "--out", "/x"])
    with pytest.raises(SystemExit) as caught:
        command_line.main()
    assert caught.value.code == 2
    said = "scpo: The current directory is not there any more. Change to another (cd) and run the "
    assert capsys.readouterr().err == f"{said}command again.\n"


def test_the_version_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scpo", "--version"])
    with pytest.raises(SystemExit) as caught:
        command_line.main()
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("scpo 0.")


def test_a_warning_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    app.command("rank")(lambda: warnings.warn("[/x] is cut.\nTwice.", stacklevel=1))
    monkeypatch.setattr(command_line, "make_app", lambda: app)
    monkeypatch.setattr(sys, "argv", ["scpo", "rank"])
    warnings.simplefilter("always")
    with pytest.raises(SystemExit):
        command_line.main()
    assert capsys.readouterr().err == "scpo: [/x] is cut. Twice.\n"


def test_an_empty_address_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", " ")
    monkeypatch.setattr(sys, "argv", ["scpo", "--help"])
    with pytest.raises(SystemExit):
        command_line.main()
    assert "RAY_ADDRESS" not in os.environ


def test_a_package_in_the_way_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "sweeps" / "__init__.py"
    other.parent.mkdir()
    other.write_text("raise ValueError('it ran')")

    def find(name: str) -> object:
        return type("Spec", (), {"origin": str(other)})()

    monkeypatch.setattr(endings.importlib.util, "find_spec", find)
    code, said = end_with(ValueError(), capsys)
    assert code == 2
    assert (
        f"The package 'sweeps' of scpo must lie in {Path(endings.scpo.__file__).parents[1]}"
        in said
    )
    assert str(other) in said
    assert "it ran" not in said
