"""What can happen to a file: one function for each damage, and its kind in the table of faults.

Each is given the file, a sound one of the same kind with another content, and what draws places
and bits. It returns a word on what it did.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path, Path, random.Random], str]
_LONGEST = 64  # bytes that are inserted, lost or zeroed at once


def flip_bit(file: Path, other: Path, draw: random.Random) -> str:
    content = bytearray(file.read_bytes())
    at, bit = draw.randrange(len(content)), draw.randrange(8)
    content[at] ^= 1 << bit
    file.write_bytes(content)
    return f"byte {at} bit {bit}"


def cut_short(file: Path, other: Path, draw: random.Random) -> str:
    content = file.read_bytes()
    at = draw.randrange(1, len(content))
    file.write_bytes(content[:at])
    return f"after {at} of {len(content)} bytes"


def zero(file: Path, other: Path, draw: random.Random) -> str:
    """Fill a block with zeros, as a file system does after a crash; it held something else."""
    content = bytearray(file.read_bytes())
    before = bytes(content)
    while content == before:
        start, end = _block(len(content), draw)
        content[start:end] = bytes(end - start)
    file.write_bytes(content)
    return f"bytes {start} to {end}"


def insert(file: Path, other: Path, draw: random.Random) -> str:
    content, added = file.read_bytes(), draw.randbytes(draw.randint(1, _LONGEST))
    at = draw.randint(0, len(content))
    file.write_bytes(content[:at] + added + content[at:])
    return f"{added!r} at {at}"


def lose(file: Path, other: Path, draw: random.Random) -> str:
    content = file.read_bytes()
    start, end = _block(len(content), draw)
    file.write_bytes(content[:start] + content[end:])
    return f"bytes {start} to {end}"


def double(file: Path, other: Path, draw: random.Random) -> str:
    file.write_bytes(file.read_bytes() * 2)
    return "twice"


def empty(file: Path, other: Path, draw: random.Random) -> str:
    file.write_bytes(b"")
    return "emptied"


def remove(file: Path, other: Path, draw: random.Random) -> str:
    file.unlink()
    return "removed"


def take_other(file: Path, other: Path, draw: random.Random) -> str:
    shutil.copyfile(other, file)
    return "another's"


def put_folder(file: Path, other: Path, draw: random.Random) -> str:
    file.unlink()
    file.mkdir()
    return "a folder"


def put_broken_link(file: Path, other: Path, draw: random.Random) -> str:
    file.unlink()
    file.symlink_to("nowhere")
    return "a link to nowhere"


DRAWN: dict[str, Damage] = {
    "a flipped bit of {}": flip_bit,
    "{} cut short": cut_short,
    "zeros in {}": zero,
    "bytes inserted into {}": insert,
    "bytes lost from {}": lose,
}
FIXED: dict[str, Damage] = {  # the same every time
    "{} doubled": double,
    "{} emptied": empty,
    "{} missing": remove,
    "{} of another": take_other,
    "a folder in place of {}": put_folder,
    "a broken link in place of {}": put_broken_link,
}
DAMAGES = DRAWN | FIXED


def _block(length: int, draw: random.Random) -> tuple[int, int]:
    """Return the ends of a block of a content, which it leaves more than."""
    start = draw.randrange(length)
    return start, min(length, start + draw.randint(1, min(_LONGEST, length)))
