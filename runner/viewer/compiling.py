"""What a query asks -> the condition under which SQLite finds it.

Owns the SQL of conditions, for one level at a time. Texts that are columns are looked up in the
table of words first, so that the walk along ``event`` compares integers alone; the payload is
looked at last, and only for what stands nowhere else.
"""

import re
import sqlite3
from collections.abc import Sequence
from typing import Final, assert_never

from runner.viewer import attributes, tables
from runner.viewer.attributes import (
    Attribute,
    Flag,
    Items,
    LevelOf,
    Member,
    Number,
    RunOf,
    Tag,
    Words,
)
from runner.viewer.query import All, Any_, Compare, Node, Not, QueryError, Term, Text, Value, Wild
from runner.viewer.rows import Level

_INLINE: Final = 500
"""Numbers of words that are written into the condition; more are looked up on the way."""
_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}
_SEEN: Final = ("name", "pipeline", "stage", "job", "branch", "tag", "repository", "author", "sha")
"""Columns in which a word without an attribute is looked for."""
_READ: Final = ("$.git.message", "$.error.message")
_SPECIAL: Final = re.compile(r"([\[*?])")
_LIKE: Final = re.compile(r"([\\%_])")
BODY: Final = "(SELECT CAST(body AS TEXT) FROM payload WHERE payload.key = event.key)"
NOTHING: Final = "0"
ANYTHING: Final = "1"


class Condition:
    """Made once for a query, a level and a connection: ``sql`` with ``values`` for its marks."""

    def __init__(
        self, db: sqlite3.Connection, hashed: tables.Hash, node: Node, level: Level
    ) -> None:
        self._db = db
        self._hash = hashed
        self._level = level
        self.values: list[object] = []
        self.sql = self._node(node)

    def _node(self, node: Node) -> str:
        match node:
            case Term():
                return self._term(node)
            case Not(item):
                return f"NOT ifnull({self._node(item)}, 0)"
            case All(items):
                return self._joined(items, " AND ", ANYTHING)
            case Any_(items):
                return self._joined(items, " OR ", NOTHING)
        assert_never(node)

    def _joined(self, items: tuple[Node, ...], word: str, empty: str) -> str:
        parts = [self._node(item) for item in items]
        return f"({word.join(parts)})" if parts else empty

    def _term(self, term: Term) -> str:
        if not term.attribute:
            return self._anywhere(term.value)
        known = attributes.at_level(attributes.attribute(term.attribute), self._level)
        return NOTHING if known is None else self._known(known, term.value)

    def _known(self, known: Attribute, value: Value) -> str:  # noqa: C901, PLR0911 - an arm a kind
        match known:
            case Words(column):
                return self._words(column, value)
            case Number(column):
                return self._number(column, value)
            case Flag(bit):
                truth = _TRUTHS.get(value.text.lower()) if isinstance(value, Text) else None
                if truth is None:
                    return ANYTHING if value == Wild((None,)) else NOTHING
                return f"(flags & {bit}) {'!=' if truth else '='} 0"
            case LevelOf():
                return self._text(f"'{self._level}'", value)
            case RunOf() if isinstance(value, Text):
                self.values.append(self._hash(value.text))
                return "run = ?"
            case RunOf():
                member = "unique_id" if self._level == "pipeline" else "pipeline_unique_id"
                return self._member(f"$.{member}", value)
            case Member(paths):
                path = paths.get(self._level)
                return self._member(path, value) if path else NOTHING
            case Items(path):
                return self._items(path, value)
            case Tag(key):
                return self._tag(key, value)
        assert_never(known)

    # ── texts ────────────────────────────────────────────────────────────────────────────────────

    def _words(self, column: str, value: Value) -> str:
        if value == Wild((None,)):
            return f"{column} != 0"
        if isinstance(value, Text):
            found = self._db.execute("SELECT id FROM word WHERE text = ?", (_lower(column, value),))
            number = (found.fetchone() or (None,))[0] if value.text else 0
            return NOTHING if number is None else f"{column} = {number}"
        held, self.values = self.values, []
        where = self._text("text", value)
        asked, self.values = self.values, held
        return self._among((column,), where, asked)

    def _among(self, columns: tuple[str, ...], where: str, asked: list[object]) -> str:
        """Whether one of the columns holds a word of which ``where`` is true."""
        query = f"SELECT id FROM word WHERE {where}"  # noqa: S608 - made here
        found = self._db.execute(f"{query} LIMIT {_INLINE + 1}", asked).fetchall()
        if not found:
            return NOTHING
        if len(found) <= _INLINE:
            query = ", ".join(str(number) for (number,) in found)
            return "(" + " OR ".join(f"{column} IN ({query})" for column in columns) + ")"
        self.values += asked * len(columns)
        return "(" + " OR ".join(f"{column} IN ({query})" for column in columns) + ")"

    def _text(self, expression: str, value: Value) -> str:
        """A comparison of texts; NULL and the empty text are absent."""
        match value:
            case Text(text):
                self.values.append(text)
                return f"{expression} = ?"
            case Wild(pieces):
                self.values.append(glob(pieces))
                return f"{expression} GLOB ?"
            case Compare():
                return self._between(expression, (value.low, value.high), value)
        assert_never(value)

    def _between(self, expression: str, bounds: Sequence[object], value: Compare) -> str:
        low, high = bounds
        parts = [f"{expression} IS NOT NULL", f"{expression} != ''"]
        if low is not None:
            self.values.append(low)
            parts.append(f"{expression} {'>=' if value.low_in else '>'} ?")
        if high is not None:
            self.values.append(high)
            parts.append(f"{expression} {'<=' if value.high_in else '<'} ?")
        return f"({' AND '.join(parts)})"

    # ── numbers ──────────────────────────────────────────────────────────────────────────────────

    def _number(self, column: str, value: Value) -> str:
        match value:
            case Text(text):
                self.values.append(attributes.amount(text) / attributes.MILLISECOND)
                return f"ifnull({column} = ?, 0)"
            case Wild():
                if value != Wild((None,)):
                    raise QueryError("a number takes no wildcard", 1)
                return f"{column} IS NOT NULL"
            case Compare(low, high):
                bounds = [
                    None if one is None else attributes.amount(one) / attributes.MILLISECOND
                    for one in (low, high)
                ]
                return self._between(column, bounds, value)
        assert_never(value)

    # ── what the payload says ────────────────────────────────────────────────────────────────────

    def _member(self, path: str, value: Value) -> str:
        told = self._text(f"json_extract({BODY}, '{path}')", value)
        return f"ifnull({told}, 0)"

    def _items(self, path: str, value: Value) -> str:
        item = "CASE WHEN typeof(key) = 'text' THEN key || ':' || value ELSE value END"
        where = self._text(f"({item})", value)
        return f"EXISTS (SELECT 1 FROM json_each({BODY}, '{path}') WHERE {where})"  # noqa: S608

    def _tag(self, key: str, value: Value) -> str:
        """By the column, where that is enough; else by the payload's lists, once the column has
        said that there is such a key.
        """
        if isinstance(value, Text):
            self.values.append(f"\n{key}:{value.text}\n")
            return "instr(tags, ?) > 0"
        self.values.append(f"\n{key}:")
        there = "instr(tags, ?) > 0"
        if value == Wild((None,)):
            return there
        begins, rest = f"{key}:", len(key) + 2
        checks = []
        for path in ("$.tags", "$.metrics"):
            self.values.append(len(begins))
            self.values.append(begins)
            where = self._told(f"substr(value, {rest})", value)
            checks.append(
                f"EXISTS (SELECT 1 FROM json_each({BODY}, '{path}')"  # noqa: S608
                f" WHERE substr(value, 1, ?) = ? AND {where})"
            )
        return f"({there} AND ({' OR '.join(checks)}))"

    def _told(self, expression: str, value: Value) -> str:
        """A tag's value: compared as a number where the query gives numbers."""
        if not isinstance(value, Compare):
            return self._text(expression, value)
        try:
            bounds = [None if b is None else attributes.amount(b) for b in (value.low, value.high)]
        except QueryError:
            return self._between(expression, (value.low, value.high), value)
        return self._between(f"CAST({expression} AS REAL)", bounds, value)

    def _anywhere(self, value: Value) -> str:
        """A word without an attribute: in any case, in the middle of any text a person sees."""
        if isinstance(value, Compare):
            raise QueryError("a range needs an attribute: @duration:[1s TO 5s]", 1)
        pattern = like(value.pieces if isinstance(value, Wild) else (value.text,))
        words = self._among(_SEEN, "text LIKE ? ESCAPE '\\'", [pattern])
        parts = [] if words == NOTHING else [words]
        parts.append("tags LIKE ? ESCAPE '\\'")
        self.values.append(pattern)
        for path in _READ:
            parts.append(f"ifnull(json_extract({BODY}, '{path}') LIKE ? ESCAPE '\\', 0)")
            self.values.append(pattern)
        return f"({' OR '.join(parts)})"


def _lower(column: str, value: Text) -> str:
    return value.text.lower() if column == "sha" else value.text


def glob(pieces: tuple[str | None, ...]) -> str:
    """As GLOB has it."""
    return "".join("*" if p is None else _SPECIAL.sub(r"[\1]", p) if p else "?" for p in pieces)


def like(pieces: tuple[str | None, ...]) -> str:
    """As LIKE has it, in the middle of a text."""
    told = "".join("%" if p is None else _LIKE.sub(r"\\\1", p) if p else "_" for p in pieces)
    return f"%{told}%"
