"""A past execution, told again: golden pages, and what no name or message can do to them.

``python -m tests.test_report`` draws the golden files anew.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.event import Event, Failure, Status
from runner.execution import MILLISECOND, SECOND, Link
from runner.report import Beside, Delivery, NotStarted, Question, Told, tell
from runner.report.markdown import escape, fence, page
from runner.report.table import Listed, ago, table
from runner.report.tree import tree
from runner.report.web.page import write_html
from runner.terminal import Look, cells
from tests import told as cases
from tests.told import at, failure, job, pipeline, stage, step

GOLDEN = Path(__file__).parent / "golden" / "report"
OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
EVIL = "\x1b]0;owned\x07\x1b[2Jna\nme\u202e | `x` <b> [a](http://x) #1 ${{ }} *_~!\\"


def drawn() -> Iterator[tuple[str, str]]:
    """Every golden file's name, and what it must hold."""
    for name, case in (("failing", cases.failing), ("blocked", cases.blocked)):
        told = tell(*case())
        for width in (80, 120):
            yield f"{name}-{width}.txt", tree(told, Look(width=width))
        yield f"{name}-80-ascii.txt", tree(told, Look(unicode=False))
        yield f"{name}.md", page(told, ["# A page that a step wrote\n"])
    for width in (80, 120):
        yield f"list-{width}.txt", table(tuple(listed()), Look(width=width), now=cases.START)


def listed() -> Iterator[Listed]:
    for place, status in enumerate(Status):
        yield Listed(
            id=f"{place}{cases.RUN[1:]}",
            name=cases.NAME,
            status=status,
            start=cases.START - place * 7_000 * SECOND,
            duration_ms=None if status is Status.RUNNING else 6_400 * place,
            branch="main" if place % 2 else "feature/a-name-that-goes-on-and-on",
            delivery=Delivery(delivered=12, waiting=place) if place < 4 else Delivery(local=9),
        )


@pytest.mark.parametrize(("name", "text"), [pytest.param(*pair, id=pair[0]) for pair in drawn()])
def test_it_is_drawn_as_in_the_golden_file(name: str, text: str) -> None:
    assert text == (GOLDEN / name).read_text()


def test_only_ascii_is_drawn_where_nothing_else_can_be_shown() -> None:
    assert (GOLDEN / "failing-80-ascii.txt").read_text().isascii()


# ── what is told ─────────────────────────────────────────────────────────────────────────────────


def test_times_are_those_of_the_reference() -> None:
    """A and B together for 60 s, B alone for 30 s, a gap, C for 15 s: 105 s of execution."""
    events: list[Event] = [
        job("a", 0, 60_000),
        job("b", 0, 90_000),
        job("c", 500_000, 515_000, dependencies=("b",)),
        pipeline(Status.SUCCESS, 516_000),
    ]
    told = tell(events)
    assert (told.duration_ms, told.execution_ms) == (516_000, 105_000)
    assert told.critical_path == ("b", "c")
    assert told.critical_ms == 515_000
    assert {one.name: one.exclusive_ms for one in told.jobs} == {"a": 0, "b": 30_000, "c": 15_000}
    assert [one.on_critical_path for one in told.jobs] == [False, True, True]


def test_of_one_thing_the_last_event_counts() -> None:
    events: list[Event] = [
        pipeline(Status.RUNNING, None),
        job("a", 0, None),
        job("a", 0, 500),
        pipeline(Status.SUCCESS, 600),
    ]
    told = tell(events)
    assert told.status is Status.SUCCESS
    assert [(one.status, one.duration_ms) for one in told.jobs] == [(Status.SUCCESS, 500)]


def test_what_still_runs_is_counted_until_now_or_until_the_last_event() -> None:
    events: list[Event] = [
        pipeline(Status.RUNNING, None),
        job("a", 0, None),
        step("a", "x", 0, 700),
    ]
    assert tell(events).duration_ms == 700
    later = Beside(now=cases.START + 9_000 * MILLISECOND)
    assert tell(events, later).duration_ms == 9_000
    assert tell(events, later).jobs[0].duration_ms == 9_000
    assert tell(events, Beside(now=1)).duration_ms == 0
    assert "▶ Documentation Build · running for 9.0 s" in tree(tell(events, later), Look())


def test_stages_hold_their_jobs_in_the_order_they_started() -> None:
    events: list[Event] = [
        job("late", 50, 60, stage_name="one"),
        job("early", 0, 40, stage_name="one"),
        job("alone", 70, 80, stage_name=None),
        stage("one", 0, 60, Status.SUCCESS),
        pipeline(Status.SUCCESS, 90),
    ]
    told = tell(events)
    names = [(one.name, [job.name for job in one.jobs]) for one in told.stages]
    assert names == [("one", ["early", "late"]), ("", ["alone"])]


def test_steps_stand_in_the_order_they_started() -> None:
    """Those that a step's own commands tell of are read in any order."""
    begun = {"two": 300, "three": 500, "one": 100, "outer": 0}
    steps = [step("a", name, start, start + 50) for name, start in begun.items()]
    told = tell([pipeline(Status.SUCCESS, 900), *steps, job("a", 0, 800)])
    assert [one.name for one in told.jobs[0].steps] == ["outer", "one", "two", "three"]


def test_an_attempt_is_counted_where_there_was_more_than_one() -> None:
    attempts = [
        step("a", "once", 0, 100, tags=("attempt:1",)),
        step("a", "twice", 200, 300, Status.ERROR, tags=("attempt:1",)),
        step("a", "twice", 400, 500, tags=("attempt:2",)),
    ]
    told = tell([pipeline(Status.SUCCESS, 900), *attempts, job("a", 0, 800)])
    drawn = tree(told, Look(width=100))
    assert "once · attempt" not in drawn
    assert re.findall(r"twice · attempt (\d)", drawn) == ["1", "2"]
    assert write_html(told).decode().count('"badge">attempt') == 2
    assert [one.attempt for one in told.jobs[0].steps] == [1, 1, 2]


def test_tags_are_shown_where_they_were_said() -> None:
    told = tell(*cases.failing())
    lint = next(one for one in told.jobs if one.name == "lint")
    assert lint.tags == ("tool:ruff",)
    assert "team:web" in told.tags
    assert tree(told, Look()).count("team:web") == 1


def test_without_a_pipeline_there_is_nothing_to_tell() -> None:
    with pytest.raises(ValueError, match="no event of a pipeline"):
        tell([job("a", 0, 1)])


def test_json_says_all_of_it_in_numbers_that_every_reader_keeps() -> None:
    told = tell(*cases.failing())
    plain = json.loads(msgspec.json.encode(msgspec.to_builtins(told)))
    assert plain["status"] == "error"
    assert plain["start"] == at(0)
    numbers = re.findall(r"\d{10,}(?![\d-])", json.dumps([plain["duration_ms"], plain["stages"]]))
    assert all(int(number) < 2**53 for number in numbers)
    assert msgspec.json.decode(msgspec.json.encode(told), type=Told) == told


# ── the tree ─────────────────────────────────────────────────────────────────────────────────────


@given(
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.sampled_from([60, 80, 120, 200]),
    st.booleans(),
)
def test_a_bar_is_in_true_proportion(
    start: int, took: int, after: int, width: int, unicode: bool
) -> None:
    total = start + took + after
    events: list[Event] = [
        job("a", start, start + took, stage_name=None),
        pipeline(Status.SUCCESS, total),
    ]
    look = Look(width=width, unicode=unicode)
    line = next(
        text for text in tree(tell(events), look).splitlines() if text.startswith(("✓ a", "+ a"))
    )
    bar = re.search(r"[━╸╺─╴╶=-]+$", line)
    assert bar is not None
    begin = len("✓ a") + 11
    room = min(width - begin, 60)
    assert abs((bar.start() - begin) - start * room / max(total, 1)) <= 1
    assert abs(len(bar[0]) - took * room / max(total, 1)) <= 1.5
    assert bar.end() - begin <= room


def test_a_bar_shows_half_cells_and_the_wait_before_it() -> None:
    events: list[Event] = [
        job("a", 30_000, 45_500, stage_name=None, queue_time=10_000),
        pipeline(Status.SUCCESS, 60_000),
    ]
    line = tree(tell(events), Look(width=100)).splitlines()[-3]
    assert line == "✓ a · queued 10.0 s   15.5 s  " + " " * 20 + "·" * 10 + "━" * 15 + "╸"


@given(st.text(max_size=200), st.integers(40, 130))
def test_rows_of_the_tree_fit_the_width(name: str, width: int) -> None:
    events: list[Event] = [
        job("a", 0, 500, Status.ERROR, name=name, error=failure(name), stage_name=name or "s"),
        step("a", name, 0, 500, Status.ERROR, error=failure(name)),
        pipeline(Status.ERROR, 600, tags=(f"k:{name}",)),
    ]
    lines = tree(tell(events), Look(width=width)).split("\n")
    assert max(map(cells, lines)) <= width


def hostile(text: str) -> Told:
    """An execution in which every word that is not ours is ``text``."""
    broken = Failure(domain=failure("").domain, type=text, message=f"{text}\n{text}")
    other = msgspec.structs.replace(broken, message=f"{text}{text}")
    tags = (f"k:{text}",)
    events: list[Event] = [
        step("a", text, 0, 5, Status.ERROR, error=broken, tags=tags, metrics=tags),
        job("a", 0, 9, Status.ERROR, name=text, stage_name=text, error=other, tags=tags),
        stage(text, 0, 9, Status.ERROR),
        pipeline(
            Status.ERROR,
            10,
            unique_id=text,
            name=text,
            parameters={text: text},
            error=failure(text),
            tags=tags,
            previous_attempt=Link(id=text),
        ),
    ]
    git = msgspec.structs.replace(cases.GIT, branch=text, message=text)
    beside = Beside(
        git=git,
        not_started=(NotStarted(name=text, why=text),),
        questions=(Question(gate=text, question=text, approvers=(text,)),),
    )
    return tell(events, beside)


@given(st.text())
def test_T15_no_control_survives_in_a_tree(text: str) -> None:
    assert not OBEYED.search(tree(hostile(text), Look(width=100)))


def test_T15_no_control_survives_in_any_form() -> None:
    told = hostile(EVIL)
    one = Listed(id=EVIL, name=EVIL, status=Status.ERROR, start=0, branch=EVIL)
    for text in (tree(told, Look()), page(told), table([one], Look(), now=0)):
        assert not OBEYED.search(text)
    coloured = tree(told, Look(colour=True))
    assert not OBEYED.search(re.sub(r"\x1b\[\d+m", "", coloured))


def test_ten_thousand_steps_are_drawn_at_once() -> None:
    events: list[Event] = [step("a", f"step {n}", n, n + 1) for n in range(10_000)]
    told = tell([*events, job("a", 0, 10_000), pipeline(Status.SUCCESS, 10_000)])
    assert tree(told, Look()).count("\n") > 10_000


# ── the list ─────────────────────────────────────────────────────────────────────────────────────


def test_no_executions_say_how_to_get_one() -> None:
    assert "signalbox run" in table([], Look(), now=0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (7_300, "2 h ago"),
        (90_000, "1 d ago"),
    ],
)
def test_when_it_was(seconds: int, words: str) -> None:
    assert ago(seconds * SECOND) == words


# ── the job page ─────────────────────────────────────────────────────────────────────────────────


def without_blocks(text: str) -> str:
    """A page without its blocks of code, read as CommonMark reads them."""
    kept, ticks = [], ""
    for line in text.split("\n"):
        found = re.match(r"(`{3,})(text)?$", line)
        if ticks:
            ticks = "" if found and not found[2] and len(found[1]) >= len(ticks) else ticks
        elif found:
            ticks = found[1]
        else:
            kept.append(line)
    assert not ticks
    return "\n".join(kept)


@given(st.text(st.sampled_from("|`<>[]()*_~!#$@:&\\\n\r -+=.1w\x1b")))
def test_T14_a_name_or_message_becomes_no_markup(text: str) -> None:
    def skeleton(word: str) -> dict[str, int]:
        rest = re.sub(r"&#\d+;", "", without_blocks(page(hostile(word))))
        return {char: rest.count(char) for char in "|`<>[]*_~!#$@&\\\n"}

    assert skeleton(text) == skeleton("x")


@given(st.lists(st.sampled_from(["```", "`" * 5, "~~~", "text", "\n", " "])).map("".join))
def test_a_block_of_code_holds_whatever_it_is_given(text: str) -> None:
    assert without_blocks(fence(text)) == ""


def test_escaped_text_reads_as_it_was() -> None:
    assert escape("a|b <c> `d` #1 test (3.11)") == (
        "a&#124;b &#60;c&#62; &#96;d&#96; &#35;1 test (3.11)"
    )


def test_the_worst_comes_first_and_what_worked_at_last_is_no_failure() -> None:
    text = page(tell(*cases.failing()))
    assert text.count("### ❌") == 1
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows[0].startswith("| ❌ | test (3.12) |")


def test_a_page_keeps_to_its_limit_and_says_what_is_missing() -> None:
    events: list[Event] = [
        job(f"job {n}", n, n + 9, Status.ERROR, error=failure(f"x{n} " * 1000)) for n in range(400)
    ]
    told = tell([*events, pipeline(Status.ERROR, 999)])
    text = page(told)
    assert len(text.encode()) <= 1024 * 1024
    assert "The page's limit is reached" in text
    assert text.startswith("## ❌ Documentation Build: failed in 999 ms\n")
    assert "limit is reached" not in page(tell(*cases.failing()))


def test_what_a_step_wrote_comes_last_as_it_is() -> None:
    assert page(tell(*cases.failing()), ["<b>mine</b>\n```"]).endswith("\n<b>mine</b>\n```")


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for file, content in drawn():
        (GOLDEN / file).write_text(content)
