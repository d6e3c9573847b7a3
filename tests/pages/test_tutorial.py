"""docs/tutorial.ipynb runs from the first cell to the last, and its links lead somewhere."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.forked import Forked

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def run_cells(sources: list[str], told: Path) -> None:
    """Run the cells as one program, and write what stands in their names at the end."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, source in enumerate(sources, start=1):
        exec(compile(source, f"cell {number}", "exec"), names)
    found = {
        "refused": len(names["data"].report()),
        "country": names["model"].country,
        "judged": names["model"].evaluation["overall"]["users"],
        "arms": sorted(set(names["run"].arms()["arm"])),
        "points": len(names["run"].curves()),
        "recommended": int(names["run"].leaderboard()["recommended"].sum()),
        "panels": len(names["figure"].axes),
    }
    told.write_text(json.dumps(found))


def code_cells() -> list[str]:
    """Return the code of every cell; magic words (%) are left out, which only IPython knows."""
    sources = [cell["source"] for cell in CELLS if cell["cell_type"] == "code"]
    return ["".join(line for line in lines if not line.startswith("%")) for lines in sources]


def test_no_output_is_kept() -> None:
    for cell in CELLS:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_links_lead_somewhere() -> None:
    texts = "".join(line for cell in CELLS for line in cell["source"])
    targets = re.findall(r"\]\(([^)\s]+)\)", texts)
    assert targets
    for target in targets:
        assert (NOTEBOOK.parent / target).is_file(), target


@pytest.mark.slow
def test_every_cell_runs(tiny_backbone: Path, tmp_path: Path) -> None:
    given = {"SCPO_BACKBONE": str(tiny_backbone), "TMPDIR": str(tmp_path), "MPLBACKEND": "Agg"}
    given["OMP_NUM_THREADS"] = "1"  # as in the cluster of the other tests
    said, told_file = tmp_path / "said", tmp_path / "told"
    environment = {**os.environ, **given}
    ran = Forked(run_cells, code_cells(), told_file, environment=environment, err=said)
    assert ran.wait(600) == 0, said.read_text()
    told = json.loads(told_file.read_text())
    assert told["refused"] == 1
    assert (told["country"], told["judged"]) == ("Arvandia", 2)
    assert {"full", "scpo_tuned"} <= set(told["arms"])
    assert (told["points"] >= 3, told["recommended"], told["panels"] >= 1) == (True, 1, True)
