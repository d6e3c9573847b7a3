"""Numbers as people read them: "1 user", "2 countries", "12,345" and never "1.23e+04"."""


def format_count(number: int, noun: str) -> str:
    """Return a count and its noun, e.g. "1 pair", "1,440 pairs" or "2 countries"."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def format_number(value: float, digits: int = 4) -> str:
    """Return a number to so many significant digits, but every digit before the point."""
    return f"{value:,.{digits}g}" if round(abs(value)) < 10**digits else f"{value:,.0f}"


def format_below(value: float, digits: int, *, whole: float) -> str:
    """Return a number to so many significant digits, more where it would read as a whole."""
    words = f"{whole:g}"
    while value < whole and digits < 16 and float(words) >= whole:
        words = f"{value:.{digits}g}"
        digits += 1
    return words
