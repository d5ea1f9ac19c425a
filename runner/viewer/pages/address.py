"""Addresses of pages: all of what a page shows stands in them, so that they can be shared.

Owns their reading and making, and the choice of a stretch of time. Does not answer them.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from runner.viewer.rows import LEVELS, Level, Window

WINDOWS: Final = {"1h": 3_600, "4h": 14_400, "1d": 86_400, "7d": 604_800, "30d": 2_592_000}
"""Seconds."""
WORDS: Final = {
    "1h": "the last hour",
    "4h": "the last 4 hours",
    "1d": "the last day",
    "7d": "the last 7 days",
    "30d": "the last 30 days",
    "all": "all time",
    "": "this stretch of time",
}
DEFAULT: Final = "7d"
CHOICES: Final = (*WINDOWS, "all")
_QUERY: Final = 4000
"""Characters of a query that are read."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One of several ways to show a page."""

    text: str
    href: str
    on: bool


class When(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time: one of ``CHOICES``, or from and to in milliseconds."""

    window: str = DEFAULT
    start: int = 0
    end: int = 0

    def within(self, now: int) -> Window:
        """As the store takes it."""
        if self.end:
            return Window(start=self.start, end=self.end)
        if self.window == "all":
            return Window()
        return Window(start=now - WINDOWS[self.window] * 1000)

    def parameters(self) -> dict[str, str]:
        """As it stands in an address; nothing, where it is what is shown without asking."""
        if self.end:
            return {"from": str(self.start), "to": str(self.end)}
        return {} if self.window == DEFAULT else {"window": self.window}

    @property
    def word(self) -> str:
        """``the last 7 days``."""
        return WORDS["" if self.end else self.window]


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What the Executions page shows."""

    level: Level = "pipeline"
    query: str = ""
    when: When = When()
    after: str = ""

    def href(self, **changed: object) -> str:
        """The address with something changed, from its first page on unless ``after`` is said."""
        one = msgspec.structs.replace(self, **{"after": ""} | changed)
        given: dict[str, str] = {"level": one.level} if one.level != "pipeline" else {}
        given |= {"q": one.query} if one.query else {}
        given |= one.when.parameters()
        given |= {"after": one.after} if one.after else {}
        return _address("/executions", given)


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What the Pipelines page shows."""

    query: str = ""
    when: When = When()
    every_branch: bool = False
    sort: str = ""

    def href(self, **changed: object) -> str:
        """The address with something changed."""
        one = msgspec.structs.replace(self, **changed)
        given = {"q": one.query} if one.query else {}
        given |= one.when.parameters()
        given |= {"branches": "all"} if one.every_branch else {}
        given |= {"sort": one.sort} if one.sort else {}
        return _address("/pipelines", given)


def search(given: Mapping[str, str]) -> Search:
    """From a request's parameters; what makes no sense counts as not said."""
    level: Level = next((one for one in LEVELS if one == given.get("level")), LEVELS[0])
    return Search(
        level=level,
        query=_query(given),
        when=when(given),
        after=given.get("after", ""),
    )


def overview(given: Mapping[str, str]) -> Overview:
    """From a request's parameters."""
    return Overview(
        query=_query(given),
        when=when(given),
        every_branch=given.get("branches") == "all",
        sort=given.get("sort", ""),
    )


def when(given: Mapping[str, str]) -> When:
    """From a request's parameters."""
    start, end = given.get("from", ""), given.get("to", "")
    if start.isdecimal() and end.isdecimal() and len(start) <= len(end) <= 13:  # noqa: PLR2004
        return When(start=int(start), end=int(end))
    window = given.get("window", DEFAULT)
    return When(window=window if window in CHOICES else DEFAULT)


def execution(unique_id: str, **given: str) -> str:
    """Of one execution. Ids are other people's texts: a slash in one is no path."""
    return _address(f"/executions/{quote(unique_id, safe='')}", given)


def comparison(base: str, other: str) -> str:
    """Of two executions."""
    return _address("/compare", {"base": base, "with": other})


def _query(given: Mapping[str, str]) -> str:
    return " ".join(given.get("q", "").split())[:_QUERY]


def _address(path: str, given: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(given, errors='replace')}" if given else path
