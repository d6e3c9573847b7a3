"""How much of a model's accuracy is a preference for long responses.

`length_deciles` shows accuracy from pairs whose chosen response is much shorter to those where it
is much longer: a model that only likes length climbs from 0 to 1. `length_share` splits a gain
over the global model. With w the shares of pairs whose chosen response is longer (+), shorter (-)
or as long (0), and g the gain in accuracy on each,

    gain         = w+ g+ + w- g- + w0 g0
    length part  = (w+ - w-) (g+ - g-) / 2
    rest         = gain - length part = (w+ + w-) (g+ + g-) / 2 + w0 g0

The rest is the gain that would be left if the longer response were chosen as often as the shorter
one. The length part is 0 where length tells nothing about the choice, or where the gain is the
same on both sides; it is all of the gain where g+ = -g-. The share is length part / gain.

Legend: P pairs. Lengths are in characters.
"""

import numpy as np
from numpy.typing import ArrayLike

from scpo.arrays import FloatArray, Row
from scpo.statistics.binned import binned_intervals, same_rank_bins
from scpo.statistics.bootstrap import divide_draws, drawn_interval, resample_sums, sum_by_user

NUM_DECILES = 10


def length_deciles(margin: ArrayLike, length_difference: ArrayLike, user: ArrayLike) -> list[Row]:
    """Return accuracy by decile of the difference of lengths, as rows of a table.

    Equal differences share a decile. m = r(y+) - r(y-), the length of y+ minus that of y- and the
    user of each pair are of shape (P,), P >= 1.

    Returns:
        By column: `decile`, 1 (chosen much shorter) to 10 (chosen much longer); `shortest` and
        `longest`, the ends of the difference in characters; `accuracy`, 0..1, a tie being wrong,
        with its interval's `low` and `high`; `pairs` and `users`.

    Raises:
        ValueError: Shapes differ, or there is no pair.
    """
    right, length = _checked(margin, length_difference, user)
    return [
        {
            "decile": number + 1,
            "shortest": float(length[inside].min()),
            "longest": float(length[inside].max()),
            **figure.columns("accuracy"),
            "pairs": int(inside.sum()),
            "users": figure.users,
        }
        for number, inside, figure in binned_intervals(
            right, same_rank_bins(length, NUM_DECILES), user
        )
    ]


def length_share(
    margin: ArrayLike, baseline: ArrayLike, length_difference: ArrayLike, user: ArrayLike
) -> Row:
    """Return how much of a model's gain over a baseline length explains, as a row of a table.

    Both margins, the length of y+ minus that of y- and the user of each pair are of shape (P,),
    P >= 1.

    Returns:
        By column: `gain`, accuracy minus the baseline's, in -1..1; `length_part` of it and `rest`,
        each with its interval (`length_low`, ..., `rest_high`); `share`, length part / gain, None
        where the gain is not positive, and below 0 or above 1 where the two parts differ in
        sign; `pairs` and `users`.

    Raises:
        ValueError: Shapes differ, or there is no pair.
    """
    right, length = _checked(margin, length_difference, user)
    also, _ = _checked(baseline, length_difference, user)
    sides = np.stack([length > 0, length < 0]).astype(np.float64)
    gains = right - also
    sums = sum_by_user([*sides, *(sides * gains), gains, np.ones(len(gains))], user)
    num_users = sums.shape[1]
    gain, part = (float(values[0]) for values in _split_gain(sums.sum(axis=1)[None, :]))
    drawn = resample_sums(sums)
    drawn_gain, drawn_part = _split_gain(drawn)
    length_part = drawn_interval(part, drawn_part, num_users)
    rest = drawn_interval(gain - part, drawn_gain - drawn_part, num_users)
    return {
        "gain": gain,
        **length_part.columns("length_part", "length_"),
        **rest.columns("rest", "rest_"),
        "share": part / gain if gain > 0 else None,
        "pairs": len(gains),
        "users": num_users,
    }


def _split_gain(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (gain, length part) of rows of sums: pairs on both sides, gains there, gain, pairs.

    A side without pairs has no gain of its own, so nothing is put down to length: part 0.
    """
    longer, shorter, gain_longer, gain_shorter, gain, pairs = sums.T
    lean = divide_draws(gain_longer, longer) - divide_draws(gain_shorter, shorter)
    part = (longer - shorter) / pairs * lean / 2
    return gain / pairs, np.where(np.isnan(part), 0.0, part) + 0.0  # which turns -0.0 into 0


def _checked(
    margin: ArrayLike, length_difference: ArrayLike, user: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return 1 where a pair is ordered right, and the lengths, both of one shape."""
    margins = np.asarray(margin, dtype=np.float64)
    lengths = np.asarray(length_difference, dtype=np.float64)
    if not margins.shape == lengths.shape == np.shape(user) or margins.size == 0:
        raise ValueError(
            "margin, length_difference and user must have one shape and hold a pair, but got "
            f"{margins.shape}, {lengths.shape} and {np.shape(user)}."
        )
    return (margins > 0).astype(np.float64), lengths
