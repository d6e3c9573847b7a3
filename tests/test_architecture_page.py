"""The drawings of docs/architecture.md against the imports."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BESIDE = {"scpo.commands", "scpo.__main__"}  # they may import everything, and are not drawn


def room_of(module: str) -> str:
    """Return the folder of a module, or the module itself where it lies in a top folder."""
    path = ROOT.joinpath(*module.split("."))
    return module if path.is_dir() or module.count(".") == 1 else module.rpartition(".")[0]


def room_imports(package: str) -> dict[str, set[str]]:
    """Return the rooms that each room of a package imports, within the package."""
    arrows: dict[str, set[str]] = defaultdict(set)
    for file in sorted((ROOT / package).rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        here = room_of(module)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{package}."):
                there = room_of(str(node.module))
                if there != here and not {here, there} & BESIDE:
                    arrows[here].add(there)
    return arrows


def reachable(arrows: dict[str, set[str]], start: str) -> set[str]:
    """Return the rooms that a room imports, directly or through others."""
    found, waiting = set(), [*arrows.get(start, ())]
    while waiting:
        room = waiting.pop()
        if room not in found:
            found.add(room)
            waiting += arrows.get(room, ())
    return found


def needed_arrows(arrows: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Return the arrows that no path through another room implies."""
    return {
        (here, there)
        for here, targets in arrows.items()
        for there in targets
        if not any(there in reachable(arrows, other) for other in targets - {there})
    }


def drawn_arrows(package: str) -> set[tuple[str, str]]:
    """Return the arrows of a package's drawing."""
    text = PAGE.read_text(encoding="utf-8")
    [drawing] = re.findall(rf"```mermaid\n%% imports of {package}\n(.*?)```", text, re.DOTALL)
    return {
        (f"{package}.{here}", f"{package}.{there}")
        for here, there in re.findall(r"^\s*([\w.]+) --> ([\w.]+)$", drawing, re.MULTILINE)
    }


@pytest.mark.parametrize("package", ["scpo", "sweeps", "cluster"])
def test_the_drawing_shows_the_imports(package: str) -> None:
    assert drawn_arrows(package) == needed_arrows(room_imports(package))


def test_every_room_is_described() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for package in ("scpo", "sweeps", "cluster"):
        for folder in sorted(path.parent for path in (ROOT / package).rglob("__init__.py")):
            name = folder.relative_to(ROOT).as_posix()
            assert f"`{name}/`" in text, f"docs/architecture.md must describe {name}/"
