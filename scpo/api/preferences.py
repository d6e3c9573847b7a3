"""Preferences of people, from a DataFrame, a file, a data set or the hub.

Rows may be in any known layout (`scpo.data.layouts`). What cannot be used is refused row by row
and told by `report`; nothing is dropped without being counted.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import pandas as pd
import pyarrow as pa

from scpo.data.interactions import read_interactions, write_interactions
from scpo.data.layouts.hub_rows import number_rows
from scpo.data.layouts.row_places import train_split
from scpo.data.reading.bad_rows import NOTES, REASONS, BadRows
from scpo.data.sources.pairs_file import PairColumns, read_pair_rows, read_pairs_file
from scpo.data.sources.prepare import count_countries
from scpo.files.output_folder import output_folder
from scpo.files.places import local_folder
from scpo.text.counts import format_count
from scpo.text.near_words import nearest

_REFUSED = ("reason", "message", "file", "line", "field", "row")


class Reading(TypedDict, total=False):
    """Keyword arguments of the functions that read preferences.

    Attributes:
        prompt: Column of the prompt; it may be absent where both responses begin with it.
        chosen: Column of the preferred response.
        rejected: Column of the other response.
        user: Column of who judged; without it each prompt is its own user.
        country: Column of the user's country.
        margin: Column of a pair's margin.
        default_country: Country of rows that name none.
        layout: Layout of the rows by name; None to recognise it by the columns.
        margin_from_scores: Take the difference of a pair's two scores as its margin.
        on_bad_rows: "quarantine" to leave them out and report them, "stop" to raise.
    """

    prompt: str
    chosen: str
    rejected: str
    user: str
    country: str
    margin: str
    default_country: str | None
    layout: str | None
    margin_from_scores: bool
    on_bad_rows: Literal["quarantine", "stop"]


class Preferences:
    """Checked preferences of users of one country or several.

    Attributes:
        table: Interactions, of `scpo.data.interactions.INTERACTIONS_SCHEMA`.
        origin: Where they come from.
    """

    def __init__(self, table: pa.Table, origin: str, bad_rows: BadRows | None = None) -> None:
        self.table = table
        self.origin = origin
        self._bad_rows = bad_rows or BadRows()

    @classmethod
    def from_pandas(cls, frame: pd.DataFrame, **reading: Unpack[Reading]) -> "Preferences":
        """Read a DataFrame, one row a pair or in another known layout.

        Levels of the index that have names are columns too.

        Raises:
            ValueError: Columns are missing, the layout is not clear, or no row can be used.

        Example:
            >>> rows = [{"prompt": "Sky?", "chosen": "blue", "rejected": "red", "country": "Peru"}]
            >>> scpo.Preferences.from_pandas(pd.DataFrame(rows))
            Preferences(a DataFrame: 1 pair of 1 user in Peru)
        """
        if not isinstance(frame, pd.DataFrame):
            kind = type(frame).__name__
            raise ValueError(
                f"A DataFrame must be given, but got a {kind}. Read mappings by from_records."
            )
        if twice := sorted(map(str, frame.columns[frame.columns.duplicated()])):
            raise ValueError(f"Each column must come once, but {', '.join(twice)} do not.")
        named = [name for name in frame.index.names if name is not None and name not in frame]
        rows = frame.reset_index(level=named).to_dict("records")
        return cls.from_records(map(_plain, rows), "a DataFrame", **reading)

    @classmethod
    def from_records(
        cls, rows: Iterable[Mapping[str, Any]], origin: str = "rows", **reading: Unpack[Reading]
    ) -> "Preferences":
        """Read an iterable of mappings, such as polars' `iter_rows(named=True)`.

        Raises:
            ValueError: As of `from_pandas`.

        Example:
            >>> row = {"prompt": "Sky?", "chosen": "blue", "rejected": "red"}
            >>> scpo.Preferences.from_records([row], default_country="MX").countries
            ['Mexico']
        """
        bad_rows, options = _options(reading)
        table = read_pair_rows(number_rows(rows, bad_rows), origin, bad_rows, **options)
        return cls._checked(table, origin, bad_rows)

    @classmethod
    def from_file(
        cls, path: str | Path, *, subset: str | None = None, **reading: Unpack[Reading]
    ) -> "Preferences":
        """Read a file, a folder of shards, a saved data set, or what `scpo prepare` wrote.

        Files end in .jsonl, .json, .csv, .tsv (all also .gz) or .parquet. `subset` is the
        configuration of a data set on the hub.

        Raises:
            FileNotFoundError: No such file.
            ValueError: As of `from_pandas`, or the file is damaged.

        Example:
            >>> row = {"question": "Sky?", "chosen": "blue", "rejected": "red", "country": "Peru"}
            >>> pd.DataFrame([row]).to_csv("rows.csv", index=False)
            >>> scpo.Preferences.from_file("rows.csv", prompt="question")
            Preferences(rows.csv: 1 pair of 1 user in Peru)
        """
        if Path(path).is_dir() and (Path(path) / "interactions.parquet").is_file():
            if given := [*reading, *(["subset"] if subset is not None else [])]:
                raise ValueError(
                    f"{path} is prepared already, so {', '.join(given)} would have no effect. "
                    "Give these when the rows are read for the first time."
                )
            return cls(read_interactions(Path(path)), str(path))
        bad_rows, options = _options(reading)
        table = read_pairs_file(path, bad_rows, subset=subset, **options)
        return cls._checked(table, str(path), bad_rows)

    @classmethod
    def from_dataset(cls, dataset: Any, **reading: Unpack[Reading]) -> "Preferences":
        """Read a `datasets.Dataset` in any layout of TRL or of a known data set.

        Of a `DatasetDict` the split "train" is read.

        Raises:
            ValueError: As of `from_pandas`, or it has several splits without "train".

        Example:
            >>> row = {"prompt": "Sky?", "chosen": "blue", "rejected": "red", "country": "Peru"}
            >>> scpo.Preferences.from_dataset(datasets.Dataset.from_list([row]))
            Preferences(a data set: 1 pair of 1 user in Peru)
        """
        return cls.from_records(train_split(dataset, "a DatasetDict"), "a data set", **reading)

    @classmethod
    def from_hub(
        cls, name: str, *, subset: str | None = None, **reading: Unpack[Reading]
    ) -> "Preferences":
        """Read the split "train" of OWNER/NAME on the Hugging Face hub.

        Raises:
            FileNotFoundError: The hub has no such data set.
            OSError: The hub does not answer or refuses.
            ValueError: As of `from_pandas`.

        Example:
            >>> us = {"default_country": "United States"}
            >>> data = scpo.Preferences.from_hub("Anthropic/hh-rlhf", **us)  # doctest: +SKIP
        """
        return cls.from_file(name, subset=subset, **reading)

    @property
    def countries(self) -> list[str]:
        """Return the countries, sorted."""
        return sorted(self.table["country"].unique().to_pylist())

    def counts(self) -> pd.DataFrame:
        """Return users, interactions, responses, pairs and ties by country.

        Example:
            >>> rows = [{"prompt": "Sky?", "chosen": "blue", "rejected": "red"}]
            >>> data = scpo.Preferences.from_records(rows, default_country="Peru")
            >>> int(data.counts().loc["Peru", "pairs"])
            1
        """
        rows = {name: vars(counts) for name, counts in count_countries(self.table).items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("country")

    def report(self) -> pd.DataFrame:
        """Return the rows that were refused: reason, message, file, line, field and the row.

        Rows are numbered from 1. `notes` counts what is harmless.

        Example:
            >>> rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2
            >>> rows[1] = rows[1] | {"chosen": "c"}
            >>> data = scpo.Preferences.from_records(rows, default_country="Peru")
            >>> data.report()[["reason", "line", "field"]].values.tolist()
            [['chosen_equals_rejected', 2, 'rejected']]
            >>> data.notes()
            {}
        """
        refused = [{name: row[name] for name in _REFUSED} for row in self._bad_rows.rejected]
        return pd.DataFrame(refused, columns=list(_REFUSED))

    def notes(self) -> dict[str, int]:
        """Return counts of what was merged, skipped or left out and is no fault, by what it is."""
        return {NOTES[code]: count for code, count in sorted(self._bad_rows.notes.items())}

    def save(self, folder: str | Path) -> Path:
        """Write the interactions to a folder that `scpo train --data` reads; return it.

        Raises:
            ValueError: The folder holds what this has not written, or is a URI.

        Example:
            >>> row = {"prompt": "Sky?", "chosen": "blue", "rejected": "red", "country": "Peru"}
            >>> scpo.Preferences.from_records([row]).save("data").name
            'data'
        """
        out = local_folder(folder)
        with output_folder(out, "data", "Preferences.save", overwrite=None):
            write_interactions(self.table, out / "interactions.parquet")
        return out

    @classmethod
    def _checked(cls, table: pa.Table, origin: str, bad_rows: BadRows) -> "Preferences":
        if table.num_rows == 0:
            told, counts = REASONS | NOTES, bad_rows.counts + bad_rows.notes
            reasons = ", ".join(f"{count} {told[code]}" for code, count in counts.items())
            first = ""
            if bad_rows.rejected:
                row = bad_rows.rejected[0]
                where = f"field {row['field']!r}: " if row["field"] else ""
                first = f" The first: {where}{row['message']}"
            rows = format_count(bad_rows.num_rows_read, "row")
            raise ValueError(
                f"{origin} must hold at least one usable preference, but of {rows} none is "
                f"({reasons or 'no row is refused'}).{first}"
            )
        return cls(table, origin, bad_rows)

    def __repr__(self) -> str:
        counts = count_countries(self.table).values()
        pairs, users = (sum(getattr(each, name) for each in counts) for name in ("pairs", "users"))
        names = ", ".join(self.countries[:3]) + (", ..." if len(self.countries) > 3 else "")
        refused = self._bad_rows.counts.total()
        lost = f"; {format_count(refused, 'row')} refused" if refused else ""
        judged = f"{format_count(pairs, 'pair')} of {format_count(users, 'user')}"
        return f"Preferences({self.origin}: {judged} in {names}{lost})"


def _options(reading: Reading) -> tuple[BadRows, dict[str, Any]]:
    given: dict[str, Any] = dict(reading)
    _check_options(given)
    bad_rows = BadRows(given.pop("on_bad_rows", "quarantine"))
    names = ("prompt", "chosen", "rejected", "country", "user", "margin")
    columns = PairColumns(**{name: given.pop(name) for name in names if name in given})
    return bad_rows, {"columns": columns, **given}


def _check_options(given: Mapping[str, Any]) -> None:
    """Refuse keyword arguments that are not read, and values of another kind.

    Raises:
        TypeError: There is no such argument, as Python says it.
        ValueError: A value is of another kind.
    """
    for name, value in given.items():
        if name not in Reading.__annotations__:
            near = nearest(name, Reading.__annotations__)
            hint = f" Did you mean {near}?" if near else ""
            raise TypeError(f"Preferences are read without an argument {name}.{hint}")
        is_of_kind = isinstance(value, bool if name == "margin_from_scores" else str)
        if not is_of_kind and not (name in ("layout", "default_country") and value is None):
            kind = "True or False" if name == "margin_from_scores" else "a text"
            raise ValueError(f"{name} must be {kind}, but got {value!r:.40}.")


def _plain(value: Any) -> Any:
    """Return a value of a DataFrame as JSON would hold it; gaps are None."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    is_gap = value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)
    return None if is_gap else value
