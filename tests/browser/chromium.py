"""Chromium as Debian packages it, driven by Playwright; and where pictures of pages are kept.

Owns starting the browser. It asks nobody for anything: no updates, no accounts, no metrics.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, sync_playwright

PICTURES: Final = Path(__file__).parents[2] / "build" / "pictures"
"""What pages looked like in the last run of the tests; not kept under version control."""
WIDE: Final = (1280, 800)
NARROW: Final = (400, 800)
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def path() -> str | None:
    """The browser, when it is installed."""
    return shutil.which("chromium")


@contextmanager
def running() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path(), args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def keep(page: Page, name: str) -> Path:
    """A picture of the whole page."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    file = PICTURES / f"{name}.png"
    page.screenshot(path=file, full_page=True, animations="disabled")
    return file
