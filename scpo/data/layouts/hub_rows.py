"""Rows of data sets, those on the Hugging Face hub too, numbered as those of a file are."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from datasets import ClassLabel, load_dataset
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
    yield from number_rows(name_labels(rows), bad_rows)


def number_rows(
    rows: Iterable[Mapping[str, Any]], bad_rows: BadRows
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of an iterable of mappings with their numbers from 1."""
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise ValueError(
                f"Rows must be mappings of columns to values, but row {number} is a "
                f"{type(row).__name__}. A DataFrame is read by from_pandas."
            )
        bad_rows.num_rows_read += 1
        yield number, dict(row)


def name_labels(dataset: Any) -> Iterable[Mapping[str, Any]]:
    """Return the rows of a data set with the names of its class labels, None where unlabelled."""
    features = getattr(dataset, "features", None) or {}
    labels = {name: kind for name, kind in features.items() if isinstance(kind, ClassLabel)}
    if not labels:
        return dataset  # type: ignore[no-any-return]
    return (
        row
        | {
            name: None if row[name] in (None, -1) else kind.int2str(row[name])
            for name, kind in labels.items()
        }
        for row in dataset
    )
