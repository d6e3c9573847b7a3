"""Tokens on disk: texts are tokenised once and memory-mapped by every model with that encoder.

A store is a folder of Arrow IPC files, one row a text; the name of a file is a hash of the
tokenizer, the settings and all texts, so nothing in it can be out of date. A file carries a
checksum of its columns: a damaged one is moved aside and made again. The arrays are read-only
views of the file, so processes on one machine share their memory.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from scpo.choices import Overlong
from scpo.files.atomic import atomic_path
from scpo.tokens.encoding import TokenizedTexts, encode_texts
from scpo.tokens.prompts import Prompt, prompt_key

TOKEN_SCHEME = 2  # version of the way texts become tokens, and of the file
CHECKSUM = b"sha256"
TOKEN_SCHEMA = pa.schema(
    [
        ("ids", pa.large_list(pa.int32())),
        ("types", pa.large_list(pa.int8())),
        ("overlong", pa.uint8()),  # a byte each: Arrow's own booleans are bits, no numpy view
    ]
)


def load_or_encode(
    store: Path,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    *,
    max_tokens: int,
    overlong: Overlong = "truncate_prompt",
) -> TokenizedTexts:
    """Return the tokens of U texts, from the store where it has them.

    Files go to the folder `tokens` of `store`; further arguments as of `encode_texts`.

    Returns:
        Tokens in read-only arrays that are views of the memory-mapped file.

    Raises:
        ValueError: As of `encode_texts`.
        RuntimeError: The file that was just written cannot be read back.
    """
    key = _settings_key(tokenizer, max_tokens, overlong)
    path = store / "tokens" / f"{_texts_key(key, prompts, responses)}.arrow"
    if path.is_file():
        texts = _read(path, len(prompts))
        if texts is not None:
            return texts
        with suppress(FileNotFoundError):  # another process was first
            path.replace(path.with_name(f"{path.name}.damaged"))
    _write(
        path,
        encode_texts(tokenizer, prompts, responses, max_tokens=max_tokens, overlong=overlong),
    )
    texts = _read(path, len(prompts))
    if texts is None:
        raise RuntimeError(f"{path} was just written but reads back otherwise. Check the disk.")
    return texts


def _settings_key(
    tokenizer: PreTrainedTokenizerBase, max_tokens: int, overlong: Overlong
) -> bytes:
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # left from an earlier call, these two would enter the key; every
    backend.no_padding()  # call of the tokenizer sets them anew
    settings = {
        "scheme": TOKEN_SCHEME,
        "class": type(tokenizer).__name__,
        "backend": backend.to_str(),
        "split_special_tokens": tokenizer.split_special_tokens,
        "chat_template": tokenizer.chat_template,
        "special_tokens": tokenizer.special_tokens_map,
        "max_tokens": max_tokens,
        "overlong": overlong,
    }
    return json.dumps(settings, sort_keys=True, default=str).encode()


def _texts_key(settings: bytes, prompts: Sequence[Prompt], responses: Sequence[str]) -> str:
    """Return the name of settings and texts, 64 hexadecimal digits."""
    digest = hashlib.sha256(settings)
    for texts in ([prompt_key(prompt) for prompt in prompts], responses):
        column = pa.array(texts, pa.large_string())
        lengths = np.diff(np.frombuffer(column.buffers()[1], np.int64, len(texts) + 1))
        digest.update(len(texts).to_bytes(8, "little") + lengths.tobytes())
        digest.update(column.buffers()[2] or b"")
    return digest.hexdigest()


def _write(path: Path, texts: TokenizedTexts) -> None:
    """Write tokens as one record batch, with the checksum of its columns."""
    offsets = pa.array(texts.offsets)
    columns = [
        pa.LargeListArray.from_arrays(offsets, pa.array(texts.ids)),
        pa.LargeListArray.from_arrays(offsets, pa.array(texts.types)),
        pa.array(texts.overlong.view(np.uint8)),
    ]
    schema = TOKEN_SCHEMA.with_metadata({CHECKSUM: _checksum(texts)})
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        writer.write_batch(pa.record_batch(columns, schema=schema))


def _read(path: Path, num_texts: int) -> TokenizedTexts | None:
    """Return views of a file's arrays; None when it is damaged."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.schema != TOKEN_SCHEMA or reader.num_record_batches != 1:
            return None
        batch = reader.get_batch(0)
        batch.validate()
    except (pa.ArrowException, OSError):
        return None
    if batch.num_rows != num_texts:
        return None
    ids, types, overlong = batch.columns
    columns = (ids.values, types.values, ids.offsets, overlong)
    flat, kinds, starts, cut = (column.to_numpy(zero_copy_only=True) for column in columns)
    texts = TokenizedTexts(flat, kinds, starts, cut.view(np.bool_))
    checksum = (reader.schema.metadata or {}).get(CHECKSUM)
    return texts if checksum == _checksum(texts) else None


def _checksum(texts: TokenizedTexts) -> bytes:
    digest = hashlib.sha256()
    for column in (texts.ids, texts.types, texts.offsets, texts.overlong):
        digest.update(len(column).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest().encode()
