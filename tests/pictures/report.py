"""``python -m tests.pictures.report [DIRECTORY]``: the report of a real run, as pictures.

Writes ``report.png`` and ``report-dark.png`` into ``docs``: a run that failed and was tried again,
opened in Chromium.
"""

import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.browser import chromium
from tests.conftest import Workspace
from tests.pictures.terminal import DOCS

SIZE: Final = (1280, 1100)
PIPELINE: Final = """
name: Documentation Build
service: docs
tags: { team: web }
parameters: { TARGET: { default: staging } }
jobs:
  lint:
    stage: check
    steps:
      - { name: Style, run: sleep 0.5; echo All checks passed }
      - { name: Types, run: sleep 0.8; echo Success in 214 source files }
  pages:
    stage: check
    steps:
      - { name: Build the pages, run: sleep 2.2 }
      - { name: Links, retry: 1, run: "sleep 0.7; [ $SIGNALBOX_ATTEMPT -gt 1 ]" }
  test:
    stage: test
    needs: [lint]
    matrix: { PYTHON: ["3.11", "3.12", "3.13"] }
    steps:
      - { name: Install, run: sleep 0.7; echo Installed 8 packages }
      - { name: Unit tests, run: python3 -u unit.py $PYTHON }
      - { name: Coverage, run: sleep 0.4; echo "coverage:97.1" >> "$SIGNALBOX_MEASURES" }
  publish: { needs: [test, pages], stage: release, steps: [./publish.sh] }
"""
UNIT: Final = """
import sys, time
for n, name in enumerate(["api", "build", "config", "domains", "links", "search", "theme", "toc"]):
    print(f"tests/test_{name}.py .................... [{(n + 1) * 100 // 8:3}%]")
    time.sleep(0.22)
    if name == "search" and sys.argv[1] == "3.12":
        assert [] == ["desserts"], "a search for 'creme' finds no page, and 'desserts' has it"
"""


def report(place: Path) -> Path:
    """The page of the second of two executions."""
    (place / "home").mkdir()
    workspace = Workspace(place, place / "home")
    workspace.write(PIPELINE)
    workspace.write(UNIT, "unit.py")
    workspace.git("init", "-q", "-b", "main")
    workspace.git("remote", "add", "origin", "https://git.example.test/team/docs.git")
    workspace.commit("Search finds accents")
    workspace.run("run", "--local", "--max-parallel", "3")
    workspace.run("retry", "--all", "--manual", "--max-parallel", "3")
    workspace.run("report", "--html", "report.html")
    return place / "report.html"


def main() -> None:
    docs = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    docs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place, chromium.running() as browser:
        file = report(Path(place))
        for scheme, name in (("light", "report.png"), ("dark", "report-dark.png")):
            page = browser.new_page(
                viewport={"width": SIZE[0], "height": SIZE[1]},
                device_scale_factor=2,
                color_scheme="dark" if scheme == "dark" else "light",
            )
            page.goto(file.as_uri())
            page.screenshot(path=docs / name)
            print(docs / name)


if __name__ == "__main__":
    main()
