"""Pairs in the columns of TRL, with what this package knows of them: what `scpo export` writes.

    prompt  chosen  rejected  weight  margin  country  user  part

Prompts and responses are texts, or all of them lists of messages where a prompt has several turns
(TRL wants one form). `weight` is that of an arm, min(exp(d / beta), 1) for scpo, and pairs that
its filter drops are left out; without a global model it is 1. `margin` is by how much the reward
of chosen is to exceed that of rejected, 0 for a pair given without one. `part` is which users
judge the pair: train on "train" alone.

Legend: P pairs.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scpo.api.row_outputs import refuse_other_rows
from scpo.arrays import FloatArray
from scpo.choices import Precision
from scpo.config import EncoderConfig, SplitConfig
from scpo.countries.build import encoder_of, steer_countries
from scpo.countries.country_data import rows_of, utterance_texts
from scpo.data.pairs import Pairs, build_pairs
from scpo.data.splits import SPLIT_FILE, keep_split, split_file
from scpo.files.atomic import atomic_path
from scpo.files.places import home
from scpo.method.arms import select_arm
from scpo.method.weighting import PAPER_BETA, PAPER_TAU
from scpo.models.devices import pick_device
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource, find_model
from scpo.models.reward_model import content_hash
from scpo.text.counts import format_count
from scpo.tokens.prompts import Prompt, prompt_turns

_COLUMNS = ("prompt", "chosen", "rejected", "weight", "margin", "country", "user", "part")
_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


@dataclass(frozen=True)
class Weighting:
    """How pairs are weighted: an arm, by the rewards of a global model.

    `split` is how the users are divided, None for what the folder of data keeps; `precision` is
    that of the training to come, whose rewards must be of the same.
    """

    global_model: str | ModelSource
    arm: str = "scpo"
    tau: float = PAPER_TAU
    beta: float = PAPER_BETA
    split: SplitConfig | Mapping[str, str] | None = None
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    cache: Path | None = None
    precision: Precision = "auto"
    trust_remote_code: bool = False


def export_pairs(
    table: pa.Table,
    out: Path,
    *,
    data: Path,
    countries: Sequence[str] = (),
    weighting: Weighting | None = None,
    part: str | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Write pairs to a .jsonl or .parquet file that TRL reads, and return their number.

    Args:
        table: Interactions.
        out: The file.
        data: The folder that they come from and that keeps their split.
        countries: Whose; none for all.
        weighting: How they are weighted and filtered; None to give all of them weight 1.
        part: Of whose users; None for all. Without weighting, the folder must keep a split.
        say: Called with a line for each country.

    Raises:
        ValueError: A country is absent, the ending is another, no pair is left, the folder has
            not divided its users into parts, or `out` is there and holds no exported pairs.
        FileNotFoundError: No such model.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise ValueError(f"Pairs are exported to .jsonl or .parquet, but got {out}.")
    refuse_other_rows(out, _COLUMNS)
    if part is not None and weighting is None and not split_file(data).is_file():
        raise ValueError(
            f"{data} has no {SPLIT_FILE}, which says whose pairs are of the part {part!r}. Export "
            "all parts, or weigh the pairs by a global model, which divides the users."
        )
    rows = rows_of(table, list(countries)) if countries else table
    names = sorted(set(rows["country"].to_pylist()))
    blocks = _weighted(rows, names, data, weighting) if weighting else _plain(rows, names, data)
    whole = _join(blocks, rows, part, say)
    if whole.num_rows == 0:
        raise ValueError(f"No pair is left to export of {', '.join(names)} ({part or 'all'}).")
    with atomic_path(out) as temporary:
        if out.suffix == ".parquet":
            pq.write_table(whole, temporary)
        else:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in whole.to_pylist())
            temporary.write_text("".join(lines), encoding="utf-8")
    return int(whole.num_rows)


@dataclass(frozen=True)
class _Block:
    """A country's pairs: rows of the table, texts of its utterances, weight and part of each."""

    country: str
    table: pa.Table
    pairs: Pairs
    weight: FloatArray
    part: Sequence[str | None]


def _plain(rows: pa.Table, countries: Sequence[str], data: Path) -> Iterator[_Block]:
    kept = _kept_parts(rows, countries, data)
    for country in countries:
        own = rows_of(rows, [country])
        pairs = build_pairs(own)
        users = own["user_id"].to_pylist()
        part = [kept.get(users[row]) for row in pairs.interaction.tolist()]
        yield _Block(country, own, pairs, np.ones(len(pairs)), part)


def _kept_parts(rows: pa.Table, countries: Sequence[str], data: Path) -> Mapping[str, str]:
    """Return the parts that a folder keeps already; none where it has not divided its users."""
    return keep_split(data, rows, countries) if split_file(data).is_file() else {}


def _weighted(
    rows: pa.Table, countries: Sequence[str], data: Path, weighting: Weighting
) -> Iterator[_Block]:
    source = find_model(weighting.global_model)
    trusted = weighting.trust_remote_code
    reward = load_reward_model(source, trust_remote_code=trusted).to(pick_device())
    encoder = encoder_of(reward, weighting.encoder)
    split = weighting.split
    steered = steer_countries(
        rows,
        countries,
        reward,
        content_hash(source),
        split=keep_split(data, rows, countries) if split is None else split,
        max_tokens=encoder.max_tokens,
        overlong=encoder.overlong,
        cache=weighting.cache or home() / "rewards",
        precision=weighting.precision,
    ).countries
    for country, found in steered.items():
        selection = select_arm(
            weighting.arm, found.reference_margin, tau=weighting.tau, beta=weighting.beta
        )
        pairs = found.pairs.take(selection.keep)
        weight = selection.weights[selection.keep]
        part = found.part[selection.keep].tolist()
        yield _Block(country, rows_of(rows, [country]), pairs, weight, part)


def _join(
    blocks: Iterator[_Block], rows: pa.Table, part: str | None, say: Callable[[str], None]
) -> pa.Table:
    has_turns = rows["messages"].null_count < rows.num_rows
    said = _TURNS if has_turns else pa.string()
    kinds = [*[said] * 3, *[pa.float64()] * 2, *[pa.string()] * 3]
    schema = pa.schema(list(zip(_COLUMNS, kinds, strict=True)))
    tables = [schema.empty_table()]
    for block in blocks:
        kept = [n for n, own in enumerate(block.part) if part in (None, own)]
        say(f"{block.country}: {format_count(len(kept), 'pair')}")
        columns = _columns(block, kept, has_turns=has_turns)
        tables.append(pa.Table.from_pydict(columns, schema=schema))
    return pa.concat_tables(tables)


def _columns(block: _Block, kept: Sequence[int], *, has_turns: bool) -> dict[str, list[Any]]:
    prompts, responses = utterance_texts(block.table)
    users = block.table["user_id"].to_pylist()
    pairs = block.pairs.take(np.asarray(kept, dtype=np.int64))
    margins = np.zeros(len(pairs)) if pairs.margins is None else pairs.margins

    def asked(prompt: Prompt) -> Any:
        turns = prompt_turns(prompt)
        messages = [{"role": role, "content": content} for role, content in turns]
        return messages if has_turns else prompt

    def answered(text: str) -> Any:
        return [{"role": "assistant", "content": text}] if has_turns else text

    return {
        "prompt": [asked(prompts[number]) for number in pairs.chosen.tolist()],
        "chosen": [answered(responses[number]) for number in pairs.chosen.tolist()],
        "rejected": [answered(responses[number]) for number in pairs.rejected.tolist()],
        "weight": block.weight[list(kept)].tolist(),
        "margin": margins.tolist(),
        "country": [block.country] * len(pairs),
        "user": [users[row] for row in pairs.interaction.tolist()],
        "part": [block.part[number] for number in kept],
    }
