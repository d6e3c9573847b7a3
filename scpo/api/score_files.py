"""Files of prompts and responses, scored or ranked: what `scpo score-file` and `scpo rerank` do.

    {"prompt": "..", "response": ".."}          gets "reward"
    {"prompt": "..", "responses": ["..", ".."]} gets "rewards" and "ranking", the best first

A prompt is a text or a list of messages, a response a text or one message of the assistant.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from scpo.api.models import RewardModel
from scpo.api.row_files import FileRow, Written, transform_file
from scpo.api.said import Said, read_prompt, read_response
from scpo.models.reward_model import content_hash


def score_file(
    model: RewardModel,
    source: Path,
    out: Path,
    *,
    prompt: str = "prompt",
    response: str = "response",
    column: str = "reward",
    say: Callable[[str], None] = print,
) -> Written:
    """Write a file with the reward of each row in a further column; return what was written.

    That is the number of rows, and of texts that were cut as too long. `prompt` and `response`
    name the columns that are read. An interrupted run goes on where it was.

    Raises:
        FileNotFoundError: No such file.
        ValueError: As of `transform_file`; or a row lacks a column, or it is no text and no
            messages: file, row and column are named.
    """

    def work(rows: Sequence[tuple[int, FileRow]]) -> dict[str, list[Any]]:
        prompts = [_take(row, prompt, read_prompt, source, line) for line, row in rows]
        responses = [_take(row, response, read_response, source, line) for line, row in rows]
        return {column: model(prompts, responses) if prompts else []}

    return transform_file(
        source,
        out,
        work,
        columns=[prompt, response],
        adds={column: pa.float64()},
        key={**_key(model), "columns": [prompt, response, column]},
        counted=lambda: model.num_cut,
        say=say,
    )


def rerank_file(
    model: RewardModel,
    source: Path,
    out: Path,
    *,
    prompt: str = "prompt",
    responses: str = "responses",
    top_k: int | None = None,
    say: Callable[[str], None] = print,
) -> Written:
    """Write a file with the rewards and the ranking of each row's responses, as `score_file`.

    `ranking` has the positions in `responses`, the best first, at most `top_k` of them; of equal
    rewards the first comes first.

    Raises:
        FileNotFoundError: No such file.
        ValueError: As of `score_file`, or `top_k < 1`.
    """
    if top_k is not None and top_k < 1:
        raise ValueError(f"`top_k >= 1` must hold, but got {top_k}.")

    def work(rows: Sequence[tuple[int, FileRow]]) -> dict[str, list[Any]]:
        asked: list[Said] = []
        given: list[Said] = []
        sizes = []
        for line, row in rows:
            one = _take(row, prompt, read_prompt, source, line)
            several = _take(row, responses, _read_list, source, line)
            asked += [one] * len(several)
            given += several
            sizes.append(len(several))
        flat = model(asked, given) if asked else []
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        rewards = [flat[start : start + size] for start, size in zip(starts, sizes, strict=True)]
        ranking = [
            sorted(range(len(each)), key=lambda place: -each[place])[:top_k] for each in rewards
        ]
        return {"rewards": rewards, "ranking": ranking}

    return transform_file(
        source,
        out,
        work,
        columns=[prompt, responses],
        adds={"rewards": pa.list_(pa.float64()), "ranking": pa.list_(pa.int64())},
        key={**_key(model), "columns": [prompt, responses], "top_k": top_k, "rows_of_part": 128},
        counted=lambda: model.num_cut,
        say=say,
    )


def _take(row: FileRow, name: str, read: Callable[[Any], Any], source: Path, line: int) -> Any:
    """Return what a row has under a name, once it is known to be readable."""
    try:
        if name not in row:
            raise ValueError(f"the row has no {name!r}, only {', '.join(row)}.")
        if row[name] is None:
            raise ValueError("the value is null. Fill it in, or leave the row out.")
        read(row[name])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{source}:{line}: column {name!r}: {error}") from error
    return row[name]


def _read_list(value: Any) -> None:
    if not isinstance(value, list):
        raise ValueError(f"a list of responses must stand here, but got {value!r:.40}.")
    for each in value:
        read_response(each)


def _key(model: RewardModel) -> dict[str, Any]:
    """Return what of a model shapes its rewards."""
    content = None if model.source is None else content_hash(model.source)
    return {
        "model": content,
        "max_tokens": model.max_tokens,
        "overlong": model.overlong,
        "precision": model.precision,
    }
