"""Lines of a text file as bytes, whatever wrote it: a path comes in, numbered lines go out.

`.gz` is unpacked; UTF-16 and UTF-32 with a byte order mark become UTF-8; carriage returns that
stand for line ends become line feeds. A small file can unpack to a huge one, so the ratio, lines
and blank lines are bounded, and only one line is in memory.
"""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from scpo.data.reading.bad_rows import RowFault
from scpo.text.progress import ProgressLines

BYTE_ORDER_MARK = codecs.BOM_UTF8
MAX_LINE_BYTES = 1 << 25  # of a line, and of a CSV record: no row of texts comes near
MAX_BLANK_LINES = 1_000_000  # beside two for each line that holds something
MAX_RATIO = 100  # of unpacked to packed bytes: texts reach 5 to 20, and 1000 is the most
_FREE_BYTES = 1 << 23  # unpacked without a look at the ratio
_CHUNK_BYTES = 1 << 20
_WIDE_MARKS = {  # UTF-32's first: its little-endian mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield (line number, byte offset, bytes with line end) of a file; `.gz` is unpacked.

    Offsets are those of the text as UTF-8.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The gzip stream is damaged or ends early: rows after it would be lost; or
            unpacks to more than `MAX_RATIO` times its size; damaged UTF-16; a line is longer
            than a text file's, or nearly all are blank.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No file at {path}.")
    line, offset, blank, rest = 0, 0, 0, b""
    for chunk in _read_text(path):
        *whole, rest = (rest + chunk).split(b"\n")
        for content in whole:
            line += 1
            blank += not content.strip()
            if blank > MAX_BLANK_LINES + 2 * (line - blank):
                raise ValueError(
                    f"{path}:{line}: {blank:,} of the lines up to here are blank. A file of rows "
                    "must stand here; remove the blank lines."
                )
            yield line, offset, content + b"\n"
            offset += len(content) + 1
        if len(rest) > MAX_LINE_BYTES:
            raise ValueError(
                f"{path}:{line + 1}: a line is longer than {MAX_LINE_BYTES >> 20} MiB. A file "
                "with a row a line must stand here."
            )
    if rest:
        yield line + 1, offset, rest


def read_text(path: Path) -> Iterator[str]:
    """Yield a UTF-8, UTF-16 or UTF-32 file as text, in chunks, none empty; `.gz` is unpacked.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A damaged file, as of `read_lines`, or bytes that are not UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No file at {path}.")
    offset, rest = 0, b""
    for chunk in _read_text(path):
        content = rest + chunk
        try:
            text, length = codecs.utf_8_decode(content, "strict", False)
        except UnicodeDecodeError:
            break
        if text:
            yield text if offset else text.removeprefix("\ufeff")
        rest, offset = content[length:], offset + length
    else:
        content = rest
    try:
        decode_line(content, offset)
    except RowFault as fault:
        raise ValueError(f"{path}: {fault.message}") from fault


def decode_line(content: bytes, offset: int) -> str:
    """Return a line's text; `offset` is where the line starts in the file.

    Raises:
        RowFault: Bytes that are not UTF-8, with the offset of the first.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowFault(
            "not_utf8",
            f"UTF-8 must hold, got byte 0x{content[error.start]:02x} at byte offset "
            f"{offset + error.start} of the file ({error.reason}). If the file is Windows-1252 or "
            "Latin-1: iconv -f WINDOWS-1252 -t UTF-8 FILE.",
        ) from error


def _read_text(path: Path) -> Iterator[bytes]:
    """Yield a file's text as UTF-8 with line feeds, in chunks."""
    decoder: codecs.IncrementalDecoder | None = None
    has_returns = None
    for chunk in _read_bytes(path):
        text = chunk
        if has_returns is None:  # the first chunk
            wide = next((code for mark, code in _WIDE_MARKS.items() if chunk.startswith(mark)), "")
            decoder = codecs.getincrementaldecoder(wide)() if wide else None
            _refuse_unmarked(chunk[:64], path)
        if decoder is not None:
            text = _decode_wide(decoder, chunk, path)
        if has_returns is None:
            has_returns = b"\r" in text and b"\n" not in text
        yield text.replace(b"\r", b"\n") if has_returns else text
    if decoder is not None:
        _decode_wide(decoder, b"", path, final=True)


def _refuse_unmarked(start: bytes, path: Path) -> None:
    """Refuse UTF-16 without a byte order mark: every other byte is NUL."""
    for nul, other in ((start[::2], start[1::2]), (start[1::2], start[::2])):
        if len(nul) >= 8 and not nul.strip(b"\0") and other.isascii() and other.strip(b"\0\n"):
            raise ValueError(
                f"{path} looks like UTF-16 without a byte order mark. Store it as UTF-8."
            )


def _decode_wide(
    decoder: codecs.IncrementalDecoder, chunk: bytes, path: Path, *, final: bool = False
) -> bytes:
    try:
        return decoder.decode(chunk, final).encode("utf-8")
    except UnicodeError as error:
        raise ValueError(f"{path} begins as UTF-16 or UTF-32, but is damaged: {error}.") from error


def _read_bytes(path: Path) -> Iterator[bytes]:
    line, size, place = 1, 0, 0
    progress = ProgressLines(f"reading {path.name}", path.stat().st_size)
    with path.open("rb") as raw, gzip.open(raw) if path.suffix.lower() == ".gz" else raw as handle:
        try:
            while chunk := handle.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > _FREE_BYTES + MAX_RATIO * raw.tell():
                    raise ValueError(
                        f"{path}:{line}: unpacks to over {MAX_RATIO} times its size, as no file "
                        "of texts does. If it is sound, unpack it first (gunzip)."
                    )
                yield chunk
                line += chunk.count(b"\n")
                progress.add(raw.tell() - place)
                place = raw.tell()
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{path}:{line}: the gzip stream is damaged ({error}). Fetch the file again."
            ) from error
