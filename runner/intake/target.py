"""Where events may go, and who signs them.

Owns the list of Datadog's sites, the rules for any other intake's URL, the key's shape and the
hash that ties an execution to both. Sends nothing.
"""

import hashlib
import re
from collections.abc import Callable
from enum import Enum
from typing import Final

import msgspec

from runner.errors import UsageError

PATH: Final = "/api/v2/ci/pipeline"
LOGS: Final = "/api/v2/cilogs"
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

_LAST_PORT: Final = 65535
_KEY: Final = re.compile(r"[\x21-\x7e]{1,512}")
_URL: Final = (
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]{2,45}\]|(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63}){0,9})"
    r"(?P<port>:[1-9][0-9]{0,4})?"
    r"(?P<path>(?:/[a-z0-9_~-][a-z0-9._~-]*)*)/?"
)
"""Less than a URL may be, so that no two parsers can disagree about it."""
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that makes a host a number, hence an address in disguise (WHATWG URL, 3.5)."""

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
    place: str
    """``host:port``, for messages."""
    header: str = HEADER
    secret: Secret
    app_url: str = ""
    """Where a person looks at it; "" unless it is Datadog's."""
    site: str = ""
    binding: str
    """A short hash of URL and key: what an execution remembers of both."""
    withheld: bool = False
    """There is a key, which may not go to this URL."""
    carries: str = "events"
    """What is sent there, for messages."""
    encoding: str = ""
    """How bodies are compressed; "" is not at all."""
    taken: frozenset[int] = frozenset({202})
    """The statuses that say so."""


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
    return Target(
        url=url,
        place=f"api.{host}:443",
        secret=Secret(key),
        app_url=app,
        site=host,
        binding=_binding(url, key),
    )


def link(to: Target, unique_id: str) -> str:
    """The page of one execution in Datadog; "" for any other intake."""
    if not to.app_url:
        return ""
    # ci_level:pipeline @ci.pipeline.id:"…", quoted; an id has no character that needs it.
    query = f"ci_level%3Apipeline%20%40ci.pipeline.id%3A%22{unique_id}%22"
    return f"{to.app_url}/ci/pipeline-executions?query={query}"


def logs(to: Target) -> Target | None:
    """Where the job logs go that belong to the events of ``to``: Datadog's take them on another
    host. None for a government site, by whatever name it is reached.
    """
    host = to.place.rpartition(":")[0]
    if any(host == site or host.endswith(f".{site}") for site in GOVERNMENT):
        return None
    base = f"https://http-intake.logs.{to.site}" if to.site else to.url.removesuffix(PATH)
    return msgspec.structs.replace(
        to,
        url=base + LOGS,
        place=f"http-intake.logs.{to.site}:443" if to.site else to.place,
        carries="log lines",
        encoding="gzip",
        taken=frozenset({200, 202}),
    )


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
    import difflib  # noqa: PLC0415  only a mistake needs it

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
    match = re.fullmatch(_URL, text, re.IGNORECASE | re.ASCII)
    if match is None or int((match["port"] or ":1")[1:]) > _LAST_PORT:
        raise _malformed(text)
    scheme, host = match["scheme"].lower(), match["host"].lower()
    reach = _reach(host)
    if scheme == "http" and reach is Reach.ANYWHERE:
        raise _refused(
            "http is for loopback, host.docker.internal and private addresses", "use https"
        )
    allowed = key if scheme == "https" or reach is Reach.LOOPBACK else ""
    secret = token or allowed
    base = f"{scheme}://{host}{match['port'] or ''}{match['path']}"
    url = base if base.endswith(PATH) else base + PATH
    port = match["port"] or (":443" if scheme == "https" else ":80")
    return Target(
        url=url,
        place=f"{host}{port}",
        secret=Secret(secret),
        binding=_binding(url, secret),
        withheld=bool(key) and not secret,
    )


def _malformed(text: str) -> UsageError:
    if "@" in text:
        return _refused("it holds a user or a password", "set SIGNALBOX_INTAKE_TOKEN instead")
    if "?" in text or "#" in text:
        return _refused("it holds a query or a fragment")
    return _refused("it is not a plain http:// or https:// URL")


class Reach(Enum):
    """How far away a host is."""

    LOOPBACK = "this machine"
    NEAR = "the host of this container, or a private network"
    ANYWHERE = "anywhere else"


def _reach(host: str) -> Reach:
    if host in ("127.0.0.1", "localhost"):
        return Reach.LOOPBACK
    if host == "host.docker.internal":
        return Reach.NEAR
    import ipaddress  # noqa: PLC0415  3 ms that the usual settings do not need

    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        if host.startswith("[") or _NUMBER.fullmatch(host.rpartition(".")[2]):
            raise _refused("its host is an address in disguise") from None
        return Reach.ANYWHERE
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        raise _refused("its address is link-local, multicast or unspecified")
    if address.is_loopback:
        return Reach.LOOPBACK
    networks = map(ipaddress.ip_network, _PRIVATE)
    near = any(address in net for net in networks if net.version == address.version)
    return Reach.NEAR if near else Reach.ANYWHERE


def _refused(why: str, hint: str = "") -> UsageError:
    """The URL itself is not repeated: it may hold a password."""
    default = "it looks like https://HOST, or http://127.0.0.1:8136"
    return UsageError(f"SIGNALBOX_INTAKE_URL cannot be used: {why}", hint or default)
