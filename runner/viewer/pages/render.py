"""How a page becomes an answer: the templates' environment, what they may call, headers, ETags.

Owns the style and the scripts under addresses that change with their content, and the policy under
which a browser shows a page: nothing but these, nothing inline (fault T14). Knows no page.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runner.report import web

POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {"Content-Security-Policy": POLICY}
"""What the guard around the application cannot say."""
FOREVER: Final = "public, max-age=31536000, immutable"
_HERE: Final = Path(__file__).parent
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SHARED: Final = (*web.STYLE, *web.SCRIPT)


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """A file that pages refer to. ``href`` changes with its content."""

    href: str
    body: bytes
    kind: str


def _assets() -> Mapping[str, Asset]:
    own = {path.name: path.read_bytes() for path in sorted((_HERE / "static").iterdir())}
    return {
        name: Asset(
            href=f"/static/{hashlib.sha256(body).hexdigest()[:12]}/{name}",
            body=body,
            kind=_TYPES[Path(name).suffix],
        )
        for name, body in (own | {name: web.read(name).encode() for name in _SHARED}).items()
    }


class Renderer:
    """Templates and the files beside them, read once."""

    def __init__(self) -> None:
        self._assets = _assets()
        self._environment = web.environment(_HERE / "templates")
        self._environment.globals["static"] = lambda name: self._assets[name].href
        self._environment.filters |= {"count": count, "iso": iso, "stamp": stamp, "ago": ago}

    def known(self, request: Request, tag: str) -> Response | None:
        """The answer for one who has the page already."""
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=_headers(tag))
        return None

    def page(self, name: str, page: msgspec.Struct, tag: str, code: int = 200) -> Response:
        """The page; half a surrogate pair in it is no text, and becomes a question mark."""
        body = self._environment.get_template(name).render(page=page).encode(errors="replace")
        return Response(body, code, _headers(tag), "text/html; charset=utf-8")

    def asset(self, request: Request) -> Response:
        """One of the files, for as long as a browser likes: another content has another address."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return Response("no such file\n", 404, HEADERS, "text/plain")
        current = request.url.path == asset.href
        cache = FOREVER if current else "no-store"
        return Response(asset.body, 200, HEADERS | {"Cache-Control": cache}, asset.kind)


def _headers(tag: str) -> dict[str, str]:
    return HEADERS | {"Cache-Control": "private, no-cache", "ETag": tag}


def count(number: int) -> str:
    """``12,345``."""
    return f"{number:,}"


def iso(ms: int) -> str:
    """A moment for machines."""
    return _moment(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp(ms: int) -> str:
    """A moment for people, until the script says it in their own zone."""
    return f"{_moment(ms):%Y-%m-%d %H:%M:%S} UTC"


def ago(ms: int, now: int) -> str:
    """``5 s``, ``12 min``, ``3 h``, ``4 d`` ago; the script counts on in the same words."""
    past = max(now - ms, 0) // 1000
    for size, word in ((86_400, "d"), (3600, "h"), (60, "min")):
        if past >= size:
            return f"{past // size} {word} ago"
    return "just now"


def _moment(ms: int) -> datetime:
    # Years that datetime does not know come from senders who mistook the unit.
    return datetime.fromtimestamp(min(max(ms, 0), 253_402_300_799_000) / 1000, UTC)
