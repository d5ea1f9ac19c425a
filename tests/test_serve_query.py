"""The query that people type means the same to SQLite as it does to whoever reads it."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.viewer import check
from runner.viewer.attributes import amount
from runner.viewer.query import (
    EVERYTHING,
    All,
    Any_,
    Compare,
    Node,
    Not,
    QueryError,
    Term,
    Text,
    Wild,
    parse,
)
from runner.viewer.recent import Recent
from runner.viewer.rows import LEVELS, Level, Row, Window
from runner.viewer.store import Store
from runner.viewer.writing import Batch
from tests.serve_place import SHA


def term(attribute: str, text: str) -> Term:
    return Term(attribute, Text(text))


EVENT: dict[str, Any] = {
    "level": "pipeline",
    "status": "success",
    "name": "Build",
    "milliseconds": 1,
    "branch": None,
    "message": None,
    "tags": [],
    "manual": False,
    "queue": None,
    "error": None,
}
READ: dict[str, Node] = {
    "": EVERYTHING,
    "  ": EVERYTHING,
    "*": EVERYTHING,
    "@ci.status:error": term("@ci.status", "error"),
    "ci_level:job @ci.status:error": All((term("ci_level", "job"), term("@ci.status", "error"))),
    "a AND b": All((term("", "a"), term("", "b"))),
    "a OR b c": Any_((term("", "a"), All((term("", "b"), term("", "c"))))),
    "(a OR b) c": All((Any_((term("", "a"), term("", "b"))), term("", "c"))),
    "-@git.branch:main": Not(term("@git.branch", "main")),
    "NOT a": Not(term("", "a")),
    "-(a OR b)": Not(Any_((term("", "a"), term("", "b")))),
    "--a": Not(Not(term("", "a"))),
    "@git.branch:feature/a-b": term("@git.branch", "feature/a-b"),
    '@ci.pipeline.name:"Documentation Build"': term("@ci.pipeline.name", "Documentation Build"),
    '"a \\" b"': term("", 'a " b'),
    '@ci.pipeline.name:"a*"': term("@ci.pipeline.name", "a*"),
    "@ci.pipeline.name:a\\*\\ b\\:c": term("@ci.pipeline.name", "a* b:c"),
    "@ci.status:(error OR canceled)": Any_(
        (term("@ci.status", "error"), term("@ci.status", "canceled"))
    ),
    "@git.branch:rel*": Term("@git.branch", Wild(("rel", None))),
    "@git.branch:?x*": Term("@git.branch", Wild(("", "x", None))),
    "@duration:>1s": Term("@duration", Compare("1s", None, low_in=False)),
    "@duration:<=7days": Term("@duration", Compare(None, "7days")),
    "@duration:[1s TO 5s]": Term("@duration", Compare("1s", "5s")),
    "@duration:{1 TO *]": Term("@duration", Compare("1", None, low_in=False)),
    "@url:http://a/b": term("@url", "http://a/b"),
    "OR:a": term("OR", "a"),
    "@git.branch:a[b]*": Term("@git.branch", Wild(("a[b]", None))),
}


@pytest.mark.parametrize("text", READ)
def test_queries_are_read_as_people_mean_them(text: str) -> None:
    assert parse(text) == READ[text]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("(a", 1),
        ("a)", 2),
        ('"a', 1),
        ("@a:", 4),
        ("@a: b", 4),
        ("a OR", 5),
        ("OR a", 1),
        ("AND a", 1),
        ("a AND", 6),
        ("a AND OR b", 7),
        ("@d:>", 4),
        ("NOT", 4),
        ("(" * 1000, 41),
        ("a" * 10_000, 8192),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(text: str, column: int) -> None:
    with pytest.raises(QueryError) as error:
        parse(text)
    assert error.value.column == column, str(error.value)


WORDS = st.sampled_from(
    [
        *'()"\\-:*?[]{}<>=@',
        " ",
        " OR ",
        " AND ",
        " NOT ",
        " TO ",
        "a",
        "@ci.status:",
        "1s",
        ">",
        "é",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=25).map("".join)))
def test_the_parser_never_crashes(text: str) -> None:
    column = 1
    try:
        parse(text)
    except QueryError as error:
        column = error.column
    assert 1 <= column <= len(text) + 1


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("5", 5), ("1s", 1e9), ("1.5ms", 1.5e6), ("10min", 6e11), ("2h", 7.2e12), ("7days", 6.048e14)],
)
def test_amounts_have_units(text: str, nanoseconds: float) -> None:
    assert amount(text) == nanoseconds


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(WORDS, max_size=25).map("".join))
def test_whatever_is_read_is_searched(store: Store, text: str) -> None:
    put(store, [EVENT | {"minutes": 0}])
    for ask in (store.search, store.facets):
        with contextlib.suppress(QueryError):
            ask(text)


def test_a_query_of_many_parts_is_refused_before_sqlite_must() -> None:
    parse(" ".join(["a"] * 100))
    with pytest.raises(QueryError, match="more than 100 parts"):
        parse(" ".join(["a"] * 101))


# ── the same as looking at every event ───────────────────────────────────────────────────────────

BRANCHES = ["main", "feature/a-b", "Rel*ease", "[x]", "ünï"]
TAGS = ["team:web", "team:we%b", "size:7", "size:11", "a:b:c", "odd_key:x y"]
EVENTS = st.fixed_dictionaries(
    {
        "level": st.sampled_from(LEVELS),
        "status": st.sampled_from(["success", "error"]),
        "name": st.sampled_from(["Build", "build it", "Test_1", "100%", "a\\b"]),
        "minutes": st.integers(0, 3),
        "milliseconds": st.sampled_from([0, 1, 999, 1000, 1001, 60_000]),
        "branch": st.sampled_from([None, *BRANCHES]),
        "message": st.sampled_from([None, "fix the build", "100% done"]),
        "tags": st.lists(st.sampled_from(TAGS), max_size=3, unique=True),
        "manual": st.booleans(),
        "queue": st.sampled_from([None, 0, 5, 2000]),
        "error": st.sampled_from([None, "2 tests failed"]),
    }
)
ATTRIBUTES = [
    "@ci.status",
    "ci_level",
    "@git.branch",
    "@ci.pipeline.name",
    "@ci.step.name",
    "@git.commit.message",
    "@git.commit.sha",
    "@error.message",
    "@error.domain",
    "@ci.is_manual",
    "team",
    "a",
    "@odd_key",
    "env",
]
TEXTS = ["success", "error", "step", "main", "Build", "web", "b:c", "true", "false", "x y", SHA, ""]
VALUES = st.one_of(
    st.sampled_from([*TEXTS, *BRANCHES, "fix the build", "100%", "user", "ci"]).map(Text),
    st.sampled_from(
        [(None,), ("", None), ("m", None), (None, "b"), (None, "e", None), ("w", "", "b")]
    ).map(Wild),
)
NUMBERS = st.sampled_from(["0", "1ms", "999ms", "1s", "1001ms", "1min", "7", "10"])
RANGES = st.builds(
    Compare,
    st.one_of(st.none(), NUMBERS),
    st.one_of(st.none(), NUMBERS),
    st.booleans(),
    st.booleans(),
)
TERMS = st.one_of(
    st.builds(Term, st.sampled_from(ATTRIBUTES), VALUES),
    st.builds(Term, st.sampled_from(["@duration", "@ci.queue_time", "size"]), RANGES),
    st.builds(
        Term, st.just(""), st.sampled_from(["build", "MAIN", "100%", "web", "_1", "7"]).map(Text)
    ),
)
QUERIES: st.SearchStrategy[Node] = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Any_, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


def resource(number: int, event: Mapping[str, Any]) -> dict[str, Any]:
    """The event as it is sent."""
    level = event["level"]
    at = 1_790_000_000_000 + event["minutes"] * 60_000
    found = {
        "level": level,
        "name": event["name"],
        "start": moment(at),
        "end": moment(at + event["milliseconds"]),
        "status": event["status"],
        "tags": event["tags"],
        "git": {"repository_url": "x", "sha": SHA, "author_email": "e"},
    }
    found["git"] |= {n: event[n] for n in ("branch", "message") if event[n] is not None}
    if event["error"]:
        found["error"] = {"domain": "user", "type": "T", "message": event["error"]}
    if level == "pipeline":
        return found | {
            "unique_id": str(number),
            "url": "",
            "partial_retry": False,
            "is_manual": event["manual"],
            "queue_time": event["queue"],
        }
    found |= {"id": str(number), "pipeline_unique_id": "p", "pipeline_name": "Build"}
    return found | ({"url": "", "queue_time": event["queue"]} if level == "job" else {})


def moment(at: int) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415

    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")


def told(event: Mapping[str, Any], attribute: str) -> Iterator[str]:
    """The values of an attribute, as the reader of the page would say."""
    level = event["level"]
    pipeline = event["name"] if level == "pipeline" else "Build"
    known: dict[str, object] = {
        "@ci.status": event["status"],
        "ci_level": level,
        "@git.branch": event["branch"],
        "@ci.pipeline.name": pipeline,
        "@ci.step.name": event["name"] if level == "step" else None,
        "@git.commit.message": event["message"],
        "@git.commit.sha": SHA,
        "@error.message": event["error"],
        "@error.domain": "user" if event["error"] else None,
        "@ci.is_manual": "true" if level == "pipeline" and event["manual"] else "false",
        "env": "ci",
    }
    if attribute in known:
        value = known[attribute]
        yield from () if value is None else (str(value),)
        return
    for tag in event["tags"]:
        key, _, value = tag.partition(":")
        if key == attribute.removeprefix("@"):
            yield value


def number(event: Mapping[str, Any], attribute: str) -> Iterator[float]:
    match attribute:
        case "@duration":
            yield event["milliseconds"] * 1e6
        case "@ci.queue_time":
            if event["level"] in ("pipeline", "job") and event["queue"] is not None:
                yield event["queue"] * 1e6
        case _:
            yield from (float(value) for value in told(event, attribute))


def holds(node: Node, event: Mapping[str, Any]) -> bool:
    """Whether an event is meant: the definition, without any SQL."""
    match node:
        case Not(item):
            return not holds(item, event)
        case All(items):
            return all(holds(item, event) for item in items)
        case Any_(items):
            return any(holds(item, event) for item in items)
        case Term():
            return hits(node, event)


def hits(term: Term, event: Mapping[str, Any]) -> bool:
    match term.attribute, term.value:
        case "", Text(text):
            return any(text.lower() in seen.lower() for seen in anywhere(event))
        case attribute, Text(""):
            return absent(event, attribute)
        case attribute, Text(text):
            return text in told(event, attribute)
        case "@ci.is_manual", Wild(pieces):
            return pieces == (None,)
        case attribute, Wild(pieces):
            shape = re.compile(
                "".join(".*" if p is None else re.escape(p) or "." for p in pieces), re.DOTALL
            )
            return any(shape.fullmatch(value) and value for value in told(event, attribute))
        case attribute, Compare() as bounds:
            return any(between(value, bounds) for value in number(event, attribute))
    raise AssertionError(term)


def absent(event: Mapping[str, Any], attribute: str) -> bool:
    columns = {"@ci.status", "@git.branch", "@ci.pipeline.name", "@git.commit.sha", "@error.domain"}
    step = attribute == "@ci.step.name"
    return attribute in columns and not any(told(event, attribute)) and not step


def anywhere(event: Mapping[str, Any]) -> Iterator[str]:
    pipeline = event["name"] if event["level"] == "pipeline" else "Build"
    yield from (event["name"], pipeline, "x", "e", SHA, *event["tags"])
    yield from filter(None, (event["branch"], event["message"], event["error"]))


def between(value: float, bounds: Compare) -> bool:
    low, high = bounds.low and amount(bounds.low), bounds.high and amount(bounds.high)
    if isinstance(low, float) and not (value >= low if bounds.low_in else value > low):
        return False
    return not isinstance(high, float) or (value <= high if bounds.high_in else value < high)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store.open(str(tmp_path_factory.mktemp("query") / "state"))
    yield opened
    opened.close()


def put(store: Store, events: list[dict[str, Any]]) -> None:
    """Exactly these events are in the store."""
    tables = ("event", "payload")
    store.writer.apply(lambda db: [db.execute(f"DELETE FROM {name}") for name in tables]).result()
    elements = [
        {"attributes": {"env": "ci", "resource": resource(n, event)}}
        for n, event in enumerate(events)
    ]
    body = json.dumps({"data": elements}).encode()
    store.writer.submit(Batch(events=check.request(body))).result()
    store._recent = Recent()  # what was answered a moment ago


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    events=st.lists(EVENTS, min_size=1, max_size=12),
    queries=st.lists(QUERIES, min_size=4, max_size=8),
)
def test_searching_finds_what_looking_at_every_event_finds(
    store: Store, events: list[dict[str, Any]], queries: list[Node]
) -> None:
    put(store, events)
    for query in queries:
        page = store.search(query, level=None, limit=100)
        found = {row.id for row in page.rows}
        meant = {str(n) for n, event in enumerate(events) if holds(query, event)}
        assert found == meant, (query, [events[int(n)] for n in found ^ meant])
        for level in LEVELS:
            counted = store.facets(query, level=level)
            assert counted.matches == sum(events[int(n)]["level"] == level for n in meant)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    events=st.lists(EVENTS, min_size=1, max_size=15),
    level=st.sampled_from([None, *LEVELS]),
    limit=st.integers(1, 5),
    oldest_first=st.booleans(),
)
def test_pages_are_the_whole_in_the_order_of_time(
    store: Store, events: list[dict[str, Any]], level: Level | None, limit: int, oldest_first: bool
) -> None:
    put(store, events)
    found: list[Row] = []
    cursor = ""
    while True:
        page = store.search(
            "", level=level, limit=limit, cursor=cursor, oldest_first=oldest_first, window=Window()
        )
        found += page.rows
        assert len(page.rows) == limit or not page.next
        cursor = page.next
        if not cursor:
            break
    meant = {str(n) for n, event in enumerate(events) if level in (None, event["level"])}
    assert len(found) == len(meant)
    assert {row.id for row in found} == meant
    starts = [row.start for row in found]
    assert starts == sorted(starts, reverse=not oldest_first)


def test_a_window_has_both_its_ends(store: Store, tmp_path: Path) -> None:
    put(store, [EVENT | {"minutes": n} for n in range(4)])
    at = 1_790_000_000_000
    page = store.search("", window=Window(start=at + 60_000, end=at + 120_000))
    assert [row.id for row in page.rows] == ["2", "1"]
