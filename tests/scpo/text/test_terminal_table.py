import io

from rich.console import Console

from scpo.text.terminal_table import terminal_table


def test_a_name_too_long_for_its_column_is_folded_and_never_cut():
    table = terminal_table("Arms", ("arm", "pairs"), [[("scpo_tuned", 1), ("scpo_tuned+user", 2)]])
    console = Console(file=io.StringIO(), width=22)
    console.print(table)
    text = console.file.getvalue()
    assert "…" not in text
    assert "".join(line.split("│")[1].strip() for line in text.splitlines() if "│" in line) == (
        "scpo_tunedscpo_tuned+user"
    )
