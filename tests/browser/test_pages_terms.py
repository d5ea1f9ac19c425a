"""What a click does to a query that a person wrote; addresses; executions side by side."""

import pytest

from runner.event import Status
from runner.report import tell
from runner.viewer.pages import address, beside, pipelines, terms
from runner.viewer.pages.address import Overview, Search, When
from runner.viewer.rows import PipelineRow
from tests import told as cases


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", ["", "@a:1"]),
        ("words -@b:2", ["words -@b:2", "words -@b:2 @a:1"]),
        ("@a:2 x", ["@a:2 x", "x (@a:2 OR @a:1)"]),
        ("(@a:2 OR @a:3) x", ["(@a:2 OR @a:3) x", "x (@a:2 OR @a:3 OR @a:1)"]),
        ("(@a:2 OR @b:1) x", ["(@a:2 OR @b:1) x", "(@a:2 OR @b:1) x @a:1"]),
        ('@n:"a b" x', ['@n:"a b" x', '@n:"a b" x @a:1']),
    ],
)
def test_a_click_picks_a_value_and_another_takes_it_back(query: str, wanted: list[str]) -> None:
    before, after = wanted
    picked = terms.toggle(query, "@a", "1")
    assert picked == after
    assert terms.picked(picked, "@a", ["1", "9"]) == ("1",)
    again = terms.toggle(picked, "@a", "1")
    assert sorted(terms.split(again)) == sorted(terms.split(before))


@pytest.mark.parametrize("value", ["a b", 'say "hi"', "back\\slash", "*", "(x)", "OR", "a:b", "ü"])
def test_any_value_can_be_picked(value: str) -> None:
    query = terms.toggle("", "@a", value)
    assert terms.picked(query, "@a", [value]) == (value,)
    assert terms.toggle(query, "@a", value) == ""


def test_a_value_is_excluded_once() -> None:
    query = terms.without("@a:1 x", "@a", "1")
    assert query == "x -@a:1"
    assert terms.without(query, "@a", "1") == query


def test_half_a_query_is_cut_into_something() -> None:
    for query in ("(a", "a)", '"a', "a:(b", "\\", "((", "-", "a:(b OR c) d"):
        assert terms.split(query)
    assert terms.split("a:(b OR c) d") == ["a:(b OR c)", "d"]


def test_an_address_is_read_as_it_was_made() -> None:
    one = Search(level="job", query='@a:"x & y"', when=When(start=5, end=99), after="abc")
    href = one.href(after=one.after)
    given = dict(pair.split("=") for pair in href.partition("?")[2].split("&"))
    assert given == {"level": "job", "q": "%40a%3A%22x+%26+y%22", "from": "5", "to": "99"} | {
        "after": "abc"
    }
    assert address.search({}) == Search()
    assert address.search({"level": "nonsense", "window": "?", "from": "1"}) == Search()
    assert address.execution("a/b?c#d") == "/executions/a%2Fb%3Fc%23d"


def test_what_differs_between_two_executions_is_marked() -> None:
    failed = tell(*cases.failing())
    other = tell(
        [
            cases.job("lint", 0, 4_000),
            cases.job("test (3.12)", 0, 5_000),
            cases.job("new", 0, 10),
            cases.pipeline(Status.SUCCESS, 5_000, parameters={"TARGET": "production"}),
        ]
    )
    both = beside.beside([failed, other], ["Before", "After"])
    assert [head.delta_ms for head in both.heads] == [None, -1_400]
    changed = {fact.title: fact.values for fact in both.facts if any(fact.changed)}
    assert changed["Parameter TARGET"] == ("staging", "production")
    jobs = {job.name: job for job in both.jobs}
    lint = jobs["lint"].cells[1]
    assert lint is not None
    assert (lint.delta_ms, lint.change, lint.turned) == (2_700, "longer", False)
    test = jobs["test (3.12)"].cells[1]
    assert test is not None
    assert test.turned
    assert jobs["new"].cells[0] is None


def test_the_share_that_failed_is_of_those_that_ended_as_it_is_in_each_row() -> None:
    """One failed, one was good, three still run or wait."""
    row = PipelineRow(
        name="Gated",
        repository="",
        runs=5,
        ended=2,
        failed=1,
        failure_rate=0.5,
        p50=None,
        p95=None,
        last="a",
        last_status="blocked",
        last_start=0,
        last_duration=None,
        spark=(),
    )
    shown = pipelines.page(Overview(), [row], now=0)
    (tile,) = (tile for tile in shown.tiles if tile.title == "Failed")
    assert tile.aside == shown.lines[0].rate_text == "50 %"
