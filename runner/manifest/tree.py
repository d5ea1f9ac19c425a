"""Bytes -> a tree of nodes that know where they stand: the only place that knows YAML.

Owns what is YAML and what is refused of it (encodings, depth, size, tags, merge keys, duplicate
keys, bombs of aliases). Does not know what a pipeline file may say (``forms``). A scalar keeps its
source text, so ``1.10``, ``0777``, ``on`` stay what was written; ``value`` reads it by the core
schema of YAML 1.2.2 (10.3.2) where a number or a boolean is wanted. No node is inside itself, so
the collector of cycles need not look at them (``gc=False``).

The tree is built from libyaml's events, which takes no recursion of the parser's own: PyYAML's
``compose`` overflows the C stack at some 25,000 levels, a file of 50 KB.
"""

import codecs
import re
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final, NoReturn

import msgspec
import yaml
from yaml.reader import ReaderError

from runner.manifest.problems import Problems, quoted, spelled

SIZE: Final = 1024 * 1024
DEPTH: Final = 50
NODES: Final = 100_000
"""Keys and values after aliases are followed: three times those of a file of 12,000 lines."""

_INTEGER: Final = r"[-+]?[0-9]{1,18}|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}"
_FLOAT: Final = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE: Final = frozenset(("true", "True", "TRUE"))
_FALSE: Final = frozenset(("false", "False", "FALSE"))


class Scalar(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One text, number or nothing; ``plain`` when it was written without quotes."""

    text: str
    plain: bool
    line: int
    column: int

    @property
    def null(self) -> bool:
        """Whether nothing was written."""
        return self.plain and self.text in _NULLS


class Sequence(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A list. It stands where its key stands, when it has one: that is where people look."""

    items: tuple["Node", ...]
    line: int
    column: int


class Mapping(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Keys and values in the order of the file; no key is there twice."""

    entries: tuple[tuple[Scalar, "Node"], ...]
    line: int
    column: int

    def get(self, key: str) -> tuple[Scalar, "Node"] | None:
        """The entry called ``key``."""
        for entry in self.entries:
            if entry[0].text == key:
                return entry
        return None


Node = Scalar | Sequence | Mapping


def parse(text: bytes, problems: Problems) -> Node:
    """The tree of the one document in ``text``; raises ``StopReading`` when there is none."""
    source = _decode(text, problems)
    loader = yaml.CSafeLoader(source)
    try:
        return _Composer(loader, problems).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problems.stop(line, column, _syntax(error, source, line, column))
    except ReaderError as error:
        line, column = _position(source.encode()[: error.position].decode())
        problems.stop(line, column, f"character U+{error.character:04X} may not stand in YAML")
    finally:
        loader.dispose()


def value(scalar: Scalar) -> bool | int | float | str | None:
    """What a scalar means by the core schema of YAML 1.2."""
    text = scalar.text
    if not scalar.plain:
        return text
    if text in _NULLS:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if re.fullmatch(_INTEGER, text):
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    return float(text) if re.fullmatch(_FLOAT, text) else text


def locate(root: Node, path: tuple[str | int, ...]) -> Node:
    """What stands at ``path``, or the nearest thing above it that is in the file."""
    found = root
    for part in path:
        match found, part:
            case Mapping(), str() if entry := found.get(part):
                found = entry[1]
            case Sequence(), int() if part < len(found.items):
                found = found.items[part]
            case _:
                return found
    return found


# ── bytes to text ────────────────────────────────────────────────────────────────────────────────


def _decode(text: bytes, problems: Problems) -> str:
    if len(text) > SIZE:
        problems.stop(1, 1, f"the file has {len(text):,} bytes; {SIZE:,} are the most")
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        problems.stop(1, 1, "the file is UTF-16; save it as UTF-8")
    text = text.removeprefix(codecs.BOM_UTF8)
    try:
        source = text.decode()
    except UnicodeDecodeError as error:
        line, column = _position(text[: error.start].decode())
        strange_byte = text[error.start]
        problems.stop(line, column, f"byte 0x{strange_byte:02x} is not UTF-8; save it as UTF-8")
    return source


def _position(before: str) -> tuple[int, int]:
    """The line and column that come right after ``before``."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _syntax(error: yaml.MarkedYAMLError, source: str, line: int, column: int) -> str:
    """What libyaml says, and what to do about the four that people meet."""
    problem, context = error.problem or "not YAML", error.context or ""
    lines = source.splitlines()
    at = lines[line - 1][column - 1 : column] if line <= len(lines) else ""
    if at == "\t":
        return "a tab cannot indent; use spaces"
    if "block scalar" in context:
        return "a value that begins with > or | must stand in quotes"
    if "cannot start any token" in problem and at:
        return f"a value that begins with {at} must stand in quotes"
    if problem.startswith("mapping values are not allowed"):
        return "a colon and a space inside a value: quote the value or mind the indentation"
    return f"{problem} ({context})" if context else problem


# ── events to nodes ──────────────────────────────────────────────────────────────────────────────


_Event = Any
"""An event of libyaml; its stubs do not tell what each has."""


class _Anchored(msgspec.Struct, frozen=True, kw_only=True):
    node: Node
    nodes: int


class _Composer:
    """Builds the tree of one document; deep as ``DEPTH`` at most, so it may call itself.

    ``_trail`` is the path of what is being built, spelled only where something is wrong.
    """

    def __init__(self, loader: yaml.CSafeLoader, problems: Problems) -> None:
        self._next: Callable[[], _Event] = loader.get_event
        self._problems = problems
        self._trail: list[str | int] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._nodes = 0

    def document(self) -> Node:
        self._next()  # the stream starts
        if isinstance(self._next(), yaml.StreamEndEvent):
            self._problems.stop(1, 1, "the file is empty")
        root = self._node(self._next(), None)
        self._next()  # the document ends
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            message = "a second document begins here; a pipeline file is one document"
            self._refuse(after, message)
        return root

    def _node(self, event: _Event, key: Scalar | None) -> Node:
        self._count(event, 1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        anchor, before = event.anchor, self._nodes
        if anchor is not None:
            self._anchors[anchor] = None
        scalar = isinstance(event, yaml.ScalarEvent)
        node = _scalar(event) if scalar else self._collection(event, key)
        if anchor is not None:
            self._anchors[anchor] = _Anchored(node=node, nodes=self._nodes - before)
        if event.tag is not None:
            self._wrong(node, f"tag {quoted(event.tag)} is not read; quotes make a text of a value")
        return node

    def _collection(self, event: _Event, key: Scalar | None) -> Node:
        if len(self._trail) >= DEPTH:
            self._refuse(event, f"nested more than {DEPTH} levels deep")
        mark = event.start_mark
        line, column = (key.line, key.column) if key else (mark.line + 1, mark.column + 1)
        if isinstance(event, yaml.SequenceStartEvent):
            return Sequence(items=tuple(self._items()), line=line, column=column)
        return Mapping(entries=tuple(self._entries()), line=line, column=column)

    def _items(self) -> Iterator[Node]:
        trail = self._trail
        trail.append(0)
        for index in count():
            event = self._next()
            if isinstance(event, yaml.SequenceEndEvent):
                break
            trail[-1] = index
            yield self._node(event, None)
        trail.pop()

    def _entries(self) -> Iterator[tuple[Scalar, Node]]:
        trail = self._trail
        lines: dict[str, int] = {}
        trail.append("")
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            trail[-1] = "?"
            key = self._node(event, None)
            if not isinstance(key, Scalar) or key.null:
                self._node(self._next(), None)
                self._wrong(key, "a key must be a text")
                continue
            trail[-1] = key.text
            node = self._node(self._next(), key)
            if key.text in lines:
                first = lines[key.text]
                self._wrong(key, f"duplicate key {quoted(key.text)} (first at line {first})")
            elif key.text == "<<" and key.plain:
                self._wrong(key, "merge keys (<<) are not read; write the keys out")
            else:
                lines[key.text] = key.line
                yield key, node
        trail.pop()

    def _alias(self, event: _Event) -> Node:
        name = quoted(event.anchor)
        if event.anchor not in self._anchors:
            self._refuse(event, f"alias {name} names no anchor above it")
        anchored = self._anchors[event.anchor]
        if anchored is None:
            self._refuse(event, f"alias {name} stands inside what it names")
        self._count(event, anchored.nodes)
        return anchored.node

    def _count(self, event: _Event, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > NODES:
            self._refuse(event, f"more than {NODES:,} keys and values, aliases followed")

    def _wrong(self, at: Node, message: str) -> None:
        self._problems.add(at, spelled(tuple(self._trail)), message)

    def _refuse(self, event: _Event, message: str) -> NoReturn:
        mark = event.start_mark
        self._problems.stop(mark.line + 1, mark.column + 1, message)


def _scalar(event: _Event) -> Scalar:
    mark, plain = event.start_mark, not event.style
    return Scalar(text=event.value, plain=plain, line=mark.line + 1, column=mark.column + 1)
