"""Lines of programs that no reader knows: those that call themselves an error, those that sound
like a reason, and those that only say that something else failed.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from runner.failure.output import Finding, Output, Weight, joined

LAST: Final = 20
"""Lines that say something, at the end of all."""
_NEAR: Final = 10
"""Those of them among which a reason is looked for."""
_FEW: Final = 5
"""Those that are told when none sounds like one."""
_REPEATED: Final = (
    r"g?make(?:\[\d+\])?: (?:\*\*\* \[|Leaving|Entering|Target .* not remade)|collect2: error: ld"
    r"|error: could not compile|error: aborting due to|error: test failed|error: build failed"
    r"|warning: build failed|compilation terminated|ninja: build stopped|FAILED: "
    r"|error: fatalError$|exit status \d+$|script returned exit code"
    r"|.*Process completed with exit code|[\w.-]+ exited with code \d+$|Aborting on container exit"
    r"|error Command failed|.*ELIFECYCLE|info Visit https://yarnpkg|npm (?:error|ERR!)|npm notice"
    r"|-- Configuring incomplete|See also \"|Found \d+ errors?|\d+ errors?(?: generated)?\.?$"
    r"|ERROR: failed to (?:solve|build): (?:failed to solve: )?process|Dockerfile:\d+$|-{6,}"
    r"|\s+\d+ \| |\s*>>> | > \[|FAIL\b"
    r"|Some errors have|For more information|hint: |note: |Errors while running CTest"
    r"|\[INFO\]|\[WARNING\]|\[ERROR\]|BUILD FAILED|\d+ actionable tasks?|\* Try|> (?:Run|Get) "
    r"|tar: (?:Error is not|Child returned|Exiting)|\S*::error|BEGIN failed--compilation"
    r"|PLAY RECAP \*|\S+ +: ok=\d+ +changed=|nox > |\s*[\w.-]+: (?:exit -?\d+ \(|FAIL code )"
    r"|  evaluation failed :\(|\(Background on this error at: "
    r"|\s*(?:error: subprocess-exited-with-error|\u00d7 .* did not run successfully"
    r"|│ exit code: \d+$|╰─> |\[end of output\]$|note: This error originates)"
    r"|.*(?:Execution of \S+|had) (?:aborted due to )?compilation errors"
)
_PLAIN: Final = (
    r"\s{0,2}(?:\S+ )?(?:[\w.@/+ -]{1,60}(?:\[\d+\])?: )?(?:line \d+: )?(?:\[?(?:[Ee]rror|ERROR"
    r"|[Ff]atal|FATAL|CRITICAL|critical|E)\]?(?:\[\w+\])?(?: \w+)?[:!]"
    r"|\[(?:error|ERROR)\] |error [A-Z]|ERR_\w+ |panic: |Permission denied \("
    r"|Host key verification failed|Error .{3,}"
    r"|The connection to the server |Unable to connect to the server: "  # kubectl
    r"|rsync: |ssh: connect to host )"
)
_SHELL: Final = r"(?:/\S*/)?(?:ba|da|z|k)?sh: (?:-c: )?(?:line )?\d+: "
RUN: Final = 60
"""Lines in a row that call themselves errors and are told."""
_QUIET: Final = r"(?:.*\b(?:0|no) errors?\b)|.*\b(?:warning|WARN)\b"
_SPOT: Final = (
    r"(?P<a>(?![^/.]+: )[^\s:]+): line (?P<b>\d+): |.* at (?P<c>[^\s-]\S*) line (?P<d>\d+)[.,]"
)


_MINOR: Final = r"(?i)\bwarn(?:ing)?\b|\bdeprecat|\b(?:0|no) (?:error|fail)"
_BAR: Final = r"\[[#=>.\- ]{3,}\]|[━█▓▒░]{3,}|\b100(?:\.0+)? ?%$|^nox > (?!Command )"
"""How far something got."""
_TIMING: Final = (
    r"(?:real|user|sys)\s+(?:\d+m)?[\d.,]+s?$"  # bash's time, and every time -p
    r"|[\d.]+user [\d.]+system [\d:.]+elapsed |\d+inputs\+\d+outputs "  # GNU's
    r"|Command exited with non-zero status \d+$"
)
"""How long it took."""
_MARKED: Final = (
    r"\s{0,2}(?:[\d:.,/TZ+-]{4,35} )?(?:[\d:.,/TZ+-]{4,35} )?(?:[\w.@/+-]{1,40}(?:\[\d+\])?: )?(?:"
    r"\[?(?:[Ee]rror|ERROR|[Ff]atal|FATAL|CRITICAL|[Pp]anic|PANIC)(?: error)?\]?(?:\[\w+\])?: ?\S"
    r"|\[(?:error|ERROR|FATAL|CRITICAL)\] \S|(?:ERROR|FATAL|CRITICAL) +(?:- |\| |\[|[\w.]+: )"
    r"|[\u2717\u2716\u2718\u274c] \S)"
)
"""A line that is an error, and not one about errors."""
_SURVIVED: Final = (
    r"(?i).*\b(?:re-?tr(?:y|ies|ying)|attempt|ignor|skipp|continu(?:e|ing)|go(?:es|ing)? on\b"
    r"|fall(?:s|ing)? ?back|recover|using (?:the )?default|non-fatal|expected)"
)
_SAYS_WHY: Final = (
    r"(?i)error|exception|fatal|fail|panic|abort|assert|denied|refused|invalid|undefined|unexpected"
    r"|cannot|can't|could(?:n't| not)|unable to|not found|no such|timed out|killed"
    r"|segmentation fault|mismatch|unsupported|unknown|missing|unbound"
    r"|illegal|rejected|conflict|corrupt|[\u2717\u2716\u2718\u274c]"
)


def repeats(line: str) -> bool:
    """Whether a line says only that something else failed, or nothing."""
    return not line or re.match(_REPEATED, line) is not None


def read(output: Output) -> Iterator[Finding]:
    """The last lines that call themselves an error."""
    both = f"{_PLAIN}|{_SPOT}|{_SHELL}"
    end = next(
        (
            at
            for at in range(len(output.lines) - 1, max(len(output.lines) - 200, -1), -1)
            if _calls(both, output.lines[at])
        ),
        -1,
    )
    if end < 0:
        return
    start = end
    while start > max(end - RUN, 0) and any(
        _goes_on(both, line) for line in output.lines[max(start - 2, 0) : start]
    ):
        start -= 1
    rows = [at for at in range(start, end + 1) if _calls(both, output.lines[at])]
    spots = [m for at in rows if (m := re.match(_SPOT, output.lines[at]))]
    places = [f"{m['a'] or m['c']}:{m['b'] or m['d']}" for m in spots]
    yield Finding(
        start=rows[0],
        end=end,
        message=joined(output.lines[at] for at in rows),
        place=next((place for place in places if re.match(r".*[./].*:", place)), ""),
        weight=Weight.PLAIN,
        more=True,
    )


def _goes_on(pattern: str, line: str) -> bool:
    return _calls(pattern, line) or (bool(line) and repeats(line))


def _calls(pattern: str, line: str) -> bool:
    return bool(re.match(pattern, line)) and not repeats(line) and not re.match(_QUIET, line)


def last(said: Iterable[str]) -> list[str]:
    """The last of those that say something."""
    return [line for line in said if line][-LAST:]


def that_say_why(said: list[str], earlier: Sequence[str] = ()) -> list[str]:
    """From the first line near the end that sounds like a reason; if none does, what was said
    ``earlier`` and the last few. How long it took is nobody's reason.
    """
    said = [line for line in said if not re.match(_TIMING, line)]
    said = [line for line in said if not re.search(_BAR, line)] or said
    near = range(max(len(said) - _NEAR, 0), len(said))
    sounds = (
        at for at in near if re.search(_SAYS_WHY, said[at]) and not re.search(_MINOR, said[at])
    )
    first = next((at for at in sounds if not repeats(said[at])), None)
    if first is not None:
        return said[first:]
    few = said[-_FEW:]
    return [*(line for line in earlier if line not in few), *few]


def marked(output: Output) -> Iterator[Finding]:
    """The last lines, however far from the end, that are an error without a doubt."""
    ends = range(len(output.lines) - 1, -1, -1)
    end = next((at for at in ends if _is_error(output.lines[at])), -1)
    start = end
    while start > 0 and end - start < _NEAR and _is_error(output.lines[start - 1]):
        start -= 1
    if end >= 0:
        said = joined(output.lines[start : end + 1])
        yield Finding(start=start, end=end, message=said, weight=Weight.PLAIN)


def went_on(output: Output, finding: Finding) -> bool:
    """Whether it says of itself, or the next lines of it, that it ended nothing."""
    following = output.lines[finding.end + 1 : finding.end + 3]
    return any(re.match(_SURVIVED, line) for line in (*finding.message.split("\n"), *following))


def _is_error(line: str) -> bool:
    other = repeats(line) and not line.startswith("[ERROR] ")
    return bool(re.match(_MARKED, line)) and not other and not re.match(_QUIET, line)
