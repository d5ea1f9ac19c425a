"""What an execution leaves for later ones, as one canonical value, and its signature.

Owns what a later execution may believe of an earlier one (``Seal``), the form of a signed paper and
what is said of one whose signature does not hold. Does not read journals (``cli.custody``) and
touches no files. A paper is one line, ``signalbox KIND 1 SIGNATURE``, and the bytes it is over;
the signature is HMAC-SHA256 with SIGNALBOX_STATE_KEY, or ``unsigned``.
"""

import hashlib
import hmac
from collections.abc import Mapping
from enum import Enum
from typing import Final

import msgspec

from runner.execution import Execution
from runner.notice import Answer, GateWaiting, Result
from runner.plan import Selection

_UNSIGNED: Final = "unsigned"
_LINE: Final = 200
"""Bytes of a paper's first line, at most."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a job kept: an archive among the files of the execution in which the job ran."""

    job: str
    execution: str
    sha256: str = ""
    size: int = 0
    problem: str = ""
    """Why there is no archive; empty: there is one."""


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a resume or a retry goes by. Holds no path of a machine, so it is the same
    wherever the execution travels.
    """

    execution: Execution
    root: str
    """The first execution of the chain."""
    status: str
    file: str
    """The pipeline file, as seen from the workspace."""
    digest: str
    """sha256 of its text."""
    commit: str
    """The commit that was checked out; empty: none."""
    parameters: Mapping[str, str] = {}
    selection: Selection = Selection()
    results: tuple[Result, ...] = ()
    """By job. Outputs that held a secret are in no file: their names alone."""
    gates: tuple[GateWaiting, ...] = ()
    answers: Mapping[str, tuple[Answer, ...]] = {}
    """Those given so far in this chain, by the execution they were given to."""
    standing: tuple[Answer, ...] = ()
    """Those that count in it: a retry carries some over and asks for others again."""
    actor: str = ""
    """Who started the chain, and may not answer where a gate says so."""
    retriers: tuple[str, ...] = ()
    """Nor may those who retried."""
    kept: tuple[Kept, ...] = ()
    images: Mapping[str, str] = {}
    """Digests of the images that jobs ran in, by name."""


class Trust(Enum):
    """What a signature says."""

    GOOD = "it was signed with our key"
    UNSIGNED = "it is not signed"
    UNCHECKED = "it is signed, and there is no key here to check it with"
    FORGED = "its signature does not fit: it was changed, or signed with another key"


def encode(seal: Seal) -> bytes:
    """The one form of a seal: keys in order, so that equal seals are equal bytes."""
    return msgspec.json.encode(seal, order="sorted")


def decode(body: bytes) -> Seal:
    """The seal; raises ``msgspec.DecodeError`` for anything else."""
    return msgspec.json.decode(body, type=Seal)


def paper(kind: str, body: bytes, key: str) -> bytes:
    """``body`` under its signature; without a key it says that it has none."""
    return f"signalbox {kind} 1 {_sign(kind, body, key) if key else _UNSIGNED}\n".encode() + body


def read(kind: str, raw: bytes, key: str) -> tuple[bytes, Trust]:
    """The body of a paper and what its signature is worth; raises ``ValueError`` for no paper."""
    line, newline, body = raw.partition(b"\n")
    begin = f"signalbox {kind} 1 ".encode()
    if not newline or len(line) > _LINE or not line.startswith(begin):
        raise ValueError(f"this is no {kind} of signalbox")
    signature = line.removeprefix(begin)
    if signature == _UNSIGNED.encode():
        return body, Trust.UNSIGNED
    if not key:
        return body, Trust.UNCHECKED
    good = hmac.compare_digest(signature, _sign(kind, body, key).encode())
    return body, Trust.GOOD if good else Trust.FORGED


def _sign(kind: str, body: bytes, key: str) -> str:
    """The kind is signed too: no paper passes for another."""
    return hmac.new(key.encode(), b"%b\0%b" % (kind.encode(), body), hashlib.sha256).hexdigest()
