"""The word that somebody may have meant."""

import difflib
from collections.abc import Iterable

_LONGEST = 300  # characters that are compared


def nearest(word: str, words: Iterable[str], cutoff: float = 0.5) -> str | None:
    """Return the nearest of some words, None where difflib's ratio is under a cutoff for all.

    Case does not matter.
    """
    by_case = {each.casefold(): each for each in words}
    near = difflib.get_close_matches(word[:_LONGEST].casefold(), by_case, n=1, cutoff=cutoff)
    return by_case[near[0]] if near else None
