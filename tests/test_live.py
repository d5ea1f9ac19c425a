"""The live view's parts: frames as text, what the terminal is sent, what is kept of output.

How it looks in a real terminal: ``tests/test_live_screen.py``.
"""

import io
import re
import sys
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from runner import plan as planning
from runner.console import Scene
from runner.console.live import BACKLOG, KEPT, Live, Piece, Place
from runner.console.live.board import Board
from runner.console.live.canvas import Canvas
from runner.console.live.layout import Sight, frame
from runner.console.live.output import RING, Newest, Tail
from runner.execution import SECOND, Execution
from runner.notice import (
    ExecutionFinished,
    ExecutionStarted,
    Exit,
    JobFinished,
    JobReady,
    JobSkipped,
    JobStarted,
    Notice,
    Outcome,
    Result,
    StepFinished,
    StepStarted,
)
from runner.pipeline import Pipeline
from runner.terminal import Look, cells, uncoloured
from tests.conftest import Workspace
from tests.declared import gate, job, pipeline, step
from tests.ptys import Pty
from tests.test_startup import loaded

RUN = "3f9c2a1e-5b1d-4e0a-9a53-0c4f6f1f7a11"
LOOK = Look(colour=False, width=72)


class View:
    """A board that is told what happens, and its frames as text."""

    def __init__(self, declared: Pipeline, *, parallel: int = 2) -> None:
        self.board = Board(scene(declared, parallel=parallel))

    def tell(self, *notices: Notice) -> "View":
        for notice in notices:
            self.board.take(notice)
        return self

    def begin(self, name: str, at: int = 0, index: int = 0, attempt: int = 1) -> "View":
        ready, started = JobReady(job=name, at=0), JobStarted(job=name, name=name, at=at, ready=0)
        step_name = f"step {index + 1}"
        return self.tell(ready, started, *_step(name, step_name, at, index, attempt))

    def fail(self, name: str, tail: str = "", place: str = "") -> "View":
        failed = StepFinished(
            job=name,
            index=0,
            attempt=1,
            name="step 1",
            start=0,
            end=SECOND,
            exit=Exit(code=1),
            tail=tail,
            place=place,
        )
        return self.tell(failed, ended(name, Outcome.ERROR))

    def lines(self, **sight: object) -> list[str]:
        seen = Sight(**{"columns": 72, "rows": 24, **sight})  # type: ignore[arg-type]
        return frame(self.board, seen, LOOK, 65 * SECOND, 0)

    def text(self, **sight: object) -> str:
        return "\n".join(self.lines(**sight))


def scene(declared: Pipeline, *, parallel: int = 2) -> Scene:
    execution = Execution(unique_id=RUN, pipeline_id=RUN, pipeline="Docs", start=0)
    return Scene(plan=planning.make(declared), execution=execution, parallel=parallel)


def _step(name: str, step_name: str, at: int, index: int, attempt: int) -> list[Notice]:
    return [StepStarted(job=name, index=index, attempt=attempt, name=step_name, at=at)]


def ended(name: str, outcome: Outcome = Outcome.SUCCESS) -> JobFinished:
    result = Result(job=name, outcome=outcome)
    return JobFinished(job=name, start=0, end=2 * SECOND, result=result)


def test_every_state_has_its_row() -> None:
    view = View(
        pipeline(
            job("lint"),
            job("unit", runs=("true", "true")),
            job("docs"),
            job("pages", "unit"),
            gate("approve", "lint", "pages"),
            gate("release", "docs"),
            job("deploy", "approve"),
            job("nightly"),
        )
    )
    view.begin("lint").tell(ended("lint")).begin("unit", at=3 * SECOND, index=1).begin("docs")
    view.fail("docs", "one\ntwo\n\nthree\nfour", "docs/conf.py:3")
    skipped = JobSkipped(
        job="nightly", name="nightly", at=0, outcome=Outcome.SKIPPED, why="if: failure"
    )
    text = view.tell(skipped).text(columns=80)
    assert (
        text
        == """\
   ✓ lint      2.0 s  0 steps
   ▶ unit      1m02s  2/2 step 2
   ✗ docs      2.0 s  step 1 · exit 1 · docs/conf.py:3
      │ two
      │ three
      │ four
   · pages            waits for unit
   ? approve          approve? · waits for pages
   ? release          release? · not asked: docs did not end well
   · deploy           waits for approve
   ○ nightly          left out · if: failure
── 1m05s · 1 running · 2 waiting · 1 failed · 1 succeeded · 1 left out ────────"""
    )


def test_what_did_not_start_is_counted_by_that_name() -> None:
    skipped = JobSkipped(job="b", name="b", at=0, outcome=Outcome.NOT_STARTED, why="a failed")
    view = View(pipeline(job("a"), job("b", "a"))).fail("a").tell(skipped)
    assert "── 1m05s · 1 failed · 1 not started ─" in view.text()


def test_who_waits_for_a_place_is_told_from_who_starts() -> None:
    view = View(pipeline(job("a"), job("b"), job("c"), job("d")), parallel=2).begin("a")
    view.tell(*(JobReady(job=name, at=0) for name in "bcd"))
    said = [line.rpartition("  ")[2] for line in view.lines()[1:4]]
    assert said == ["starts", "waits for a free place", "waits for a free place"]


def test_attempts_are_counted() -> None:
    retried = job("a", steps=(step("work", retry=2),))
    view = View(pipeline(retried)).begin("a", attempt=2)
    assert "step 1 · attempt 2 of 3" in view.text()


def test_of_many_rows_those_are_shown_that_matter() -> None:
    view = View(pipeline(*(job(f"j{number:04}") for number in range(1000))))
    for number in range(500):
        view.begin(f"j{number:04}").tell(ended(f"j{number:04}"))
    view.begin("j0700").begin("j0800").fail("j0800")
    lines = view.lines(rows=14, output=[("j0700", f"line {n}") for n in range(12)])
    assert len(lines) <= 12
    shown = [line.split()[1] for line in lines if " j0" in line and "│" not in line]
    assert shown == sorted(shown)
    assert {"j0700", "j0800", "j0500"} <= set(shown)
    assert f"{1000 - len(shown)} more: {498 - len(shown) + 2} waiting, 500 succeeded" in "".join(
        lines
    )


def test_what_is_selected_or_followed_is_always_shown() -> None:
    view = View(pipeline(*(job(f"j{number:03}") for number in range(100))))
    assert " → · j077" in view.text(selected="j077", rows=10)
    text = view.text(followed="j088", unfinished="and so", rows=12)
    assert text.startswith("and so\n── following j088 · 1m05s · 100 waiting")
    assert "· j088" in text


NAMES = st.text("ab ・日本é\u0301🚀ש", min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=30, unique=True),
    output=st.lists(NAMES, max_size=12),
    columns=st.integers(48, 200),
    rows=st.integers(10, 60),
)
def test_a_frame_is_smaller_than_its_window(
    names: list[str], output: list[str], columns: int, rows: int
) -> None:
    view = View(pipeline(*(job(f"j{at}", name=name) for at, name in enumerate(names))))
    view.begin("j0").fail("j0", "\n".join(output))
    sight = Sight(columns=columns, rows=rows, output=[("j0", line) for line in output])
    lines = frame(view.board, sight, Look(colour=True), 7, 0)
    assert len(lines) < rows
    assert all(cells(uncoloured(line)) < columns for line in lines)


def test_only_ascii_where_nothing_else_can_be_shown() -> None:
    view = View(pipeline(job("a"), gate("ok", "a"))).begin("a")
    sight = Sight(columns=90, rows=24, output=[("a", "out")], selected="a", stopping=True)
    assert "\n".join(frame(view.board, sight, Look(unicode=False), SECOND, 0)).isascii()


# ── the terminal ─────────────────────────────────────────────────────────────────────────────────


class Paper:
    """A canvas and what it wrote."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.canvas = Canvas(self.written.append, Look().encode)

    def paint(self, *lines: str, width: int = 40, above: bytes = b"") -> str:
        self.canvas.paint(lines, width, above)
        text = b"".join(self.written).decode()
        self.written.clear()
        return text


def test_only_changed_lines_are_painted_and_nothing_when_nothing_changed() -> None:
    paper = Paper()
    assert "one" in paper.paint("one", "two", "three")
    assert paper.paint("one", "two", "three") == ""
    second = paper.paint("one", "TWO", "three")
    assert ("one" in second, "TWO" in second, "three" in second) == (False, True, False)


def test_every_frame_is_one_synchronised_write_that_leaves_the_terminal_as_it_was() -> None:
    paper = Paper()
    for lines in (("a",), ("a", "b"), ("c",), ()):
        paper.canvas.paint(lines, 40, b"scrolls\n")
    assert len(paper.written) == 4
    for frame_ in paper.written:
        assert frame_.startswith(b"\x1b[?2026h")
        assert frame_.endswith(b"\x1b[?25h\x1b[?2026l")
        assert frame_.count(b"\x1b[?7l") == frame_.count(b"\x1b[?7h")


# ── output ───────────────────────────────────────────────────────────────────────────────────────


def newest(*pieces: tuple[str, bytes]) -> list[tuple[str, str]]:
    kept = Newest(Look(colour=False))
    for name, text in pieces:
        kept.add(Piece(job=name, text=text))
    return kept.lines()


def test_the_newest_lines_stand_in_the_order_they_came() -> None:
    assert newest(("a", b"1\n"), ("b", b"2\n"), ("a", b"3\n")) == [
        ("a", "1"),
        ("b", "2"),
        ("a", "3"),
    ]


def test_a_line_that_goes_on_stays_one_line() -> None:
    assert newest(("a", b"10 "), ("b", b"x\n"), ("a", b"%\ny")) == [
        ("a", "10 %"),
        ("b", "x"),
        ("a", "y"),
    ]


def test_progress_shows_its_last_state() -> None:
    assert newest(("a", b" 10%\r"), ("a", b" 20%\r")) == [("a", " 20%")]


def test_of_a_flood_the_last_lines_are_seen() -> None:
    flood = b"".join(b"%d\n" % number for number in range(10_000))
    assert newest(("a", flood))[-1] == ("a", "9999")
    assert len(newest(("a", flood))) == 12


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=20))
def test_T15_no_output_holds_anything_a_terminal_obeys(pieces: list[bytes]) -> None:
    for _, line in newest(*(("a", piece) for piece in pieces)):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", line)


def test_the_tail_of_a_step_says_when_it_is_not_all() -> None:
    tail = Tail()
    for number in range(10_000):
        tail.add(Piece(job="a", text=b"line %d\n" % number))
    assert len(b"".join(tail.pieces(10**6))) <= 2 * RING + 6
    assert list(tail.pieces(2)) == [b"[...]\n", b"line 9998\nline 9999\n"]


# ── the way there ────────────────────────────────────────────────────────────────────────────────


def live(*jobs: str) -> tuple[Live, io.BytesIO]:
    stream = io.BytesIO()
    shown = scene(pipeline(*map(job, jobs)))
    place = Place(scene=shown, look=Look(), clock=time.time_ns, stream=stream, screen=-1, keys=-1)
    return Live(place), stream


def test_what_is_over_at_once_is_shown_in_lines() -> None:
    shown, stream = live("a")
    shown.observe((ExecutionStarted(at=0),))
    shown.warn("careful")
    shown.observe((JobStarted(job="a", name="a", at=0, ready=0),))
    shown.observe(tuple(_step("a", "work", 0, 0, 1)))
    shown.output("a", b"done\n")
    assert stream.getvalue() == b""
    shown.observe((ExecutionFinished(at=SECOND, outcome=Outcome.SUCCESS),))
    text = stream.getvalue().decode()
    assert re.search(r"Docs .*warning: careful.*work.*done.*succeeded in 1.0 s", text, re.DOTALL)


def test_whoever_prints_waits_for_no_terminal_and_what_waits_has_an_end() -> None:
    shown, _ = live("a")
    flood = b"x" * 99 + b"\n"
    for _ in range(2000):
        shown.output("a", flood * 650)
    kept = sum(len(item.text) for item in shown.take() if isinstance(item, Piece))
    assert BACKLOG <= kept <= BACKLOG + 2 * KEPT


# ── where there is none ──────────────────────────────────────────────────────────────────────────

SYNCHRONISED = "\x1b[?2026h"
LINES: dict[str, dict[str, object]] = {
    "a dumb terminal": {"TERM": "dumb"},
    "no terminal known": {"TERM": ""},
    "no colours wanted": {"NO_COLOR": "1"},
    "a CI": {"CI": "true"},
    "a CI we know": {"GITHUB_ACTIONS": "true"},
    "a narrow window": {"columns": 47},
    "a low window": {"rows": 9},
}


def on_a_pty(workspace: Workspace, *arguments: str, **how: object) -> Pty:
    columns, rows = (int(str(how.pop(key, size))) for key, size in (("columns", 100), ("rows", 30)))
    env = {**workspace.environ, **{name: str(value) for name, value in how.items()}}
    command = [sys.executable, *(arguments or ("-m", "runner", "run", "--local"))]
    return Pty(command, cwd=str(workspace.path), env=env, columns=columns, rows=rows)


def test_lines_are_shown_where_no_view_can_be(workspace: Workspace) -> None:
    workspace.write("name: P\njobs: { a: { steps: ['sleep 0.5; echo hello'] } }\n")
    live_ = on_a_pty(workspace)
    others = {name: on_a_pty(workspace, **how) for name, how in LINES.items()}
    assert SYNCHRONISED in live_.end()
    for name, other in others.items():
        text = other.end()
        assert (name, SYNCHRONISED in text, "hello" in text) == (name, False, True)
        assert not other.changed
    piped = workspace.run("run", "--local", FORCE_COLOR="1", TERM="xterm")
    assert SYNCHRONISED not in piped.text


def test_a_defect_of_the_view_ends_the_view_alone(workspace: Workspace) -> None:
    workspace.write("name: P\njobs: { a: { steps: ['sleep 1; echo hello'] } }\n")
    broken = """
from runner.console.live import view
view.frame = lambda *seen: 1 / 0
from runner.cli import main
main()
"""
    shown = on_a_pty(workspace, "-c", broken, "run", "--local")
    text = shown.end()
    assert (shown.process.returncode, shown.changed) == (0, False)
    assert "the live view failed: ZeroDivisionError" in text
    assert re.search(r"hello.*succeeded in", text, re.DOTALL)


def test_exec_shows_nothing_and_has_the_terminal(workspace: Workspace) -> None:
    command = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && sleep 0.4 && echo mine"
    words = ("-m", "runner", "exec", "--local", "--", "bash", "-c", command)
    assert on_a_pty(workspace, *words).end() == "mine\r\n"


def test_the_view_is_loaded_on_a_terminal_alone_and_after_the_first_step_started() -> None:
    before = "import runner.cli.run, runner.cli.launch, runner.manifest"
    assert "runner.console.live" not in loaded(before)
    late = {"runner.console.live.view", "runner.console.live.layout"}
    assert not late & loaded(f"{before}, runner.console.live")
