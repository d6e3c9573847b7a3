"""How many of something there are, in words: "1 user", "2 countries"."""


def format_count(number: int, noun: str) -> str:
    """Return a count and its noun, e.g. "1 pair", "1,440 pairs" or "2 countries"."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
