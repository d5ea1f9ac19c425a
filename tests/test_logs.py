"""Job logs: what jobs print, line by line, at the intake that takes it; and never in the way.

Real runs, a real intake that judges every line (``intake_model.LogModel``): its limits, its
numbers, its times, that the job is known and that no secret is in it.
"""

import os
import signal
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.delivery import lines as pieces
from runner.delivery import logs as sending
from runner.delivery.lines import LogFile, Piece, piece
from runner.delivery.logs import LogSender
from runner.event import Status
from runner.execution import SECOND
from runner.intake import Target, logs, target
from runner.intake.http import Intake
from runner.journal import Change, Cursor, JobLog, Section, State
from tests.conftest import KEY, Workspace, by_level, killed
from tests.delivery_place import Place, Run
from tests.intake_server import LOGS, Answer, Fault, Request, Rule, Server, intake


def logs_answer(answer: Answer) -> Rule:
    """Answer the requests with log lines so, and all others as ever."""
    return lambda request: answer if request.path.endswith(LOGS) else None


def said(server: Server, job: str = "") -> list[tuple[int, str, str]]:
    return [
        (line["line_number"], line["section_name"], line["message"]) for line in server.lines(job)
    ]


# ── whole runs ───────────────────────────────────────────────────────────────────────────────────


def test_every_line_is_sent_with_its_number_and_its_step(
    workspace: Workspace, server: Server
) -> None:
    workspace.write(r"""
        name: P
        service: docs
        jobs:
          a:
            steps:
              - { name: First, run: "echo one; echo; printf three" }
              - { name: Silent, run: "true" }
              - name: Colours
                run: printf '\033[31mred\033[0m\n1%%\r99%%\nbad \377\n\ttab\n'
              - { name: First, run: "echo $S_TOKEN" }
              - name: Flaky
                retry: 1
                run: echo try $SIGNALBOX_ATTEMPT; test $SIGNALBOX_ATTEMPT = 2
          b: { steps: ["head -c 200000 /dev/zero | tr '\\0' x; exit 3"] }
    """)
    secret = "a-canary-of-some-length"
    ended = workspace.to(server).run("run", S_TOKEN=secret, DD_ENV="ci", SIGNALBOX_LOGS="on")
    assert ended.code == 1
    assert said(server, "a") == [
        (1, "First", "one"),
        (3, "First", "three"),
        (4, "Colours", "red"),
        (5, "Colours", "99%"),
        (6, "Colours", "bad \N{REPLACEMENT CHARACTER}"),
        (7, "Colours", "    tab"),
        (8, "First (step 4)", "***"),
        (9, "Flaky", "try 1"),
        (10, "Flaky (attempt 2)", "try 2"),
    ]
    assert {line["ddtags"] for line in server.lines("a")} == {"env:ci,service:docs"}
    (cut,) = server.lines("b")
    assert cut["message"] == "x" * pieces.LINE + " [cut: 134464 more bytes]"
    assert "10 log lines delivered" in ended.err
    server.check(secrets=[secret])


def test_without_being_asked_for_no_line_leaves(workspace: Workspace, server: Server) -> None:
    workspace.write("name: P\njobs: { a: { steps: [echo hello] } }")
    workspace.to(server).run("run")
    assert workspace.run("flush", SIGNALBOX_LOGS="on").code == 0
    assert server.log_requests == 0
    refused = workspace.run("run", SIGNALBOX_LOGS="yes")
    assert (refused.code, "SIGNALBOX_LOGS" in refused.err) == (2, True)


def test_lines_are_there_while_the_job_runs(workspace: Workspace, server: Server) -> None:
    workspace.write("""
        name: P
        jobs: { a: { steps: ["echo early; until test -e go; do sleep 0.02; done; echo late"] } }
    """)
    with workspace.to(server).start("run", SIGNALBOX_LOGS="on") as process, killed(process):
        server.wait(lambda: bool(server.log_requests))
        assert [line["message"] for line in server.lines()] == ["early"]
        (workspace.path / "go").touch()
        process.communicate(timeout=20)
    assert [line["message"] for line in server.lines()] == ["early", "late"]


def test_the_last_line_is_there_before_the_jobs_final_event(
    workspace: Workspace, server: Server
) -> None:
    server.rule = logs_answer(Answer(delay=0.15))
    workspace.write("name: P\njobs: { a: { steps: [seq 2500] } }")
    assert workspace.to(server).run("run", SIGNALBOX_LOGS="on").code == 0
    assert len(server.lines()) == 2500
    job = by_level(server.events, "job")[0]
    final = msgspec.json.encode({"end": job["end"]})[1:-1]
    order = [
        "lines" if request.path.endswith(LOGS) else "end"
        for request in server.requests
        if request.path.endswith(LOGS) or (final in request.body and b'"job"' in request.body)
    ]
    assert order[-1] == "end"
    assert order.count("lines") >= 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(status=403), "refused the API key (HTTP 403)"),
        (Answer(status=400), "3 log lines were refused by the intake"),
        (Answer(fault=Fault.HANG_HEAD), "3 log lines were not delivered"),
    ],
)
def test_trouble_with_logs_is_no_trouble_with_events(
    workspace: Workspace, server: Server, answer: Answer, words: str
) -> None:
    server.rule = logs_answer(answer)
    workspace.write("name: P\njobs: { a: { steps: [seq 3] } }")
    ended = workspace.to(server).run("run", SIGNALBOX_FLUSH_TIMEOUT="2.5", SIGNALBOX_LOGS="on")
    assert ended.code == 0
    assert ended.err.count(words) == 1, ended.err
    assert by_level(server.events, "pipeline")[0]["status"] == "success"
    assert by_level(server.events, "job")[0]["status"] == "success"
    assert ended.err.count("Job logs stop") == (answer.status == 403)


def test_what_a_killed_run_had_printed_is_flushed_before_its_end(
    workspace: Workspace, server: Server
) -> None:
    server.rule = logs_answer(Answer(status=503))
    workspace.write("""
        name: P
        jobs:
          a:
            steps:
              - { name: One, run: printf before }
              - { name: Two, run: echo after; sleep 60 }
    """)
    with workspace.to(server).start("run", SIGNALBOX_LOGS="on") as process, killed(process):
        runs = workspace.path / ".signalbox" / "runs"
        workspace.until(lambda: any("after" in log.read_text() for log in runs.glob("*/*.log")))
        server.wait(lambda: bool(server.log_requests))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    server.rule, count = None, len(server.requests)
    flushed = workspace.run("flush", SIGNALBOX_LOGS="on")
    assert flushed.code == 0, flushed.err
    assert "2 log lines sent" in flushed.err
    assert said(server) == [(1, "One", "before"), (2, "Two", "after")]
    first, *rest = [request.path.endswith(LOGS) for request in server.requests[count:]]
    assert first
    assert rest
    assert not any(rest)
    assert "0 log lines" in workspace.run("flush", SIGNALBOX_LOGS="on").err


def test_a_log_that_a_step_removes_goes_on_under_the_right_names(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("""
        name: P
        jobs:
          a:
            steps:
              - |
                echo first
                until test -e go; do sleep 0.02; done
                until rm -r .signalbox; do :; done
              - echo second
    """)
    with workspace.to(server).start("run", SIGNALBOX_LOGS="on") as process, killed(process):
        server.wait(lambda: bool(server.log_requests))
        (workspace.path / "go").touch()
        process.communicate(timeout=20)
    assert said(server)[-1][1:] == ("echo second", "second")


# ── where to ─────────────────────────────────────────────────────────────────────────────────────


def test_datadog_takes_logs_on_another_host_and_no_government_site_does() -> None:
    def to(site: str, url: str = "") -> Target | None:
        events = target(site=site, key=KEY, intake_url=url, token="", warn=lambda _: None)
        return logs(events) if events else None

    found = to("us5.datadoghq.com")
    assert found
    assert found.url == "https://http-intake.logs.us5.datadoghq.com/api/v2/cilogs"
    assert (found.header, found.secret.reveal()) == ("DD-API-KEY", KEY)
    other = to("", "http://127.0.0.1:8136/some/base")
    assert other
    assert other.url == "http://127.0.0.1:8136/some/base/api/v2/cilogs"
    for site in ("ddog-gov.com", "us2.ddog-gov.com"):
        assert to(site) is None
        assert to("", f"https://api.{site}") is None


# ── pieces of a file ─────────────────────────────────────────────────────────────────────────────


def job_log(*offsets: int, ended: bool = True, cursor: Cursor | None = None) -> JobLog:
    sections = tuple(Section(job="j", offset=at, name=f"s{at}") for at in offsets)
    return JobLog(
        execution="e",
        job="j",
        envelope=b'{"provider_name":"signalbox"}',
        cursor=cursor or Cursor(),
        ended=ended,
        sections=sections,
    )


def read(path: Path, log: JobLog, most: int = 1000, size: int = pieces.SIZE) -> list[Piece]:
    found = []
    with LogFile(str(path)) as file:
        while made := piece(file, log, time.time_ns(), most, size):
            found.append(made)
            log = msgspec.structs.replace(log, cursor=made.cursor)
    return found


def records(*found: Piece) -> list[tuple[int, str, str]]:
    bodies = [zlib.decompress(one.body, 31) for one in found if one.body]
    return [
        (line["line_number"], line["section_name"], line["message"])
        for body in bodies
        for line in msgspec.json.decode(body)
    ]


@given(
    st.lists(st.sampled_from([b"a", b"bc\n", b"\n", b"\xc3\xa9\n", b"  \n", b"d\re\n", b"\xff"])),
    st.lists(st.integers(0, 30), max_size=3),
    st.lists(st.integers(0, 40), max_size=4),
)
def test_a_file_read_while_it_grows_gives_the_lines_of_the_whole(
    parts: list[bytes], offsets: list[int], sizes: list[int]
) -> None:
    text = b"".join(parts)
    edges = sorted({at for at in offsets if at <= len(text)})
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "log")
        path.write_bytes(text)
        whole = records(*read(path, job_log(*edges)))
        growing: list[Piece] = []
        cursor = Cursor()
        for size in [*sorted(sizes), len(text)]:
            path.write_bytes(text[:size])
            known = [at for at in edges if at <= size]  # a step has told before it writes
            log = job_log(*known, ended=size >= len(text), cursor=cursor)
            growing += read(path, log, most=2)
            cursor = growing[-1].cursor if growing else cursor
        assert records(*growing) == whole


def test_a_request_holds_no_more_than_it_may(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'"' * 60_000 + b"\n" + b"x\n" * 2500 + b"\n" * 30_000 + b"end\n")
    found = read(path, job_log(0))
    assert [one.records for one in found] == [1000, 1000, 501, 1]
    assert records(*found)[-1] == (32_502, "s0", "end")
    small = [len(zlib.decompress(one.body, 31)) for one in read(path, job_log(0), size=9000)]
    assert small[0] > 120_000  # one line alone always goes
    assert max(small[1:]) <= 9000
    assert min(small[1:-2]) > 8000


def test_what_is_no_file_of_ours_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of somebody else\n")
    (tmp_path / "link").symlink_to("secret")
    with pytest.raises(OSError, match="link"):
        LogFile(str(tmp_path / "link"))
    os.mkfifo(tmp_path / "pipe")
    assert read(tmp_path / "pipe", job_log(0)) == []


# ── limits and failures, one by one ──────────────────────────────────────────────────────────────


class Logs:
    """An execution whose job ``build`` has printed, and a sender for it."""

    def __init__(self, place: Place, text: bytes) -> None:
        self.place = place
        self.run: Run = place.run()
        self.job = self.run.execution.job_id("build")
        section = Section(job=self.job, offset=0, name="step")
        place.journal.append(self.run.id, Change(sections=(section,)))
        self.path = Path(place.journal.directory(self.run.id), f"{self.job}.log")
        self.path.write_bytes(text)
        self.run.append(self.run.job(Status.RUNNING))
        there = logs(place.target)
        assert there
        self.intake = Intake(there, environ={}, version="1")
        self.sender = LogSender(
            place.journal,
            self.intake,
            binding=place.target.binding,
            clock=time.time_ns,
            warn=place.warnings.append,
        )

    def send(self) -> list[str]:
        return [turn.name for turn in self.sender.turns(self.run.id, lambda: 5.0)]

    def left(self) -> int:
        return sending.left(self.place.journal, self.place.target.binding, self.run.id)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with intake() as server:
        one = Place(tmp_path / "state", server)
        yield one
        one.journal.close()


def test_a_job_has_no_more_lines_than_it_may(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "JOB_RECORDS", 1500)
    many = Logs(place, b"x\n" * 2000)
    many.send()
    assert len(place.server.lines()) == 1500
    assert (many.sender.sent, many.sender.beyond, many.left()) == (1500, 500, 0)


def test_a_request_that_is_too_large_comes_again_in_parts(place: Place) -> None:
    def rule(request: Request) -> Answer | None:
        return Answer(status=413) if len(request.body) > 2000 else None

    place.server.rule = rule
    many = Logs(place, b"".join(os.urandom(8).hex().encode() + b"\n" for _ in range(1000)))
    many.send()
    many.send()
    assert (many.sender.sent, many.left()) == (1000, 0)
    assert len(place.server.lines()) == 1000


def test_lines_that_are_refused_again_and_again_end_it(place: Place) -> None:
    place.server.rule = logs_answer(Answer(status=400, body=b'{"errors":["no such feature"]}'))
    many = Logs(place, b"x\n" * 5000)
    assert many.send() == ["MOVED", "MOVED", "HELD"]
    assert many.send() == []
    assert (many.sender.refused, many.left()) == (3000, 2000)
    assert len([text for text in place.warnings if "no such feature" in text]) == 1


def test_what_is_too_old_is_counted_and_not_sent(place: Place) -> None:
    old = Logs(place, b"a\nb\n")
    long_ago = time.time() - 19 * 3600
    os.utime(old.path, (long_ago, long_ago))
    assert old.send() == []
    assert (old.sender.expired, old.left(), place.server.log_requests) == (2, 0, 0)


def test_a_job_waits_for_its_log_and_only_so_long(place: Place) -> None:
    held = Logs(place, b"a\n")
    ended = time.time_ns()
    held.run.now = ended
    journal, binding = place.journal, place.target.binding

    journal.settle([event.seq for event in journal.pending(binding=binding)], State.DELIVERED)
    held.run.append(held.run.job(Status.SUCCESS))

    def pending(since: int | None) -> int:
        return len(journal.pending(binding=binding, run=held.run.id, since=since))

    assert pending(None) == 1
    assert pending(ended - SECOND) == 0
    assert pending(ended + SECOND) == 1
    held.send()
    assert pending(ended - SECOND) == 1
