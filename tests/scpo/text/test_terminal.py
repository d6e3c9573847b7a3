"""Names are text in the terminal, whatever they hold, and a closed pipe stops no work."""

import io
import os
import subprocess
import sys

import pytest
from rich.table import Table

from scpo.text.terminal import TextConsole, one_line, printable

NAMES = ("[/x]", "[bold]lr[1e-5]", "[v2]", ":smile:", "日本", "שלום\u200f", "🇯🇵", "https://a.b")


def printed(*objects: object) -> str:
    file = io.StringIO()
    TextConsole(file=file, width=60, soft_wrap=True).print(*objects)
    return file.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_as_it_is(name: str) -> None:
    table = Table(title=name, caption=name)
    table.add_column(name)
    table.add_row(name, end_section=True)
    assert printed(name) == f"{name}\n"
    assert printed(table).count(name) == 4


@pytest.mark.parametrize(
    "mark", ["\x1b[31m", "\x1b]0;title\x07", "\u202e", "\u2066", "\x9b1m", "\r"]
)
def test_what_changes_a_terminal_is_left_out(mark: str) -> None:
    table = Table()
    table.add_row(f"a{mark}b")
    for shown in (printed(table), printed(f"a{mark}b"), one_line(f"a{mark}b")):
        assert not set("\x1b\x07\u202e\u2066\x9b\r") & set(shown)
    lines = printed(table).splitlines()
    assert len({len(line) for line in lines}) == 1  # the frame is whole


def test_an_error_is_one_line_of_limited_length() -> None:
    assert one_line(" a\n\n  b\t c\u2028d\r\n") == "a b\t cd"
    assert one_line("x" * 9000) == "x" * 1500 + "..."
    assert printable("a\n\tb\x00") == "a\n\tb"


@pytest.mark.parametrize("end", ["closed", "full"])
def test_work_goes_on_when_nobody_reads(end: str) -> None:
    program = (
        "from scpo.text.terminal import console\n"
        "import sys\n"
        "for n in range(20000): console.print('line', n)\n"
        "sys.stderr.write('the work is done')\n"
    )
    out = os.open("/dev/full", os.O_WRONLY)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=out if end == "full" else subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(out)
    if process.stdout:
        process.stdout.readline()
        process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read().decode()
    process.stderr.close()
    process.wait()
    assert "the work is done" in said
    assert "Traceback" not in said
    assert ("No space left" in said) == (end == "full")


def test_a_closed_stream_is_no_fault() -> None:
    program = (
        "from scpo.text.terminal import console, warn\n"
        "console.print('line')\nwarn('line')\nraise SystemExit(7)\n"
    )
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        line = f'"$0" -c "$1" {closed}'
        ended = subprocess.run(["sh", "-c", line, sys.executable, program], capture_output=True)
        assert (ended.returncode, b"Traceback" in ended.stderr) == (7, False)
