"""``python -m tests.pictures.terminal [DIRECTORY]``: the terminal of a real run, as pictures.

Writes ``terminal.png`` (while it runs) and ``terminal-end.png`` (its end) into ``docs``: a run in
tmux, its screen as HTML, photographed by Chromium. Owns how the sixteen colours look.
"""

import html
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.browser import chromium
from tests.conftest import Workspace
from tests.tmux import Terminal, Tmux

DOCS: Final = Path(__file__).parents[2] / "docs"
SIZE: Final = (100, 30)
PIPELINE: Final = """
name: Documentation Build
jobs:
  lint:
    stage: check
    steps:
      - { name: Style, run: sleep 0.9; echo All checks passed }
      - { name: Types, run: sleep 1.4; echo Success in 214 source files }
  test:
    stage: check
    needs: [lint]
    matrix: { PYTHON: ["3.11", "3.12", "3.13"] }
    steps:
      - name: Install
        run: |
          for name in alabaster babel docutils imagesize jinja2 markupsafe packaging pygments; do
            echo "Collecting $name"; sleep 0.11
          done
      - { name: Unit tests, run: python3 -u unit.py $PYTHON }
      - { name: Coverage, run: sleep 0.5; echo "TOTAL 4210 97%" }
  pages:
    stage: check
    steps:
      - { name: Build the pages, run: sleep 5.2; echo build succeeded }
      - { name: Links, retry: 1, run: "sleep 0.7; [ $SIGNALBOX_ATTEMPT -gt 1 ]" }
  approve: { needs: [test, pages], gate: "Publish to docs.example.test?" }
  publish: { needs: [approve], stage: release, steps: [./publish.sh] }
"""
UNIT: Final = """
import sys, time
for n, name in enumerate(["api", "build", "config", "domains", "links", "search", "theme", "toc"]):
    print(f"tests/test_{name}.py \x1b[32m....................\x1b[0m [{(n + 1) * 100 // 8:3}%]")
    time.sleep(0.27)
    if name == "search" and sys.argv[1] == "3.12":
        print("tests/test_search.py:42: AssertionError")
        print("E   assert index.find('crème') == [Page('desserts')]")
        sys.exit(1)
"""
_COLOURS: Final = {
    "31": "#f0717a",
    "32": "#8fcf7a",
    "33": "#e6c06a",
    "34": "#6fb3f5",
    "35": "#cf8ee8",
    "36": "#5fc4ce",
    "94": "#8cc4ff",
    "95": "#dea8f2",
    "96": "#86d8e0",
}
_PAGE: Final = """<!doctype html><meta charset=utf-8><style>
body {{ margin: 0; background: transparent }}
pre {{ display: inline-block; margin: 0; padding: 16px 20px; border-radius: 10px; color: #d8dce4;
  background: #1a1d23; font: 15px/1.32 "DejaVu Sans Mono", "Liberation Mono", monospace }}
b {{ color: #fff }} .faint {{ opacity: .55 }}
</style><pre>{}</pre>"""


def page(text: str) -> str:
    """A screen with its colours, as HTML."""
    return _PAGE.format("".join(_spans(text)))


def _spans(text: str) -> Iterator[str]:
    now: set[str] = set()
    for part in re.split(r"(\x1b\[[0-9;]*m)", text):
        if part.startswith("\x1b["):
            for code in part[2:-1].split(";"):
                now = _changed(now, code)
        elif part:
            colour = next((_COLOURS[code] for code in now if code in _COLOURS), "inherit")
            kind = "faint" if "2" in now else ""
            weight = "bold" if "1" in now else "normal"
            style = f"color:{colour};font-weight:{weight}"
            yield f'<span class="{kind}" style="{style}">{html.escape(part)}</span>'


def _changed(now: set[str], code: str) -> set[str]:
    if code in {"", "0"}:
        return set()
    if code == "39":
        return now - _COLOURS.keys()
    return now | {code}


def screens(place: Path) -> tuple[str, str]:
    """While a run goes on, and after it."""
    (place / "home").mkdir()
    workspace = Workspace(place, place / "home")
    workspace.write(PIPELINE)
    workspace.write(UNIT, "unit.py")
    workspace.git("init", "-q", "-b", "main")
    workspace.git("remote", "add", "origin", "https://git.example.test/team/docs.git")
    workspace.commit("Search finds accents")
    server = Tmux(place / "s")
    try:
        bin_ = place / "home" / "signalbox"
        bin_.write_text(f'#!/bin/sh\nexec {sys.executable} -m runner "$@"\n')
        bin_.chmod(0o755)
        path = f"{bin_.parent}:{workspace.environ['PATH']}"
        shown = Terminal(server, workspace, *SIZE, PATH=path)
        shown.type("signalbox run --max-parallel 3")
        shown.until(r"✗ test \(3.12\)", within=60)
        shown.until(r"▶ test \(3.13\).*Unit tests", within=60)
        time.sleep(0.6)
        live = shown.text(colours=True)
        shown.until(r"^\$$", within=60)
        end = shown.text(colours=True, history=True)
    finally:
        server.call("kill-server")
    return _trimmed(live), _trimmed(end[end.rfind("\n\n", 0, end.index("check\x1b")) :])


def _trimmed(text: str) -> str:
    lines = [line.rstrip() for line in text.strip("\n").split("\n")]
    return "\n".join(line for line in lines if line != "$")


def main() -> None:
    docs = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    docs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place, chromium.running() as browser:
        tab = browser.new_page(viewport={"width": 1200, "height": 900}, device_scale_factor=2)
        names = ("terminal.png", "terminal-end.png")
        for name, text in zip(names, screens(Path(place)), strict=True):
            tab.set_content(page(text))
            tab.locator("pre").screenshot(path=str(docs / name), omit_background=True)
            print(docs / name)


if __name__ == "__main__":
    main()
