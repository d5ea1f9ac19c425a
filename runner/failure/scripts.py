"""What Ruby, PHP and their test runners print when they fail."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from runner.failure.output import Finding, Output, joined

_RAISED: Final = r"(\S+?):(\d+):in [`'].*?': (.+ \((?:\w+::)*\w+\))$"
_FRAME: Final = r"(?:\s+from |\s+# |\s+)?(?:\./)?([^\s:<]+\.rb):(\d+):in "
_FOREIGN: Final = r".*(?:/gems/|/lib/ruby/)"
_FATAL: Final = r"(?:PHP )?((?:Fatal|Parse) error: +.*) in (/?\S+?)(?: on line |:)(\d+)$"


def read(output: Output) -> Iterator[Finding]:
    """Everything of Ruby and PHP."""
    if output.has(".rb:", ":in `", ":in '"):
        yield from _ruby(output)
        yield from _rspec(output)
        yield from _minitest(output)
    if output.has("Fatal error: ", "Parse error: "):
        yield from _php(output)
    if output.has("PHPUnit "):
        yield from _phpunit(output)


def _own(lines: Sequence[str]) -> str:
    """The first frame in the user's own code."""
    frames = (match for line in lines if (match := re.match(_FRAME, line)))
    own = next((match for match in frames if not re.match(_FOREIGN, match[1])), None)
    return f"{own[1]}:{own[2]}" if own else ""


def _ruby(output: Output) -> Iterator[Finding]:
    """The last exception that nobody rescued, or a file that is no Ruby."""
    for at, match in list(output.find(_RAISED + r"|(\S+\.rb):(\d+): (syntax error.*)"))[-1:]:
        end = output.run(r"\s+\S|$", at + 1)
        body = output.lines[at : end + 1]
        yield Finding(
            start=at,
            end=end,
            message=match[3] or match[6],
            place=f"{match[4]}:{match[5]}" if match[4] else _own(body),
            stack="\n".join(body).rstrip() if match[3] else "",
        )


def _rspec(output: Output) -> Iterator[Finding]:
    start = output.last(r"Failures:$")
    end = output.last(r"\d+ examples?, \d+ failure")
    titles = [at for at, _ in output.find(r"  \d+\) ", start, end)] if 0 <= start < end else []
    if not titles:
        return
    body = output.lines[titles[0] + 1 : titles[1] if len(titles) > 1 else end]
    frames = next((n for n, line in enumerate(body) if re.match(r"\s+# \S+:\d+:", line)), 12)
    first, *others = (re.sub(r"^  \d+\) ", "", output.lines[at]) for at in titles)
    yield Finding(
        start=start,
        end=max(end, output.last(r"rspec \S+:\d+ # ")),
        message=joined([first, *body[:frames], *others]),
        place=_own(body),
        test=True,
    )


def _minitest(output: Output) -> Iterator[Finding]:
    end = output.last(r"\d+ runs, \d+ assertions, ")
    titles = [at for at, _ in output.find(r"\s+\d+\) (?:Failure|Error):$", 0, max(end, 0))]
    if not titles:
        return
    body = output.lines[titles[0] + 1 : titles[1] if len(titles) > 1 else end]
    spot = re.match(r".* \[(\S+):(\d+)\]:$", body[0]) if body else None
    said = [line for line in body if not re.match(_FRAME, line)]
    yield Finding(
        start=titles[0],
        end=end,
        message=joined([*said[:12], *(output.lines[at + 1] for at in titles[1:])]),
        place=f"{spot[1]}:{spot[2]}" if spot else _own(body),
        test=True,
    )


def _php(output: Output) -> Iterator[Finding]:
    for at, match in list(output.find(_FATAL))[:1]:
        end = output.run(r"Stack trace:|#\d+ |\s+thrown in |\s*$|" + _FATAL, at + 1)
        stack = [line for line in output.lines[at + 1 : end] if re.match(r"#\d+ ", line)]
        yield Finding(
            start=at,
            end=end,
            message=match[1],
            place=f"{match[2]}:{match[3]}",
            stack="\n".join([match[1], *stack]) if stack else "",
        )


def _phpunit(output: Output) -> Iterator[Finding]:
    start = output.last(r"There (?:was|were) \d+ (?:failure|error)s?:$")
    end = output.last(r"(?:FAILURES|ERRORS)!$")
    titles = [at for at, _ in output.find(r"\d+\) \S", start, end)] if 0 <= start < end else []
    if not titles:
        return
    body = output.lines[titles[0] + 1 : titles[1] if len(titles) > 1 else end]
    spots = [m for line in body if (m := re.match(r"(/\S+\.php):(\d+)$", line))]
    own = next((spot for spot in reversed(spots) if "/vendor/" not in spot[1]), None)
    said = [line for line in body if not re.match(r"/\S+\.php:\d+$", line)]
    yield Finding(
        start=start,
        end=output.run(r"Tests: ", end + 1),
        message=joined(
            [output.lines[titles[0]], *said[:12], *(output.lines[n] for n in titles[1:])]
        ),
        place=f"{own[1]}:{own[2]}" if own else "",
        test=True,
    )
