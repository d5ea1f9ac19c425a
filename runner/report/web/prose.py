"""What steps summed up in Markdown, as parts that a page can be made of.

Owns reading the Markdown that summaries are written in: headings, paragraphs, lists, tables, code,
emphasis, links. What it does not know stays text; no markup of others becomes markup of ours. Pure.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from runner.terminal import lines

LIMIT: Final = 100_000
"""Characters of one summary."""
_HEADING: Final = re.compile(r"(#{1,6})\s+(.*?)\s*#*$")
_ITEM: Final = re.compile(r"\s{0,9}(?:[-*+]|\d{1,9}[.)])\s+(.*)")
_FENCE: Final = re.compile(r"\s{0,3}(```|~~~)")
_RULE: Final = re.compile(r"\s{0,3}\|?(?:\s*:?-+:?\s*\|)*\s*:?-+:?\s*\|?\s*$")
_INLINE: Final = re.compile(
    r"`(?P<code>[^`]{1,500})`"
    r"|\*\*(?P<strong>[^*]{1,500})\*\*"
    r"|\*(?P<em>[^*\s][^*]{0,500})\*"
    r"|\[(?P<a>[^\[\]]{1,500})\]\((?P<url>[^()\s]{1,500})\)"
)
"""Without repetition in repetition: what steps write may be hostile."""


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of text. ``kind``: the element it becomes; empty: none."""

    kind: str = ""
    text: str
    url: str = ""


Line = tuple[Piece, ...]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """``kind``: heading, text, list, table (``rows``, the first its head) or code (``text``)."""

    kind: str
    text: str = ""
    rows: tuple[tuple[Line, ...], ...] = ()


def prose(text: str) -> list[Part]:
    """The parts of a summary; after ``LIMIT`` it is cut."""
    cut = [*lines(text[:LIMIT]), *(["…"] if len(text) > LIMIT else [])]
    return list(_parts(cut))


def _parts(text: Sequence[str]) -> Iterator[Part]:
    at = 0
    while at < len(text):
        line = text[at]
        end = at + 1
        if fence := _FENCE.match(line):
            while end < len(text) and not text[end].lstrip().startswith(fence[1]):
                end += 1
            yield Part(kind="code", text="\n".join(text[at + 1 : end]))
            end += 1
        elif heading := _HEADING.match(line):
            yield Part(kind="heading", rows=((_line(heading[2]),),))
        elif "|" in line and end < len(text) and "-" in text[end] and _RULE.match(text[end]):
            end = _while(text, end + 1, lambda other: "|" in other)
            rows = [line, *text[at + 2 : end]]
            yield Part(kind="table", rows=tuple(map(_cells, rows)))
        elif _ITEM.match(line):
            end = _while(text, end, lambda other: bool(_ITEM.match(other)))
            items = (_ITEM.match(item) for item in text[at:end])
            yield Part(kind="list", rows=tuple((_line(item[1]),) for item in items if item))
        elif line.strip():
            end = _while(text, end, lambda other: bool(other.strip()) and not _begins(other))
            yield Part(kind="text", rows=((_line(" ".join(text[at:end])),),))
        at = end


def _while(text: Sequence[str], at: int, goes_on: Callable[[str], bool]) -> int:
    while at < len(text) and goes_on(text[at]):
        at += 1
    return at


def _begins(line: str) -> bool:
    """Whether something other than a paragraph begins here."""
    return any(pattern.match(line) for pattern in (_FENCE, _HEADING, _ITEM))


def _cells(row: str) -> tuple[Line, ...]:
    return tuple(
        _line(cell.strip()) for cell in row.strip().removeprefix("|").removesuffix("|").split("|")
    )


def _line(text: str) -> Line:
    return tuple(_pieces(text))


def _pieces(text: str) -> Iterator[Piece]:
    at = 0
    for found in _INLINE.finditer(text):
        if found.start() > at:
            yield Piece(text=text[at : found.start()])
        kind = "a" if found["a"] else str(found.lastgroup)
        yield Piece(kind=kind, text=found[kind], url=found["url"] or "")
        at = found.end()
    if at < len(text):
        yield Piece(text=text[at:])
