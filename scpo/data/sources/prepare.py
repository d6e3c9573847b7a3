"""From a source to a folder: what `scpo prepare` does.

In goes a source (PRISM, a pairs file, survey opinions, or synthetic cultures); out come
interactions.parquet, quarantine.jsonl, summary.json and, for synthetic cultures, truth.json.
summary.json is written last. The interactions depend on the set of input rows, not on their order.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.table import Table
from rich.text import Text

from scpo.config import DataConfig
from scpo.data.interactions import write_interactions
from scpo.data.layouts.community_alignment import COMMUNITY_HUB_NAME
from scpo.data.layouts.row_places import list_files
from scpo.data.pairs import build_pairs, response_counts
from scpo.data.prefixes import prefix_prompts
from scpo.data.reading.bad_rows import BadRows, join_counts
from scpo.data.reading.countries import canonical_country, tell_near_names
from scpo.data.sources.global_opinions import OPINIONS_HUB_NAME, read_global_opinions
from scpo.data.sources.opinion_pairs import make_opinion_interactions
from scpo.data.sources.pairs_file import PairColumns, read_pairs_file
from scpo.data.sources.prism import PRISM_HUB_NAME, find_prism_file, read_prism
from scpo.data.sources.synthetic import make_synthetic
from scpo.data.sources.vetted import count_vetted, mark_vetted
from scpo.files.atomic import hash_file, write_json
from scpo.text.counts import format_count

_HUB_NAMES = {
    "prism": PRISM_HUB_NAME,
    "opinions": OPINIONS_HUB_NAME,
    "community_alignment": COMMUNITY_HUB_NAME,
}
_SORT_ORDER = [("country", "ascending"), ("user_id", "ascending"), ("interaction_id", "ascending")]


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
    """What was read and what came of it, as summary.json holds it.

    `path` is a file, folder or hub name, None for synthetic; `files` the sha256 by path of each
    file that was read; `options` the columns and default country, or the synthetic world's. Counts
    are of rows read, good and bad, of countries, sorted by name, of refused rows by reason, and of
    notes by code.
    """

    source: str
    path: str | None
    files: dict[str, str]
    options: dict[str, Any]
    num_rows_read: int
    countries: dict[str, CountryCounts]
    rejected: dict[str, int]
    notes: dict[str, int]
    vetted: dict[str, int] | None  # users by country who may validate and test; None: all may
    prompt_prefix: str | None  # template by which prompts got their country's name


def prepare_source(config: DataConfig, out: Path) -> PrepareSummary:
    """Read the configured source, check it, and write interactions, quarantine and summary.

    They go to the folder `out`. With `on_bad_rows: stop` the first bad row raises and nothing is
    written.

    Raises:
        FileNotFoundError: No such file or folder.
        OSError: The hub does not answer or refuses.
        ValueError: The source is prepared already, a path is missing or too much, a bad row
            under "stop", a damaged file, or no usable interaction (quarantine.jsonl is written
            then).
    """
    source = config.source
    if source == "prepared":
        raise ValueError("data.source is `prepared`: there is nothing to prepare.")
    if source == "pairs" and config.path is None:
        raise ValueError("The source 'pairs' needs the path of a file, but got none.")
    if source == "synthetic" and config.path is not None:
        raise ValueError(f"The source 'synthetic' reads no file, but got the path {config.path}.")
    path = config.path or _HUB_NAMES.get(source)
    bad_rows = BadRows(config.on_bad_rows)
    table, options, truth = _read(config, str(path), bad_rows)
    bad_rows.write(out / "quarantine.jsonl")
    if table.num_rows == 0:
        raise ValueError(bad_rows.describe_nothing(path or source, out / "quarantine.jsonl"))
    if config.vetted is not None and config.vetted.file is not None:
        table = mark_vetted(table, Path(config.vetted.file))
    if config.prompt_prefix is not None:
        table = prefix_prompts(table, config.prompt_prefix)
    summary = PrepareSummary(
        source=source,
        path=path,
        files=hash_sources(config),
        options=options,
        num_rows_read=bad_rows.num_rows_read,
        countries=count_countries(table),
        rejected=dict(sorted(bad_rows.counts.items())),
        notes=dict(sorted(bad_rows.notes.items())),
        vetted=count_vetted(table),
        prompt_prefix=config.prompt_prefix,
    )
    tell_near_names(list(summary.countries))
    write_interactions(table.sort_by(_SORT_ORDER), out / "interactions.parquet")
    if truth is None:
        (out / "truth.json").unlink(missing_ok=True)  # of an earlier, synthetic run
    else:
        write_json(out / "truth.json", truth)
    write_json(out / "summary.json", asdict(summary))
    return summary


def count_countries(table: pa.Table) -> dict[str, CountryCounts]:
    """Count users, interactions, responses, pairs and ties of each country, sorted by name."""
    responses = response_counts(table)
    pairs = np.bincount(build_pairs(table).interaction, minlength=table.num_rows)
    is_scored = np.asarray(table["scores"].is_valid())
    ties = np.where(is_scored, responses * (responses - 1) // 2 - pairs, 0)
    counts = (
        table.select(["country", "user_id"])
        .append_column("responses", pa.array(responses))
        .append_column("pairs", pa.array(pairs))
        .append_column("ties", pa.array(ties))
        .group_by("country")
        .aggregate(
            [
                ("user_id", "count_distinct"),
                ([], "count_all"),
                ("responses", "sum"),
                ("pairs", "sum"),
                ("ties", "sum"),
            ]
        )
        .sort_by("country")
    )
    names, *columns = (column.to_pylist() for column in counts.columns)
    return dict(zip(names, map(CountryCounts, *columns), strict=True))


def summary_table(summary: PrepareSummary) -> Table:
    """Return the table that `scpo prepare` prints: a row a country, a total, and the bad rows."""
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
    lines = [
        f"{format_count(summary.num_rows_read, 'row')} read",
        f"refused (quarantine.jsonl): {join_counts(summary.rejected)}",
        f"harmless: {join_counts(summary.notes)}",
    ]
    if summary.vetted is not None:
        lines.append(f"vetted users: {join_counts(summary.vetted)}")
    table.caption = Text("\n".join(lines))
    return table


def _read(
    config: DataConfig, path: str, bad_rows: BadRows
) -> tuple[pa.Table, dict[str, Any], dict[str, Any] | None]:
    """Return the interactions of a source, its options, and the truth of a synthetic one."""
    if config.source == "prism":
        return read_prism(path, bad_rows), {}, None
    if config.source == "opinions":
        return make_opinion_interactions(read_global_opinions(path, bad_rows)), {}, None
    if config.source == "community_alignment":
        return read_pairs_file(path, bad_rows, layout=config.source), {}, None
    if config.source == "pairs":
        columns = _pair_columns(config)
        options: dict[str, Any] = {
            "default_country": config.default_country,
            "layout": config.layout,
            "margin_from_scores": config.margin_from_scores,
        }
        table = read_pairs_file(path, bad_rows, subset=config.subset, columns=columns, **options)
        return table, {"columns": asdict(columns), **options}, None
    world = make_synthetic(config.synthetic)
    return world.interactions, config.synthetic.model_dump(), world.truth


def _pair_columns(config: DataConfig) -> PairColumns:
    """Return the columns of a pairs file that a configuration names."""
    named = {
        field.name: getattr(config, f"{field.name}_column")
        for field in fields(PairColumns)
        if field.name != "vetted"
    }
    return PairColumns(**named, vetted=None if config.vetted is None else config.vetted.column)


def hash_sources(config: DataConfig) -> dict[str, str]:
    """Return the sha256 of each file that a source reads, by its path; none for the hub.

    Raises:
        FileNotFoundError: One is not there.
    """
    files = _source_files(config)
    if config.vetted is not None and config.vetted.file is not None:
        files = [Path(config.vetted.file), *files]
    return {str(file): hash_file(file) for file in files}


def describe_source(config: DataConfig, files: Mapping[str, str]) -> dict[str, Any]:
    """Return what shapes the prepared data, wherever the files lie; `files` as of `hash_sources`.

    Files stand by their hashes, countries by their one name.
    """
    described = config.model_dump()
    if found := _source_files(config):
        described["path"] = [files[str(file)] for file in found]
    if config.vetted is not None and config.vetted.file is not None:
        described["vetted"]["file"] = files[str(Path(config.vetted.file))]
    if config.default_country is not None:
        country = canonical_country(config.default_country)
        described["default_country"] = country or config.default_country
    return described


def _source_files(config: DataConfig) -> list[Path]:
    path = config.path
    if path is None or path in _HUB_NAMES.values() or config.source in ("synthetic", "prepared"):
        return []
    if config.source == "prism":
        return [find_prism_file(Path(path), name) for name in ("survey", "utterances")]
    return list_files(path)
