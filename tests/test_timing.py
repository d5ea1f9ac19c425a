"""Times of an execution, against definitions that only count ticks."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.execution import MILLISECOND, SECOND
from runner.timing import (
    Span,
    critical_path,
    exclusive_times,
    execution_time,
    queue_time,
    spoken,
)

KEYS = "abcdef"


@st.composite
def runs(draw: st.DrawFn) -> list[Span]:
    """Up to six jobs; what a job needs stands before it and ended before it began."""
    spans: list[Span] = []
    for key in KEYS[: draw(st.integers(1, 6))]:
        start = draw(st.integers(0, 12))
        ended = [span.key for span in spans if span.end <= start]
        needs = draw(st.lists(st.sampled_from(ended), unique=True)) if ended else []
        end = start + draw(st.integers(0, 6))
        spans.append(Span(key=key, start=start, end=end, needs=tuple(needs)))
    return spans


def open_at(spans: list[Span], tick: int) -> list[str]:
    return [span.key for span in spans if span.start <= tick < span.end]


def order(span: Span) -> tuple[int, int, str]:
    return span.end, span.start, span.key


@given(runs())
def test_execution_time_counts_the_ticks_in_which_a_job_runs(spans: list[Span]) -> None:
    ticks = sum(1 for tick in range(20) if open_at(spans, tick))
    assert execution_time((span.start, span.end) for span in spans) == ticks


def test_execution_time_of_the_guides_example_is_105_seconds() -> None:
    assert execution_time([(0, 60), (0, 90), (500, 515)]) == 105


@given(runs())
def test_exclusive_time_counts_the_ticks_in_which_a_job_runs_alone(spans: list[Span]) -> None:
    path = critical_path(spans)
    expected = {key: sum(open_at(spans, tick) == [key] for tick in range(20)) for key in path}
    assert exclusive_times(spans, path) == expected


@given(runs())
def test_the_critical_path_is_a_chain_from_the_last_end_back_to_a_job_that_waited_for_none(
    spans: list[Span],
) -> None:
    by_key = {span.key: span for span in spans}
    path = [by_key[key] for key in critical_path(spans)]
    assert path[-1].end == max(span.end for span in spans)
    for before, after in pairwise(path):
        assert before.end <= after.start
        rivals = [by_key[key] for key in after.needs] or [
            span for span in spans if span.end <= after.start and order(span) < order(after)
        ]
        assert before.end == max(span.end for span in rivals)
        assert before in rivals
    first = path[0]
    assert not first.needs
    assert not [s for s in spans if s.end <= first.start and s not in path and s.end > s.start]


@given(runs(), st.integers(1, 5))
def test_shortening_a_job_off_the_critical_path_does_not_end_the_run_earlier(
    spans: list[Span], cut: int
) -> None:
    path = critical_path(spans)
    shorter = [
        span
        if span.key in path
        else Span(key=span.key, start=span.start, end=max(span.end - cut, span.start))
        for span in spans
    ]
    assert max(span.end for span in shorter) == max(span.end for span in spans)


def test_a_need_counts_before_a_job_that_merely_ended_later() -> None:
    spans = [
        Span(key="lint", start=0, end=5),
        Span(key="docs", start=0, end=9),
        Span(key="deploy", start=10, end=12, needs=("lint",)),
    ]
    assert critical_path(spans) == ("lint", "deploy")


def test_jobs_that_only_waited_for_a_place_are_a_chain_too() -> None:
    spans = [Span(key="a", start=0, end=5), Span(key="b", start=5, end=9)]
    assert critical_path(spans) == ("a", "b")


def test_no_jobs_have_no_path() -> None:
    assert critical_path([]) == ()
    assert execution_time([]) == 0


def test_a_cycle_of_needs_does_not_hang() -> None:
    spans = [
        Span(key="a", start=0, end=5, needs=("b",)),
        Span(key="b", start=0, end=5, needs=("a",)),
    ]
    assert set(critical_path(spans)) == {"a", "b"}


def test_ten_thousand_jobs_in_a_row_are_quick() -> None:
    needs = [()] + [(str(n),) for n in range(9_999)]
    spans = [Span(key=str(n), start=n, end=n + 1, needs=needs[n]) for n in range(10_000)]
    assert len(critical_path(spans)) == 10_000


def test_queue_time_is_whole_milliseconds_and_never_negative() -> None:
    assert queue_time(0, 1_999_999) == 1
    assert queue_time(5 * SECOND, SECOND) == 0


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (-5, "0 ms"),
        (0, "0 ms"),
        (850 * MILLISECOND, "850 ms"),
        (999_400_000, "999 ms"),
        (999_600_000, "1.0 s"),
        (3_200 * MILLISECOND, "3.2 s"),
        (59_940 * MILLISECOND, "59.9 s"),
        (59_960 * MILLISECOND, "1m00s"),
        (64 * SECOND, "1m04s"),
        (3_599_400 * MILLISECOND, "59m59s"),
        (3_599_600 * MILLISECOND, "1h00m"),
        (7_380 * SECOND, "2h03m"),
        (50 * 3600 * SECOND, "50h00m"),
    ],
)
def test_a_duration_in_words(nanoseconds: int, text: str) -> None:
    assert spoken(nanoseconds) == text


@given(st.integers(0, 10**16))
def test_a_spoken_duration_is_within_a_twentieth_of_what_it_says(nanoseconds: int) -> None:
    units = {"ms": MILLISECOND, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
    parts = re.findall(r"([0-9.]+) ?(ms|s|m|h)", spoken(nanoseconds))
    said = sum(float(figure) * units[unit] for figure, unit in parts)
    assert abs(said - nanoseconds) <= max(nanoseconds / 20, MILLISECOND)
    assert all(float(figure) < 60 for figure, unit in parts[1:] if unit != "ms")
