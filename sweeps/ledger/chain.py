"""The chain that ties the lines of a ledger together.

Each line ends with two fields over its body b, the JSON before them:

    sum_i   = sha256(b_i)                                        this line is whole
    chain_i = sha256(run | chain_(i-1) | b_i), chain_0 empty     so are those before it

so that a flipped bit is told from a line that is missing, doubled, moved or of another run. Lines
of earlier versions have `sum` alone or nothing; they are part of the chain, with an empty run.
"""

import hashlib
import re

_TAIL = re.compile(
    rb', "sum": "([0-9a-f]{16})", "run": "([0-9a-f]{8})", "chain": "([0-9a-f]{16})"}$'
)
_OLD_TAIL = re.compile(rb', "sum": "([0-9a-f]{16})"}$')


def refuse_flipped_end(torn: bytes, where: str) -> None:
    """Refuse a last line that lacks nothing but its newline: by a kill it would lack its end.

    `torn` is what follows the last newline of a ledger.

    Raises:
        ValueError: It is such a line.
    """
    if _TAIL.search(torn[:-1]) or _OLD_TAIL.search(torn[:-1]):
        raise ValueError(f"{where}: the line has other bytes than were written.")


def run_of_line(line: bytes) -> str | None:
    """Return the id of the run that a line names, None in lines of earlier versions."""
    found = _TAIL.search(line)
    return found.group(2).decode() if found else None


def check_line(line: bytes, where: str) -> bytes:
    """Return a line's body, which must have the bytes that were written.

    Raises:
        ValueError: It has others.
    """
    found = _TAIL.search(line) or _OLD_TAIL.search(line)
    if found is None:
        if line.endswith(b"\r"):
            raise ValueError(f"{where}: the line ends as on Windows, and was not written so.")
        return line
    body = line[: found.start()] + b"}"
    if _digest(body) != found.group(1).decode():
        raise ValueError(f"{where}: the line has other bytes than were written.")
    return body


class Chain:
    """The chain up to some line of one ledger.

    Args:
        run: Id of the ledger's run, 8 hexadecimal digits; None takes that of the first line.
    """

    def __init__(self, run: str | None = None) -> None:
        self.run = run
        self.link = ""

    def add(self, body: bytes) -> bytes:
        """Return the next line, given its body: a JSON object.

        Raises:
            ValueError: No run is known.
        """
        if self.run is None:
            raise ValueError("A run's id must be known to write a line.")
        self.link = _digest(self.run.encode(), self.link.encode(), body)
        tail = f', "sum": "{_digest(body)}", "run": "{self.run}", "chain": "{self.link}"}}'
        return body[:-1] + tail.encode()

    def follow(self, line: bytes, where: str) -> bytes:
        """Return the body of the next line.

        Raises:
            ValueError: It has other bytes than were written, is of another run, or does not
                follow the line before.
        """
        body, run = check_line(line, where), run_of_line(line)
        if run is None and self.run is not None:
            raise ValueError(f"{where}: the line has no checksum, as all lines before it have.")
        self.run = self.run or run
        if run != self.run:
            raise ValueError(f"{where}: the line is of run {run}, and the ledger of {self.run}.")
        self.link = _digest((run or "").encode(), self.link.encode(), body)
        if run is not None and not line.endswith(f'"chain": "{self.link}"}}'.encode()):
            raise ValueError(
                f"{where}: the line does not follow the one before it: lines are missing, doubled "
                "or moved."
            )
        return body


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"|".join(parts)).hexdigest()[:16]
