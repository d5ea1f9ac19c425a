"""A search as the person wrote it, with one attribute's values picked or taken away by a click.

Owns the cutting of a query into its top-level terms and nothing of their meaning: what a
query finds is ``runner.viewer.query``'s. What a click did not touch stays as it was written.
"""

import re
from collections.abc import Sequence
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./@+-]*[A-Za-z0-9_/]")
_TERM: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"?|\\.|[^\s"()\\])+|[()]|\\')


def split(query: str) -> list[str]:
    """The top-level terms; what stands in brackets is one, with what stands right before it."""
    terms: list[str] = []
    depth, end = 0, -1
    for found in _TERM.finditer(query):
        joined = depth > 0 or (found[0] == "(" and found.start() == end)
        gap = " " if depth > 0 and found.start() != end else ""
        if joined and terms:
            terms[-1] += gap + found[0]
        else:
            terms.append(found[0])
        depth = max(depth + {"(": 1, ")": -1}.get(found[0], 0), 0)
        end = found.end()
    return terms


def term(attribute: str, value: str) -> str:
    """``attribute:value``, quoted where it must be."""
    if _PLAIN.fullmatch(value) and value not in {"AND", "OR", "NOT"}:
        return f"{attribute}:{value}"
    quoted = re.sub(r'(["\\])', r"\\\1", value)
    return f'{attribute}:"{quoted}"'


def picked(query: str, attribute: str, values: Sequence[str]) -> tuple[str, ...]:
    """Which of ``values`` the query asks for."""
    asked = {one for written in split(query) for one in _alternatives(written, attribute)}
    return tuple(value for value in values if term(attribute, value) in asked)


def dropped(query: str, attribute: str) -> str:
    """The query without what it asks of an attribute; the same query, if it asks nothing."""
    return " ".join(one for one in split(query) if not _alternatives(one, attribute))


def toggle(query: str, attribute: str, value: str) -> str:
    """The query with the value asked for, or no longer; beside others of the same attribute."""
    wanted, rest = [], []
    for written in split(query):
        if alternatives := _alternatives(written, attribute):
            wanted += alternatives
        else:
            rest.append(written)
    one = term(attribute, value)
    if one in wanted:
        wanted = [other for other in wanted if other != one]
    else:
        wanted.append(one)
    match wanted:
        case []:
            return " ".join(rest)
        case [alone]:
            return " ".join([*rest, alone])
        case _:
            return " ".join([*rest, f"({' OR '.join(wanted)})"])


def without(query: str, attribute: str, value: str) -> str:
    """The query with the value excluded."""
    one = term(attribute, value)
    kept = [written for written in split(query) if written not in {one, f"-{one}"}]
    return " ".join([*kept, f"-{one}"])


def _alternatives(written: str, attribute: str) -> list[str]:
    """``a:1`` and ``(a:1 OR a:2)`` as their values, if all are of the attribute."""
    bare = written[1:-1] if written.startswith("(") and written.endswith(")") else written
    parts = split(bare)
    values, between = parts[::2], parts[1::2]
    if (
        values
        and all(value.startswith(f"{attribute}:") for value in values)
        and set(between) <= {"OR"}
    ):
        return values
    return []
