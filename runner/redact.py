"""Streaming masker: the same result for every split of the stream.

Owns what counts as a secret in a text, the forms it takes when a program prints it, and cutting it
out of streams and texts. Does not know where secrets come from, nor where the text goes.

What is promised. The bytes covered by any needle, overlaps included, become ``***``, one for each
unbroken run of them. A needle is one line of a value, or a form of it; it never holds a newline.
It counts from when it was added. Not found: what a step compresses, encodes twice or breaks up.

How it is fast. A needle of stride + WIDTH - 1 bytes holds a *gram*, WIDTH bytes that begin at a
multiple of the stride, wherever it lies. So one look-up each stride finds the few needles worth a
search, and 1,000 needles cost what 10 do; those too short are searched one by one. Text with very
many hits goes through an Aho-Corasick automaton: 1 MB/s or more, whatever text and needles are.
"""

import binascii
import re
import struct
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain, islice
from typing import Final

SHORTEST: Final = 6
"""Bytes below which a value is not masked: it would take half of every log with it."""
MOST: Final = 1000
"""Lines of values that are masked; each makes about eight needles (T11: bounded)."""
LARGEST: Final = 256 * 1024
"""Bytes of all those lines together."""
SHOWN: Final = 3
"""Bytes of a needle's beginning that a silent stream may show: T8 forbids the fourth."""
MASK: Final = b"***"

_SECRET: Final = re.compile(r"(?i:(.*_)?(TOKEN|SECRET|PASSWORD|API_KEY|PRIVATE_KEY))")

Span = tuple[int, int]
Raw = bytes


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name is masked undeclared: ``*_TOKEN *_SECRET *_PASSWORD *_API_KEY
    *_PRIVATE_KEY`` in any case, and those words alone (``TOKEN``).
    """
    return _SECRET.fullmatch(name) is not None


class Masker:
    """All the secrets of one run, shared by its streams. Thread-safe."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._lines: frozenset[bytes] = frozenset()
        self._forms: frozenset[bytes] = frozenset()
        self.needles = Needles(())
        self.add(values)

    def add(self, values: Iterable[str]) -> tuple[str, ...]:
        """Mask these too, from now on. Returns the values that are not masked, for the caller to
        name: no line has SHORTEST bytes, or MOST lines or LARGEST bytes are reached.
        """
        refused = []
        with self._lock:
            forms = set(self._forms)
            for value in dict.fromkeys(values):
                lines = _lines(value)
                every = self._lines | lines
                if lines and len(every) <= MOST and sum(map(len, every)) <= LARGEST:
                    forms.update(_wrapped(value), *map(_forms, lines - self._lines))
                    self._lines = every
                else:
                    refused.append(value)
            if len(forms) > len(self._forms):
                self._forms = frozenset(forms)
                self.needles = Needles(self._forms)
        return tuple(refused)

    def stream(self) -> "Stream":
        """A stream of its own, for one output."""
        return Stream(self)

    def text(self, text: str) -> str:
        """``text``, a whole one, masked."""
        raw = _encoded(text)
        masked = self.bytes(raw)
        return text if masked is raw else masked.decode(errors="surrogateescape")

    def hits(self, text: str) -> bool:
        """Whether ``text`` holds a secret."""
        return bool(self.needles.spans(_encoded(text)))

    def bytes(self, raw: Raw) -> Raw:
        """``raw``, a whole text, masked."""
        spans = self.needles.spans(raw)
        if not spans:
            return raw
        edges = [0, *chain.from_iterable(spans), len(raw)]
        return MASK.join(raw[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))


class Stream:
    """One output on its way through a masker. Used by one thread.

    ``_text`` is the end of what came, as much as a needle may still need. Its first ``_out`` bytes
    are let out already; its first ``_covered`` belong to a needle that began before it. ``_open``:
    what was let out last is a mask, which goes on if the next byte is covered too.
    """

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._text = b""
        self._out = 0
        self._covered = 0
        self._open = False

    def feed(self, piece: bytes) -> bytes:
        """What may be let through now: every complete line, and of the last one all but as much as
        the longest needle less one.
        """
        needles = self._masker.needles
        self._text += piece
        keep = needles.keep(self._text)
        out = self._let_out(needles, max(keep, self._out), keep)
        self._text = self._text[keep:]
        self._out -= keep
        return out

    def idle(self) -> bytes:
        """What may be shown when nothing came for a while: all but an end that may be the start of
        a needle. Of that, up to SHOWN bytes are shown, lest prompts lack their last character.
        """
        needles = self._masker.needles
        upto = len(self._text) - needles.begun(self._text)
        return self._let_out(needles, max(upto, self._out), 0)

    def flush(self) -> bytes:
        """The rest, at the end of the stream: a needle's beginning too, as no more will come."""
        out = self._let_out(self._masker.needles, len(self._text), len(self._text))
        self._text, self._out, self._covered, self._open = b"", 0, 0, False
        return out

    def _let_out(self, needles: "Needles", upto: int, keep: int) -> bytes:
        """The text from ``_out`` to ``upto``, masked; notes what is covered past ``keep``."""
        spans = needles.spans(self._text)
        if self._covered:
            spans = _union([(0, self._covered), *spans])
        self._covered = max((end - keep for start, end in spans if start <= keep < end), default=0)
        text, at, self._out = self._text, self._out, upto
        parts: list[bytes] = []
        for start, end in spans:
            if end <= at or start >= upto:
                continue
            if start > at or not self._open:
                parts += (text[at:start], MASK)
            self._open = True
            at = min(end, upto)
        if at < upto:
            parts.append(text[at:upto])
            self._open = False
        return b"".join(parts)


_WIDTH: Final = 5
_BLOCK: Final = 8
_WINDOW: Final = 1024
_STRIDES: Final = (2, 4, 8, 16, 32, 64, _WINDOW)
_GRAM_COST: Final = 12
"""In 64 KiB of text a gram at every byte takes 65,536 * 50 ns = 12 * 280 us, and one search 280 us
/ the needle's length, measured. ``bench/masker.py`` shows the sum."""
_FEW: Final = 64
"""So many needles, and a match for each 16 bytes, are worth looking up before the automaton is."""


class Needles:
    """What is searched for at one moment, and the quickest way to. Never changes."""

    def __init__(self, needles: Iterable[bytes]) -> None:
        self._sorted = sorted(needles)
        self._reach = max(map(len, self._sorted), default=1) - 1
        stride = _best_stride([len(needle) for needle in self._sorted])
        self._single = [needle for needle in self._sorted if len(needle) < stride + _WIDTH - 1]
        self._grams: dict[bytes, list[bytes]] = {}
        for needle in set(self._sorted).difference(self._single):
            for at in range(stride):
                self._grams.setdefault(needle[at : at + _WIDTH], []).append(needle)
        block = max(stride, _BLOCK)
        self._shifts = range(0, block, stride)
        self._window = struct.Struct(f"{_WIDTH}s{block - _WIDTH}x" * (_WINDOW // block))

    def keep(self, text: bytes) -> int:
        """Where the last bytes of ``text`` begin that a match still to come may hold."""
        start = max(0, len(text) - self._reach)
        return max(start, text.rfind(b"\n", start) + 1, text.rfind(b"\r", start) + 1)

    def begun(self, text: bytes) -> int:
        """How many bytes at the end of ``text`` may be the start of a needle; 0: SHOWN or fewer."""
        for size in range(min(self._reach, len(text)), SHOWN, -1):
            end = text[-size:]
            at = bisect_left(self._sorted, end)
            at += self._sorted[at : at + 1] == [end]
            if at < len(self._sorted) and self._sorted[at].startswith(end):
                return size
        return 0

    def spans(self, text: bytes) -> list[Span]:
        """The unbroken runs of bytes of ``text`` that needles cover, in order."""
        likely, most = self._likely(text), _FEW + len(text) // 16
        if len(likely) <= _FEW:
            found = chain.from_iterable(_matches(needle, text) for needle in likely)
            matches = [*islice(found, most + 1)]
            if len(matches) <= most:
                return _union(matches)
        return _union(self._automaton.matches(text))

    def _likely(self, text: bytes) -> list[bytes]:
        """The needles that ``text`` may hold: most often none."""
        likely = [needle for needle in self._single if needle in text]
        if not self._grams:
            return likely
        padded = text + bytes(_WINDOW - len(text) % _WINDOW + _BLOCK)
        grams, hits = self._grams.keys(), set[bytes]()
        for at in range(0, len(text), _WINDOW):
            for shift in self._shifts:
                window = self._window.unpack_from(padded, at + shift)
                if not grams.isdisjoint(window):
                    hits |= grams & window
        return [*likely, *{needle for gram in hits for needle in self._grams[gram]}]

    @cached_property
    def _automaton(self) -> "_Automaton":
        return _Automaton(self._sorted)


def _best_stride(lengths: list[int]) -> int:
    """The stride at which grams and single searches together cost least."""

    def cost(stride: int) -> float:
        single = (1 / size for size in lengths if size < stride + _WIDTH - 1)
        return _GRAM_COST / stride + sum(single)

    return min(_STRIDES, key=cost)


def _matches(needle: bytes, text: bytes) -> Iterator[Span]:
    """Enough matches of one needle to have the union of all: after each, the last of those that
    overlap or touch it. So two steps get on by the needle's length at least.
    """
    size = len(needle)
    at = text.find(needle)
    while at >= 0:
        yield at, at + size
        last = text.rfind(needle, at + 1, at + 2 * size)
        at = last if last >= 0 else text.find(needle, at + size + 1)


def _union(spans: Iterable[Span]) -> list[Span]:
    """The spans, those that overlap or touch made one."""
    union: list[Span] = []
    for start, end in sorted(spans):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union


class _Automaton:
    """Aho-Corasick. A state is a number; ``_next`` maps state * 256 + byte to the next one."""

    def __init__(self, needles: Iterable[bytes]) -> None:
        self._next: dict[int, int] = {}
        self._longest = [0]
        for needle in needles:
            state = 0
            for byte in needle:
                state = self._next.setdefault(state << 8 | byte, len(self._longest))
                if state == len(self._longest):
                    self._longest.append(0)
            self._longest[state] = len(needle)
        self._fail = [0] * len(self._longest)
        self._link()

    def _link(self) -> None:
        """Where to go on when no edge fits: the longest suffix that is a state, shortest first."""
        children: dict[int, list[tuple[int, int]]] = {}
        for edge, child in self._next.items():
            children.setdefault(edge >> 8, []).append((edge & 255, child))
        queue = deque([0])
        while queue:
            state = queue.popleft()
            for byte, child in children.get(state, ()):
                if state:
                    self._fail[child] = self._step(self._fail[state], byte)
                self._longest[child] = self._longest[child] or self._longest[self._fail[child]]
                queue.append(child)

    def _step(self, state: int, byte: int) -> int:
        while state and (state << 8 | byte) not in self._next:
            state = self._fail[state]
        return self._next.get(state << 8 | byte, 0)

    def matches(self, text: bytes) -> Iterator[Span]:
        """The longest match that ends at each byte."""
        state, edges, longest = 0, self._next, self._longest
        for end, byte in enumerate(text, 1):
            state = edges.get(state << 8 | byte) or self._step(state, byte)
            if longest[state]:
                yield end - longest[state], end


def _encoded(text: str) -> bytes:
    """As the bytes a process was given: undecodable ones come back as they were."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # half a character that no process can have printed
        return text.encode(errors="replace")


def _lines(value: str) -> frozenset[bytes]:
    """The lines of a value that are long enough, without the white space around them."""
    lines = (line.strip() for line in re.split(rb"[\r\n]+", _encoded(value)))
    return frozenset(line for line in lines if len(line) >= SHORTEST)


def _wrapped(value: str) -> set[bytes]:
    """The rows of a long value's base64 as base64(1) and PEM break it: 76 and 64 columns."""
    whole = _base64(_encoded(value), 0)
    rows = {whole[at : at + size] for size in (76, 64) for at in range(0, len(whole), size)}
    return {row for row in rows if SHORTEST <= len(row) < len(whole)}


def _base64(raw: bytes, shift: int) -> bytes:
    """The characters (6 bits) of ``raw`` after ``shift`` bytes that no neighbour has a part in."""
    start, end = -(-8 * shift // 6), 8 * (shift + len(raw)) // 6
    return binascii.b2a_base64(bytes(shift) + raw, newline=False)[start:end]


def _forms(line: bytes) -> set[bytes]:
    """What a program may print for ``line``: itself, encoded, quoted, escaped."""
    shifted = [_base64(line, shift) for shift in range(3)]
    forms = {line, line.hex().encode(), line.hex().upper().encode()}
    forms |= {*shifted, *(form.translate(_URL_SAFE) for form in shifted)}
    if not line.translate(None, _PLAIN):
        return forms
    forms |= {_mapped(line, table) for table in _TABLES}
    forms |= {_ascii(form.decode(errors="replace")) for form in forms}
    forms |= {repr(line.decode(errors="replace"))[1:-1].encode(), repr(line)[2:-1].encode()}
    for safe in _PERCENT_SAFE:
        for form in (b"%%%02X", b"%%%02x"):
            percent = _mapped(line, _table(line.translate(None, _PLAIN + safe), form))
            forms |= {percent, percent.replace(b"%20", b"+")}
    return forms


def _mapped(line: bytes, table: Mapping[int, bytes]) -> bytes:
    return b"".join(table.get(byte) or bytes((byte,)) for byte in line)


def _ascii(text: str) -> bytes:
    """Characters outside ASCII as JSON writers may have them: UTF-16 units, in hexadecimal."""

    def units(wide: re.Match[str]) -> str:
        return "\\u" + wide[0].encode("utf-16-be").hex("u", 2).replace("u", "\\u")

    return re.sub("[^\0-\x7f]+", units, text).encode()


def _table(specials: bytes, form: bytes) -> dict[int, bytes]:
    """Each of ``specials`` in ``form``, which has a place for the byte."""
    return {byte: form % byte for byte in specials}


_PLAIN: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
"""What no form but base64 and hexadecimal changes."""
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_PERCENT_SAFE: Final = (b"~", b"~/", b"~!*'()", b"~!*'();/?:@&=+$,#")  # the last: encodeURI

_BRIEF: Final = {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r", 0x5C: b"\\\\"}
_JSON: Final = _table(bytes(range(32)), b"\\u%04x") | _BRIEF | {0x22: b'\\"'}
_OCTAL: Final = _table(bytes((*range(32), 127)), b"\\%03o")
_ANSI_C: Final = _OCTAL | _BRIEF | {7: b"\\a", 11: b"\\v", 27: b"\\E", 0x27: b"\\'"}
_XML: Final = {0x26: b"&amp;", 0x3C: b"&lt;", 0x3E: b"&gt;"}
_TABLES: Final[tuple[Mapping[int, bytes], ...]] = (
    _XML,
    _XML | {0x22: b"&quot;", 0x27: b"&apos;"},  # XML 1.0, section 4.6
    _XML | {0x22: b"&quot;", 0x27: b"&#x27;"},  # Python
    _XML | {0x22: b"&quot;", 0x27: b"&#39;"},  # PHP, JavaScript libraries
    _XML | {0x22: b"&#34;", 0x27: b"&#39;"},  # Go
    _JSON,
    _JSON | {0x2F: b"\\/"},  # PHP
    _JSON | _table(b"<>&", b"\\u%04x"),  # Go
    {0x27: b"'\\''"},  # what bash's set -x prints, between quotes
    {0x27: b"'\"'\"'"},  # dash's, and Python's shlex.quote
    _ANSI_C,  # bash, inside $'': what holds a control character
    _ANSI_C | _table(bytes(range(128, 256)), b"\\%03o"),
    _table(b'$`"\\', b"\\%c"),  # inside double quotes: declare -p
    _table(b" '\"\\|&;()<>!{}*[]?^$`,", b"\\%c"),  # printf %q
)
