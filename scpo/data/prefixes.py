"""Prompts of an interactions table with their country's name in them; the table says how."""

from typing import Any

import pyarrow as pa

from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.text.prompt_prefix import fill_prompt, fill_turns

UNNAMED = "extra"  # country of the rows of a further pairs file that name none


def prefix_prompts(table: pa.Table, template: str) -> pa.Table:
    """Return interactions whose prompts are as a template has them, each for its own country.

    Of a conversation the last turn of the user is. Rows that name no country, of a further pairs
    file, stay as they are.
    """
    rows = [
        _prefixed(row, template) if row["country"] != UNNAMED else row for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=INTERACTIONS_SCHEMA)


def prefix_of(table: pa.Table) -> str | None:
    """Return the template of a table's prompts, None where they are as they were asked.

    Raises:
        ValueError: Rows have different ones.
    """
    found = [name for name in table["prompt_prefix"].unique().to_pylist() if name is not None]
    if len(found) > 1:
        raise ValueError(f"Prompts must have one prefix, but have {sorted(found)}.")
    return found[0] if found else None


def _prefixed(row: dict[str, Any], template: str) -> dict[str, Any]:
    country, messages = row["country"], row["messages"]
    if not messages:
        prompt = fill_prompt(template, row["prompt"], country)
        return row | {"prompt": prompt, "prompt_prefix": template}
    turns = [(turn["role"], turn["content"]) for turn in messages]
    text, turns = fill_turns(template, row["prompt"], turns, country)
    named = [{"role": role, "content": content} for role, content in turns]
    return row | {"prompt": text, "messages": named, "prompt_prefix": template}
