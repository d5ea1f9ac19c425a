"""The engine: where it is, and a client of it.

Owns the rules by which ``docker`` finds an engine (DOCKER_HOST, DOCKER_CONTEXT, the current context
of its configuration), and when it is taken for absent. Reads no environment: it is passed in.
Asking it for something is its callers' business, each in a file of its own.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, Final

import docker.errors
import msgspec
from docker.tls import TLSConfig

from runner.errors import SurroundingsError
from runner.executors.docker.calls import PATIENCE, Client

GREETING: Final = 5.0
"""Seconds in which an engine says who it is; one that is slower is taken for absent."""
CONNECTIONS: Final = 64
"""Kept open: every running job uses one or two."""
DEFAULT: Final = "unix:///var/run/docker.sock"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where an engine is. ``certificates``: the directory of ca.pem, cert.pem and key.pem."""

    url: str = DEFAULT
    certificates: str = ""
    verify: bool = True
    why: str = "by default"


def address(environ: Mapping[str, str]) -> Address:
    """Where ``docker`` would look; raises ``SurroundingsError`` for a context that is not there."""
    if host := environ.get("DOCKER_HOST"):
        secure = bool(environ.get("DOCKER_TLS_VERIFY"))
        kept = environ.get("DOCKER_CERT_PATH") or (configuration(environ) if secure else "")
        return Address(url=host, certificates=kept, verify=secure, why="as DOCKER_HOST says")
    name = environ.get("DOCKER_CONTEXT") or _current(environ)
    if name in {"", "default"}:
        return Address()
    return _context(name, environ)


def configuration(environ: Mapping[str, str]) -> str:
    """The directory of Docker's own configuration."""
    return environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME", "/"), ".docker")


def connect(environ: Mapping[str, str]) -> Client:
    """A client of the engine; raises ``SurroundingsError`` when none answers."""
    place = address(environ)
    try:
        api = Client(
            base_url=place.url,
            version="auto",
            timeout=GREETING,  # type: ignore[arg-type]  # requests takes fractions, too
            tls=_tls(place),
            credstore_env=dict(environ),
            use_ssh_client=True,
            max_pool_size=CONNECTIONS,
        )
    except (docker.errors.DockerException, OSError, ValueError) as error:
        raise SurroundingsError(
            f"no Docker engine answers at {place.url} ({place.why}): {_cause(error)}",
            "start one, or say with DOCKER_HOST where it is",
        ) from error
    api.timeout = int(PATIENCE)
    return api


def _tls(place: Address) -> TLSConfig | bool:
    if not place.certificates or not place.url.startswith(("tcp:", "https:")):
        return False
    ca, cert, key = (os.path.join(place.certificates, f"{n}.pem") for n in ("ca", "cert", "key"))
    both = os.path.exists(cert) and os.path.exists(key)
    return TLSConfig(
        client_cert=(cert, key) if both else None,
        ca_cert=ca if os.path.exists(ca) else None,
        verify=place.verify,
    )


def _cause(error: BaseException) -> str:
    """The one sentence among what the SDK, requests, urllib3 and the kernel have said."""
    text = str(error)
    for known, said in _CAUSES.items():
        if known in text:
            return said
    return text.removeprefix("Error while fetching server API version: ")


_CAUSES: Final = {
    "FileNotFoundError": "there is no such socket",
    "PermissionError": "this user may not open its socket",
    "ConnectionRefusedError": "nobody listens there",
    "Connection refused": "nobody listens there",
    "timed out": f"it did not answer in {GREETING:.0f} s",
    "Name or service not known": "its name is not known",
}


def _current(environ: Mapping[str, str]) -> str:
    found = _json(os.path.join(configuration(environ), "config.json")) or {}
    return str(found.get("currentContext", ""))


def _context(name: str, environ: Mapping[str, str]) -> Address:
    """https://docs.docker.com/engine/manage-resources/contexts: by the hash of its name."""
    root = os.path.join(configuration(environ), "contexts")
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = _json(os.path.join(root, "meta", key, "meta.json"))
    end = ((meta or {}).get("Endpoints") or {}).get("docker") or {}
    if not end.get("Host"):
        raise SurroundingsError(f"there is no Docker context {name!r}", "docker context ls")
    kept = os.path.join(root, "tls", key, "docker")
    return Address(
        url=end["Host"],
        certificates=kept if os.path.isdir(kept) else "",
        verify=not end.get("SkipTLSVerify", False),
        why=f"context {name}",
    )


def _json(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
