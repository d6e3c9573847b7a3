"""The interactions table: one row per (user, interaction), the unit everything downstream reads.

An interaction is one prompt with K responses that one user judged. The judgement is given in
one of two ways: `scores` (one number a response, higher is better) or, where only some
comparisons were made, `comparisons` (a list of [chosen, rejected] positions in `responses`).
Exactly one of the two is set in a row. `margins` goes with `comparisons`, one each: by how much
the reward of chosen is to exceed that of rejected, null for a comparison without one; the whole
list is null where no comparison of the row has one. `unit` is "question" where the user stands for
a question of a survey, null where it is a person. `messages` are the turns of the prompt, null
where it is one message of the user; `prompt` is then their text. `vetted` says whether the user
may validate and test; null where nobody was vetted, so that all may. `prompt_prefix` is
the template by which the prompt got its country's name, null where it is as it was asked. Pages
of the file carry checksums, which older files lack.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scpo.data.reading.countries import canonical_country
from scpo.files.atomic import atomic_path, hash_file
from scpo.files.places import first_line

INTERACTIONS_SCHEMA = pa.schema(
    [
        pa.field("interaction_id", pa.string(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("country", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("responses", pa.list_(pa.string()), nullable=False),
        pa.field("scores", pa.list_(pa.float64())),
        pa.field("comparisons", pa.list_(pa.list_(pa.int32()))),
        pa.field("margins", pa.list_(pa.float64())),
        pa.field("turn", pa.int32(), nullable=False),
        pa.field("unit", pa.string()),
        pa.field(
            "messages",
            pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])),
        ),
        pa.field("vetted", pa.bool_()),
        pa.field("prompt_prefix", pa.string()),
    ]
)
PROMPT_USER = "prompt-"  # begins the user of a prompt, in data that name no users
_LATER_COLUMNS = (
    "margins",
    "unit",
    "messages",
    "vetted",
    "prompt_prefix",
)  # null in files of earlier versions


def write_interactions(table: pa.Table, path: Path) -> None:
    """Write an interactions table as Parquet, atomically.

    Raises:
        ValueError: The table's columns are not those of `INTERACTIONS_SCHEMA`.
    """
    if table.schema.names != INTERACTIONS_SCHEMA.names:
        raise ValueError(
            f"Columns {INTERACTIONS_SCHEMA.names} must hold, but got {table.schema.names}."
        )
    with atomic_path(path) as temporary:
        pq.write_table(table.cast(INTERACTIONS_SCHEMA), temporary, write_page_checksum=True)


def read_interactions(path: Path) -> pa.Table:
    """Read an interactions table; `path` is the file or the folder that `scpo prepare` wrote.

    Labels of one country become its one name: older files know fewer spellings.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is not an interactions table.
    """
    file = _file_of(path)
    try:
        table = pq.read_table(file, page_checksum_verification=True)
        for field in map(INTERACTIONS_SCHEMA.field, _LATER_COLUMNS):
            if field.name not in table.schema.names:
                table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        missing = [name for name in INTERACTIONS_SCHEMA.names if name not in table.schema.names]
        if missing:
            raise ValueError(f"{file} lacks the columns {missing}. Was it made by `scpo prepare`?")
        table = table.select(INTERACTIONS_SCHEMA.names).cast(INTERACTIONS_SCHEMA)
        table.validate(full=True)  # texts too: they must be UTF-8
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{file} is damaged, or is not a Parquet file: {first_line(error)}"
        ) from error
    names = {
        label: canonical_country(label) or label for label in table["country"].unique().to_pylist()
    }
    if all(label == name for label, name in names.items()):
        return table
    renamed = pa.array([names[label] for label in table["country"].to_pylist()])
    return table.set_column(2, INTERACTIONS_SCHEMA.field("country"), renamed)


def hash_interactions(path: Path) -> str:
    """Return the sha256 of an interactions file; `path` as of `read_interactions`.

    Raises:
        FileNotFoundError: No such file.
    """
    return hash_file(_file_of(path))


def _file_of(path: Path) -> Path:
    file = path / "interactions.parquet" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"No interactions at {file}. Make them with `scpo prepare SOURCE --out {path}`."
        )
    return file
