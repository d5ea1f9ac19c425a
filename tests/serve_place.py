"""``signalbox serve`` as a user starts it, in a process of its own, and requests to it."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from resource import RLIMIT_FSIZE, setrlimit
from typing import Any, Self

from tests.conftest import ROOT

PIPELINE = "/api/v2/ci/pipeline"
LOGS = "/api/v2/cilogs"
READ = "/api/v2/ci/pipelines"
SHA = "cf852e17dea14008ac83036430843a1ccf852e17"
SERVE = [sys.executable, "-m", "runner", "serve"]
JSON = {"Content-Type": "application/json"}


class Answer:
    """One answer, whole."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def errors(self) -> str:
        """What it objects to, as text."""
        told = self.json["errors"]
        return "\n".join(one if isinstance(one, str) else one["detail"] for one in told)


class Serve:
    """A running ``signalbox serve``."""

    def __init__(self, state: Path, *arguments: str, biggest: int = 0, **environ: str) -> None:
        self.state = state
        self.process = subprocess.Popen(
            [*SERVE, "--port", "0", "--state", str(state), *arguments],
            cwd=state.parent,
            env={"PATH": os.environ["PATH"], "HOME": str(state.parent), "PYTHONPATH": str(ROOT)}
            | environ,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A disk that takes no more, as far as one process can tell.
            preexec_fn=_limit(biggest) if biggest else None,  # noqa: PLW1509 - no thread runs yet
        )
        assert self.process.stderr
        self.said = self.process.stderr.readline()
        assert "serves" in self.said, self.said + self.process.stderr.read()
        self.port = int(self.said.split()[2].rpartition(":")[2])
        self.url = f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        within: float = 20,
    ) -> Answer:
        """One request on a connection of its own; what is no bytes goes as JSON."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=within)
        try:
            connection.putrequest(method, path, skip_host="Host" in (headers or {}))
            told = {**(JSON if sent is not None else {}), **(headers or {})}
            if sent is not None:
                told.setdefault("Content-Length", str(len(sent)))
            for name, value in told.items():
                connection.putheader(name, value)
            connection.endheaders(sent)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def send(self, *elements: object) -> Answer:
        """Post events."""
        return self.ask("POST", PIPELINE, {"data": list(elements)})

    def take(self, *elements: object) -> None:
        """Post events, which are taken."""
        answer = self.send(*elements)
        assert answer.status == 202, answer.body

    def search(self, query: str, limit: int = 1000, **more: object) -> list[dict[str, Any]]:
        """The attributes of what is found, newest first."""
        asked = {"filter": {"query": query}, "page": {"limit": limit}} | more
        answer = self.ask("POST", f"{READ}/events/search", asked)
        assert answer.status == 200, answer.body
        return [one["attributes"] for one in answer.json["data"]]

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it; its exit code and what else it said."""
        assert self.process.stderr
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        said = self.process.stderr.read()
        self.process.stderr.close()
        return self.process.wait(20), said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.end(signal.SIGKILL)


def _limit(biggest: int) -> Callable[[], None]:
    return lambda: setrlimit(RLIMIT_FSIZE, (biggest, biggest))


@contextlib.contextmanager
def serving(state: Path, *arguments: str, biggest: int = 0, **environ: str) -> Iterator[Serve]:
    """One for the length of a block. ``biggest``: bytes of any file that it may write."""
    state.parent.mkdir(parents=True, exist_ok=True)
    with Serve(state, *arguments, biggest=biggest, **environ) as running:
        yield running


def ago(seconds: float = 0.0) -> str:
    """A moment ago, RFC 3339."""
    moment = datetime.now(UTC) - timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def git(**more: object) -> dict[str, object]:
    """A commit."""
    found = {
        "repository_url": "https://git.example.test/team/app.git",
        "sha": SHA,
        "author_email": "ada@example.test",
    }
    return found | more


def element(resource: Mapping[str, object], **attributes: object) -> dict[str, object]:
    """One element of ``data``."""
    around = {"provider_name": "custom-ci", **attributes, "resource": resource}
    return {"type": "cipipeline_resource_request", "attributes": around}


def pipeline(unique_id: str, **more: object) -> dict[str, object]:
    """A pipeline that ended a minute ago."""
    found: dict[str, object] = {
        "level": "pipeline",
        "unique_id": unique_id,
        "name": "Documentation Build",
        "url": "",
        "start": ago(90),
        "end": ago(60),
        "status": "success",
        "partial_retry": False,
        "git": git(branch="main"),
    }
    return element({name: value for name, value in (found | more).items() if value is not None})


def part(level: str, execution: str, id_: str, **more: object) -> dict[str, object]:
    """A stage, a job or a step of an execution."""
    found: dict[str, object] = {
        "level": level,
        "id": id_,
        "name": f"{level} {id_}",
        "pipeline_unique_id": execution,
        "pipeline_name": "Documentation Build",
        "start": ago(80),
        "end": ago(70),
        "status": "success",
    }
    if level == "job":
        found["url"] = ""
    return element({name: value for name, value in (found | more).items() if value is not None})
