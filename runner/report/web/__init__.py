"""An execution as a page: one HTML file that needs nothing beside it.

Owns the templates, the style and the script that the report and the pages of ``serve`` share, and
the environment in which templates are rendered: everything is escaped, nothing may be missing, and
of hostile text nothing survives that is more than text (faults T14, T15). Does not find the
execution (``journal``) nor tell it (``runner.report``).

    tokens.css      what colours, sizes and distances mean
    parts.css       marks, pills, chips, facts, blocks of text; parts.html their markup
    waterfall.css   the waterfall; waterfall.html its markup, waterfall.js zoom, filter, keys
    execution.css   head, story, failures, facts around it; execution.html their markup
    waterfall       which rows there are and where each bar lies
    faults          what failed, the worst first
    prose           the Markdown that steps gave
    page            the report: all of it in one file
"""

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import jinja2

from runner.event import Domain
from runner.execution import MILLISECOND
from runner.report import OURS
from runner.report.web.faults import faults
from runner.report.web.prose import prose
from runner.report.web.waterfall import tone, waterfall
from runner.report.words import counts, short
from runner.terminal import lines, plain
from runner.timing import spoken

__all__ = ["SCRIPT", "STYLE", "environment", "faults", "read", "tone", "waterfall"]

STYLE: Final = ("tokens.css", "parts.css", "waterfall.css", "execution.css")
"""Files of the style that pages with an execution have, in their order."""
SCRIPT: Final = ("waterfall.js",)
_HERE: Final = Path(__file__).parent
_WORDS: Final = {
    "success": "succeeded",
    "error": "failed",
    "allowed": "failed, allowed",
    "canceled": "canceled",
    "skipped": "left out",
    "blocked": "blocked",
    "running": "running",
}
_WHOSE: Final = {
    Domain.USER: "in what was run",
    Domain.PROVIDER: "in what it runs on",
    Domain.UNKNOWN: "",
}


@cache
def environment(*folders: Path) -> jinja2.Environment:
    """Where templates of ``folders``, then those of this package, are rendered; each is compiled
    once.
    """
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, _HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "block": block,
        "counts": counts,
        "first_line": lambda text: plain(text.partition("\n")[0]),
        "link": link,
        "moment": moment,
        "own": lambda tags: [tag for tag in tags if not tag.startswith(OURS)],
        "pair": pair,
        "plain": plain,
        "prose": prose,
        "short": short,
        "spoken": lambda milliseconds: spoken(milliseconds * MILLISECOND),
        "tone": lambda part: tone(part.status, allowed=getattr(part, "allowed", False)),
        "whose": _WHOSE.__getitem__,
        "word": _WORDS.__getitem__,
        "word_of_shell": lambda text: shlex.quote(plain(text)),
    }
    return made


def read(*names: str) -> str:
    """Files of this package, one after the other."""
    return "".join((_HERE / name).read_text() for name in names)


def block(text: str) -> str:
    """Text of several lines without anything but letters in it."""
    return "\n".join(lines(text))


def pair(tag: str) -> Sequence[str]:
    """``key:value`` as two texts."""
    key, _, value = plain(tag).partition(":")
    return key, value


def moment(rfc3339: str) -> str:
    """``2026-03-02 09:15:00 UTC``; what is no time stays what it is."""
    try:
        return f"{datetime.fromisoformat(rfc3339).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):
        return plain(rfc3339)


def link(url: str) -> str:
    """``url`` if a page may lead there, else nothing: no script, no file, no data."""
    return url if url.isprintable() and url.startswith(("https://", "http://")) else ""
