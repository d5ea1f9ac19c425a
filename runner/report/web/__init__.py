"""An execution as a page: one HTML file that needs nothing beside it.

Owns the templates, the style and the script that the report and the pages of ``serve`` share, and
the environment in which templates are rendered: everything is escaped, nothing may be missing, and
of hostile text nothing survives that is more than text (faults T14, T15). Does not find the
execution (``journal``) nor tell it (``runner.report``).

    tokens.css      what colours, sizes and distances mean
    parts.css       marks, pills, chips, facts, blocks of text; parts.html their markup
    waterfall.css   the waterfall; waterfall.html its markup, waterfall.js zoom, filter, keys
    waterfall       which rows there are and where each bar lies
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jinja2

from runner.event import Domain
from runner.execution import MILLISECOND
from runner.report.tree import moment, short
from runner.report.web.waterfall import tone, waterfall
from runner.terminal import lines, plain
from runner.timing import spoken

__all__ = ["SCRIPT", "STYLE", "environment", "read", "tone", "waterfall"]

STYLE: Final = ("tokens.css", "parts.css", "waterfall.css")
"""Files of the style that every page has, in their order."""
SCRIPT: Final = "waterfall.js"
_HERE: Final = Path(__file__).parent
_WORDS: Final = {
    "success": "succeeded",
    "error": "failed",
    "allowed": "failed, allowed",
    "canceled": "canceled",
    "skipped": "left out",
    "blocked": "waiting",
    "running": "running",
}
_WHOSE: Final = {
    Domain.USER: "in what was run",
    Domain.PROVIDER: "in what it runs on",
    Domain.UNKNOWN: "",
}


def environment(*folders: Path) -> jinja2.Environment:
    """Where templates of ``folders``, then those of this package, are rendered."""
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
        "link": link,
        "moment": moment,
        "pair": pair,
        "plain": plain,
        "short": short,
        "spoken": lambda milliseconds: spoken(milliseconds * MILLISECOND),
        "tone": lambda part: tone(part.status, allowed=getattr(part, "allowed", False)),
        "whose": _WHOSE.__getitem__,
        "word": _WORDS.__getitem__,
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


def link(url: str) -> str:
    """``url`` if a page may lead there, else nothing: no script, no file, no data."""
    return url if url.isprintable() and url.startswith(("https://", "http://")) else ""
