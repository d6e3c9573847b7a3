"""Where rows lie: a file, a folder of shards, a data set that `save_to_disk` wrote, or the hub.

Shards are read in the order of their names, their rows numbered through. Of a folder with files
of several splits those of "train" are read, and the others counted.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets

from scpo.data.layouts.hub_rows import name_labels, number_rows, read_hub_rows
from scpo.data.layouts.layout import NumberedRows
from scpo.data.reading.bad_rows import BadRows
from scpo.data.reading.jsonl import read_json, read_jsonl
from scpo.data.reading.tabular import read_csv, read_parquet
from scpo.files.atomic import MARKER
from scpo.files.hub import is_data_set_name

SAVED = ("state.json", "dataset_dict.json")  # of `save_to_disk`
_ENDINGS = ("jsonl", "ndjson", "json", "csv", "tsv", "parquet")
_SPLITS = "(train|test|valid|val|dev|eval)"
# A name begins with that of a split, or has it as a word of its own: "pairs_train.jsonl".
_SPLIT = re.compile(rf"^{_SPLITS}|[^a-z]{_SPLITS}(?:ing|set|idation|uation)?(?![a-z])")
_BESIDE = ("dataset_info.json", "dataset_infos.json", "summary.json", "split.json")


def open_rows(
    path: str | Path, bad_rows: BadRows, *, columns: Sequence[str], subset: str | None = None
) -> NumberedRows:
    """Return the numbered rows of a place.

    Args:
        path: A file that ends in .jsonl, .json, .csv, .tsv (all also .gz) or .parquet, a folder
            of such files or of a saved data set, or OWNER/NAME on the hub.
        bad_rows: Takes what cannot be read.
        columns: Of a Parquet file no other columns are read.
        subset: The configuration of a data set on the hub, where it has several.

    Raises:
        FileNotFoundError: No such file, folder or data set.
        OSError: The hub does not answer or refuses.
        ValueError: An unknown ending, a folder with none or several kinds of files, or damage.
    """
    place = Path(path)
    if place.is_dir():
        if any((place / name).is_file() for name in SAVED):
            return number_rows(_load_saved(place), bad_rows)
        files = list_shards(place, bad_rows)
        shards = ((file, _read_file(file, bad_rows, columns)) for file in files)
        return _number_through(shards, bad_rows.shards.setdefault(place, []))
    if is_data_set_name(path):
        return read_hub_rows(str(path), bad_rows, subset)
    return _read_file(place, bad_rows, columns)


def list_files(path: str | Path) -> list[Path]:
    """Return the files that `open_rows` reads of a place; none for the hub.

    Raises:
        FileNotFoundError: No such file, folder or data set.
        ValueError: As of `open_rows`, for a folder.
    """
    place = Path(path)
    if is_data_set_name(path):
        return []
    if not place.exists():
        raise FileNotFoundError(f"No file, folder or data set of the hub at {path}.")
    if not place.is_dir():
        return [place]
    if any((place / name).is_file() for name in SAVED):
        names = (*SAVED, "dataset_info.json")
        return sorted(
            file for file in place.rglob("*") if file.suffix == ".arrow" or file.name in names
        )
    return list_shards(place)


def list_shards(folder: Path, bad_rows: BadRows | None = None) -> list[Path]:
    """Return the files of rows in a folder or its folder `data`, sorted by name.

    Hidden files, whose names begin with a dot, are none, nor is what a command wrote to `data`.

    Raises:
        ValueError: There is none, they are of several kinds, or of other splits than train.
    """
    files = [
        file
        for below in (folder, folder / "data")
        if below == folder or not (below / MARKER).is_file()
        for file in sorted(below.glob("*"))
        if file.is_file()
        and _ending(file) in _ENDINGS
        and file.name not in _BESIDE
        and not file.name.startswith(".")
    ]
    splits = [_split_of(file) for file in files]
    train = [file for file, split in zip(files, splits, strict=True) if split == "train"]
    if others := sorted({split for split in splits if split} - {"train"}):
        if not train:
            raise ValueError(
                f"{folder} must hold files of the split 'train', but has {', '.join(others)}. "
                "Name one file."
            )
        if bad_rows is not None:
            bad_rows.note("other_split", len(files) - len(train))
        files = train
    kinds = sorted({_ending(file) for file in files})
    if len(kinds) != 1:
        found = f"files of {', '.join(kinds)}" if kinds else "none"
        raise ValueError(
            f"{folder} must hold files of rows of one kind ({', '.join(_ENDINGS)}), but holds "
            f"{found}. Name one file, or a folder with the shards alone."
        )
    return files


def train_split(dataset: Any, origin: object) -> Any:
    """Return the rows of a data set, of several splits that named "train", with Python's values.

    Raises:
        ValueError: There are splits, and none of that name.
    """
    if isinstance(dataset, datasets.Dataset):
        dataset = dataset.with_format(None)
    if not isinstance(dataset, dict):
        return name_labels(dataset)
    if "train" in dataset:
        return train_split(dataset["train"], origin)
    raise ValueError(
        f"{origin} must have a split 'train', but has {', '.join(map(str, dataset))}. Give one of "
        "them."
    )


def _load_saved(folder: Path) -> Any:
    try:
        dataset = datasets.load_from_disk(str(folder))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} is no whole saved data set: {error}. Save it again."
        ) from error
    return train_split(dataset, folder)


def _read_file(path: Path, bad_rows: BadRows, columns: Sequence[str]) -> NumberedRows:
    ending = _ending(path)
    if ending in ("jsonl", "ndjson"):
        return read_jsonl(path, bad_rows)
    if ending == "json":
        return read_json(path, bad_rows)
    if ending in ("csv", "tsv"):
        return read_csv(path, bad_rows)
    if path.suffix.lower() == ".parquet":
        return read_parquet(path, columns, bad_rows)
    raise ValueError(
        "A file of rows must end in .jsonl, .json, .csv, .tsv (all also .gz) or .parquet, or be a "
        f"folder or a name on the hub, but got {path}."
    )


def _ending(path: Path) -> str:
    return path.name.lower().removesuffix(".gz").rpartition(".")[2]


def _split_of(path: Path) -> str | None:
    found = _SPLIT.search(path.name.lower())
    return None if found is None else found[1] or found[2]


def _number_through(
    shards: Iterable[tuple[Path, NumberedRows]], places: list[tuple[int, Path, int]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of all shards with their numbers from 1; `places` as of `BadRows.shards`."""
    lines = ((file, line, row) for file, rows in shards for line, row in rows)
    before = None
    for number, (file, line, row) in enumerate(lines, start=1):
        if before != (file, line - 1):
            places.append((number, file, line))
        before = file, line
        yield number, row
