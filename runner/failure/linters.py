"""What linters and formatters print: a place and what is wrong there, each in its own form."""

from collections.abc import Iterator

from runner.failure.output import Finding, Output, joined


def read(output: Output) -> Iterator[Finding]:
    """Everything of linters that print no compiler's row."""
    if output.has("✖ ", " problem", "Oops! "):
        yield from _eslint(output)
    if output.has(" SC"):
        yield from _shellcheck(output)


def _eslint(output: Output) -> Iterator[Finding]:
    end = output.last(r"✖ \d+ problem")
    many = output.last(r"ESLint found too many warnings")
    kind = "warning" if many > end else "error"
    rows = list(output.find(rf"\s+(\d+):\d+\s+{kind}\s+(.+)", 0, max(end, 0)))
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
