"""What is nobody's code: the disk, memory, the network, a registry, the Docker engine.

Words as libraries and tools have them, found anywhere in a line. A peer on the same machine is the
step's own, and who is not named may be one: then only what cannot be a peer's counts, as a name
that does not resolve.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from runner.failure.output import Finding, Output
from runner.notice import Reason

_NEAR: Final = 300
"""Lines from the end."""
_DISK: Final = (
    "no space left on device",
    "disk quota exceeded",
    "enospc:",
    "not enough disk space",
)
_MEMORY: Final = (
    "cannot allocate memory",
    "enomem",
    "virtual memory exhausted",
    "out of memory: kill",
    "oomkilled",
    "insufficient memory for the java runtime",
    "could not reserve enough space for",
    "killed signal terminated program",
    "out of memory allocating",
    "llvm error: out of memory",
    "failed to reserve page summary memory",
    "runtime: out of memory",
)
_HEAP: Final = (
    "javascript heap out of memory",
    "java.lang.outofmemoryerror",
    "gc overhead limit exceeded",
    "std::bad_alloc",
    "memoryerror",
)
_IMAGE: Final = (
    "pull access denied for",
    "manifest unknown",
    "failed to resolve source metadata",
    "failed to resolve reference",
    "error pulling image configuration",
    "toomanyrequests:",
    "errimagepull",
    "imagepullbackoff",
)
_WATCHED: Final = "file watchers reached"
"""What the kernel calls a full disk, too, and is none."""
_NAME: Final = (
    "could not resolve host",
    "name or service not known",
    "temporary failure in name resolution",
    "temporary failure resolving",
    "nodename nor servname provided",
    "getaddrinfo enotfound",
    "getaddrinfo eai_again",
    ": no such host",
    "java.net.unknownhostexception",
    "unable to resolve host address",
    "unknown host ",
    "failed to resolve '",
)
_WAY: Final = (
    "network is unreachable",
    "no route to host",
    "ehostunreach",
    "enetunreach",
    "connection timed out",
    "operation timed out",
    "connect etimedout",
    "esockettimedout",
    "i/o timeout",
    "tls handshake timeout",
    "connecttimeouterror",
    "readtimeouterror",
    "connecttimeout=",
    "connect timed out",
    "read econnreset",
    "connection reset by peer",
    "net/http: request canceled",
    "unexpected eof while reading",
    "rpc failed; curl",
    "early eof",
)
_TRUST: Final = (
    "ssl certificate problem",
    "server certificate verification failed",
    "certificate_verify_failed",
    "certificate verify failed",
    "x509: certificate",
    "self_signed_cert",
    "self-signed certificate",
    "unable to verify the first certificate",
    "cert_has_expired",
    "pkix path building failed",
    "is not trusted.",
    "sslhandshakeexception",
    "gnutls_handshake() failed",
    "problem confirming the ssl certificate",
)
_REFUSED: Final = (
    "connection refused",
    "econnrefused",
    "couldn't connect to server",
    "failed to connect to ",
    " was refused - did you",
)
_ENGINE: Final = (
    "cannot connect to the docker daemon",
    "failed to connect to the docker api",
    "error during connect: ",
)
_LOCAL: Final = (
    r"localhost|\b127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[?::1\b|\b0\.0\.0\.0\b|host\.docker\.internal"
    r"|^error \d+ at \d+ depth lookup"
)
"""This machine, or a certificate in a file of its own."""
_ADDRESS: Final = r"https?://[^/\s]|host='|\b\d{1,3}(?:\.\d{1,3}){3}\b|\[[0-9a-f:]+\]:\d"
_HOST: Final = _ADDRESS + r"|(?:host|to|server)[ \"]+[\w-]+\.[\w.-]+"
_PEER: Final = f"{_LOCAL}|{_ADDRESS}" + r"|connect(?:ed|ing) to [\w-]+\.|certificate of \W"
"""A line that names who was talked to."""
_ABOUT: Final = 40
"""Lines before what does not name its peer, or after it, that may."""
_STATUS: Final = r"(?:: |error:? |code:? |status:? )(?:5\d\d|429)\b|\b5\d\d  [a-z]"
_SERVED: Final = (
    "fatal: unable to access",
    "go: ",
    "transfer",
    "could not get",
    "e: failed to fetch",
)
_SERVED_TOO: Final = (
    "received unexpected http status",
    "http error 5",
    "error response from daemon",
)
_SOURCE: Final = r"\s*(?:>  |\d+ ?\||assert\b|E?\s+assert|[+-] |#)|\s+at "


def read(output: Output) -> Iterator[Finding]:
    """One finding for each line that says so."""
    lines = output.lines[-_NEAR:]
    skipped = len(output.lines) - len(lines)
    text = "\n".join(lines).lower()
    words = [(words, kind) for kind, all_ in _KINDS for words in all_ if words in text]
    kinds = {kind for _, kind in words}
    peers = list(_peers(lines)) if kinds & _UNNAMED else []
    for at, line in enumerate(lines):
        low = line.lower()
        kind = next((kind for word, kind in words if word in low), "")
        kind = "watched" if _WATCHED in low else kind
        peer = _nearest(peers, at) if kind in _UNNAMED else low
        if kind and (found := _finding(kind, line, peer, skipped + at)):
            yield found


def _peers(lines: Sequence[str]) -> Iterator[str]:
    """Each line that names who was talked to; "" for any other."""
    for line in lines:
        low = line.lower()
        yield low if re.search(_PEER, low) else ""


def _nearest(peers: Sequence[str], at: int) -> str:
    """Who is meant on that line: named there, or last before it, or first after it."""
    before = range(at, max(at - _ABOUT, -1), -1)
    after = range(at, min(at + _ABOUT, len(peers)))
    return next((peers[n] for n in (*before, *after) if peers[n]), "")


_UNNAMED: Final = frozenset({"trust", "way"})
"""What is said without whom."""
_MINOR: Final = r"(?!warning: retrying).*\bwarn(?:ing)?\b"

_KINDS: Final = (
    ("disk", _DISK),
    ("memory", _MEMORY),
    ("heap", _HEAP),
    ("image", _IMAGE),
    ("engine", _ENGINE),
    ("network", _NAME),
    ("trust", _TRUST),
    ("way", _WAY),
    ("refused", _REFUSED),
    ("served", (*_SERVED, *_SERVED_TOO)),
)


def _finding(kind: str, line: str, peer: str, at: int) -> Finding | None:
    reason = _REASONS.get(kind)
    away = reason is not None or _away(kind, peer)
    if not away and kind != "trust":
        return None
    low = line.lower()
    if re.match(_SOURCE, low) or (kind != "disk" and re.match(_MINOR, low)):
        return None
    return Finding(
        start=at,
        end=at,
        message=line.strip(),
        reason=reason,
        provider=away and kind != "heap",
        peer=kind != "heap",
    )


_REASONS: Final = {
    "disk": Reason.DISK_FULL,
    "memory": Reason.OUT_OF_MEMORY,
    "heap": Reason.OUT_OF_MEMORY,
    "image": Reason.IMAGE_PULL,
}


def _away(kind: str, peer: str) -> bool:
    """Whether it is something beyond this machine that failed, or the machine's own limit."""
    if kind in {"network", "engine", "watched"}:
        return True
    if re.search(_LOCAL, peer):
        return False
    if kind == "refused":
        return re.search(_HOST, peer) is not None
    return kind in _UNNAMED or re.search(_STATUS, peer) is not None
