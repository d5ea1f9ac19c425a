"""One attempt at delivering one body, by requests.

Owns how long it may take whatever the network does, and how much of an answer is read. Exceptions
of the libraries are never shown: they may hold a key or a proxy's password.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import requests
import requests.adapters

from runner.intake import Reply, Target, Verdict, answers, way

BODY_LIMIT: Final = 65536
"""Bytes of an answer that are read, after decoding: N31, N32."""
CONNECT_LIMIT: Final = 5.0
"""Seconds for one address to accept: N7."""
_OK: Final = 200
_BOTH_WAYS: Final = 2
"""``socket.SHUT_RDWR``: importing socket takes 3 ms that belong to the first step."""
_PIECE: Final = 65536
"""Bytes of a request between two looks at whether it was given up; one may take CONNECT_LIMIT, so
that lines of 13 KB/s and more are fast enough.
"""


class Intake:
    """One intake and the one connection to it. Used by one thread; only ``cut`` is for others."""

    def __init__(self, to: Target, *, environ: Mapping[str, str], version: str) -> None:
        self._to = to
        self._proxies = way.proxies(to.url, environ)
        self._authorities = way.authorities(environ)
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"signalbox/{version}",
        }
        if to.encoding:
            self._headers["Content-Encoding"] = to.encoding
        self._line = self._new_line()
        self._attempt = _Attempt()

    def send(self, body: bytes, *, within: float) -> Reply:
        """Send one request's body, once, and say what came of it in ``within`` seconds at most:
        name resolution, connecting, TLS, upload and answer together.
        """
        return self._ask("POST", self._to.url, body, within)

    def check(self, *, within: float) -> Reply:
        """Ask whether the key is one of this site; DELIVERED means yes."""
        base = self._to.url.removesuffix("/api/v2/ci/pipeline")
        return self._ask("GET", f"{base}/api/v1/validate", b"", within)

    def cut(self, after: float) -> None:
        """From another thread: end the attempt under way in ``after`` seconds, if it still is."""
        attempt = self._attempt
        if not attempt.over.wait(after):
            attempt.give_up()

    def close(self) -> None:
        """Close the connection."""
        self._line.adapter.close()

    def _ask(self, method: str, url: str, body: bytes, within: float) -> Reply:
        # A thread of its own, because name resolution knows no time limit (N6) and a limit on
        # each read is none on their sum (N29). What is given up ends by itself, and alone.
        attempt = self._attempt = _Attempt()
        work = (attempt, self._line, method, url, body, within)
        threading.Thread(target=self._try, args=work, name="intake", daemon=True).start()
        attempt.over.wait(within)
        if (outcome := attempt.outcome) is None:
            attempt.give_up()
            outcome = self._line.cut(answering=attempt.answering)
            self._line = self._new_line()
            return answers.failed(outcome, self._to, self._proxies)
        if isinstance(outcome, Reply):
            return outcome
        return answers.failed(outcome, self._to, self._proxies)

    def _new_line(self) -> "_Line":
        return _Line(requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=1))

    def _try(self, attempt: "_Attempt", *work: Any) -> None:
        try:
            attempt.outcome = self._exchange(attempt, *work)
        except Exception as error:  # noqa: BLE001  carried over to the thread that waits
            attempt.outcome = error
        attempt.over.set()

    def _exchange(
        self, attempt: "_Attempt", line: "_Line", method: str, url: str, body: bytes, within: float
    ) -> Reply:
        # The adapter, not a session: it has no netrc (N38), no cookies, follows nothing (N27).
        request = requests.Request(method, url, headers=self._signed(), data=None)
        prepared = request.prepare()
        if body:
            prepared.prepare_body(_Upload(body, attempt), None)
        if isinstance(self._authorities, str) and not os.path.exists(self._authorities):
            raise FileNotFoundError
        line.watch(prepared, self._authorities, self._proxies)
        response = line.adapter.send(
            prepared,
            stream=True,
            # Reading may take a little longer than all, so that one limit decides.
            # Half, so that IPv6 that leads nowhere leaves time for IPv4 (N12).
            timeout=(min(CONNECT_LIMIT, within / 2), within + 1),
            verify=self._authorities,
            proxies=self._proxies,
        )
        attempt.answering = True
        with contextlib.closing(response):
            text, broken = self._text(attempt, response)
        page = answers.is_page(response.headers, text)
        if method == "GET" and response.status_code == _OK and not page:
            return Reply(verdict=Verdict.DELIVERED, status=_OK)
        reply = answers.answered(response.status_code, response.headers, text, self._to)
        if broken and reply.verdict is Verdict.DELIVERED:
            raise broken
        return reply

    def _signed(self) -> Mapping[str, str]:
        secret = self._to.secret.reveal()
        return {**self._headers, self._to.header: secret} if secret else self._headers

    def _text(
        self, attempt: "_Attempt", response: requests.Response
    ) -> tuple[bytes, Exception | None]:
        """The beginning of the answer's body, and what went wrong while reading it: a status other
        than 202 says enough without a body.
        """
        text = bytearray()
        try:
            while len(text) < BODY_LIMIT and not attempt.given_up:
                piece = response.raw.read1(BODY_LIMIT - len(text), decode_content=True)
                if not piece:
                    break
                text += piece
        except Exception as error:  # noqa: BLE001  urllib3 and http.client let anything through
            return bytes(text), error
        return bytes(text), None


class ConnectTimeoutError(TimeoutError):
    """There was no connection when time ran out."""


class _Attempt:
    """One attempt, seen by the thread that makes it and by those that wait for it."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.given_up = False
        self.answering = False
        self.outcome: Reply | Exception | None = None

    def give_up(self) -> None:
        """Whatever it still does, nobody waits for it."""
        self.given_up = True
        self.over.set()


class _Upload:
    """A body that stops coming when its attempt was given up: a request that gets its connection
    late must not arrive after those that came later (a running event after the final one).
    """

    def __init__(self, body: bytes, attempt: _Attempt) -> None:
        self._body = body
        self._attempt = attempt

    def __len__(self) -> int:
        return len(self._body)

    def __iter__(self) -> Iterator[bytes]:
        for begin in range(0, len(self._body), _PIECE):
            if self._attempt.given_up:
                raise ConnectionAbortedError
            yield self._body[begin : begin + _PIECE]


class _Line:
    """The connection of an adapter, where it can be reached and cut."""

    def __init__(self, adapter: requests.adapters.HTTPAdapter) -> None:
        self.adapter = adapter
        self._connection: Any = None
        self._watched = False

    def watch(self, request: Any, verify: bool | str, through: Mapping[str, str]) -> None:
        """Have the adapter's pool tell of the connection that it makes."""
        if self._watched:
            return
        pool: Any = self.adapter.get_connection_with_tls_context(request, verify, proxies=through)
        make: Callable[..., Any] = pool.ConnectionCls

        def remember(*args: Any, **options: Any) -> Any:
            self._connection = make(*args, **options)
            return self._connection

        pool.ConnectionCls = remember
        self._watched = True

    def cut(self, *, answering: bool) -> Exception:
        """End the connection under whoever uses it; what that attempt failed of."""
        wire = getattr(self._connection, "sock", None)
        if wire is None:
            # An answer to HTTP/1.0 takes the socket away from its connection.
            return TimeoutError() if answering else ConnectTimeoutError()
        with contextlib.suppress(OSError):
            wire.shutdown(_BOTH_WAYS)
        return TimeoutError()
