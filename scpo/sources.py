"""A configured source of preferences, prepared into a folder."""

from pathlib import Path

from scpo.config import DataConfig
from scpo.data.pairs_file import PairColumns
from scpo.data.prepare import PrepareSummary, prepare


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
