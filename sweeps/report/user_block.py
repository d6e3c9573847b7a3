"""The weights of a run's users as a block of the page: a histogram a country, and the least."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from scpo.method.user_weights import USER_WARNING
from scpo.text.terminal import printable
from sweeps.ledger.weights_file import NUM_BINS, UserWeight, count_weights

USERS_LEAD = (
    "The arm user and the searched user strength trust a user less whose choices other users' "
    f"models do not predict. {USER_WARNING}"
)
_NUM_NAMED = 5
_BAR, _HEIGHT = 14, 36  # pixels of a bar of the histogram


def user_block(users: Mapping[str, Sequence[UserWeight]]) -> Markup | None:
    """Return the block of users by country, None without any; ids are escaped."""
    if not users:
        return None
    rows = Markup("").join(_country_row(country, rows) for country, rows in users.items())
    return Markup(
        '<div class="scroll">\n<table>\n<thead><tr><th class="text">country</th><th>users</th>'
        '<th class="text">weights, 0 to 1</th>'
        '<th class="text">least weight (user id, pairs)</th></tr></thead>\n'
        "<tbody>\n{}</tbody>\n</table>\n</div>"
    ).format(rows)


def _country_row(country: str, users: Sequence[UserWeight]) -> Markup:
    least = sorted((user for user in users if user.weight < 1), key=lambda user: user.agreement)
    named = "; ".join(
        f"{user.user} {user.weight:.2f} ({user.pairs})" for user in least[:_NUM_NAMED]
    )
    return Markup(
        '<tr><td>{}</td><td>{}</td><td class="text">{}</td><td class="text">{}</td></tr>\n'
    ).format(printable(country), len(users), _histogram(users), printable(named))


def _histogram(users: Sequence[UserWeight]) -> Markup:
    counts = count_weights(users)
    bars = Markup("")
    for number, count in enumerate(counts):
        height = round(_HEIGHT * count / max(counts), 1)
        bars += Markup(
            '<rect x="{}" y="{}" width="{}" height="{}" fill="currentColor">'
            "<title>{} users of weight {:.1f} to {:.1f}</title></rect>"
        ).format(
            number * _BAR,
            _HEIGHT - height,
            _BAR - 2,
            height,
            count,
            number / NUM_BINS,
            (number + 1) / NUM_BINS,
        )
    label = escape(f"Users by weight: {', '.join(map(str, counts))}")
    return Markup('<svg width="{}" height="{}" role="img" aria-label="{}">{}</svg>').format(
        NUM_BINS * _BAR, _HEIGHT, label, bars
    )
