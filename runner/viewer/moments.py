"""Times as people ask for them: ``now-15m``, RFC 3339, epoch milliseconds; time zones and steps.

Owns that notation. Pure: what is now, is told.
"""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from runner.viewer.columns import milliseconds

_UNITS: Final = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_MONTH: Final = 30 * _UNITS["d"]
_MATH: Final = re.compile(r"now((?:[+-]\d{1,9}(?:ms|mo|[smhdwMy]))*)(?:/([smhdwM]))?")
_STEP: Final = re.compile(r"([+-])(\d{1,9})(ms|mo|[smhdwMy])")
_INTERVAL: Final = re.compile(r"(\d{1,9})\s*(ms|mo|[smhdwMy])")
_NUMBER: Final = re.compile(r"-?\d{1,17}")
_OFFSET: Final = re.compile(r"(?:UTC|GMT)(?:([+-])(\d{1,2})(?::?(\d\d))?)?", re.IGNORECASE)


class MomentError(ValueError):
    """It is no time."""


def moment(text: str, now: int, zone: tzinfo = UTC) -> int:
    """Epoch milliseconds; raises ``MomentError``."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return int(text)
    if found := _MATH.fullmatch(text):
        return _rounded(now + sum(map(_step, _STEP.finditer(found[1]))), found[2], zone)
    try:
        read = datetime.fromisoformat(text)
        return milliseconds(read if read.tzinfo else read.replace(tzinfo=zone))
    except (ValueError, OverflowError):
        raise MomentError(
            f"{text[:60]!r} is no time: now-15m, 2026-03-02T09:15:00Z, or epoch milliseconds"
        ) from None


def interval(text: str) -> int:
    """``5m`` in milliseconds; raises ``MomentError``."""
    found = _INTERVAL.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise MomentError(f"{text[:60]!r} is no interval: 30s, 5m, 1h")
    return int(found[1]) * _unit(found[2])


def zone(name: str | None, offset: int | None) -> tzinfo:
    """A time zone by its name or as seconds beside UTC; raises ``MomentError``."""
    if name is None:
        if offset is not None and abs(offset) >= 86_400:  # noqa: PLR2004 - a day
            raise MomentError(f"{offset} s is no offset")
        return timezone(timedelta(seconds=offset or 0))
    if found := _OFFSET.fullmatch(name.strip()):
        beside = timedelta(hours=int(found[2] or 0), minutes=int(found[3] or 0))
        if beside >= timedelta(days=1):
            raise MomentError(f"{name[:60]!r} is no time zone")
        return timezone(-beside if found[1] == "-" else beside)
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError
        raise MomentError(f"{name[:60]!r} is no time zone") from None


def _step(found: "re.Match[str]") -> int:
    size = int(found[2]) * _unit(found[3])
    return -size if found[1] == "-" else size


def _unit(name: str) -> int:
    if name in ("mo", "M"):
        return _MONTH
    return 365 * _UNITS["d"] if name == "y" else _UNITS[name]


def _rounded(at: int, unit: str | None, zone: tzinfo) -> int:
    """Down to the beginning of that unit, where the clock hangs."""
    if unit is None:
        return at
    try:
        local = datetime.fromtimestamp(at / 1000, zone)
    except (ValueError, OverflowError, OSError):
        raise MomentError("that is too far away") from None
    local = local.replace(microsecond=0, second=0 if unit != "s" else local.second)
    if unit in "hdwM":
        local = local.replace(minute=0)
    if unit in "dwM":
        local = local.replace(hour=0)
    if unit == "w":
        local -= timedelta(days=local.weekday())
    if unit == "M":
        local = local.replace(day=1)
    return milliseconds(local)
