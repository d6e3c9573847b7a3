"""Runs `read_old.py` in the environment of `make_environment.sh`."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.dialogues import CONVERSATIONS, as_pair

ROOT = Path(__file__).parents[2]
OLD = Path(os.environ.get("SCPO_TRANSFORMERS4", ROOT / ".venv/transformers4/bin/python"))


def run_old(jobs: Sequence[tuple[str, Path]]) -> list[list[float] | str]:
    """Return, of each reader and folder, the rewards of the conversations or what was raised."""
    assert OLD.is_file(), f"transformers 4.51 and rewardbench: no {OLD}; `make interop` makes it"
    given = {
        "jobs": [(reader, str(folder)) for reader, folder in jobs],
        "turns": CONVERSATIONS,
        "pairs": [*map(as_pair, CONVERSATIONS)],
    }
    ran = subprocess.run(
        [OLD, Path(__file__).with_name("read_old.py")],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        env={name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    rewards: list[list[float] | str] = json.loads(ran.stdout.splitlines()[-1])
    return rewards
