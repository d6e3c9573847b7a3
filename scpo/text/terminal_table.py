"""Tables for the terminal: names of columns and lines of cells come in, a rich table goes out."""

from collections.abc import Collection, Iterable, Sequence

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text


def terminal_table(
    title: str,
    columns: Sequence[str],
    sections: Iterable[Iterable[Sequence[object]]],
    *,
    left: Collection[str] = ("country", "arm"),
    caption: str = "",
) -> Table:
    """Return a table of sections of lines, a rule between two sections.

    The columns named in `left` stand left, others right. Cells are shown as they stand, without
    markup, and a word too long for its column goes on in the next line. A cell that is a `Text`
    keeps its style, and a line may lack its last cells.
    """
    table = Table(
        title=Text(title),
        title_justify="left",
        caption=Text(caption) if caption else None,
        caption_justify="left",
    )
    for name in columns:
        side: JustifyMethod = "left" if name in left else "right"
        table.add_column(Text(name), justify=side, overflow="fold")
    for lines in sections:
        for cells in lines:
            table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in cells))
        table.add_section()
    return table
