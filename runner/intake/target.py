"""Where events may go, and who signs them.

Owns the list of Datadog's sites, the rules for any other intake's URL, the key's shape and the
hash that ties an execution to both. Sends nothing.
"""

import difflib
import hashlib
import ipaddress
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

import msgspec

from runner.errors import UsageError

PATH: Final = "/api/v2/ci/pipeline"
HEADER: Final = "DD-API-KEY"

SITES: Final = {
    "datadoghq.com": "app.datadoghq.com",
    "us3.datadoghq.com": "us3.datadoghq.com",
    "us5.datadoghq.com": "us5.datadoghq.com",
    "datadoghq.eu": "app.datadoghq.eu",
    "ap1.datadoghq.com": "ap1.datadoghq.com",
    "ap2.datadoghq.com": "ap2.datadoghq.com",
    "uk1.datadoghq.com": "uk1.datadoghq.com",
}
"""Site -> host of its web pages. The intake is ``api.`` and the site."""
GOVERNMENT: Final = ("ddog-gov.com", "us2.ddog-gov.com")
"""Sites without CI Visibility."""

_KEY: Final = re.compile(r"[\x21-\x7e]{1,512}")
_URL: Final = re.compile(r"[\x21-\x5b\x5d-\x7e]{1,2048}")
"""Printable ASCII without a space or a backslash: parsers disagree about the rest."""
_HOST: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63}){0,9}")
_NUMBER: Final = re.compile(r"\d+|0x[0-9a-f]*")
"""A last label that makes a host a number, hence an address in disguise (WHATWG URL, 3.5)."""
_ROUTE: Final = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PRIVATE: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")


class Secret:
    """A text that nothing prints: not ``repr``, not a struct around it, not a traceback."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself, for the one header that carries it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)" if self._value else "Secret()"

    __str__ = __repr__


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An intake: its full URL, what is sent in ``header`` (nothing when the secret is empty)."""

    url: str
    header: str = HEADER
    secret: Secret
    app_url: str = ""
    """Where a person looks at it; "" unless it is Datadog's."""
    site: str = ""
    binding: str
    """A short hash of URL and key: what an execution remembers of both."""
    withheld: bool = False
    """There is a key, which may not go to this URL."""

    @property
    def place(self) -> str:
        """``host:port``, for messages."""
        parts = urlsplit(self.url)
        return (
            f"{parts.netloc}:443"
            if parts.port is None and parts.scheme == "https"
            else parts.netloc
        )


def target(
    *, site: str, key: str, intake_url: str, token: str, warn: Callable[[str], None]
) -> Target | None:
    """The intake that these settings mean; None when they mean none. ``UsageError`` when one of
    them is wrong. A government site means none, with a warning.
    """
    key, token = _signature("DD_API_KEY", key), _signature("SIGNALBOX_INTAKE_TOKEN", token)
    if intake_url.strip():
        return _other(intake_url.strip(), key, token)
    host = site.strip().lower() or "datadoghq.com"
    if host in GOVERNMENT:
        if key:
            warn(f"CI Visibility does not exist on {host}: nothing is sent")
        return None
    if not key:
        return None
    if host not in SITES:
        raise _unknown_site(host)
    url = f"https://api.{host}{PATH}"
    app = f"https://{SITES[host]}"
    return Target(url=url, secret=Secret(key), app_url=app, site=host, binding=_binding(url, key))


def link(to: Target, unique_id: str) -> str:
    """The page of one execution in Datadog; "" for any other intake."""
    if not to.app_url:
        return ""
    query = quote(f'ci_level:pipeline @ci.pipeline.id:"{unique_id}"', safe="")
    return f"{to.app_url}/ci/pipeline-executions?query={query}"


def _signature(name: str, value: str) -> str:
    """A key without the blanks and the newline that files and forms add; N39."""
    value = value.strip()
    if value and not _KEY.fullmatch(value):
        raise UsageError(
            f"{name} holds characters that no key has (blanks inside, non-ASCII or control)",
            "copy the key again; its value is not shown here",
        )
    return value


def _unknown_site(host: str) -> UsageError:
    # A key in the wrong variable has no dot, and is not repeated.
    shown = f" {host[:80]!a}" if "." in host else ""
    near = difflib.get_close_matches(host, SITES, n=1) if shown else []
    meant = f"did you mean {near[0]}? " if near else ""
    return UsageError(
        f"DD_SITE{shown} is none of Datadog's sites",
        f"{meant}the sites are {', '.join(SITES)}; for another intake set SIGNALBOX_INTAKE_URL",
    )


def _binding(url: str, key: str) -> str:
    return hashlib.sha256(f"{url}\0{key}".encode()).hexdigest()[:12]


# ── any other intake ─────────────────────────────────────────────────────────────────────────────


def _other(text: str, key: str, token: str) -> Target:
    parts = _parsed(text)
    host = _checked_host(parts)
    address = _address(host)
    loopback = host == "localhost" or (address is not None and address.is_loopback)
    if parts.scheme == "http" and not (loopback or _near(host, address)):
        raise _refused(
            "http is for loopback, host.docker.internal and private addresses", "use https"
        )
    allowed = key if parts.scheme == "https" or loopback else ""
    secret = token or allowed
    url = f"{parts.scheme}://{_netloc(host, parts.port)}{_route(parts.path)}"
    return Target(
        url=url,
        secret=Secret(secret),
        binding=_binding(url, secret),
        withheld=bool(key) and not secret,
    )


def _parsed(text: str) -> SplitResult:
    if not _URL.fullmatch(text):
        raise _refused("it holds characters that no URL has")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _refused("it cannot be parsed") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _refused("it is not http:// or https:// and a host")
    if "@" in parts.netloc:
        raise _refused("it holds a user or a password", "set SIGNALBOX_INTAKE_TOKEN instead")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise _refused("it holds a query or a fragment")
    if port == 0 or parts.netloc.endswith(":"):
        raise _refused("its port is no port")
    if not _ROUTE.fullmatch(parts.path):
        raise _refused("its path is not plain")
    return parts


def _checked_host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    address = _address(host)
    if address is None:
        if not _HOST.fullmatch(host):
            raise _refused("its host is not a plain name", "write an IDN in its xn-- form")
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            raise _refused("its host is an address in disguise")
    elif address.is_link_local or address.is_multicast or address.is_unspecified:
        raise _refused("its address is link-local, multicast or unspecified")
    return host


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _near(host: str, address: _Address | None) -> bool:
    if address is None:
        return host == "host.docker.internal"
    networks = map(ipaddress.ip_network, _PRIVATE)
    return any(address in net for net in networks if net.version == address.version)


def _netloc(host: str, port: int | None) -> str:
    bracketed = f"[{host}]" if ":" in host else host
    return bracketed if port is None else f"{bracketed}:{port}"


def _route(path: str) -> str:
    path = path.rstrip("/")
    return path if path.endswith(PATH) else path + PATH


def _refused(why: str, hint: str = "") -> UsageError:
    """The URL itself is not repeated: it may hold a password."""
    default = "it looks like https://HOST, or http://127.0.0.1:8136"
    return UsageError(f"SIGNALBOX_INTAKE_URL cannot be used: {why}", hint or default)
