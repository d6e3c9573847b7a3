"""The worked examples of CONTRIBUTING.md, applied to a copy of the project and tested there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def apply_patch(patch: str, root: Path) -> Path:
    """Apply a patch without line numbers: what each hunk replaces must stand in the file once."""
    old_name, new_name, *lines = patch.splitlines()
    file = root / new_name.removeprefix("+++ b/")
    if old_name == "--- /dev/null":
        assert not file.exists()
        file.write_text("".join(f"{line[1:]}\n" for line in lines))
        return file
    text = file.read_text(encoding="utf-8")
    for hunk in "\n".join(lines).split("@@\n"):
        changed = hunk.rstrip("\n").split("\n")
        before = "".join(f"{line[1:]}\n" for line in changed if line[0] in " -")
        after = "".join(f"{line[1:]}\n" for line in changed if line[0] in " +")
        assert text.count(before) == 1, f"{new_name} must hold once:\n{before}"
        text = text.replace(before, after)
    file.write_text(text, encoding="utf-8")
    return file


def test_the_worked_examples_work(tmp_path: Path) -> None:
    for folder in ("scpo", "sweeps", "cluster"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    tests = ("tests/scpo/method", "tests/scpo/data/sources")
    for folder in tests:
        (tmp_path / folder).mkdir(parents=True)
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    patches = re.findall(r"```diff\n(.*?)```", page, re.DOTALL)
    files = [apply_patch(patch, tmp_path) for patch in patches]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *(str(f) for f in files if "tests" in f.parts)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-2000:]
    assert "2 passed" in ran.stdout
