"""A browser for the tests of this folder, and pages in it that may do nothing wrong.

Owns when these tests run: wherever Chromium is installed; with CI=true they fail without it,
otherwise they are left out, and the last lines say so. They run last: Playwright's event loop would
be in the way of others that have one.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests import left_out
from tests.browser import chromium

_WHY = "tests of pages need Chromium: apt-get install chromium does (CI=true, too)"

PATIENCE = 15_000
"""Milliseconds in which a page does what it is asked, on a machine with other work."""
expect.set_options(timeout=PATIENCE)
Open = Callable[..., Page]
"""``open_page(url, **options)``: a page in a context of its own; the options are the context's."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a browser when there is none; let it run last if there is."""
    mine = [item for item in items if item.get_closest_marker("browser")]
    if chromium.path() or os.environ.get("CI") == "true":
        left_out.last(items, mine)
    else:
        left_out.leave(config, items, mine, _WHY)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    assert chromium.path(), "CI=true, and Chromium is not installed"
    with chromium.running() as running:
        yield running


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens pages. Whatever a page complains of, or an error in its script, fails the test, but
    what holds the text ``forgiven``.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def opened(url: str, *, forgiven: str = "\0", **options: Any) -> Page:
        def complain(what: object) -> None:
            if forgiven not in str(what):
                complaints.append(str(what))

        width, height = options.pop("size", chromium.WIDE)
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complain(message.text))
        page.on("pageerror", complain)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


def faults(page: Page) -> list[str]:
    """What axe finds that keeps people out: serious and critical."""
    found = Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for fault in found
        if fault["impact"] in {"serious", "critical"}
        for node in fault["nodes"]
    ]
