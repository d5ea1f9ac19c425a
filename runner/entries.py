"""What a step writes into its files: tags, measures, outputs, masks, a summary.

Owns their grammar, both ways (interface, section 3), and what is refused: a malformed entry is a
warning that names it, never an error. Does not touch files, and does not mask: so nothing is cut
but at the end of a line, and an entry is quoted whole or not at all.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from runner import scope
from runner.errors import UsageError
from runner.notice import Level, Said

LIMIT: Final = 1024 * 1024
"""Bytes of each file that are read."""
KEYS: Final = 100
"""Tags, and measures, of one level (the intake's limit; so is the next)."""
LENGTH: Final = 300
"""Characters of a key and its value together."""
VALUE: Final = 128 * 1024 - 1
"""Bytes of NAME=value that Linux passes to a program (execve(2), MAX_ARG_STRLEN)."""
WARNINGS: Final = 10
"""Warnings told one by one for each file: a step may write a million bad lines."""

_QUOTED: Final = 80
_RESERVED: Final = frozenset({"host", "device", "source", "service", "env", "version"})
_PREFIXES: Final = ("ci.", "git.", "_dd.", "error.")
_ENTRY: Final = re.compile(r"(?:\[?(pipeline|stage|job|step)\]?\s+)?([^:]*):(.*)", re.DOTALL)
_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_\-./]*")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_OUTPUT: Final = re.compile(r"(.*?)(=|<<)(.*)", re.DOTALL)

_Value = TypeVar("_Value", str, float)


def read(tags: bytes, measures: bytes, output: bytes, summary: bytes) -> Said:
    """What a step said, from the bytes of its files. Never raises."""
    notes = [_Notes(f"SIGNALBOX_{name}") for name in ("TAGS", "MEASURES", "OUTPUT", "SUMMARY")]
    return Said(
        tags=_levelled(_text(tags, notes[0]), _tag, notes[0]),
        measures=_levelled(_text(measures, notes[1]), _measure, notes[1]),
        outputs=_outputs(_text(output, notes[2]), notes[2]),
        summary=_text(summary, notes[3]).replace("\0", ""),
        warnings=tuple(warning for note in notes for warning in note.warnings()),
    )


def masks(text: bytes) -> tuple[str, ...]:
    """The values to mask, a line each; undecodable bytes as surrogates, which ``redact`` knows."""
    lines = (line.removesuffix(b"\r") for line in text.split(b"\n"))
    values = (line.decode(errors="surrogateescape") for line in lines if line.strip())
    return tuple(dict.fromkeys(values))


def tag_entry(level: Level, key: str, value: str) -> str:
    """One line of SIGNALBOX_TAGS; raises ``UsageError`` for what ``read`` would refuse."""
    return f"{level.value} {key}:{_tag(key, value)}\n"


def measure_entry(level: Level, key: str, value: float) -> str:
    """One line of SIGNALBOX_MEASURES; raises ``UsageError`` for what ``read`` would refuse."""
    text = repr(float(value))
    _measure(key, text)
    return f"{level.value} {key}:{text}\n"


def output_entry(name: str, value: str) -> str:
    """An entry of SIGNALBOX_OUTPUT; raises ``UsageError`` for what ``read`` would refuse. The end
    of a value of many lines is a word that none of them is, so no value can pass for an entry.
    """
    _output(name, value)
    if "\n" not in value and not value.endswith("\r"):
        return f"{name}={value}\n"
    lines, end = value.split("\n"), "EOF"
    while end in lines:
        end += "_"
    return f"{name}<<{end}\n{value}\n{end}\n"


# ── tags and measures ────────────────────────────────────────────────────────────────────────────


def _levelled(
    text: str, value: Callable[[str, str], _Value], notes: "_Notes"
) -> dict[Level, dict[str, _Value]]:
    found: dict[Level, dict[str, _Value]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            level, key, said = _entry(line.strip())
            _keep(found.setdefault(level, {}), key, value(key, said))
        except UsageError as error:
            notes.add(number, error.message, line)
    return {level: own for level, own in found.items() if own}


def _keep(own: dict[str, _Value], key: str, value: _Value) -> None:
    if key not in own and len(own) == KEYS:
        raise UsageError(f"a level has at most {KEYS} of them")
    own[key] = value


def _entry(line: str) -> tuple[Level, str, str]:
    """``[LEVEL] key:value``, also with the brackets typed."""
    match = _ENTRY.fullmatch(line)
    if match is None:
        raise UsageError("not of the form key:value")
    return Level(match[1] or "step"), match[2], match[3].strip()


def _tag(key: str, value: str) -> str:
    """The value of an acceptable tag."""
    value = value.strip()
    if not _KEY.fullmatch(key):
        raise UsageError("a key is a letter, then letters, digits, and _ - . /")
    if key.lower() in _RESERVED or key.lower().startswith(_PREFIXES):
        raise UsageError(f"the key {key} is reserved")
    if not value:
        raise UsageError("the value is empty")
    if _CONTROL.search(value):
        raise UsageError("the value has control characters")
    if len(key) + len(value) > LENGTH:
        raise UsageError(f"key and value have more than {LENGTH} characters")
    return value


def _measure(key: str, value: str) -> float:
    """The number of an acceptable measure."""
    text = _tag(key, value)
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise UsageError("the value is not a finite number")
    return number


# ── outputs ──────────────────────────────────────────────────────────────────────────────────────


def _outputs(text: str, notes: "_Notes") -> dict[str, str]:
    found: dict[str, str] = {}
    lines = enumerate(text.split("\n"), 1)
    for number, line in lines:
        if not line.strip():
            continue
        try:
            name, value = _assignment(line, lines)
            found[name] = _output(name, value)
        except UsageError as error:
            notes.add(number, error.message, line)
    return found


def _assignment(line: str, following: Iterator[tuple[int, str]]) -> tuple[str, str]:
    """``NAME=value``, or ``NAME<<END`` and the lines up to END; whichever sign stands first."""
    match = _OUTPUT.fullmatch(line.removesuffix("\r"))
    if match is None:
        raise UsageError("not of the form NAME=value or NAME<<EOF")
    name, sign, rest = match.groups()
    if sign == "=":
        return name, rest
    newline = "\r" if line.endswith("\r") else ""
    body = _body((text.removesuffix(newline) for _, text in following), rest.strip())
    if body is None:
        raise UsageError("its last line is missing, so it and all after it mean nothing")
    return name, "\n".join(body)


def _body(lines: Iterable[str], end: str) -> list[str] | None:
    body: list[str] = []
    for line in lines:
        if line == end:
            return body
        body.append(line)
    return None


def _output(name: str, value: str) -> str:
    """The value of an acceptable output."""
    if not scope.NAME.fullmatch(name):
        raise UsageError("a name is a letter or _, then letters, digits and _")
    if scope.steers(name):
        raise UsageError(f"{name} steers a shell, a loader or Signalbox, so no step may set it")
    if "\0" in value:
        raise UsageError("a variable cannot hold a NUL byte")
    try:
        size = len(f"{name}={value}".encode())
    except UnicodeEncodeError:
        raise UsageError("the value is not text") from None
    if size > VALUE:
        raise UsageError(f"a variable cannot hold more than {VALUE} bytes")
    return value


# ── text and warnings ────────────────────────────────────────────────────────────────────────────


class _Notes:
    """The warnings about one file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._told: list[str] = []
        self._more = 0

    def add(self, number: int, why: str, line: str) -> None:
        """One about a line; quoted only if that is short, as a part of a secret is not masked."""
        line = line.strip()
        short = len(line) <= _QUOTED and line.isprintable()
        entry = line if short else f"({len(line)} characters)"
        if len(self._told) < WARNINGS:
            self._told.append(f"{self.name}, line {number}: {why}: {entry}")
        else:
            self._more += 1

    def cut(self, lines: int) -> None:
        """The one about the file's size."""
        self._told.append(f"{self.name}: only {LIMIT} bytes are read, up to line {lines}")

    def warnings(self) -> list[str]:
        """All, the many as one."""
        more = f"{self.name}: {self._more} more entries that mean nothing"
        return [*self._told, more] if self._more else self._told


def _text(raw: bytes, notes: _Notes) -> str:
    if len(raw) > LIMIT:
        raw = raw[: raw.rfind(b"\n", 0, LIMIT) + 1]
        notes.cut(raw.count(b"\n"))
    return raw.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
