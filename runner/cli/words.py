"""What was said on the command line of an execution, and the plain forms of ``exec``'s.

Owns the shape of these words. ``exec``'s are read here where they are in no way unusual, because
click takes 10 ms to load and to read them, and the command waits; all others, ``--help`` and every
mistake are click's (``runner.cli.exec``), which must read the plain ones alike.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from runner.cli import settings as environment

_NAMES: Final = ("name", "job", "pipeline", "state")
_LISTS: Final = {"tag": "tags", "measure": "measures"}
_FLAGS: Final = {
    "--local": ("local", True),
    "--manual": ("manual", True),
    "--automatic": ("manual", False),
}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may say about an execution on the command line."""

    state: str | None = None
    tags: Mapping[str, str] = {}
    measures: Mapping[str, float] = {}
    manual: bool | None = None
    max_parallel: int | None = None
    fail_fast: bool = False
    local: bool = False
    ask: bool = False
    """On a terminal, ask at a gate and go on."""


class Exec(msgspec.Struct, frozen=True, kw_only=True):
    """A command to be run as one step; what the step, its job and its pipeline are called."""

    arguments: tuple[str, ...]
    name: str = ""
    job: str = ""
    pipeline: str = ""
    options: Options = Options()


def options(given: Mapping[str, Any]) -> Options:
    """Options as click has read them; raises ``UsageError``."""
    return Options(
        state=given["state"],
        tags=environment.pairs(given["tags"], "--tag"),
        measures=environment.measures(given["measures"], "--measure"),
        manual=given["manual"],
        max_parallel=given.get("max_parallel"),
        fail_fast=given.get("fail_fast", False),
        local=given["local"],
        ask=given.get("ask", False),
    )


def of_exec(given: Mapping[str, Any]) -> Exec:
    """The words of ``exec`` as click has read them; raises ``UsageError``."""
    return Exec(
        arguments=given["arguments"],
        name=given["name"],
        job=given["job"],
        pipeline=given["pipeline"],
        options=options(given),
    )


def carry_out(words: Exec) -> int:
    """Run the command; its exit code."""
    from runner.commit import Look

    look = Look(os.getcwd(), dict(os.environ))
    from runner.cli import ahead  # loaded while git looks HEAD up

    return ahead.run(words, os.environ, look)


def plain(words: Sequence[str]) -> Exec | None:
    """The words behind ``exec``; None: click shall read them. Raises ``UsageError``."""
    given: dict[str, Any] = dict.fromkeys(_NAMES[:3], "")
    given |= {"state": None, "manual": None, "local": False, "tags": (), "measures": ()}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        option, equals, value = word.partition("=")
        if word in _FLAGS:
            name, given[name] = _FLAGS[word][0], _FLAGS[word][1]
            continue
        if not equals and not rest:
            return None
        if not _take(given, option.removeprefix("--"), value if equals else rest.pop(0)):
            return None
    return of_exec({**given, "arguments": tuple(rest)}) if rest else None


def _take(given: dict[str, Any], option: str, value: str) -> bool:
    """Whether there is such an option: take in its value."""
    if option in _NAMES:
        given[option] = value
    elif option in _LISTS:
        given[_LISTS[option]] += (value,)
    else:
        return False
    return True
