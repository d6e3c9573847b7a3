"""The pages that are made from the code, by file name; `make pages` writes them."""

from collections.abc import Callable
from pathlib import Path

from tests.pages.api_page import api_page
from tests.pages.options_page import options_page
from tests.pages.settings_page import settings_page

DOCS = Path(__file__).parents[2] / "docs"
PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": settings_page,
    "command-options.md": options_page,
    "api.md": api_page,
}


def main() -> None:
    """Write every page."""
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
