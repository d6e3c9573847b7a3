"""From a source to a folder: what `scpo prepare` does.

In goes a source (PRISM, a pairs file, survey opinions, or synthetic cultures); out come
interactions.parquet, quarantine.jsonl, summary.json and, for synthetic cultures, truth.json.
summary.json is written last. The interactions depend on the set of input rows, not on their order.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
from rich.table import Table
from rich.text import Text

from scpo.config import DataConfig
from scpo.data.interactions import write_interactions
from scpo.data.reading.bad_rows import BadRowPolicy, BadRows
from scpo.data.sources.global_opinions import OPINIONS_HUB_NAME
from scpo.data.sources.opinion_pairs import read_opinion_interactions
from scpo.data.sources.pairs_file import PairColumns, read_pairs
from scpo.data.sources.prism import PRISM_HUB_NAME, find_prism_file, read_prism
from scpo.data.sources.synthetic import make_synthetic
from scpo.files.atomic import hash_file, write_json

Source = Literal["prism", "pairs", "opinions", "synthetic"]

SORT_ORDER = [("country", "ascending"), ("user_id", "ascending"), ("interaction_id", "ascending")]


@dataclass(frozen=True)
class CountryCounts:
    """What a country has. Ties are pairs of responses with equal scores; `pairs` has none."""

    users: int
    interactions: int
    responses: int
    pairs: int
    ties: int


@dataclass(frozen=True)
class PrepareSummary:
    """What was read and what came of it.

    Attributes:
        source: "prism", "pairs", "opinions" or "synthetic".
        path: File, folder or hub name; None for synthetic.
        files: sha256 by path of each file that was read; empty for the hub.
        options: Options of the source: columns and default country, or the synthetic world's.
        num_rows_read: Rows seen, good and bad.
        countries: Counts by country, sorted by name.
        rejected: Rows refused, by reason.
        notes: Harmless findings, by code.
    """

    source: str
    path: str | None
    files: dict[str, str]
    options: dict[str, Any]
    num_rows_read: int
    countries: dict[str, CountryCounts]
    rejected: dict[str, int]
    notes: dict[str, int]


def prepare(
    source: Source,
    path: str | Path | None,
    out: Path,
    *,
    on_bad_rows: BadRowPolicy = "quarantine",
    columns: PairColumns | None = None,
    default_country: str | None = None,
    synthetic_options: Mapping[str, Any] | None = None,
) -> PrepareSummary:
    """Read a source, check it, and write interactions, quarantine and summary to a folder.

    Args:
        source: Which reader.
        path: Pairs file; or folder of PRISM or CSV file of opinions, None for the hub; None for
            synthetic.
        out: Folder to write to; it is created.
        on_bad_rows: "quarantine" goes on without bad rows, "stop" raises at the first and
            writes nothing.
        columns: Column names of a pairs file.
        default_country: Country of rows of a pairs file that name none.
        synthetic_options: Arguments of `make_synthetic`.

    Raises:
        FileNotFoundError: No such file or folder.
        RuntimeError: The hub cannot be reached.
        ValueError: An option that does not belong to the source, a bad row under "stop", a
            damaged file, or no usable interaction (quarantine.jsonl is written then).
    """
    _check_options(source, path, columns, default_country, synthetic_options)
    bad_rows = BadRows(on_bad_rows)
    truth = None
    options: dict[str, Any] = {}
    if source == "prism":
        path = PRISM_HUB_NAME if path is None else path
        table = read_prism(path, bad_rows)
    elif source == "opinions":
        path = OPINIONS_HUB_NAME if path is None else path
        table = read_opinion_interactions(path, bad_rows)
    elif source == "pairs":
        options = {"columns": asdict(columns or PairColumns()), "default_country": default_country}
        table = read_pairs(
            Path(str(path)), bad_rows, columns=columns, default_country=default_country
        )
    else:
        options = dict(synthetic_options or {})
        world = make_synthetic(**options)
        table, truth = world.interactions, world.truth
    bad_rows.write(out / "quarantine.jsonl")
    if table.num_rows == 0:
        raise ValueError(_describe_nothing(source, path, bad_rows, out))
    summary = PrepareSummary(
        source=source,
        path=None if path is None else str(path),
        files=_hash_files(source, path),
        options=options,
        num_rows_read=bad_rows.num_rows_read,
        countries=count_countries(table),
        rejected=dict(sorted(bad_rows.counts.items())),
        notes=dict(sorted(bad_rows.notes.items())),
    )
    write_interactions(table.sort_by(SORT_ORDER), out / "interactions.parquet")
    if truth is None:
        (out / "truth.json").unlink(missing_ok=True)  # of an earlier, synthetic run
    else:
        write_json(out / "truth.json", truth)
    write_json(out / "summary.json", asdict(summary))
    return summary


def count_countries(table: pa.Table) -> dict[str, CountryCounts]:
    """Count users, interactions, responses, pairs and ties of each country, sorted by name."""
    users = defaultdict(set)
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in table.to_pylist():
        users[row["country"]].add(row["user_id"])
        count = counts[row["country"]]
        count["interactions"] += 1
        count["responses"] += len(row["responses"])
        if row["scores"] is None:
            count["pairs"] += len(row["comparisons"])
        else:
            tied = [first == second for first, second in combinations(row["scores"], 2)]
            count["pairs"] += len(tied) - sum(tied)
            count["ties"] += sum(tied)
    return {
        country: CountryCounts(
            users=len(users[country]),
            interactions=count["interactions"],
            responses=count["responses"],
            pairs=count["pairs"],
            ties=count["ties"],
        )
        for country, count in sorted(counts.items())
    }


def summary_table(summary: PrepareSummary) -> Table:
    """Return the table that `scpo prepare` prints: a row a country, a total, and what was bad."""
    table = Table(title=f"Interactions from {summary.source}", title_justify="left")
    names = [item.name for item in fields(CountryCounts)]
    table.add_column("country")
    for name in names:
        table.add_column(name, justify="right")
    for country, counts in summary.countries.items():
        numbers = [f"{getattr(counts, name):,}" for name in names]
        table.add_row(Text(country), *numbers)
    table.add_section()
    totals = [sum(getattr(c, name) for c in summary.countries.values()) for name in names]
    table.add_row("all", *(f"{total:,}" for total in totals))
    table.caption_justify = "left"
    table.caption = Text(
        f"{summary.num_rows_read:,} rows read\n"
        f"refused (quarantine.jsonl): {_join_counts(summary.rejected)}\n"
        f"harmless: {_join_counts(summary.notes)}"
    )
    return table


def _hash_files(source: str, path: str | Path | None) -> dict[str, str]:
    """Return the sha256 of each file that was read, by its path."""
    if path is None or path in (PRISM_HUB_NAME, OPINIONS_HUB_NAME):
        return {}
    files = [Path(path)]
    if source == "prism":
        files = [find_prism_file(Path(path), name) for name in ("survey", "utterances")]
    return {str(file): hash_file(file) for file in files}


def _join_counts(counts: Mapping[str, int]) -> str:
    """Return counts as one line, with their sum first."""
    listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"{sum(counts.values()):,}" + (f" ({listed})" if listed else "")


def _check_options(
    source: str,
    path: str | Path | None,
    columns: PairColumns | None,
    default_country: str | None,
    synthetic_options: Mapping[str, Any] | None,
) -> None:
    """Refuse a source that is unknown, and options that belong to another one."""
    if source not in get_args(Source):
        raise ValueError(f"`source` must be one of {list(get_args(Source))}, but got {source!r}.")
    if source == "pairs" and path is None:
        raise ValueError("The source 'pairs' needs the path of a file, but got none.")
    if source == "synthetic" and path is not None:
        raise ValueError(f"The source 'synthetic' reads no file, but got the path {path}.")
    if source != "pairs" and (columns is not None or default_country is not None):
        raise ValueError(
            f"`columns` and `default_country` belong to the source 'pairs', but got {source!r}."
        )
    if source != "synthetic" and synthetic_options is not None:
        raise ValueError(
            f"`synthetic_options` belong to the source 'synthetic', but got {source!r}."
        )


def _describe_nothing(source: str, path: str | Path | None, bad_rows: BadRows, out: Path) -> str:
    """Return the message for a source without a usable interaction."""
    message = (
        f"At least one usable interaction must be there, but {path or source} has none: "
        f"{bad_rows.num_rows_read} rows read, refused {_join_counts(bad_rows.counts)}."
    )
    if bad_rows.rejected:
        first = bad_rows.rejected[0]
        message += f" The first: line {first['line']}, {first['message']}"
    return f"{message} See {out / 'quarantine.jsonl'}."


def prepare_source(config: DataConfig, out: Path) -> PrepareSummary:
    """Read the configured source and write interactions, quarantine and summary to `out`.

    Raises:
        FileNotFoundError: No such file or folder.
        RuntimeError: The hub cannot be reached.
        ValueError: The source is prepared already, an option does not belong to it, a bad row
            under "stop", or nothing usable.
    """
    if config.source == "prepared":
        raise ValueError("data.source is `prepared`: there is nothing to prepare.")
    is_pairs = config.source == "pairs"
    columns = PairColumns(user=config.user_column, country=config.country_column)
    return prepare(
        config.source,
        config.path,
        out,
        on_bad_rows=config.on_bad_rows,
        columns=columns if is_pairs else None,
        default_country=config.default_country if is_pairs else None,
        synthetic_options=config.synthetic.model_dump() if config.source == "synthetic" else None,
    )
