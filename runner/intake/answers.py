"""What an answer means, or the lack of one, and how a person is told.

Owns the table of statuses (faults and threats, section 3), the wait that a server asks for and the
wording. Does not decide what happens next: that is ``delivery``'s. Imported with ``requests``, not
before: it needs what that needs.
"""

import http.client
import json
import math
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from runner.intake.reply import Reply, Verdict
from runner.intake.target import Target

WAIT_LIMIT: Final = 300.0
"""The longest wait a server can ask for, in seconds: N26."""
_SERVER_ERROR: Final = 500
_REASON_LIMIT: Final = 300
"""Characters of a server's own words that are shown and kept."""


# ── answers ──────────────────────────────────────────────────────────────────────────────────────


_VERDICTS: Final = {
    400: Verdict.REFUSED,
    407: Verdict.RETRY,
    408: Verdict.RETRY,
    413: Verdict.TOO_LARGE,
    429: Verdict.RETRY,
    501: Verdict.HOLD,
    505: Verdict.HOLD,
    511: Verdict.HOLD,
}
"""Any other server error is worth another try; any other answer needs a person."""
_TOLD: Final = {
    401: "{place} refused the API key {code}{said}. {key}",
    403: "{place} refused the API key {code}{said}. {key}",
    404: "{place} has no {path} {code}. {address}",
    407: "the proxy before {place} wants credentials {code}",
    408: "{place} waited too long for the request {code}",
    413: "{place} found the request too large {code}{said}",
    429: "{place} asks to send less often {code}",
    501: "{place} cannot take {carries} {code}. {address}",
    505: "{place} cannot take {carries} {code}. {address}",
    511: "a network before {place} wants a login {code}",
}
_TOLD_BY_CLASS: Final = {
    2: "{place} answered like a proxy or a login page, not an intake {code}. {address}",
    3: "{place} redirects {code}, which is never followed. {address}",
    4: "{place} refused the {carries} {code}{said}",
}


def answered(status: int, headers: Mapping[str, str], body: bytes, to: Target) -> Reply:
    """The reply that an HTTP answer is."""
    server_error = status >= _SERVER_ERROR
    verdict = _VERDICTS.get(status, Verdict.RETRY if server_error else Verdict.HOLD)
    if status in to.taken:
        verdict = Verdict.DELIVERED
    if verdict is Verdict.DELIVERED and is_page(headers, body):
        verdict = Verdict.HOLD
    return Reply(
        verdict=verdict,
        status=status,
        message="" if verdict is Verdict.DELIVERED else _told(status, _reason(body, to), to),
        wait=_wait(headers),
        date=_instant(headers.get("Date", "")),
    )


def _told(status: int, reason: str, to: Target) -> str:
    template = _TOLD.get(status) or _TOLD_BY_CLASS.get(status // 100, "{place} has trouble {code}")
    return template.format(
        place=to.place,
        path=urlsplit(to.url).path,
        carries=to.carries,
        code=f"(HTTP {status})",
        said=f": {reason}" if reason else "",
        key=_key_advice(to),
        address=_address_advice(to),
    )


def _key_advice(to: Target) -> str:
    if to.site:
        return f"Check DD_API_KEY, and that DD_SITE ({to.site}) is the site it belongs to"
    if to.withheld:
        return "Set SIGNALBOX_INTAKE_TOKEN: DD_API_KEY itself goes only to https and loopback"
    return "Check SIGNALBOX_INTAKE_TOKEN or DD_API_KEY"


def _address_advice(to: Target) -> str:
    setting = f"DD_SITE ({to.site})" if to.site else "SIGNALBOX_INTAKE_URL"
    return f"Check {setting}, and whether a proxy answers instead"


def is_page(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether an answer is a page for people, as captive portals and proxies send (N28)."""
    begin = body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return "text/html" in headers.get("Content-Type", "").lower() or begin.startswith(
        (b"<!doctype html", b"<html")
    )


def _reason(body: bytes, to: Target) -> str:
    """The server's own words on one line, from either form of its errors (reference, section 7)."""
    try:
        errors = json.loads(body)["errors"]
        texts = [_words(error) for error in errors]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    text = " ".join("; ".join(filter(None, texts)).split())
    if secret := to.secret.reveal():
        text = text.replace(secret, "***")
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return printable[:_REASON_LIMIT]


def _words(error: object) -> str:
    if isinstance(error, str):
        return error
    if not isinstance(error, dict):
        return ""
    return ": ".join(str(error[name]) for name in ("title", "detail") if error.get(name))


# ── how long to wait ─────────────────────────────────────────────────────────────────────────────


def _wait(headers: Mapping[str, str]) -> float | None:
    """The longest wait that the headers ask for; what makes no sense is as if not said."""
    asked = (
        _seconds(headers.get("Retry-After", "")),
        _until(headers.get("Retry-After", ""), headers.get("Date", "")),
        _seconds(headers.get("X-RateLimit-Reset", "")),
    )
    waits = [min(seconds, WAIT_LIMIT) for seconds in asked if seconds is not None and seconds >= 0]
    return max(waits, default=None)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def _until(text: str, now: str) -> float | None:
    """Seconds between the server's own now and the date it names: our clock may be wrong (C3)."""
    then, start = _instant(text), _instant(now)
    return None if then is None or start is None else float(then - start)


def _instant(text: str) -> int | None:
    try:
        moment = parsedate_to_datetime(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


# ── no answer ────────────────────────────────────────────────────────────────────────────────────

_UNCONNECTED: Final = {
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ProxyError",
}
_UNUSABLE: Final = {"InvalidSchema", "InvalidURL", "InvalidProxyURL", "LocationParseError"}
"""By name, so that nothing of urllib3 is imported before it is needed."""
_TUNNEL: Final = re.compile(r"Tunnel connection failed: (\d{3})")


def failed(error: Exception, to: Target, through: Mapping[str, str]) -> Reply:
    """The reply that an exception is: told by its kind, never by its text (N39)."""
    causes = list(_causes(error))
    kinds = {type(cause).__name__ for cause in causes}
    place = to.place + "".join(f" through the proxy {_bare(proxy)}" for proxy in through.values())
    if hopeless := _hopeless(causes, kinds, place):
        return Reply(verdict=Verdict.HOLD, message=hopeless, connected=False)
    connected = not kinds & _UNCONNECTED
    why = next(filter(None, map(_why, causes)), "the answer is not HTTP")
    late = any(isinstance(cause, TimeoutError) for cause in causes)
    verb = "gave no answer" if connected else "cannot be reached"
    message = f"{place} {verb}: {why}"
    return Reply(verdict=Verdict.RETRY, message=message, connected=connected, late=late)


def _hopeless(causes: list[BaseException], kinds: set[str], place: str) -> str:
    """What trying again does not mend; "" for anything else."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = getattr(cause, "verify_message", "") or "verification failed"
            return (
                f"the certificate of {place} is not trusted: {why}. If the authority is your own, "
                "name its file in REQUESTS_CA_BUNDLE"
            )
        if isinstance(cause, FileNotFoundError):
            return "the file of certificate authorities is missing: check REQUESTS_CA_BUNDLE"
    if kinds & _UNUSABLE:
        return f"{place} cannot be used: check HTTPS_PROXY; it is http://HOST:PORT"
    return ""


def _why(cause: BaseException) -> str:  # noqa: PLR0911  a table
    match cause:
        case socket.gaierror():
            return "the name cannot be resolved"
        case ConnectionRefusedError():
            return "connection refused"
        case http.client.RemoteDisconnected():
            return "it closed the connection"
        case ConnectionError():
            return "the connection was reset"
        case TimeoutError():
            return "time ran out"
        case ssl.SSLError():
            return f"TLS failed ({cause.reason or 'no reason given'})"
        case OSError() if cause.errno is not None:
            return os.strerror(cause.errno)
        case OSError() if tunnel := _TUNNEL.match(str(cause)):
            return f"the proxy answered HTTP {tunnel[1]}"
        case _:
            return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and all inside it, innermost first: the libraries wrap four deep."""
    seen: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        one = todo.pop(0)
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            todo += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
    yield from reversed(seen)


def _bare(proxy: str) -> str:
    """A proxy's address without the user and password it may hold."""
    return urlsplit(proxy).netloc.rpartition("@")[2] or "of this machine"
