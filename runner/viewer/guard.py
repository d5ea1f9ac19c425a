"""The guard before everything: who may ask at all, and what every answer says of itself.

Owns the list of hosts (no DNS rebinding), refusing what other sites' pages send (no cross-site
request), the token, and the security headers. Routes behind it need no thought of these.

A page of another site can make a browser send requests here. It cannot set ``Sec-Fetch-Site`` or
``Origin``, and a name of its own that it points to this machine stands in ``Host``.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runner.viewer.http import Refusal, errors

LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1", "host.docker.internal"})
COOKIE: Final = "signalbox"
_QUERY: Final = "token"

_ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_UNLESS_SAID: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Guard:
    """Around the application. ``token`` empty: for this machine alone, and then ``hosts`` are the
    only names by which it may be called.
    """

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str], token: str) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        found = self._met(scope)
        if found is None:
            await self._app(scope, receive, _secured(send))
        else:
            await found(scope, receive, _secured(send))

    def _met(self, scope: Scope) -> Response | None:
        """What is answered at once; None: it may pass."""
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            _check_site(scope, headers)
            return self._check_token(scope, headers) if self._token else None
        except Refusal as refusal:
            return errors(refusal)

    def _check_host(self, headers: Headers) -> None:
        if len(headers.getlist("host")) != 1:
            raise Refusal(400, "Host: exactly one is needed")
        host = hostname(headers["host"])
        if self._token:  # a page that calls us by a name of its own has no cookie for it
            return
        if host not in self._hosts:
            raise Refusal(
                403, f"Host {host[:80]!r}: this is served to {', '.join(sorted(self._hosts))} alone"
            )

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        shown = _shown(headers)
        if shown and any(self._is(one) for one in shown):
            return None
        query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
        if scope["method"] == "GET" and self._is(query.get(_QUERY, "")):
            return self._welcome(scope, query)
        if shown:
            raise Refusal(403, "the key is not the token that this server was started with")
        raise Refusal(401, "the header DD-API-KEY is missing: send the token that was set at start")

    def _is(self, shown: str) -> bool:
        return hmac.compare_digest(shown.encode(), self._token.encode())

    def _welcome(self, scope: Scope, query: Mapping[str, str]) -> Response:
        """A browser that came with the token in its address keeps it in a cookie."""
        rest = urlencode({name: value for name, value in query.items() if name != _QUERY})
        path = "/" + scope["path"].lstrip("/\\")  # "//other.example" would be another site
        response = RedirectResponse(f"{path}?{rest}" if rest else path, 303)
        response.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", path="/")
        return response


def hostname(text: str) -> str:
    """The host of ``host:port``, without brackets and the root's dot; raises ``Refusal``."""
    host = text.strip().lower()
    if host.startswith("["):
        inside, closing, port = host[1:].partition("]")
        bad = not closing or not _is_address(inside) or (port and not _is_port(port))
    else:
        inside, colon, port = host.partition(":")
        bad = bool(colon) and not port.isdecimal()
    if bad or not inside:
        raise Refusal(400, "Host: it is no host")
    return inside.removesuffix(".")


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isdecimal()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_site(scope: Scope, headers: Headers) -> None:
    """No request that a page of another site made, but for following a link here."""
    site = headers.get("sec-fetch-site", "none")
    following = (
        scope["method"] == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )
    if site not in {"same-origin", "none"} and not following:
        raise Refusal(403, "another site's page made this request")
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in {
        f"{scheme}://{headers['host'].lower()}" for scheme in ("http", "https")
    }:
        raise Refusal(403, "another site's page made this request")


def _shown(headers: Headers) -> list[str]:
    """Every token that the request shows."""
    found = [headers.get("dd-api-key", "")]
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found.append(credentials.strip())
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        cookie = None
    if cookie:
        found.append(cookie.value)
    return [one for one in found if one]


def _secured(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _ALWAYS.items():
                headers[name] = value
            for name, value in _UNLESS_SAID.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
