"""Facets: how often each value is found among the newest matches, and when they started.

Owns what is counted and at what price: the walk along ``event`` is cheap, handing its numbers over
to Python is not.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from runner.viewer import tables
from runner.viewer.query import Node
from runner.viewer.rows import Bucket, Count, Facet, Facets, Level, Window
from runner.viewer.searching import Search, keys_of

MATCHES: Final = 50_000
"""Facets count this many, the newest."""
BUCKETS: Final = 60
"""Pieces of a timeline."""
_FACETS: Final = (
    ("@ci.status", "Status", "status"),
    ("@ci.pipeline.name", "Pipeline", "pipeline"),
    ("@ci.stage.name", "Stage", "stage"),
    ("@ci.job.name", "Job", "job"),
    ("@ci.step.name", "Step", "name"),
    ("@git.repository.id", "Repository", "repository"),
    ("@git.branch", "Branch", "branch"),
    ("@git.tag", "Git tag", "tag"),
    ("@git.commit.author.email", "Author", "author"),
    ("@ci.provider.name", "CI provider", "provider"),
    ("@ci.provider.instance", "CI instance", "service"),
    ("env", "Environment", "env"),
    ("@ci.node.name", "Node", "node"),
    ("@error.domain", "Error domain", "domain"),
    ("@error.type", "Error type", "fault"),
)
_PACKING: Final = (
    *("status", "flags", "domain"),
    *("pipeline", "provider", "env"),
    *("repository", "service", "node"),
    *("branch", "tag", "fault"),
    *("stage", "job", "name"),
    "author",
)
"""Columns that are handed over together: of each three one has many values at most, so that there
are few different ones of the three.
"""
_FLAGS: Final = (
    ("@ci.is_manual", "Manually triggered", tables.MANUAL),
    ("@ci.partial_retry", "Partial retry", tables.PARTIAL),
    ("@ci.is_resumed", "Resumed", tables.RESUMED),
    ("@git.is_default_branch", "Default branch", tables.DEFAULT),
)
_LACKING: Final[dict[Level, set[str]]] = {
    "pipeline": {"stage", "job", "name"},
    "stage": {"job", "name"},
    "job": {"name"},
    "step": set(),
}


def facets(
    search: Search, node: Node, *, level: Level, window: Window, top: int, only: str = ""
) -> Facets:
    """What the newest matches have in common; ``only``: as to this attribute."""
    chosen = [
        facet for facet in _FACETS if facet[2] not in _LACKING[level] and only in ("", facet[0])
    ]
    flags = [flag for flag in _FLAGS if only in ("", flag[0])]
    wanted = {"status", "flags", *(column for _, _, column in chosen)}
    packs = _packs(search, [column for column in _PACKING if column in wanted])
    rows = search.all(node, level, keys_of(level, window), _packed(packs), limit=MATCHES + 1)
    capped = len(rows) > MATCHES
    keys, *packed = zip(*rows[:MATCHES], strict=True) if rows else ((), *([()] * len(packs)))
    counts = _unpacked(packs, packed)
    found = [_facet(search, facet, counts[facet[2]], top) for facet in chosen]
    found += [_truths(attribute, title, counts["flags"], bit) for attribute, title, bit in flags]
    return Facets(
        matches=len(keys),
        capped=capped,
        facets=tuple(facet for facet in found if facet.values),
        timeline=() if only else _timeline(search, keys, packed[0], _bits(packs[0])),
        complete=not search.budget.over,
    )


def _packs(search: Search, columns: Sequence[str]) -> list[list[str]]:
    """Columns to be handed over together in one number: three while words have numbers of 21 bits,
    else two. Handing numbers over to Python is most of what a search costs.
    """
    (words,) = search.db.execute("SELECT max(id) FROM word").fetchone()
    size = 3 if (words or 0) < 1 << 21 else 2
    return [list(columns[at : at + size]) for at in range(0, len(columns), size)]


def _bits(pack: Sequence[str]) -> int:
    """Of one column in a pack."""
    return 21 if len(pack) == 3 else 31  # noqa: PLR2004 - 63 bits are what there is


def _packed(packs: Sequence[Sequence[str]]) -> list[str]:
    found = ["key"]
    for pack in packs:
        shifted = (f"({column} << {at * _bits(pack)})" for at, column in enumerate(pack))
        found.append(" | ".join(shifted))
    return found


def _unpacked(
    packs: Sequence[Sequence[str]], packed: Sequence[Sequence[int]]
) -> "dict[str, Counter[int]]":
    """How often each value of each column was found."""
    counts: dict[str, Counter[int]] = {column: Counter() for pack in packs for column in pack}
    for pack, values in zip(packs, packed, strict=True):
        bits = _bits(pack)
        mask = (1 << bits) - 1
        found = Counter(values)
        for at, column in enumerate(pack):
            into, shift = counts[column], at * bits
            for value, count in found.items():
                into[value >> shift & mask] += count
    return counts


def _facet(search: Search, facet: tuple[str, str, str], counts: "Counter[int]", top: int) -> Facet:
    attribute, title, _ = facet
    counts.pop(0, None)
    values = [(search.words.of(search.db, number), n) for number, n in counts.most_common(top)]
    ordered = sorted(values, key=lambda pair: (-pair[1], pair[0]))
    return Facet(
        attribute=attribute,
        title=title,
        values=tuple(Count(value=value, count=count) for value, count in ordered),
    )


def _truths(attribute: str, title: str, flags: "Counter[int]", bit: int) -> Facet:
    """True and false, where there is a true at all."""
    true = sum(count for value, count in flags.items() if value & bit)
    false = flags.total() - true
    pairs = [("true", true), ("false", false)] if true else []
    return Facet(
        attribute=attribute,
        title=title,
        values=tuple(Count(value=value, count=count) for value, count in pairs if count),
    )


def _timeline(
    search: Search, keys: Sequence[int], statuses: Sequence[int], bits: int
) -> tuple[Bucket, ...]:
    """``statuses``: the lowest ``bits`` of each are one."""
    if not keys:
        return ()
    newest, oldest = tables.start_of(keys[0]), tables.start_of(keys[-1])
    width = max(1, -(-(newest - oldest + 1) // BUCKETS))
    base, step = tables.order_of(keys[-1]), width << tables.COUNT
    base -= base & ((1 << tables.COUNT) - 1)
    mask = (1 << (tables.TIME + tables.COUNT)) - 1
    low = (1 << bits) - 1
    places = Counter(
        ((key & mask) - base) // step << bits | (status & low)
        for key, status in zip(keys, statuses, strict=True)
    )
    counts: dict[int, dict[str, int]] = {}
    for place, count in places.items():
        word = search.words.of(search.db, place & low)
        counts.setdefault(place >> bits, {})[word] = count
    return tuple(
        Bucket(
            start=oldest + place * width,
            end=oldest + (place + 1) * width,
            counts=counts.get(place, {}),
        )
        for place in range(-(-(newest - oldest + 1) // width))
    )
