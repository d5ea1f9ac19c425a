"""What linters and formatters print: a place and what is wrong there, each in its own form."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from runner.failure.output import Finding, Hit, Output, Reader, Weight, cut, joined

_GAP: Final = 50
"""Lines between two rows of one program."""
_TOLD: Final = 50
"""Rows of one program that are told."""
_ROWS: Final = (
    # ShellCheck for compilers
    r"(?P<file>[^\s:]+):(?P<line>\d+):\d+: (?P<level>error|warning|note): .* \[SC\d+\]$",
    # Hadolint, for people and for compilers; a Dockerfile that is none
    r"(?:hadolint:)?(?P<file>[^\s:]+):(?P<line>\d+):? (?:DL|SC)\d+ (?P<level>error|warning|\w+): ",
    r"(?P<file>[^\s:]{0,200}(?i:dockerfile)[^\s:]{0,80}):(?P<line>\d+):\d+ (?P<level>)(?!error)\S",
    # yamllint for programs
    r"(?P<file>[^\s:]+):(?P<line>\d+):\d+: \[(?P<level>error)\] ",
    # CSpell
    r"(?P<file>[^\s:]+):(?P<line>\d+):\d+ - (?P<level>)(?:Unknown|Forbidden|Misspelled) word ",
    # Prettier, of a file that it cannot read
    r"\[(?P<level>error)\] (?P<file>\S+): \w*Error: .* \((?P<line>\d+):\d+\)$",
)
_LEVELS: Final = ("", "error", "warning")
"""The worst first, and any other last."""


_FEW: Final = 3
"""Lines that end a report: how many, and that it failed."""
_WIDE: Final = 500
"""Characters of a row that goes on over several lines."""
_HOOK: Final = r"(.+\.{3})(?:\([^()]{0,99}\))?(Passed|Failed|Skipped)$"
_HOOK_ITSELF: Final = r"- (?:hook id|exit code|duration): |$"
_HOOK_TOLD: Final = 10
"""Lines that are told of a hook."""


def read(output: Output) -> Iterator[Finding]:
    """Everything of linters that print no compiler's row."""
    for words, reader in LINTERS:
        if output.has(*words):
            yield from reader(output)


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


def _sqlfluff(output: Output) -> Iterator[Finding]:
    """SQLFluff: a file, and below it its rows, each over several lines."""
    part = r"== \[(.+)\] FAIL$|L: +(\d+) \| P: +\d+ \| +(\w+) \| (.+)|\s+\| (.+)"
    said: list[str] = []
    spots: list[str] = []
    rows = list(output.find(part))
    for _, row in rows:
        if row[1]:
            spots.append(row[1])
        elif row[2] and spots:
            said.append(f"{spots[-1]}:{row[2]}: {row[3]} {row[4]}")
        elif row[5] and said:
            said[-1] = cut(f"{said[-1]} {row[5]}", _WIDE)
    if said:
        said.sort(key=lambda one: " PRS " not in one)  # what it cannot read, first
        end = max(output.last("All Finished!?$"), rows[-1][0])
        place = said[0].partition(": ")[0]
        yield Finding(start=rows[0][0], end=end, message=joined(said[:_TOLD]), place=place)


def _ansible_lint(output: Output) -> Iterator[Finding]:
    """ansible-lint: a rule, and the place on the next line or before it."""
    start = output.last(r".*Listing \d+ violation\(s\)")
    end = output.last(r"(?:Failed|Passed): \d+ failure\(s\), |# Rule Violation Summary")
    stop = next((at for at, _ in output.find(r"# Rule Violation Summary", start + 1)), end)
    named = r"([\w-]+(?:\[[\w-]+\](?:\[/\])?)?: \S.*)"
    rows = list(output.find(rf"{named}|(\S+?):(\d+):(?:\d+:)? {named}", start + 1, stop))
    said: list[str] = []
    for at, row in rows if start >= 0 else ():
        below = re.match(r"(\S+?):(\d+)(?::\d+)?(?: |$)", output.lines[at + 1]) if row[1] else None
        if row[4]:
            said.append(f"{row[2]}:{row[3]}: {row[4]}")
        elif below:
            said.append(f"{below[1]}:{below[2]}: {row[1]}")
    if said:
        place = said[0].partition(": ")[0]
        yield Finding(start=start, end=end, message=joined(said[:_TOLD]), place=place)


def _biome(output: Output) -> Iterator[Finding]:
    """Biome: a place or a file, and on the next line what is wrong: a cross for an error."""
    titles = list(output.find(r"(\S+?)(?::(\d+):\d+)? ([\w/]+)(?: +FIXABLE)? +━{3,}"))
    said, spots = [], []
    for at, title in titles:
        wrong = next(output.find(r"\s+[\u00d7✖] (.+)", at + 1, at + 4), None)
        if wrong:
            spot = f"{title[1]}:{title[2]}" if title[2] else title[1]
            said.append(f"{spot}: {title[3]} {wrong[1][1]}")
            spots += [spot] if title[2] else []
    if said:
        end = max(output.last(r"\s+[\u00d7✖] Some errors were emitted"), titles[-1][0])
        place = spots[0] if spots else ""
        yield Finding(start=titles[0][0], end=end, message=joined(said[:_TOLD]), place=place)


def _pre_commit(output: Output) -> Iterator[Finding]:
    """pre-commit: each hook that failed, and what it printed."""
    hooks = list(output.find(_HOOK))
    said: list[str] = []
    ends = [at for at, _ in hooks]
    for number, (at, hook) in enumerate(hooks, 1):
        if hook[2] == "Failed":
            itself = output.run(_HOOK_ITSELF, at + 1)
            end = output.run(r"\s*\S", itself + 1)
            end = hooks[number][0] - 1 if number < len(hooks) else end
            ends.append(end)
            printed = [line for line in output.lines[itself + 1 : end + 1] if line]
            said += [f"{hook[1].rstrip('.')} failed", *printed[:_HOOK_TOLD]]
    if said:
        yield Finding(start=ends[0], end=max(ends), message=joined(said))


def _documents(output: Output) -> Iterator[Finding]:
    """Sphinx and MkDocs: an error, or a warning that is one because hardly anything follows."""
    errors = r"(?:ERROR|CRITICAL|SEVERE)"
    rows = list(output.find(rf"([^\s:]+):(\d+): (?:{errors}|WARNING): \S"))
    strict = output.last(r"Aborted with \d+ warnings? in strict mode")
    rows = rows or list(output.find(r"()WARNING +-  \S", 0, max(strict, 0)))
    if not rows:
        return
    end = max(strict, rows[-1][0])
    wrong = [row for row in rows if re.search(f": {errors}: ", row[1].string)]
    if wrong or len([line for line in output.lines[end + 1 :] if line]) <= _FEW:
        worst = (wrong or rows)[0][1]
        yield Finding(
            start=rows[0][0],
            end=end,
            message=joined(output.lines[at] for at, _ in (wrong or rows)[:_TOLD]),
            place=f"{worst[1]}:{worst[2]}" if worst[1] else "",
            weight=Weight.PLAIN,
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


LINTERS: Final[Sequence[tuple[Sequence[str], Reader]]] = (
    (("✖ ", " problem", "Oops! "), _eslint),
    ((" SC",), _shellcheck),
    (("[SC", " DL", " SC", "ockerfile", "[error] ", " word "), _rows),
    (("  error    ",), _yamllint),
    (("[warn] ",), _prettier),
    (("would reformat ", "error: cannot "), _black),
    ((">> Issue: [",), _bandit),
    (("] FAIL\n",), _sqlfluff),
    (("violation(s)",), _ansible_lint),
    ((" ━━",), _biome),
    (("- hook id: ",), _pre_commit),
    ((": WARNING: ", ": ERROR: ", ": CRITICAL: ", ": SEVERE: ", "strict mode"), _documents),
)
"""Each with words of which one stands in all it prints."""
