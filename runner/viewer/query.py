"""The query that people type -> what it asks, or where it cannot be read.

Owns the syntax of Datadog's search: ``@ci.status:error ci_level:job -@git.branch:main``, ``AND``,
``OR``, ``NOT``, ``-``, parentheses, also behind a colon, quotes, ``*`` and ``?``, ranges
``[1 TO 5]`` and ``{1 TO 5}``, comparisons ``>1s``. Does not know which attributes there are
(``attributes``) nor SQL. Never raises anything but ``QueryError``.
"""

import re
from typing import Final

import msgspec

LONGEST: Final = 8192
"""Characters of a query."""
MOST: Final = 100
"""Parts of a query."""
DEEPEST: Final = 40
"""Parentheses and signs inside each other."""


class QueryError(Exception):
    """The query cannot be read. ``column`` counts from 1."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"{message}, at column {column}")
        self.column = column


class Text(msgspec.Struct, frozen=True):
    """Exactly this text."""

    text: str


class Wild(msgspec.Struct, frozen=True):
    """Texts like this: pieces with any characters (None) or any one character ("?") between."""

    pieces: tuple[str | None, ...]
    """Texts to be found one after the other; None is ``*``, and ``""`` is ``?``."""


class Compare(msgspec.Struct, frozen=True):
    """Numbers (or texts) below or above."""

    low: str | None
    high: str | None
    low_in: bool = True
    high_in: bool = True


Value = Text | Wild | Compare


class Term(msgspec.Struct, frozen=True):
    """One attribute and its value; no attribute: anywhere a person would look."""

    attribute: str
    value: Value


class Not(msgspec.Struct, frozen=True):
    """All that it does not match."""

    item: "Node"


class All(msgspec.Struct, frozen=True):
    """What every one of them matches; of none: everything."""

    items: tuple["Node", ...]


class Any_(msgspec.Struct, frozen=True):  # noqa: N801 - ``Any`` is a word of the language
    """What one of them matches."""

    items: tuple["Node", ...]


Node = Term | Not | All | Any_
EVERYTHING: Final = All(())

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<open>\()
    |(?P<close>\))
    |(?P<minus>-(?=[^\s)]))
    |(?P<range>[\[{]\s*(?P<low>[^\s\]}]+)\s+TO\s+(?P<high>[^\s\]}]+)\s*[\]}])
    |(?P<quoted>"(?:[^"\\]|\\.)*")
    |(?P<word>(?:\\.|[^\s()":\\])+)
    |(?P<colon>:)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_PIECE: Final = re.compile(r"\\(.)|([*?])|([^\\*?]+)", re.DOTALL)


class _Token(msgspec.Struct, frozen=True):
    kind: str
    text: str
    at: int


def parse(text: str) -> Node:
    """What the query asks; raises ``QueryError``. Blank and ``*``: everything."""
    if len(text) > LONGEST:
        raise QueryError(f"the query is longer than {LONGEST} characters", LONGEST)
    return _Parser(_tokens(text), len(text)).whole()


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            what = "a quote is never closed" if text[at] == '"' else f"{text[at]!r} has no meaning"
            raise QueryError(what, at + 1)
        kind = next(name for name in _KINDS if match[name] is not None)
        found.append(_Token(kind, match[0], at + 1))
        at = match.end()
    return found


_KINDS: Final = ("space", "open", "close", "minus", "range", "quoted", "word", "colon")


class _Parser:
    def __init__(self, tokens: list[_Token], length: int) -> None:
        self._tokens = tokens
        self._at = 0
        self._end = length + 1
        self._depth = 0
        self._terms = 0

    def whole(self) -> Node:
        found = self._any("")
        token = self._peek()
        if token is not None:
            raise QueryError("a parenthesis closes that was never opened", token.at)
        return found

    # ── looking ahead ────────────────────────────────────────────────────────────────────────────

    def _peek(self) -> _Token | None:
        """The next token that is no space."""
        while self._at < len(self._tokens) and self._tokens[self._at].kind == "space":
            self._at += 1
        return self._adjacent()

    def _adjacent(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _is(self, word: str) -> bool:
        """Whether the next word joins, as it stands alone and in capitals."""
        token = self._peek()
        if token is None or token.kind != "word" or token.text != word:
            return False
        after = self._tokens[self._at + 1] if self._at + 1 < len(self._tokens) else None
        return after is None or after.kind != "colon"

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _fail(self, message: str) -> QueryError:
        token = self._adjacent()
        return QueryError(message, token.at if token else self._end)

    # ── the grammar ──────────────────────────────────────────────────────────────────────────────

    def _any(self, attribute: str) -> Node:
        items = [self._all(attribute)]
        while self._is("OR"):
            self._take()
            items.append(self._all(attribute))
        return items[0] if len(items) == 1 else Any_(tuple(items))

    def _all(self, attribute: str) -> Node:
        items: list[Node] = []
        while True:
            joined = self._is("AND")
            if joined:
                if not items:
                    raise self._fail("AND has nothing on its left")
                self._take()
            token = self._peek()
            if token is None or token.kind == "close" or self._is("OR"):
                if joined or (not items and token is not None and token.kind != "close"):
                    raise self._fail("something is missing here")
                break
            items.append(self._one(attribute))
        if not items and (self._at > 0 and self._tokens[self._at - 1].text == "OR"):
            raise self._fail("OR has nothing on its right")
        return items[0] if len(items) == 1 else All(tuple(items))

    def _one(self, attribute: str) -> Node:
        self._depth += 1
        self._terms += 1
        if self._depth > DEEPEST:
            raise self._fail("the query is nested too deeply")
        if self._terms > MOST:
            raise self._fail(f"the query has more than {MOST} parts")
        token = self._peek()
        if token is not None and (token.kind == "minus" or self._is("NOT")):
            self._take()
            found: Node = Not(self._operand(attribute))
        else:
            found = self._operand(attribute)
        self._depth -= 1
        return found

    def _operand(self, attribute: str) -> Node:
        token = self._peek()
        if token is None:
            raise self._fail("something is missing here")
        match token.kind:
            case "open":
                return self._group(attribute)
            case "minus":
                return self._one(attribute)
            case "word" if self._is("NOT"):
                return self._one(attribute)
            case "word" if not attribute and self._names_attribute():
                name = _ESCAPED.sub(r"\1", self._take().text)
                self._take()
                return self._value_of(name)
            case _:
                return self._term(attribute)

    def _names_attribute(self) -> bool:
        after = self._tokens[self._at + 1] if self._at + 1 < len(self._tokens) else None
        return after is not None and after.kind == "colon"

    def _value_of(self, name: str) -> Node:
        token = self._adjacent()
        if token is None or token.kind in ("space", "close"):
            raise self._fail(f"{name}: has no value")
        if token.kind == "open":
            return self._group(name)
        return self._term(name)

    def _group(self, attribute: str) -> Node:
        opened = self._take()
        found = self._any(attribute)
        closing = self._peek()
        if closing is None:
            raise QueryError("a parenthesis is never closed", opened.at)
        self._take()
        return found

    def _term(self, attribute: str) -> Node:
        """A value: tokens without space between them."""
        pieces: list[_Token] = []
        while (token := self._adjacent()) and token.kind in {
            "word",
            "quoted",
            "colon",
            "minus",
            "range",
        }:
            if pieces and (pieces[0].kind == "range" or token.kind == "range"):
                break
            pieces.append(self._take())
        if not pieces:
            raise self._fail("something is missing here")
        if pieces[0].kind == "range":
            return Term(attribute, _range(pieces[0].text))
        if len(pieces) == 1 and pieces[0].kind == "quoted":
            return Term(attribute, Text(_unquoted(pieces[0].text)))
        text = "".join(_literal(p) if p.kind == "quoted" else p.text for p in pieces)
        if attribute and pieces[0].kind == "word" and text[0] in "<>":
            return Term(attribute, self._comparison(text, pieces[0].at))
        if not attribute and text == "*":
            return EVERYTHING
        return Term(attribute, _wild(text))

    def _comparison(self, text: str, at: int) -> Compare:
        inclusive = text[1:2] == "="
        bound = _ESCAPED.sub(r"\1", text[1 + inclusive :])
        if not bound:
            raise QueryError("a comparison has no number", at)
        if text[0] == ">":
            return Compare(bound, None, low_in=inclusive)
        return Compare(None, bound, high_in=inclusive)


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(r"\1", text[1:-1])


def _literal(token: _Token) -> str:
    """A quoted piece inside a word: as it stands, whatever it holds."""
    return re.sub(r"([\\*?])", r"\\\1", _unquoted(token.text))


def _range(text: str) -> Compare:
    match = _TOKEN.match(text)
    low, high = (match["low"], match["high"]) if match else ("*", "*")
    return Compare(
        None if low == "*" else low,
        None if high == "*" else high,
        low_in=text[0] == "[",
        high_in=text[-1] == "]",
    )


def _wild(text: str) -> Value:
    pieces: list[str | None] = []
    plain = ""
    for escaped, sign, other in _PIECE.findall(text):
        if not sign:
            plain += escaped or other
            continue
        pieces += [plain] if plain else []
        pieces.append(None if sign == "*" else "")
        plain = ""
    if not pieces:
        return Text(plain)
    return Wild((*pieces, plain) if plain else tuple(pieces))
