"""The report: an execution as one HTML file that opens anywhere and asks nobody for anything.

Owns the page as bytes: its policy, which allows its own style and script by their hashes and
nothing else, and what travels in it beside the execution. Pure.
"""

import base64
import gzip
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from runner import __version__
from runner.report import Told
from runner.report.web import SCRIPT, STYLE, environment, faults, read, waterfall

_PACKED: Final = 900_000
"""Characters that the raw events may take; more of them are left out."""


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """What a report has beside the execution itself. All of it is masked already."""

    tails: Mapping[str, str] = {}
    """The last output of jobs that failed, by the job's id."""
    summaries: Sequence[str] = ()
    """Markdown that steps gave."""
    events: Sequence[bytes] = ()
    """Each as the intake receives it."""


def write_html(told: Told, attached: Attached | None = None) -> bytes:
    """The whole file."""
    attached = attached or Attached()
    style = read(*STYLE, "report.css")
    script = "".join(map(_lean, (*SCRIPT, "report.js")))
    drawn = waterfall(told)
    page = environment().get_template("report.html")
    text = page.render(
        told=told,
        w=drawn,
        faults=faults(drawn, attached.tails),
        texts=attached.summaries,
        events=_pack(attached.events),
        policy=_policy(style, script),
        style=style,
        script=script,
        version=__version__,
    )
    return text.encode("utf-8", "replace")  # half a surrogate pair is no text


def _policy(style: str, script: str) -> str:
    sources = f"style-src {_hash(style)}; script-src {_hash(script)}"
    return f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _lean(name: str) -> str:
    """A script without its indentation and its comments, which have lines of their own."""
    found = (line.strip() for line in read(name).splitlines())
    return "".join(f"{line}\n" for line in found if line and not line.startswith("//"))


def _pack(events: Sequence[bytes]) -> str:
    """Events, one a line, gzipped: a browser unpacks them when somebody asks."""
    packed = base64.b64encode(gzip.compress(b"\n".join(events), 6, mtime=0)).decode()
    return packed if events and len(packed) <= _PACKED else ""
