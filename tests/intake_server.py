"""A real HTTP intake on 127.0.0.1 that can misbehave in every way, and judges what it was sent.

Owns the wire: raw sockets, one thread per connection, an ``Answer`` scripted per request. What it
stores is judged by ``intake_model`` when ``check`` is called, never while a client waits::

    with intake() as server:
        server.script([Answer(status=503), Answer(fault=Fault.RESET)])   # then 202 again
        ...
        server.check(secrets=["canary"])

A process of its own, for benches: ``python -m tests.intake_server --sink`` prints its URL, and on
SIGTERM what it took, as JSON.
"""

import argparse
import contextlib
import gzip
import json
import signal
import socket
import ssl
import tempfile
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final

from tests.intake_model import (
    Judge,
    LogModel,
    Model,
    Resource,
    Stored,
    disguises,
    take_apart,
)
from tests.intake_wire import HTML, Answer, Fault, Request, Talk, head

__all__ = [
    "HTML",
    "Answer",
    "Certificate",
    "Fault",
    "Request",
    "Resource",
    "Rule",
    "Server",
    "intake",
]

EVENTS_PER_REQUEST: Final = 1000
LOGS: Final = "/api/v2/cilogs"
BYTES_PER_REQUEST: Final = 4_000_000
"""Reference, section 4: "stay <= 4 MB uncompressed"."""


Rule = Callable[[Request], Answer | None]


class Server:
    """The intake; made by ``intake``. ``rule`` is asked when no scripted answer is left."""

    def __init__(
        self, *, tls: ssl.SSLContext | None, ca: str, key: str, sink: bool, port: int
    ) -> None:
        self.ca = ca
        self.default = Answer()
        self.rule: Rule | None = None
        self.requests: list[Request] = []
        self.stored: list[Stored] = []
        self.logs = LogModel()
        self.unreadable: list[str] = []
        self.connections = 0
        self.answered = 0
        self.swallowed = 0
        """Events that a sink took: it counts and forgets."""
        self.log_requests = 0
        self._bodies: list[Request] = []
        self._script: deque[Answer] = deque()
        self._tls = tls
        self._key = key
        self._sink = sink
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    # ── what tests say and ask ───────────────────────────────────────────────────────────────────

    def script(self, answers: Iterable[Answer]) -> None:
        """Answer the next requests so, one after the other; then as ``rule`` or ``default`` say."""
        with self._lock:
            self._script.extend(answers)

    def calm(self) -> None:
        """Nothing scripted is left: from here on as ``rule`` or ``default`` say."""
        with self._lock:
            self._script.clear()

    @property
    def events(self) -> list[Resource]:
        """Every resource that was stored, in order, resends included."""
        self._read()
        return [event.resource for event in self.stored]

    def lines(self, job: str = "") -> list[Resource]:
        """Every line of the job of this name, or of the only one with a log, by number."""
        self._read()
        ids = {e.id for e in self.stored if e.level == "job" and e.resource["name"] == job}
        logs = [lines for (_, id_), lines in self.logs.lines.items() if id_ in ids or not job]
        assert len(logs) <= 1, f"{len(logs)} logs"
        return [lines[number] for lines in logs for number in sorted(lines)]

    def event(self, level: str, name: str = "", *, running: bool = False) -> Resource:
        """The one resource of this level and name; fails when there is none."""
        self._read()
        found = [
            event.resource
            for event in self.stored
            if event.level == level
            and event.running == running
            and (not name or event.resource["name"] == name)
        ]
        assert found, f"no {level} {name!r} among {[event.label for event in self.stored]}"
        return found[-1]

    def findings(self, *, secrets: Iterable[str] = ()) -> list[str]:
        """Everything this intake objects to, in all it was sent so far."""
        self._read()
        judge, model = Judge(), Model()
        found = [finding for event in self.stored for finding in judge.event(event)]
        for event in self.stored:
            model.take(event)
        found += self.unreadable
        found += model.findings
        found += model.incomplete()
        found += self.logs.findings
        found += self.logs.compare(self.stored)
        for request in self.requests:
            found += _wire(request, secrets)
        return found

    def check(self, *, secrets: Iterable[str] = ()) -> None:
        """Raise ``AssertionError`` with all findings, if there are any."""
        found = self.findings(secrets=secrets)
        assert not found, "\n".join(found[:50])

    def wait(self, condition: Callable[[], bool], within: float = 5.0) -> None:
        """Until the condition holds; fails after ``within`` seconds."""
        limit = time.monotonic() + within
        while not condition():
            assert time.monotonic() < limit, "the intake waited in vain"
            time.sleep(0.005)

    def close(self) -> None:
        """End every connection."""
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections, threads = list(self._open), list(self._threads)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)

    # ── the wire ─────────────────────────────────────────────────────────────────────────────────

    def serve(self) -> None:
        """Accept until closed."""
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._converse, args=(connection,), daemon=True)
            with self._lock:
                self.connections += 1
                self._open.add(connection)
                self._threads.append(thread)
            thread.start()

    def _converse(self, connection: socket.socket) -> None:
        talk = Talk(connection, self._over)
        try:
            self._talk(talk)
        except (OSError, ValueError, EOFError):
            pass  # The other side went away, or is no HTTP client: its own business.
        finally:
            with self._lock:
                self._open.discard(connection)
            talk.close()

    def _talk(self, talk: Talk) -> None:
        first = True
        while talk.readable():
            scripted = self._next()
            match scripted.fault if scripted else None:
                case Fault.HANG_ACCEPT:
                    self._over.wait()
                    return
                case Fault.RESET_EARLY:
                    talk.reset()
                    return
                case _:
                    pass
            if first and self._tls:
                talk.wrap(self._tls)
            first = False
            if not self._exchange(talk, scripted):
                return

    def _next(self) -> Answer | None:
        with self._lock:
            return self._script.popleft() if self._script else None

    def _exchange(self, talk: Talk, scripted: Answer | None) -> bool:
        """One request and its answer; False ends the connection."""
        method, path, headers = talk.head()
        early = scripted is not None and scripted.fault is Fault.EARLY
        body = b"" if early else talk.body(headers, scripted.drip_in if scripted else 0.0)
        request = Request(method=method, path=path, headers=headers, body=body, at=time.monotonic())
        answer = scripted or (self.rule and self.rule(request)) or self._judged(request)
        self._take(request, answer)
        return self._answer(talk, answer)

    def _judged(self, request: Request) -> Answer:
        if self._key and request.headers.get("dd-api-key") != self._key:
            return Answer(status=403, body=b'{"errors":[{"status":"403","title":"Forbidden"}]}')
        return self.default

    def _take(self, request: Request, answer: Answer) -> None:
        with self._lock:
            self.answered += 1
            self.log_requests += request.path.endswith(LOGS)
            if self._sink:
                self.swallowed += request.body.count(b'{"type":"cipipeline_resource_request"')
                return
            self.requests.append(request)
            if answer.keeps and request.method == "POST":
                self._bodies.append(request)

    def _read(self) -> None:
        """Decode what came since the last time: not while a client waits for its answer."""
        with self._lock:
            fresh, self._bodies = self._bodies, []
        for request in fresh:
            try:
                if request.path.endswith(LOGS):
                    self.logs.take(_plain(request))
                else:
                    self.stored.extend(take_apart(request.body))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                self.unreadable.append(f"a request that holds no events: {error!r}")

    def _answer(self, talk: Talk, answer: Answer) -> bool:
        if answer.delay:
            self._over.wait(answer.delay)
        match answer.fault:
            case Fault.HANG_HEAD:
                self._over.wait()
                return False
            case Fault.RESET | Fault.DROP:
                talk.reset()
                return False
            case Fault.HALF_CLOSE:
                return False
            case Fault.GARBAGE:
                talk.send(b"\x00\xff\x16\x03 what?\r\n\r\n", 0.0)
                return False
            case Fault.HANG_BODY:
                talk.send(head(answer, len(answer.body) + 1), 0.0)
                self._over.wait()
                return False
            case _:
                pass
        talk.send(answer.head or head(answer, len(answer.body)), answer.drip)
        talk.send(answer.body, answer.drip)
        if answer.fault is Fault.EARLY:
            talk.linger()
        return answer.fault not in (Fault.CLOSE, Fault.EARLY) and not answer.head


def _plain(request: Request) -> bytes:
    """The body as it was before it was compressed."""
    packed = request.headers.get("content-encoding") == "gzip"
    return gzip.decompress(request.body) if packed else request.body


def _wire(request: Request, secrets: Iterable[str]) -> Iterator[str]:
    if request.method != "POST":
        return
    if not request.path.endswith(("/api/v2/ci/pipeline", LOGS)):
        yield f"POST to {request.path}"
    if not request.headers.get("content-type", "").startswith("application/json"):
        yield f"Content-Type is {request.headers.get('content-type')!r}"
    if len(request.body) > BYTES_PER_REQUEST:
        yield f"a request of {len(request.body)} bytes"
    if (count := request.body.count(b'"cipipeline_resource_request"')) > EVENTS_PER_REQUEST:
        yield f"a request of {count} events"
    body = b""
    with contextlib.suppress(OSError, EOFError, zlib.error):
        body = _plain(request)
    for secret in secrets:
        for form, needle in disguises(secret).items():
            if needle in body or needle in request.path.encode():
                yield f"a secret ({form}) in a request"


class Certificate(Enum):
    """What the server shows for itself; ``server.ca`` is the file of its authority."""

    NONE = "plain HTTP"
    GOOD = "good"
    EXPIRED = "expired"
    WRONG_HOST = "for another host"


@contextlib.contextmanager
def intake(
    *, certificate: Certificate = Certificate.NONE, key: str = "", sink: bool = False, port: int = 0
) -> Iterator[Server]:
    """An intake that lives as long as the block. With ``key``, any other key gets 403."""
    with tempfile.TemporaryDirectory(prefix="intake-") as folder:
        context, ca = (None, "")
        if certificate is not Certificate.NONE:
            context, ca = _secured(certificate, Path(folder) / "ca.pem")
        server = Server(tls=context, ca=ca, key=key, sink=sink, port=port)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.close()
            thread.join(5)


def _secured(certificate: Certificate, path: Path) -> tuple[ssl.SSLContext, str]:
    import trustme  # noqa: PLC0415  70 ms that only tests of TLS need

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(path))
    host = "elsewhere.example" if certificate is Certificate.WRONG_HOST else "127.0.0.1"
    now = datetime.now(UTC)
    ends = now + timedelta(days=-1 if certificate is Certificate.EXPIRED else 1)
    shown = authority.issue_cert(host, not_before=now - timedelta(days=2), not_after=ends)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.configure_cert(context)
    return context, str(path)


def main() -> None:
    """An intake in a process of its own; SIGTERM or SIGINT ends it and prints the tally."""
    parser = argparse.ArgumentParser(prog="python -m tests.intake_server", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--sink", action="store_true", help="count and forget, judge nothing")
    parser.add_argument("--status", type=int, default=202, help="answer everything with this")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    options = parser.parse_args()
    # Blocked before the threads start, so that none of them takes the signal.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with intake(sink=options.sink, port=options.port) as server:
        server.default = Answer(status=options.status, delay=options.delay)
        print(server.url, flush=True)
        signal.sigwait(signals)
        events = server.swallowed if options.sink else len(server.events)
        tally = {
            "requests": server.answered,
            "events": events,
            "log_requests": server.log_requests,
            "connections": server.connections,
            "findings": [] if options.sink else server.findings(),
        }
    print(json.dumps(tally), flush=True)


if __name__ == "__main__":
    main()
