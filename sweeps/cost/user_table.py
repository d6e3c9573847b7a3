"""The weights of users as a table for the terminal: a histogram a country, and the least."""

from collections.abc import Sequence
from itertools import groupby

from rich.table import Table

from scpo.method.user_weights import USER_WARNING
from scpo.text.terminal_table import terminal_table
from sweeps.cost.selections import histogram_bars
from sweeps.ledger.weights_file import UserWeight, count_weights

_NUM_NAMED = 3


def user_table(users: Sequence[UserWeight]) -> Table:
    """Return each country's users by weight; rows of a country stand together, the least first."""
    lines = []
    for country, rows in groupby(users, key=lambda row: row.country):
        own = list(rows)
        least = [row for row in own if row.weight < 1][:_NUM_NAMED]
        named = ", ".join(f"{row.user} {row.weight:.2f}" for row in least)
        lines.append((country, len(own), f"|{histogram_bars(count_weights(own))}|", named))
    columns = ("country", "users", "weights 0 to 1", "least weight")
    left = (columns[0], *columns[2:])
    title = "Weights of users, arm user"
    return terminal_table(title, columns, [lines], left=left, caption=USER_WARNING)
