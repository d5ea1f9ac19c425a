"""What a person sees while it runs, line by line; and what a host CI's runner makes of it."""

import io
import os
import re
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import plan as planning
from runner.console import Console, Scene
from runner.console.scene import can_overlap
from runner.event import Domain, Failure
from runner.execution import SECOND, Execution
from runner.notice import (
    ExecutionFinished,
    ExecutionStarted,
    Exit,
    JobFinished,
    JobSkipped,
    JobStarted,
    Notice,
    Outcome,
    Reason,
    Result,
    StepFinished,
    StepStarted,
    Warned,
)
from runner.pipeline import Pipeline
from runner.terminal import Look
from tests.declared import gate, job, pipeline, step

RUN = "3f9c2a1e-5b1d-4e0a-9a53-0c4f6f1f7a11"
BROKEN = Failure(domain=Domain.USER, type="ExitCode", message="assert 1 == 2\nmore")


class GitHub:
    """The marks of GitHub Actions, in short."""

    def group(self, title: str) -> str:
        return f"::group::{title}"

    def endgroup(self, *, ok: bool) -> str:
        return "::endgroup::"

    def annotation(self, message: str, file: str, line: int, kind: str) -> str:
        return f"::{kind} file={file},line={line}::{message}"

    def quiet(self, token: str) -> str:
        return f"::stop-commands::{token}"

    def loud(self, token: str) -> str:
        return f"::{token}::"


class Runner:
    """Which lines GitHub's runner obeys: after actions/runner, ActionCommandManager."""

    def __init__(self) -> None:
        self.token = ""
        self.obeyed: list[str] = []

    def read(self, text: str) -> None:
        for line in re.split(r"\r?\n", text):
            name = self._command(line)
            if self.token:
                self.token = "" if name == self.token else self.token
            elif name == "stop-commands":
                self.token = line.rpartition("::")[2]
            elif name:
                self.obeyed.append(line.strip())

    def _command(self, line: str) -> str:
        new = re.match(r"\s*::([^\s:]+)(?: .*?)?::", line)
        old = re.search(r"##\[([^\]\s]+).*?\]", line)
        found = new or old
        return found[1] if found else ""


class Show:
    """A console over a plan, and what was written to it."""

    def __init__(
        self,
        declared: Pipeline,
        *,
        parallel: int = 1,
        look: Look | None = None,
        folds: GitHub | None = None,
        stream: io.RawIOBase | io.BytesIO | None = None,
    ) -> None:
        self.stream = stream or io.BytesIO()
        execution = Execution(unique_id=RUN, pipeline_id=RUN, pipeline="Docs", start=0)
        scene = Scene(
            plan=planning.make(declared),
            execution=execution,
            parallel=parallel,
            commit="main@4f2a91c",
        )
        self.console = Console(self.stream, look or Look(), scene, folds)
        self.output = self.console.output

    def tell(self, *notices: Notice) -> None:
        self.console.observe(notices)

    def begin(self, job: str, *, at: int = 0, ready: int = 0) -> None:
        self.tell(JobStarted(job=job, name=job, at=at, ready=ready))

    def step(
        self, job: str, *pieces: bytes, exit_: int = 0, index: int = 0, **more: object
    ) -> None:
        self.tell(StepStarted(job=job, index=index, attempt=1, name="true", at=0))
        for piece in pieces:
            self.output(job, piece)
        self.tell(finished(job, exit_, index=index, **more))

    def end(self, job: str, outcome: Outcome = Outcome.SUCCESS, **more: object) -> None:
        result = Result(job=job, outcome=outcome)
        self.tell(JobFinished(job=job, start=0, end=2 * SECOND, result=result, **more))  # type: ignore[arg-type]

    def finish(self, outcome: Outcome = Outcome.SUCCESS, *gates: str) -> None:
        self.tell(ExecutionFinished(at=5 * SECOND, outcome=outcome, gates=gates))

    @property
    def text(self) -> str:
        assert isinstance(self.stream, io.BytesIO)
        return self.stream.getvalue().decode()


def finished(job: str, code: int = 0, **more: object) -> StepFinished:
    fields: dict[str, object] = {
        "job": job,
        "index": 0,
        "attempt": 1,
        "name": "true",
        "start": 0,
        "end": SECOND,
        "exit": Exit(code=code),
        "failure": BROKEN if code else None,
    }
    return StepFinished(**{**fields, **more})  # type: ignore[arg-type]


def test_one_job_after_the_other_stands_under_its_name() -> None:
    show = Show(pipeline(job("lint"), job("test", "lint")), parallel=4)
    show.tell(ExecutionStarted(at=0))
    for name in ("lint", "test"):
        show.begin(name, at=2 * SECOND)
        show.step(name, b"all ", b"well\n", b"twice\n")
        show.end(name)
    show.finish()
    assert show.text == (
        "Docs · 3f9c2a1e · main@4f2a91c · 2 jobs\n"
        "\n"
        "lint · after 2.0 s in the queue\n"
        "  ▸ true\n"
        "    all well\n"
        "    twice\n"
        "  ✓ true · 1.0 s\n"
        "✓ lint succeeded in 2.0 s\n"
        "\n"
        "test · after 2.0 s in the queue\n"
        "  ▸ true\n"
        "    all well\n"
        "    twice\n"
        "  ✓ true · 1.0 s\n"
        "✓ test succeeded in 2.0 s\n"
        "\n"
        "✓ succeeded in 5.0 s · 2 jobs\n"
    )


def test_jobs_that_may_overlap_stand_before_each_of_their_lines() -> None:
    show = Show(pipeline(job("lint"), job("tests")), parallel=2)
    show.begin("lint")
    show.begin("tests", at=3 * SECOND)
    show.step("lint", b"one\n\ntwo\n")
    show.step("tests", b"three\n", exit_=1)
    show.end("lint")
    show.end("tests", Outcome.ERROR, failure=BROKEN)
    assert show.text.splitlines() == [
        "tests ▶ started after 3.0 s in the queue",
        "lint  ▸ true",
        "lint  │ one",
        "lint  │ ",
        "lint  │ two",
        "lint  ✓ true · 1.0 s",
        "tests ▸ true",
        "tests │ three",
        "tests ✗ true · exit 1 · 1.0 s",
        "lint  ✓ succeeded in 2.0 s",
        "tests ✗ failed in 2.0 s",
    ]


def test_a_single_job_says_nothing_twice() -> None:
    show = Show(pipeline(job("lint")), parallel=4)
    show.tell(ExecutionStarted(at=0))
    show.begin("lint")
    show.step("lint", b"x\n")
    show.end("lint")
    show.finish()
    assert "lint" not in show.text
    assert show.text.endswith("    x\n  ✓ true · 1.0 s\n\n✓ succeeded in 5.0 s · 1 job\n")


def test_a_line_that_goes_on_is_broken_only_when_another_comes_between() -> None:
    show = Show(pipeline(job("a"), job("b")), parallel=2)
    show.output("a", b"load")
    show.output("a", b"ing")
    show.output("b", b"other\n")
    show.output("a", b" done\n")
    assert show.text == "a │ loading\nb │ other\na │  done\n"


def test_what_a_step_left_unfinished_is_ended_before_its_end_is_told() -> None:
    show = Show(pipeline(job("a")))
    show.step("a", b"no newline")
    assert show.text == "  ▸ true\n    no newline\n  ✓ true · 1.0 s\n"


def test_what_failed_comes_again_at_the_end_with_the_way_to_see_it_again() -> None:
    show = Show(pipeline(job("unit tests"), job("other")), parallel=2)
    show.begin("unit tests")
    show.step(
        "unit tests", exit_=1, tail="def test():\n>   assert 1 == 2\n", place="tests/test_a.py:12"
    )
    show.end("unit tests", Outcome.ERROR, failure=BROKEN)
    show.tell(
        JobSkipped(
            job="other", name="other", at=0, outcome=Outcome.NOT_STARTED, why="it was stopped first"
        )
    )
    show.finish(Outcome.ERROR)
    assert show.text.partition("failed in 2.0 s\n")[2] == (
        "\n"
        "✗ unit tests · true · exit 1 · tests/test_a.py:12\n"
        "  assert 1 == 2\n"
        "  │ def test():\n"
        "  │ >   assert 1 == 2\n"
        "  again: signalbox run --only 'unit tests'\n"
        "\n"
        "Not started\n"
        "  ○ other · it was stopped first\n"
        "\n"
        "✗ failed in 5.0 s · 2 jobs: 1 failed, 1 not started\n"
    )


def test_a_job_that_failed_without_a_step_is_told_with_its_reason() -> None:
    show = Show(pipeline(job("a")))
    lost = Failure(domain=Domain.PROVIDER, type="ContainerStart", message="no such device")
    show.end("a", Outcome.ERROR, failure=lost)
    show.finish(Outcome.ERROR)
    assert "✗ a\n  ContainerStart: no such device\n  again: signalbox run --only a\n" in show.text


def test_what_was_canceled_did_not_fail() -> None:
    show = Show(pipeline(job("a")))
    canceled = Exit(code=130, reason=Reason.CANCELED)
    show.step("a", exit_=130, exit=canceled, tail="interrupted")
    show.finish(Outcome.CANCELED)
    assert "✗ true · canceled · 1.0 s\n" in show.text
    assert "again:" not in show.text
    assert show.text.endswith("■ canceled after 5.0 s · 0 jobs\n")


def test_a_failure_that_may_be_and_one_that_is_tried_again_are_no_failures() -> None:
    steps = (step("true", retry=2, allow_failure=True),)
    show = Show(pipeline(job("a", steps=steps), job("b", allow_failure=True)), parallel=2)
    show.step("a", exit_=1, again=True)
    show.step("a", exit_=1, attempt=3, allowed=True)
    show.step("b", exit_=1)
    result = Result(job="b", outcome=Outcome.ERROR, allowed=True)
    show.tell(JobFinished(job="b", start=0, end=SECOND, result=result, failure=BROKEN))
    show.end("a")
    show.finish()
    assert "a ✗ true · exit 1 · 1.0 s · attempt 1 of 3, once more\n" in show.text
    assert "a ! true · exit 1 · 1.0 s · allowed\n" in show.text
    assert "b ! failed, as it may, in 1.0 s\n" in show.text
    assert "again:" not in show.text
    assert show.text.endswith("2 jobs: 1 succeeded, 1 failed, as allowed\n")


def test_a_thousand_failures_are_counted_not_listed() -> None:
    show = Show(pipeline(job("a", runs=("true",) * 1000)))
    for index in range(1000):
        show.step("a", exit_=1, index=index, tail="x\n")
    show.finish(Outcome.ERROR)
    assert show.text.count("again:") == 20
    assert "980 more failed steps: signalbox show\n" in show.text


def test_a_gate_says_how_to_answer() -> None:
    declared = pipeline(job("a"), gate("go live", "a", expires=604_800.0, approvers=("ops",)))
    show = Show(declared)
    show.finish(Outcome.SUCCESS, "go live")
    assert "? go live? · asks ops · within 7 days\n" in show.text
    assert "  yes: signalbox resume 3f9c2a1e --approve 'go live'\n" in show.text
    assert "  no:  signalbox resume 3f9c2a1e --reject 'go live'\n" in show.text
    assert "? waiting for an answer after 5.0 s" in show.text


def test_a_warning_names_its_job() -> None:
    show = Show(pipeline(job("a")))
    show.begin("a")
    show.tell(Warned(message="entry 3 means nothing\nmore", job="a"))
    show.console.warn("the disk is full")
    show.console.say("12 events delivered")
    assert show.text == (
        "! warning: a: entry 3 means nothing\n  more\n"
        "! warning: the disk is full\n"
        "12 events delivered\n"
    )


def test_a_job_that_is_left_out_says_why() -> None:
    why = "nothing that it needs failed"
    for parallel, line in ((1, f"○ b left out: {why}\n"), (2, f"b ○ left out: {why}\n")):
        show = Show(pipeline(job("a"), job("b")), parallel=parallel)
        show.tell(JobSkipped(job="b", name="b", at=0, outcome=Outcome.SKIPPED, why=why))
        assert show.text.endswith(line)


def test_where_only_ascii_can_be_shown_nothing_else_is_written() -> None:
    show = Show(pipeline(job("a"), job("ü")), parallel=2, look=Look(unicode=False))
    show.tell(ExecutionStarted(at=0))
    for name in ("a", "ü"):
        show.begin(name)
        show.step(name, "é ✓\n".encode(), exit_=1, tail="é")
        show.end(name, Outcome.ERROR, failure=BROKEN)
    show.finish(Outcome.ERROR)
    assert isinstance(show.stream, io.BytesIO)
    assert show.stream.getvalue().isascii()


def test_colours_mark_jobs_and_ends_and_are_always_closed() -> None:
    show = Show(pipeline(job("a"), job("b")), parallel=2, look=Look(colour=True))
    for name in ("a", "b"):
        show.begin(name)
        show.step(name, b"\x1b[1mbold\n", exit_=int(name == "b"))
        show.end(name)
    show.finish(Outcome.ERROR)
    assert "\x1b[36ma\x1b[0m" in show.text
    assert "\x1b[35mb\x1b[0m" in show.text
    for line in show.text.splitlines():
        found = re.findall(r"\x1b\[(\d*)m", line)
        assert not found or found[-1] == "0"


def test_T15_hostile_names_are_harmless() -> None:
    evil = "\x1b]0;owned\x07\x1b[2Jna\nme\u202e"
    show = Show(pipeline(job("a", name=evil), job("b", name="b")), parallel=2)
    show.tell(ExecutionStarted(at=0), JobStarted(job="a", name=evil, at=0, ready=0))
    show.tell(StepStarted(job="a", index=0, attempt=1, name=evil, at=0))
    show.tell(finished("a", 1, name=evil, tail=evil, place=evil))
    show.tell(Warned(message=evil))
    show.tell(JobSkipped(job="b", name=evil, at=0, outcome=Outcome.NOT_STARTED, why=evil))
    show.finish(Outcome.ERROR)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", show.text)


# ── a host CI around it ──────────────────────────────────────────────────────────────────────────

LINES = [
    b"::error::x\n",
    b"  ::set-output name=a::b\n",
    b"##[error]x\n",
    b"text ##[group]y\n",
    b"\x1b[0m::warning::z\n",
    b"\r::add-mask::a\n",
    b"\xef\xbb\xbf::debug::a\n",
    b"::stop-commands::mine\n",
    b"::mine::\n",
    b"::endgroup::",
    b"no newline",
    b"::",
    b"error::x\n",
]


@given(st.lists(st.sampled_from(LINES)), st.booleans(), st.integers(1, 2), st.booleans())
def test_T12_P9_nothing_a_step_prints_is_a_command(
    pieces: list[bytes], colour: bool, parallel: int, fails: bool
) -> None:
    show = Show(
        pipeline(job("a"), job("b")), parallel=parallel, look=Look(colour=colour), folds=GitHub()
    )
    show.begin("a")
    show.step("a", *pieces, exit_=int(fails), tail=b"".join(pieces).decode(), place="a.py:3")
    show.end("a")
    show.finish()
    ours = [] if parallel > 1 else ["::group::true", "::endgroup::"]
    ours += ["::error file=a.py,line=3::true: ExitCode: assert 1 == 2"] * fails
    runner = Runner()
    runner.read(show.text)
    assert runner.obeyed == ours
    assert not runner.token, "commands must count again when we are done"


def test_the_oracle_of_the_test_above_obeys_commands() -> None:
    runner = Runner()
    runner.read("::error::x\ntext ##[group]y\n::stop-commands::t\n::error::z\n::t::\n::debug::d\n")
    assert runner.obeyed == ["::error::x", "text ##[group]y", "::debug::d"]


def test_a_step_is_a_group_only_when_one_job_runs_at_a_time() -> None:
    for parallel, groups in ((1, 1), (2, 0)):
        show = Show(pipeline(job("a"), job("b")), parallel=parallel, folds=GitHub())
        show.begin("a")
        show.step("a", b"x\n")
        assert show.text.count("::group::") == show.text.count("::endgroup::") == groups


def test_a_step_with_annotations_may_speak_in_three_words() -> None:
    said = b"::error file=a.py,line=1::bad\n::set-output name=a::b\n::notice::so\n  ::warning::w\n"
    for annotations in (True, False):
        steps = (step("true", annotations=annotations),)
        show = Show(pipeline(job("a", steps=steps), job("b")), parallel=2, folds=GitHub())
        show.begin("a")
        show.step("a", said)
        show.finish()
        runner = Runner()
        runner.read(show.text)
        theirs = ["::error file=a.py,line=1::bad", "::notice::so", "::warning::w"]
        assert runner.obeyed == (theirs if annotations else [])


def test_every_silence_has_a_token_of_its_own() -> None:
    show = Show(pipeline(job("a", runs=("true",) * 3)), folds=GitHub())
    show.begin("a")
    for index in range(3):
        show.step("a", b"x\n", index=index)
    tokens = re.findall(r"stop-commands::(\w{32})\n", show.text)
    assert len(tokens) == len(set(tokens)) == 3


# ── the stream ───────────────────────────────────────────────────────────────────────────────────


def test_S6_a_reader_that_hangs_up_does_not_end_the_run() -> None:
    reader, writer = os.pipe()
    with open(writer, "wb", buffering=0) as stream:
        show = Show(pipeline(job("a")), stream=stream)
        show.step("a", b"x\n")
        os.close(reader)
        show.step("a", b"y\n")
        show.finish()


def test_S6_a_closed_stream_does_not_end_the_run() -> None:
    show = Show(pipeline(job("a")))
    show.stream.close()
    show.step("a", b"y\n")


def test_a_stream_that_would_block_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    taken = bytearray()

    def read() -> None:
        while piece := os.read(reader, 65_536):
            taken.extend(piece)
            time.sleep(0.001)

    thread = threading.Thread(target=read)
    thread.start()
    with open(writer, "wb", buffering=0) as stream:
        Show(pipeline(job("a")), stream=stream).output("a", b"x" * 1_000_000 + b"\n")
    thread.join()
    os.close(reader)
    assert taken == b"    " + b"x" * 1_000_000 + b"\n"


class Counted(io.BytesIO):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, piece: bytes, /) -> int:  # type: ignore[override]
        self.writes.append(bytes(piece))
        return super().write(piece)


def test_each_call_is_one_write_of_whole_lines() -> None:
    stream = Counted()
    show = Show(pipeline(job("a"), job("b")), parallel=2, stream=stream)
    show.tell(
        JobStarted(job="a", name="a", at=0, ready=0),
        StepStarted(job="a", index=0, attempt=1, name="x", at=0),
    )
    show.output("a", b"1\n2\n3\n")
    show.tell(finished("a"), finished("a"))
    assert len(stream.writes) == 3
    assert all(written.endswith(b"\n") for written in stream.writes)


def test_lines_of_many_threads_stay_whole() -> None:
    names = [f"job {n}" for n in range(8)]
    show = Show(pipeline(*map(job, names)), parallel=8)

    def talk(name: str) -> None:
        for n in range(200):
            show.output(name, f"{name} says {n}\n".encode())
            if n % 50 == 0:
                show.tell(Warned(message="noise"))

    threads = [threading.Thread(target=talk, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = [line for line in show.text.splitlines() if "warning" not in line]
    assert len(said) == 8 * 200
    for name in names:
        mine = [line for line in said if line.startswith(name)]
        assert mine == [f"{name} │ {name} says {n}" for n in range(200)]


def test_plain_output_flows() -> None:
    """300 MB/s on a machine of one's own; here a tenth of it, in CPU time."""
    piece = (b"x" * 79 + b"\n") * 800
    with open(os.devnull, "wb", buffering=0) as stream:
        show = Show(pipeline(job("a"), job("b")), parallel=2, stream=stream)
        began = time.process_time()
        for _ in range(500):
            show.output("a", piece)
        assert 500 * len(piece) / (time.process_time() - began) > 30e6


# ── the plan's width ─────────────────────────────────────────────────────────────────────────────


@st.composite
def graphs(draw: st.DrawFn) -> Pipeline:
    keys = "abcdef"[: draw(st.integers(1, 6))]
    nodes = []
    for place, key in enumerate(keys):
        needs = draw(st.sets(st.sampled_from(keys[:place]))) if place else set()
        nodes.append(job(key, *sorted(needs)))
    return pipeline(*draw(st.permutations(nodes)))


def above(declared: Pipeline, key: str) -> Iterator[str]:
    for need in next(node.needs for node in declared.jobs if node.key == key):
        yield need
        yield from above(declared, need)


@given(graphs())
def test_jobs_can_overlap_when_neither_needs_the_other(declared: Pipeline) -> None:
    keys = [node.key for node in declared.jobs]
    loose = [
        (one, other)
        for one in keys
        for other in keys
        if one < other and one not in above(declared, other) and other not in above(declared, one)
    ]
    assert can_overlap(planning.make(declared)) is bool(loose)


@pytest.mark.parametrize(("parallel", "prefixed"), [(1, False), (2, True)])
def test_one_place_needs_no_prefix(parallel: int, prefixed: bool) -> None:
    show = Show(pipeline(job("a"), job("b")), parallel=parallel)
    show.output("a", b"x\n")
    assert show.text.startswith("a │ ") is prefixed
