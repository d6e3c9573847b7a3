"""The weights of a run's users as a block of the page: a histogram a country, nobody's own."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from scpo.method.user_weights import USER_WARNING
from scpo.page.sorted_tables import Table, TableCell, draw_table
from scpo.text.counts import format_count
from sweeps.ledger.weights_file import NUM_BINS, UserWeight, count_weights

USERS_LEAD = (
    "The arm user and the searched user strength trust a user less whose choices other users' "
    f"models do not predict. user_weights.csv names all, the least trusted first. {USER_WARNING}"
)
_BAR, _HEIGHT = 14, 36  # pixels of a bar of the histogram


def user_block(users: Mapping[str, Sequence[UserWeight]]) -> Markup | None:
    """Return the block of users by country, None without any."""
    if not users:
        return None
    columns = ("<country", "users", "weights, 0 to 1")
    rows = [(country, len(mine), _histogram(mine)) for country, mine in users.items()]
    return draw_table(Table("Weights of users", columns, rows))


def _histogram(users: Sequence[UserWeight]) -> TableCell:
    """Return bars of how many users have which weight; the column sorts by the mean weight."""
    counts = count_weights(users)
    bars = Markup("")
    for number, count in enumerate(counts):
        height = round(_HEIGHT * count / max(counts), 1)
        bars += Markup(
            '<rect x="{}" y="{}" width="{}" height="{}" fill="currentColor">'
            "<title>{} of weight {:.1f} to {:.1f}</title></rect>"
        ).format(
            number * _BAR,
            _HEIGHT - height,
            _BAR - 2,
            height,
            format_count(count, "user"),
            number / NUM_BINS,
            (number + 1) / NUM_BINS,
        )
    label = f"Users by weight: {', '.join(map(str, counts))}"
    template = Markup('<svg width="{}" height="{}" role="img" aria-label="{}">{}</svg>')
    mean = sum(user.weight for user in users) / len(users)
    return TableCell(template.format(NUM_BINS * _BAR, _HEIGHT, label, bars), mean)
