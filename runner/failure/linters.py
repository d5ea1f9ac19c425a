"""What linters and formatters print: a place and what is wrong there, each in its own form."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from runner.failure.output import Finding, Hit, Output, joined

_GAP: Final = 50
"""Lines between two rows of one program."""
_TOLD: Final = 50
"""Rows of one program that are told."""
_ROWS: Final = (
    # ShellCheck for compilers
    r"(?P<file>[^\s:]+):(?P<line>\d+):\d+: (?P<level>error|warning|note): .* \[SC\d+\]$",
    # Hadolint, for people and for compilers; a Dockerfile that is none
    r"(?:hadolint:)?(?P<file>[^\s:]+):(?P<line>\d+):? (?:DL|SC)\d+ (?P<level>error|warning|\w+): ",
    r"(?P<file>[^\s:]*(?i:dockerfile)[^\s:]*):(?P<line>\d+):\d+ (?P<level>)(?!error|warning)\S",
    # yamllint for programs
    r"(?P<file>[^\s:]+):(?P<line>\d+):\d+: \[(?P<level>error)\] ",
    # Prettier, of a file that it cannot read
    r"\[(?P<level>error)\] (?P<file>\S+): \w*Error: .* \((?P<line>\d+):\d+\)$",
)
_LEVELS: Final = ("", "error", "warning")
"""The worst first, and any other last."""


def read(output: Output) -> Iterator[Finding]:
    """Everything of linters that print no compiler's row."""
    if output.has("✖ ", " problem", "Oops! "):
        yield from _eslint(output)
    if output.has(" SC"):
        yield from _shellcheck(output)
    if output.has("[SC", " DL", " SC", "ockerfile", "[error] "):
        yield from _rows(output)
    if output.has("  error    "):
        yield from _yamllint(output)
    if output.has("[warn] "):
        yield from _prettier(output)
    if output.has("would reformat ", "error: cannot "):
        yield from _black(output)
    if output.has(">> Issue: ["):
        yield from _bandit(output)


def _rows(output: Output) -> Iterator[Finding]:
    """Whose every line names a place: the last of them that stand together, the worst first."""
    for pattern in _ROWS:
        rows = _together(list(output.find(pattern)))
        if rows:
            worst = sorted((row for _, row in rows), key=_level)
            yield Finding(
                start=rows[0][0],
                end=rows[-1][0],
                message=joined(row.string for row in worst[:_TOLD]),
                place=f"{worst[0]['file']}:{worst[0]['line']}",
            )


def _level(row: re.Match[str]) -> int:
    return (*_LEVELS, row["level"]).index(row["level"])


def _together(rows: Sequence[Hit]) -> Sequence[Hit]:
    first = len(rows) - 1
    while first > 0 and rows[first][0] - rows[first - 1][0] <= _GAP:
        first -= 1
    return rows[max(first, 0) :]


def _yamllint(output: Output) -> Iterator[Finding]:
    """yamllint: a file, and below it its rows; nothing stands at the end."""
    row = r"  (\d+):\d+ +(error|warning) +(\S.*)"
    block = row + r"|\S+$|$"
    end = output.last(row.replace("error|warning", "error"))
    start = end
    while start > 0 and re.match(block, output.lines[start - 1]):
        start -= 1
    said, file = [], ""
    for at, match in output.find(block, max(start, 0), end + 1):
        if match[2] == "error" and file:
            said.append(f"{file}:{match[1]}: {' '.join(match[3].split())}")
        elif match[2] is None and match[0]:
            file = output.lines[at]
    if said:
        last = output.run(row, end + 1)
        place = said[0].partition(": ")[0]
        yield Finding(start=start, end=last, message=joined(said[:_TOLD]), place=place)


def _prettier(output: Output) -> Iterator[Finding]:
    """Files that Prettier would write in another way, or cannot read."""
    end = output.last(r"\[warn\] Code style issues |Error occurred when checking code style")
    start = end
    while start > 0 and re.match(r"\[(?:warn|error)\] ", output.lines[start - 1]):
        start -= 1
    row = r"\[warn\] |\[error\] (\S+): \w*Error: .* \((\d+):\d+\)$"
    rows = list(output.find(row, start, end)) if start >= 0 else []
    spot = next((row for _, row in rows if row[1]), None)
    if rows:
        said = (output.lines[at] for at, _ in rows[:_TOLD])
        yield Finding(
            start=rows[0][0],
            end=end,
            message=joined([*said, output.lines[end]]),
            place=f"{spot[1]}:{spot[2]}" if spot else "",
        )


def _black(output: Output) -> Iterator[Finding]:
    """Files that Black would write in another way, or cannot read."""
    bad = r"error: cannot (?:parse|format):? (\S+?): ?(?:Cannot parse.*?: )?(\d+):\d+"
    rows = list(output.find(f"would reformat |{bad}"))
    spot = next((row for _, row in rows if row[1]), None)
    if rows:
        rows.sort(key=lambda row: row[1][1] is None)
        yield Finding(
            start=min(at for at, _ in rows),
            end=max(output.last(r"(?:Oh no! |\d+ files? would )"), *(at for at, _ in rows)),
            message=joined(output.lines[at] for at, _ in rows[:_TOLD]),
            place=f"{spot[1]}:{spot[2]}" if spot else "",
        )


def _bandit(output: Output) -> Iterator[Finding]:
    """Bandit: the most severe first."""
    end = output.last(r"Files skipped \(")
    titles = _together([*output.find(r">> Issue: (\[.*)")])
    said: list[tuple[int, str, str]] = []
    for at, title in titles[:_TOLD]:
        degree = next(output.find(r"\s+Severity: (High|Medium|Low)\b", at, at + 4), None)
        place = next(output.find(r"\s+Location: (.+):(\d+):\d+$", at, at + 8), None)
        if degree and place:
            level = ("High", "Medium", "Low").index(degree[1][1])
            spot = f"{place[1][1]}:{place[1][2]}"
            said.append((level, spot, f"{spot}: {title[1]}"))
    if said:
        said.sort(key=lambda one: one[0])
        yield Finding(
            start=titles[0][0],
            end=max(end, titles[-1][0]),
            message=joined(text for _, _, text in said),
            place=said[0][1],
        )


def _eslint(output: Output) -> Iterator[Finding]:
    """ESLint and Stylelint: a file, and below it its rows."""
    end = output.last(r"✖ \d+ problem")
    many = output.last(r"ESLint found too many warnings")
    kind = "warning" if many > end else "error"
    rows = list(output.find(rf"\s+(\d+):\d+\s+(?:{kind}|✖)\s+(.+)", 0, max(end, 0)))
    files = [at for at, _ in output.find(r"[^\s:]+\.\w+$", 0, rows[-1][0])] if rows else []
    if not files:
        yield from _eslint_itself(output)
        return
    said, file = [], 0
    for at, row in rows[:50]:
        while file + 1 < len(files) and files[file + 1] < at:
            file += 1
        said.append(f"{output.lines[files[file]]}:{row[1]}: {' '.join(row[2].split())}")
    place = said[0].partition(": ")[0]
    said += output.lines[many : many + 1] if many > end else []
    yield Finding(start=rows[0][0] - 1, end=max(end, many), message=joined(said), place=place)


def _eslint_itself(output: Output) -> Iterator[Finding]:
    """ESLint that could not begin."""
    start = output.last(r"Oops! Something went wrong! :\(")
    said = (
        next(output.find(r"(?!ESLint: \d)\S", start + 1, start + 8), None) if start >= 0 else None
    )
    if said:
        yield Finding(start=start, end=said[0], message=output.lines[said[0]])


def _shellcheck(output: Output) -> Iterator[Finding]:
    """ShellCheck, as it writes for people: a place, the line, what is wrong below it."""
    rows = list(output.find(r"In (\S+) line (\d+):$"))
    spots = [f"{row[1]}:{row[2]}" for _, row in rows]
    said = []
    for (at, _), spot in zip(rows[:20], spots, strict=False):
        below = output.find(r"\s*\^[-^]* (SC\d+ .*)", at + 2, at + 8)
        said += [f"{spot}: {what[1]}" for _, what in below]
    if said:
        end = max(output.last(r"\s+https://www\.shellcheck\.net/"), rows[-1][0])
        yield Finding(start=rows[0][0], end=end, message=joined(said), place=spots[0])
