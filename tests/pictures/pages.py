"""``python -m tests.pictures.pages [DIRECTORY]``: the pages of ``serve`` over real runs.

Writes ``executions.png``, ``execution.png`` and ``pipelines.png`` into ``docs``, and each of them
dark. One run is under way while they are taken.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, expect

from tests.browser import chromium
from tests.browser.seed import BESIDE, change, ended, run, seed, site
from tests.browser.served import serving
from tests.conftest import Workspace
from tests.pictures.terminal import DOCS

SIZE: Final = (1280, 860)
HEIGHTS: Final = {"executions": 860, "pipelines": 510, "execution": 1190}
CHANGES: Final = (
    "Search finds accents",
    "The table of contents folds",
    "Links are checked in parallel",
    "Pages load their fonts late",
    "The theme has a dark side",
)


def history(made: Workspace) -> None:
    """Runs of before: mostly good ones, of all pipelines, long ones and short ones."""
    for place, message in enumerate(CHANGES):
        change(made, message)
        paces = [f"0.{(place * 7 + step) % 9 + 1}" for step in (1, 4)]
        docs = made.start("run", "docs.yml", *BESIDE, PACE=paces[0])
        broken = {"BROKEN": "1"} if place in {1, 4} else {}
        run(made, "run", "api.yml", code=len(broken), PACE=paces[1], **broken)
        ended(docs)


def pages(browser: Browser, url: str, scheme: str) -> Iterator[tuple[str, Page]]:
    """Each page, ready to be photographed."""
    page = browser.new_page(
        viewport={"width": SIZE[0], "height": SIZE[1]},
        device_scale_factor=2,
        color_scheme="dark" if scheme == "-dark" else "light",
    )
    page.goto(f"{url}/executions")
    expect(page.locator("[data-rows] .status.running")).to_have_count(1)
    yield "executions", page
    page.goto(f"{url}/pipelines?branches=all")
    expect(page.locator(".spark").first).to_be_visible()
    yield "pipelines", page
    page.goto(f"{url}/executions?q=@ci.pipeline.name:API+@ci.status:error")
    page.locator("[data-rows] .called a").last.click()
    expect(page).to_have_url(re.compile("/executions/"))
    yield "execution", page
    page.close()


def main() -> None:
    docs = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    docs.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as place,
        serving(Path(place) / "state") as url,
        chromium.running() as browser,
    ):
        made = site(Path(place), url, "0.8")
        seed(made)
        made.git("checkout", "--quiet", "main")
        history(made)
        last = made.start("run", "docs.yml", *BESIDE, PACE="6")
        for scheme in ("", "-dark"):
            for name, page in pages(browser, url, scheme):
                page.set_viewport_size({"width": SIZE[0], "height": HEIGHTS[name]})
                page.screenshot(path=docs / f"{name}{scheme}.png")
                print(docs / f"{name}{scheme}.png")
        ended(last)


if __name__ == "__main__":
    main()
