"""The forms in which a value is written: text, flag, duration, list, table, record.

Owns one thing twice, side by side: how a node becomes a value (or a mistake) and how JSON Schema
says the same to an editor. Does not know which keys there are (``keys``). A form that meets a
mistake reports it and gives its ``empty`` value, so that the rest of the file is still read.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Generic, TypeVar

import msgspec

from runner import scope
from runner.manifest.problems import Problems, item, join, meant, quoted
from runner.manifest.tree import Mapping, Node, Scalar, Sequence, value

T = TypeVar("T")
R = TypeVar("R")
Reader = Callable[[Node, str, Problems], T]
Schema = dict[str, Any]


class Form(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """How one kind of value is written. ``what`` completes "expected ..."."""

    read: Reader[T]
    schema: Callable[[], Schema]
    what: str
    empty: T


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a record: its form, a sentence about it, and the struct's field it fills."""

    form: Form[Any]
    about: str
    target: str
    required: bool = False


_compiled: Final = cache(re.compile)
"""A pattern compiled when a value first needs it: 0.1 to 0.5 ms each."""


# ── one value ────────────────────────────────────────────────────────────────────────────────────

_CONTROL: Final = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""Nothing that breaks a line, moves a cursor or turns the direction of writing."""
_SHOWN: Final = rf"[^\s{_CONTROL}]"
ANY: Final = r"[^\x00]*"
SCRIPT: Final = r"(?=[\s\S]*\S)[^\x00]*"
PROSE: Final = r"(?=[\s\S]*\S)[^\x00-\x08\x0b-\x1f\x7f-\x9f]*"
LINE: Final = rf"(?!\s)[^{_CONTROL}]{{0,254}}{_SHOWN}"
KEY: Final = rf"(?!\s)(?![\s\S]* \()[^${_CONTROL}]{{0,99}}[^\s${_CONTROL}]"
"""A job's key: no ``$`` (nothing replaces it), no `` (``, which begins the leg of a matrix."""
WORD: Final = rf"{_SHOWN}{{0,255}}"
VARIABLE: Final = scope.NAME.pattern
TAG: Final = r"[^\s:,\x00-\x1f\x7f-\x9f]{1,200}"
"""A tag is reported as ``key:value``, so its key ends at the first colon."""

A_NAME: Final = "a name (one line of at most 255 characters)"
A_VARIABLE: Final = "a variable's name (letters, digits and _, no digit first)"
A_KEY: Final = "a key for a job (one line of at most 100 characters, without '$' and ' (')"
A_VALUE: Final = "a tag's value (one line of at most 255 characters)"
A_TAG: Final = "a key for a tag (no spaces, colons or commas)"


def text(shape: str = ANY, what: str = "a text") -> Form[str]:
    """A text, as it stands in the source: numbers and booleans of YAML are texts here too."""

    def read(node: Node, path: str, problems: Problems) -> str:
        if isinstance(node, Scalar) and not node.null and _compiled(shape).fullmatch(node.text):
            return node.text
        return _expected(what, "", node, path, problems)

    return Form(read=read, schema=lambda: _of_text(shape), what=what, empty="")


def _of_text(shape: str) -> Schema:
    also = {"integer": "12", "number": "1.5", "boolean": "true"}
    types = ["string", *(kind for kind, like in also.items() if re.fullmatch(shape, like))]
    return {"type": types, "pattern": f"^(?:{shape})$"}


def one_of(values: dict[str, T]) -> Form[T]:
    """One of a few words, each of which means a value; the first is the empty one."""
    what = " or ".join((", ".join([*values][:-1]), [*values][-1]))
    empty = next(iter(values.values()))

    def read(node: Node, path: str, problems: Problems) -> T:
        word = node.text if isinstance(node, Scalar) and not node.null else ""
        if word in values:
            return values[word]
        problems.add(node, path, _unlike(what, node), word=word, known=values)
        return empty

    return Form(read=read, schema=lambda: {"enum": [*values]}, what=what, empty=empty)


def flag() -> Form[bool]:
    """``true`` or ``false``; YAML 1.1's other words for them are texts."""
    what = "true or false"

    def read(node: Node, path: str, problems: Problems) -> bool:
        given = value(node) if isinstance(node, Scalar) else None
        return given if isinstance(given, bool) else _expected(what, False, node, path, problems)

    return Form(read=read, schema=lambda: {"type": "boolean"}, what=what, empty=False)


def integer(low: int, high: int) -> Form[int]:
    """A whole number from ``low`` to ``high``."""
    what = f"a whole number from {low} to {high}"

    def read(node: Node, path: str, problems: Problems) -> int:
        given = value(node) if isinstance(node, Scalar) else None
        if isinstance(given, int) and not isinstance(given, bool) and low <= given <= high:
            return given
        return _expected(what, low, node, path, problems)

    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Form(read=read, schema=lambda: schema, what=what, empty=low)


def number(above: float | None = None) -> Form[float]:
    """A finite number."""
    what = "a number" if above is None else f"a number above {above:g}"

    def read(node: Node, path: str, problems: Problems) -> float:
        given = value(node) if isinstance(node, Scalar) else None
        if isinstance(given, bool) or not isinstance(given, int | float):
            return _expected(what, 0.0, node, path, problems)
        if not (above is None or given > above) or given in {float("inf"), float("-inf")}:
            return _expected(what, 0.0, node, path, problems)
        return float(given)

    schema = {"type": "number"} if above is None else {"type": "number", "exclusiveMinimum": above}
    return Form(read=read, schema=lambda: schema, what=what, empty=0.0)


_DURATION: Final = (
    r"(?=.*[1-9])([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,3})?s)?"
)
_UNITS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def duration() -> Form[float]:
    """``90s``, ``5m``, ``1h30m``, ``7d``, in seconds; longer than nothing."""
    what = "a duration such as 90s, 5m or 1h30m"

    def read(node: Node, path: str, problems: Problems) -> float:
        if isinstance(node, Scalar) and _compiled(_DURATION).fullmatch(node.text):
            parts = re.findall(r"([0-9.]+)([dhms])", node.text)
            return sum(float(n) * _UNITS[unit] for n, unit in parts)
        return _expected(what, 1.0, node, path, problems)

    schema = {"type": "string", "pattern": f"^{_DURATION}$"}
    return Form(read=read, schema=lambda: schema, what=what, empty=1.0)


# ── many values ──────────────────────────────────────────────────────────────────────────────────


def many(of: Form[T], *, low: int = 0, unique: bool = False) -> Form[tuple[T, ...]]:
    """A list of at least ``low``."""
    what = f"a list, each {of.what}"

    def read(node: Node, path: str, problems: Problems) -> tuple[T, ...]:
        if not isinstance(node, Sequence):
            return _expected(what, (), node, path, problems)
        if len(node.items) < low:
            problems.add(node, path, "the list is empty")
        read_one = of.read
        values = tuple(
            read_one(one, item(path, index), problems) for index, one in enumerate(node.items)
        )
        if unique and len(set(values)) < len(values):
            _twice(node.items, path, problems)
        return values

    def schema() -> Schema:
        # Not uniqueItems: an editor takes 3.1 and 3.10 for one number.
        bounds: Schema = {"minItems": low} if low else {}
        return {"type": "array", "items": of.schema(), **bounds}

    return Form(read=read, schema=schema, what=what, empty=())


def _twice(nodes: tuple[Node, ...], path: str, problems: Problems) -> None:
    seen: set[str] = set()
    for index, node in enumerate(nodes):
        given = node.text if isinstance(node, Scalar) else ""
        if given in seen:
            problems.add(node, item(path, index), f"{quoted(given)} stands here twice")
        seen.add(given)


def table(
    of: Form[T], keys: str = VARIABLE, what: str = A_VARIABLE, *, low: int = 0
) -> Form[dict[str, T]]:
    """Keys that the author chooses, each with a value."""
    kind = "a mapping of keys and values"

    def read(node: Node, path: str, problems: Problems) -> dict[str, T]:
        if not isinstance(node, Mapping):
            return _expected(kind, {}, node, path, problems)
        if len(node.entries) < low:
            problems.add(node, path, "the mapping is empty")
        values: dict[str, T] = {}
        pattern = _compiled(keys)
        for key, one in node.entries:
            inside = join(path, key.text)
            if not pattern.fullmatch(key.text):
                problems.add(key, inside, _unlike(what, key))
            values[key.text] = of.read(one, inside, problems)
        return values

    def schema() -> Schema:
        bounds: Schema = {"minProperties": low} if low else {}
        names = {"pattern": f"^(?:{keys})$"}
        return {
            "type": "object",
            "propertyNames": names,
            "additionalProperties": of.schema(),
            **bounds,
        }

    return Form(read=read, schema=schema, what=kind, empty={})


def record(
    of: str, fields: dict[str, Field], elsewhere: dict[str, str] | None = None
) -> Form[dict[str, Any]]:
    """The keys of a ``of``, read into the fields of its struct. ``elsewhere`` says of a key that is
    right in another place where that is.
    """
    required = {key: field for key, field in fields.items() if field.required}
    what = f"a mapping with the keys of {of}"
    empty = {field.target: field.form.empty for field in required.values()}

    def read(node: Node, path: str, problems: Problems) -> dict[str, Any]:
        if not isinstance(node, Mapping):
            return _expected(what, dict(empty), node, path, problems)
        values: dict[str, Any] = {}
        for key, one in node.entries:
            if field := fields.get(key.text):
                inside = f"{path}.{key.text}" if path else key.text
                values[field.target] = field.form.read(one, inside, problems)
                continue
            inside = join(path, key.text)
            if elsewhere and key.text in elsewhere:
                problems.add(key, inside, f"unknown key of {of}; {elsewhere[key.text]}")
            else:
                word = meant(key.text, fields)
                problems.add(key, inside, "unknown key", word=word, known=fields)
        for missing, field in required.items():
            if field.target not in values:
                problems.add(node, path, f"required key {missing!r} is missing")
        return empty | values

    def schema() -> Schema:
        return {
            "type": "object",
            "properties": {
                k: f.form.schema() | {"description": f.about} for k, f in fields.items()
            },
            "additionalProperties": False,
            "required": [*required],
        }

    return Form(read=read, schema=schema, what=what, empty=empty)


def made(form: Form[dict[str, Any]], make: Callable[..., R]) -> Form[R]:
    """A record as its struct."""

    def read(node: Node, path: str, problems: Problems) -> R:
        return make(**form.read(node, path, problems))

    return Form(read=read, schema=form.schema, what=form.what, empty=make(**form.empty))


# ── words for people ─────────────────────────────────────────────────────────────────────────────


def found(node: Node) -> str:
    """What a person sees there."""
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar():
            said = quoted(node.text)
            return "nothing" if node.null else said if node.plain else f"the text {said}"


def _unlike(what: str, node: Node) -> str:
    return f"expected {what}, found {found(node)}"


def _expected(what: str, empty: T, node: Node, path: str, problems: Problems) -> T:
    problems.add(node, path, _unlike(what, node))
    return empty
