"""The program, forked from a process that has imported it: a test of many short runs waits less.

Owns that process. Each run is one of its own, as at a desk, but for the 250 ms in which Python and
the libraries are loaded; what that costs is other tests' matter (``test_startup``).
"""

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Ended

_SERVER = """
import json, os, sys
import git
from runner import delivery, intake, manifest, report
from runner.cli import answer, ask, attempt, custody, expiry, launch, past, voice
from runner.cli import clean, flush, list, resume, retry, run as _, show
from runner.cli import main
from runner.intake import http
from runner.providers import github, local

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        os.setsid()
        os.chdir(asked["directory"])
        os.environ.clear()
        os.environ.update(asked["environ"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in ((1, asked["out"]), (2, asked["err"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = ["signalbox", *asked["arguments"]]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """The process that forks. One run at a time."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, directory: Path, environ: dict[str, str], arguments: tuple[str, ...]) -> Ended:
        out, err = directory.parent / "out", directory.parent / "err"
        asked = {
            "directory": str(directory),
            "environ": environ,
            "arguments": arguments,
            "out": str(out),
            "err": str(err),
        }
        code = self.ask(json.dumps(asked))
        if code is None:
            pytest.fail(f"still running after 30 s: {arguments}\n{err.read_text()}")
        return Ended(code, out.read_text(errors="replace"), err.read_text(errors="replace"))

    def ask(self, asked: str) -> int | None:
        """The exit code of what is asked for, one line; None: it is still running after 30 s."""
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(f"{asked}\n")
        self._server.stdin.flush()
        if not select.select([self._server.stdout], [], [], 30)[0]:
            self._server.kill()
            return None
        return int(self._server.stdout.readline())

    def close(self) -> None:
        self._server.communicate()


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """One for all tests of a process that want it."""
    made = Forks()
    yield made
    made.close()


@pytest.fixture
def forked(request: pytest.FixtureRequest, forks: Forks) -> None:
    """The ``run`` of a test's workspace, if it has one, is forked; ``start`` is not."""
    if "workspace" in request.fixturenames:
        request.getfixturevalue("workspace").forks = forks
