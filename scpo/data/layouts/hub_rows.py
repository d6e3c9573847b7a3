"""Rows of a data set on the Hugging Face hub, numbered as those of a file are."""

from collections.abc import Iterator
from typing import Any

from datasets import load_dataset
from datasets.exceptions import DatasetGenerationError

from scpo.data.reading.bad_rows import BadRows
from scpo.files.hub import explain_hub_errors
from scpo.files.places import first_line


def read_hub_rows(
    name: str, bad_rows: BadRows, config: str | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of the split "train" of OWNER/NAME on the hub, numbered from 1.

    `config` is the configuration of the data set, where it has several.

    Raises:
        FileNotFoundError: The hub has no such data set, or is offline and the cache lacks it.
        PermissionError: The data set is gated.
        ConnectionError: The hub does not answer.
        ValueError: There is no such configuration, or a file of it is damaged.
    """
    with explain_hub_errors("data set", name):
        try:
            rows = load_dataset(name, config, split="train")
        except DatasetGenerationError as error:
            cause = error.__cause__ or error
            if isinstance(cause, OSError):
                raise cause from error
            raise ValueError(f"The data set {name} is damaged: {first_line(cause)}") from error
    for line, row in enumerate(rows, start=1):
        bad_rows.num_rows_read += 1
        yield line, row
