"""What the environment says: keys, site, tags, secrets, and what steps may see of it.

The one reader of environment variables (interface, section 5; which of them steps see: section 2,
"Environment"). Reads, checks the form, decides nothing.
"""

import math
import re
import uuid
from collections.abc import Mapping, MutableMapping
from typing import Final

import msgspec

from runner.errors import UsageError
from runner.execution import Link
from runner.redact import is_secret_name

_KEPT: Final = re.compile(
    r"(DD|DATADOG)_.*KEY|INPUT_.*|STATE_.*|ACTIONS_.*"
    r"|GITHUB_(TOKEN|ENV|OUTPUT|PATH|STATE|STEP_SUMMARY)"
    r"|SIGNALBOX_(STATE_KEY|INTAKE_TOKEN|TAGS|MEASURES|OUTPUT|MASK|SUMMARY|OUTBOX)"
)
"""What of the caller's environment no step inherits."""

_OURS: Final = ("DD_API_KEY", "DATADOG_API_KEY", "SIGNALBOX_STATE_KEY", "SIGNALBOX_INTAKE_TOKEN")
"""What no step is ever given, even when the pipeline file lists it."""

SECRETS: Final = "SIGNALBOX_SECRETS"
"""Tells a run inside a step which variables hold secrets: names, no values."""

_MASKS: Final = 1024 * 1024
"""Bytes of SIGNALBOX_MASK that are read."""

_LONGEST: Final = 3600.0
"""Seconds that delivery may be allowed at exit."""


class Outer(msgspec.Struct, frozen=True, kw_only=True):
    """The run in whose step we are, as that step's environment says it."""

    outbox: str
    """The directory through which it takes reports."""
    pipeline: str
    """Its unique id."""
    url: str = ""

    @property
    def link(self) -> Link:
        """It, as our parent."""
        return Link(id=self.pipeline, url=self.url)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The environment, read once. ``key`` and ``token`` are secrets."""

    key: str
    site: str
    intake_url: str
    token: str
    env: str
    service: str
    tags: Mapping[str, str]
    flush_timeout: float | None
    logs: bool
    """Whether what jobs print is sent, too."""
    nested: bool
    """Whether we run inside a step of another run."""
    outer: Outer | None = None
    """That run, when it takes our reports."""
    secrets: tuple[str, ...] = ()
    """Names of variables that it masks."""


def read(environ: Mapping[str, str]) -> Settings:
    """The settings; raises ``UsageError`` for a value that means nothing."""
    return Settings(
        key=(environ.get("DD_API_KEY") or environ.get("DATADOG_API_KEY") or "").strip(),
        site=(environ.get("DD_SITE") or environ.get("DATADOG_SITE") or "datadoghq.com").strip(),
        intake_url=environ.get("SIGNALBOX_INTAKE_URL", "").strip(),
        token=environ.get("SIGNALBOX_INTAKE_TOKEN", "").strip(),
        env=environ.get("DD_ENV", ""),
        service=environ.get("DD_SERVICE", ""),
        tags=pairs(environ.get("DD_TAGS", "").replace(" ", ",").split(","), "DD_TAGS"),
        flush_timeout=_seconds(environ.get("SIGNALBOX_FLUSH_TIMEOUT", "")),
        logs=_switch(environ.get("SIGNALBOX_LOGS", "")),
        nested=_nested(environ),
        outer=_outer(environ),
        secrets=tuple(filter(None, environ.get(SECRETS, "").split(","))),
    )


def sends(environ: Mapping[str, str]) -> bool:
    """Whether something may be sent, as far as that can be told before anything is checked."""
    names = ("DD_API_KEY", "DATADOG_API_KEY", "SIGNALBOX_INTAKE_URL")
    return any(map(environ.get, names))


def forget(environ: MutableMapping[str, str]) -> None:
    """Take what no step may see out of the process's environment: libraries start programs with it
    (``import git`` runs ``git version``), and a step may read a neighbour's.
    """
    for name in [name for name in environ if _KEPT.fullmatch(name)]:
        del environ[name]


def inherited(environ: Mapping[str, str], allowed: tuple[str, ...]) -> dict[str, str]:
    """What of the caller's environment a step sees; ``allowed`` are the file's ``secrets``."""
    return {
        name: value
        for name, value in environ.items()
        if not _KEPT.fullmatch(name) or (name in allowed and name not in _OURS)
    }


def inside(environ: Mapping[str, str], allowed: tuple[str, ...]) -> dict[str, str]:
    """What of the caller's environment a step in an image sees: the file's ``secrets`` alone."""
    return {n: environ[n] for n in allowed if n in environ and n not in _OURS}


def untouched(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's environment a command of ``exec`` sees: all but our own keys."""
    return {name: value for name, value in environ.items() if name not in _OURS}


def secrets(environ: Mapping[str, str], declared: tuple[str, ...]) -> dict[str, str]:
    """The values to mask, by name: our own keys, what the file declares, and what is named like a
    secret (``*_TOKEN``, ``*_PASSWORD``, ...).
    """
    return {
        name: value
        for name, value in environ.items()
        if value and (name in _OURS or name in declared or is_secret_name(name))
    }


def masked(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values that earlier steps of the job we are in, and ours, asked to be masked."""
    path = environ.get("SIGNALBOX_MASK") if _nested(environ) else None
    if not path:
        return ()
    try:
        with open(path, "rb") as file:
            text = file.read(_MASKS)
    except OSError:
        return ()
    from runner import entries  # by who needs it

    return entries.masks(text)


def pairs(texts: list[str] | tuple[str, ...], where: str) -> dict[str, str]:
    """``key:value`` texts as a mapping; raises ``UsageError`` naming the one that is none."""
    found = {}
    for text in texts:
        key, colon, value = text.partition(":")
        if not text.strip():
            continue
        if not colon or not key.strip():
            raise UsageError(f"{where}: {text!r} is not key:value", "write it as team:web")
        found[key.strip()] = value.strip()
    return found


def assignments(texts: tuple[str, ...], where: str) -> dict[str, str]:
    """``NAME=value`` texts as a mapping; raises ``UsageError`` naming the one that is none."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{where}: {text!r} is not NAME=VALUE", "write it as TARGET=staging")
        found[name] = value
    return found


def measures(texts: tuple[str, ...], where: str) -> dict[str, float]:
    """``key:number`` texts as a mapping; raises ``UsageError`` naming the one that is none."""
    found = {}
    for key, value in pairs(texts, where).items():
        try:
            found[key] = float(value)
        except ValueError:
            found[key] = math.nan
        if not math.isfinite(found[key]):  # JSON has no other
            text = f"{key}:{value}"
            raise UsageError(f"{where}: {text!r} is not key:number", "write it as bundle.kb:812")
    return found


def _nested(environ: Mapping[str, str]) -> bool:
    return environ.get("SIGNALBOX") == "true" and bool(environ.get("SIGNALBOX_STEP_ID"))


def _outer(environ: Mapping[str, str]) -> Outer | None:
    outbox, pipeline = environ.get("SIGNALBOX_OUTBOX"), environ.get("SIGNALBOX_PIPELINE_ID", "")
    if not (outbox and _nested(environ)):
        return None
    try:
        uuid.UUID(pipeline)
    except ValueError:
        return None
    url = environ.get("SIGNALBOX_PIPELINE_URL", "")
    return Outer(outbox=outbox, pipeline=pipeline, url=url)


def _switch(text: str) -> bool:
    word = text.strip().lower()
    if word not in {"", "on", "off"}:
        raise UsageError(f"SIGNALBOX_LOGS: {text!r} is neither on nor off", "write on")
    return word == "on"


def _seconds(text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= _LONGEST:
        raise UsageError(
            f"SIGNALBOX_FLUSH_TIMEOUT: {text!r} is not a number of seconds",
            f"write a number from 0 to {_LONGEST:.0f}",
        )
    return seconds
