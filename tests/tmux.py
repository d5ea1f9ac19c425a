"""A real terminal for tests: what a person sees in it, and the keys a person presses.

Owns when such tests run: where tmux is installed; with CI=true they fail without it, elsewhere they
are left out, and the last lines say so.
"""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests import left_out
from tests.conftest import Workspace, have

_SHELL: Final = "bash --noprofile --norc"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs tmux where there is none."""
    if not (have("tmux") or os.environ.get("CI") == "true"):
        mine = [item for item in items if "tmux" in getattr(item, "fixturenames", ())]
        left_out.leave(config, items, mine, "tests of the terminal need tmux: apt install tmux")


class Tmux:
    """A tmux server of our own; each terminal is a window in which a shell waits."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.windows = 0

    def call(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-S", str(self.socket), "-f", "/dev/null", *arguments],
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self.socket.parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


class Terminal:
    """One terminal with a shell in a workspace."""

    def __init__(
        self, server: Tmux, workspace: Workspace, columns: int, rows: int, **environ: str
    ) -> None:
        self._server, self.workspace = server, workspace
        server.windows += 1
        self._name = f"w{server.windows}"
        known = {**workspace.environ, "PS1": "$ ", **environ}
        settings = [f"{name}={value}" for name, value in known.items() if name != "TERM"]
        clean = ["env", "-i", f"TERM={environ.get('TERM', 'tmux-256color')}", *settings]
        size = ("-x", str(columns), "-y", str(rows))
        server.call(
            *("new-session", "-d", "-s", self._name, "-c", str(workspace.path), *size),
            *(*clean, *_SHELL.split()),
        )
        self.until(lambda text: text.startswith("$"))

    def type(self, line: str) -> None:
        """A line, and Enter."""
        self._server.call("send-keys", "-t", self._name, "-l", line)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Keys by tmux's names: ``C-c``, ``Up``, ``f``."""
        self._server.call("send-keys", "-t", self._name, *keys)

    def resize(self, columns: int, rows: int) -> None:
        size = ("-x", str(columns), "-y", str(rows))
        self._server.call("resize-window", "-t", self._name, *size)

    def text(self, *, history: bool = False, colours: bool = False) -> str:
        """What is on the screen now, or on it and above it."""
        more = ("-S", "-") if history else ()
        colour = ("-e",) if colours else ()
        return self._server.call("capture-pane", "-p", "-t", self._name, *colour, *more)

    def asked(self, about: str) -> str:
        """What tmux knows of the terminal: ``cursor_flag``, ``pane_title``, ``cursor_y``."""
        return self._server.call("display-message", "-p", "-t", self._name, f"#{{{about}}}").strip()

    def until(self, seen: str | Callable[[str], object], within: float = 10) -> str:
        """The screen, once ``seen`` (a pattern, or a question) is on it."""
        deadline = time.monotonic() + within
        while True:
            text = self.text()
            if re.search(seen, text, re.MULTILINE) if isinstance(seen, str) else seen(text):
                return text
            if time.monotonic() > deadline:
                pytest.fail(f"never seen: {seen}\n{text}")
            time.sleep(0.02)

    def kill(self, number: int) -> None:
        """Send the program in the foreground a signal; the shell stays."""
        shell = self.asked("pane_pid")
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        os.kill(int(children[0]), number)

    def go(self, name: str) -> None:
        """Let the steps that wait for the file ``name`` go on."""
        (self.workspace.path / name).touch()


@pytest.fixture(scope="session")
def tmux() -> Iterator[Tmux]:
    """A server that is gone afterwards, with all that runs in it."""
    assert have("tmux"), "tmux is not installed"
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # a socket's path is short
        server = Tmux(Path(place) / "s")
        server.call("new-session", "-d", "-s", "stay")
        try:
            yield server
        finally:
            server.call("kill-server")


@pytest.fixture
def terminal(tmux: Tmux, workspace: Workspace) -> Iterator[Callable[..., Terminal]]:
    """Makes terminals in the workspace."""

    def make(columns: int = 100, rows: int = 30, **environ: str) -> Terminal:
        return Terminal(tmux, workspace, columns, rows, **environ)

    yield make
    for name in ("go", "on", "end"):  # whoever still waits
        (workspace.path / name).touch()
