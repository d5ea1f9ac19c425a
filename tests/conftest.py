"""What every test gets: a hermetic machine, a workspace under git, the real program, an intake."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.intake_server import Server, intake

if TYPE_CHECKING:
    from tests.forks import Forks

# How quick examples are says something of the machine alone.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")
pytest_plugins = (
    *("tests.left_out", "tests.container.plugin", "tests.tmux"),
    *("tests.forks", "tests.shares"),
)
ROOT = Path(__file__).parent.parent
KEY = "canary-0123456789abcdef0123456789ab"
"""The API key of every test: it may stand nowhere but in the request's header."""
GIT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.test",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.test",
}


class Ended:
    """One run of the program that is over."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Workspace:
    """A directory with a pipeline file, and the program run in it as a person would."""

    forks: "Forks | None" = None
    """The process that runs are forked from; None: each is started from nothing."""

    def __init__(self, path: Path, home: Path) -> None:
        self.path = path
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
        }

    def write(self, text: str, name: str = "pipeline.yml") -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    def commit(self, message: str = "work") -> str:
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env=self.environ | GIT,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def to(self, server: Server) -> "Workspace":
        self.environ |= {"DD_API_KEY": KEY, "SIGNALBOX_INTAKE_URL": server.url}
        return self

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "runner", *arguments],
            cwd=self.path,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def run(self, *arguments: str, within: float = 30, **environ: str) -> Ended:
        if self.forks:
            return self.forks.run(self.path, self.environ | environ, arguments)
        with self.start(*arguments, **environ) as process:
            try:
                out, err = process.communicate(timeout=within)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
                pytest.fail(f"still running after {within} s:\n{out}\n{err}")
        return Ended(process.returncode, out, err)

    def until(self, condition: Callable[[], bool], within: float = 10) -> None:
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail("it did not come to pass")
            time.sleep(0.01)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty git repository with an origin and one commit to come."""
    path, home = tmp_path / "work", tmp_path / "home"
    path.mkdir()
    home.mkdir()
    made = Workspace(path, home)
    made.git("init", "-q", "-b", "main")
    made.git("remote", "add", "origin", "https://user:hunter2hunter2@git.example.test/team/app.git")
    return made


@pytest.fixture
def server() -> Iterator[Server]:
    """An intake that takes everything; what it took is judged when the test is over."""
    with intake(key=KEY) as running:
        yield running
        running.check(secrets=[KEY, "hunter2hunter2"])


def by_level(events: list[dict[str, Any]], level: str) -> list[dict[str, Any]]:
    """The final events of one level, in order of arrival."""
    return [e for e in events if e["level"] == level and e["status"] != "running"]


def tags(event: Mapping[str, Any]) -> dict[str, str]:
    """The tags of an event as a mapping."""
    return dict(tag.split(":", 1) for tag in event.get("tags", ()))


@pytest.fixture(autouse=True)
def no_network_but_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine exports reaches no test."""
    for name in list(os.environ):
        if name.startswith(("DD_", "DATADOG_", "GITHUB_", "CI", "SIGNALBOX_")) and name != "CI":
            monkeypatch.delenv(name)


def have(program: str) -> bool:
    """Whether a program is installed."""
    return shutil.which(program) is not None


@contextlib.contextmanager
def killed(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever happens, the process and its group are gone afterwards."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
