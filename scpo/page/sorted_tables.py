"""Tables that sort by a click on a column's heading, and scroll sideways on narrow screens."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from scpo.page.page import page_templates
from scpo.statistics.bootstrap import Interval
from scpo.statistics.wording import format_accuracy, format_difference
from scpo.text.counts import format_number


@dataclass(frozen=True)
class TableCell:
    """A cell: what is shown, and the number that it sorts by, if it is one.

    Attributes:
        text: Shown; HTML where it is Markup.
        key: Sorts the rows; None sorts by the text.
        note: In smaller letters behind the text.
    """

    text: Markup | str
    key: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table; a row is marked where `marked` says so.

    Attributes:
        caption: What it shows, for those who hear the page.
        columns: Headings; one that begins with "<" is of texts, aligned left.
        rows: Cells, or plain texts and numbers.
        marked: Numbers of rows that stand out.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[TableCell | str | float | int | None]]
    marked: Sequence[int] = ()


def draw_table(table: Table) -> Markup:
    """Return a table as HTML.

    Raises:
        ValueError: A row has more or fewer cells than there are columns.
    """
    for row in table.rows:
        if len(row) != len(table.columns):
            raise ValueError(
                f"{table.caption}: {len(table.columns)} cells a row must hold, but got {len(row)}."
            )
    template = page_templates().get_template("table.html.j2")
    rows = [[_cell(value) for value in row] for row in table.rows]
    return Markup(  # nosec B704  # of a template that escapes
        template.render(
            caption=table.caption,
            columns=[(name.removeprefix("<"), name.startswith("<")) for name in table.columns],
            rows=list(enumerate(rows)),
            marked=table.marked,
        )
    )


def accuracy_cell(figure: Interval | float | None, note: str = "") -> TableCell:
    """Return an accuracy, perhaps with its interval, in percent."""
    return TableCell(format_accuracy(figure, unit=""), _value(figure), note)


def difference_cell(figure: Interval | float | None) -> TableCell:
    """Return a difference in points, perhaps with its interval."""
    return TableCell(format_difference(figure), _value(figure))


def _cell(value: TableCell | str | float | int | None) -> TableCell:
    if isinstance(value, TableCell):
        return value
    if value is None:
        return TableCell("")
    if isinstance(value, str):
        return TableCell(value)
    words = f"{value:,}" if isinstance(value, int) else format_number(value)
    return TableCell(words, float(value))


def _value(figure: Interval | float | None) -> float | None:
    return figure.value if isinstance(figure, Interval) else figure
