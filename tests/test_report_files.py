"""An execution as a file: the page, JUnit's XML, the trace, and ``signalbox report`` itself."""

import base64
import gzip
import hashlib
import html
import json
import os
import re
import stat
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.event import Event, Failure, Git, Status
from runner.report import Beside, Told, tell
from runner.report.junit import suites
from runner.report.trace import trace
from runner.report.web import faults, link, moment, waterfall
from runner.report.web.page import Attached, write_html
from runner.report.web.prose import Piece, prose
from runner.report.web.waterfall import TICKS, WORDS
from tests import hostile
from tests import told as cases
from tests.conftest import Workspace
from tests.told import failure, job, pipeline, step

pytestmark = pytest.mark.usefixtures("forked")

RUN = """
    name: Docs
    parameters: { TARGET: { default: staging } }
    jobs:
      build:
        stage: check
        steps: ['echo "# Built" >> "$SIGNALBOX_SUMMARY"']
      test:
        stage: check
        needs: [build]
        steps: ['echo one; echo "E   assert 1 == 2"; exit 3']
      ship: { needs: [test], steps: [echo shipped] }
"""


@pytest.fixture
def ran(workspace: Workspace) -> Workspace:
    workspace.write(RUN)
    workspace.commit()
    assert workspace.run("run", "--local").code == 1
    return workspace


class Outline(HTMLParser):
    """The elements of a page, each with the names of its attributes."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.values: dict[str, list[str]] = {}
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(" ".join([tag, *sorted(name for name, _ in attrs)]))
        for name, value in attrs:
            self.values.setdefault(name, []).append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(f"/{tag}")


def told() -> Told:
    return tell(*cases.failing())


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def test_the_page_allows_its_own_style_and_script_alone_and_names_nothing_elsewhere() -> None:
    page = write_html(told(), Attached(events=[b"{}"])).decode()
    (policy,) = map(html.unescape, re.findall(r'Security-Policy" content="([^"]*)"', page))
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert (len(style), len(script)) == (1, 1)
    for text in (*style, *script):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    outline = Outline(page.encode())
    assert outline.values.get("src") is None
    assert set(outline.values["href"]) == {"https://example.com/docs.git", "#j3"}
    assert not re.search(r"@import|url\(", "".join(style))


def test_its_script_is_small() -> None:
    page = write_html(told()).decode()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) <= 7_700


@pytest.mark.parametrize("text", hostile.EVIL, ids=range(len(hostile.EVIL)))
def test_T14_hostile_text_makes_no_element_and_no_attribute(text: str) -> None:
    def page(text: str) -> Outline:
        filled = hostile.filled(tell(*cases.blocked()), text)
        both = msgspec.structs.replace(
            hostile.filled(told(), text), questions=filled.questions, parent=filled.parent
        )
        return Outline(write_html(both, Attached(summaries=[" ".join(text.split())])))

    assert page(text).elements == page("word").elements


@given(st.text())
@settings(max_examples=25, deadline=None)
def test_T14_no_text_at_all_makes_an_element(text: str) -> None:
    events: list[Event] = [
        job("a", 0, 10, Status.ERROR, error=failure(f"x{text}"), tags=(f"k{text}:v{text}",)),
        pipeline(Status.ERROR, 10, name=f"x{text}"),
    ]
    events[0] = msgspec.structs.replace(events[0], name=f"x{text}")

    def elements(events: list[Event]) -> list[str]:
        return Outline(write_html(tell(events))).elements

    benign: list[Event] = [
        job("a", 0, 10, Status.ERROR, error=failure("x"), tags=("k:v",)),
        pipeline(Status.ERROR, 10),
    ]
    assert elements(events) == elements(benign)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        " https://a.test",
        "//a.test",
        "https://a.test/\u202e",
        "JAVASCRIPT:alert(1)//https://",
        "",
    ],
)
def test_T14_only_addresses_of_the_web_become_links(url: str) -> None:
    assert link(url) == ""
    git = msgspec.structs.replace(cases.GIT, repository_url=url)
    page = write_html(tell([pipeline(Status.SUCCESS, 5, url=url)], Beside(git=git)))
    assert "href" not in Outline(page).values


def test_bars_lie_where_their_times_are() -> None:
    drawn = waterfall(told())
    assert (drawn.start_ms, drawn.span_ms) == (-400, 6_800)
    test = next(one for one in drawn.jobs if one.told.name == "test (3.12)")
    assert test.bar.wait == ("5.88235%", f"{100 * 1300 / 6800:.6g}%")
    assert test.bar.x == "25%"
    assert test.bar.width == f"{100 * 5000 / 6800:.6g}%"
    assert [tick.label for tick in drawn.ticks] == ["0", "1 s", "2 s", "3 s", "4 s", "5 s", "6 s"]


@given(st.integers(0, 10**12), st.integers(0, 10**10))
def test_any_length_of_time_has_a_few_marks(duration: int, queue: int) -> None:
    drawn = waterfall(tell([pipeline(Status.SUCCESS, duration, queue_time=queue)]))
    assert 1 <= len(drawn.ticks) <= TICKS + 1
    assert len({tick.label for tick in drawn.ticks}) == len(drawn.ticks)


def test_five_thousand_failures_are_a_page_that_can_be_opened() -> None:
    long = failure("e" * 5_000)
    events: list[Event] = [
        step("a", f"s{n}", n, n + 1, Status.ERROR, error=long) for n in range(5_000)
    ]
    events += [job("a", 0, 5_000, Status.ERROR, error=long), pipeline(Status.ERROR, 5_000)]
    page = write_html(tell(events))
    assert len(page) < 2_500_000
    assert page.count(b'class="s error') == 5_000
    assert page.count(b"e" * 5_000) > WORDS // 5_000


def test_events_that_are_too_many_are_left_out_whole() -> None:
    few = write_html(told(), Attached(events=[b'{"a":1}', b'{"a":2}']))
    (packed,) = re.findall(rb'application/gzip" id="events">([^<]*)<', few)
    assert gzip.decompress(base64.b64decode(packed)) == b'{"a":1}\n{"a":2}'
    many = write_html(told(), Attached(events=[os.urandom(600_000).hex().encode()] * 3))
    assert b"application/gzip" not in many


def test_a_moment_is_told_in_utc_whatever_its_offset() -> None:
    assert moment("2026-03-02T10:15:00+01:00") == "2026-03-02 09:15:00 UTC"
    assert moment("no time\n") == "no time"
    assert moment("0001-01-01T00:00:00+14:00") == "0001-01-01T00:00:00+14:00"


def test_what_steps_summed_up_is_told_in_the_markup_they_meant() -> None:
    text = (
        "# A\nb *c*\nd\n\n- `e`\n- [f](https://g.test)\n|h|i|\n|-|:-:|\n|**j**|k\n```\n<l>\n```\nm"
    )
    page = write_html(told(), Attached(summaries=[text])).decode()
    (shown,) = re.findall(r'<div class="card prose">(.*?)</div>', page, re.DOTALL)
    assert re.sub(r"\s*\n\s*", "", shown) == (
        "<h3>A</h3><p>b <em>c</em> d</p>"
        '<ul><li><code>e</code></li><li><a href="https://g.test" rel="noopener noreferrer">f</a>'
        "</li></ul><table><thead><tr><th>h</th><th>i</th></tr></thead><tbody><tr>"
        "<td><strong>j</strong></td><td>k</td></tr></tbody></table>"
        '<pre class="block" tabindex="0">&lt;l&gt;</pre><p>m</p>'
    )


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>)",
        "**<b>** *<i>* `<code>` [<a>](file:///x)",
        "![x](https://tracker.test/pixel.png)",
        "# <h1 onclick=alert(1)>",
        "```\n</pre><script>",
    ],
)
def test_T14_no_summary_runs_loads_or_leads_anywhere_else(text: str) -> None:
    outline = Outline(write_html(told(), Attached(summaries=[text])))
    assert outline.elements.count("script") == 1
    assert not {"src", "onclick", "style"} & outline.values.keys()
    assert all(link(url) for url in outline.values["href"] if not url.startswith("#"))


@given(st.text(alphabet="#*`|-[]()~ \n\ta1<>:/", max_size=400))
def test_any_markdown_is_told_whole(text: str) -> None:
    letters = "".join(
        piece.text
        for part in prose(text)
        for piece in (
            Piece(text=part.text),
            *(p for row in part.rows for line in row for p in line),
        )
    )
    for letter in "a1":
        assert letters.count(letter) <= text.count(letter)
    assert bool(text.strip()) or not prose(text)


def test_hostile_markdown_costs_no_time() -> None:
    for text in (
        "`" * 10**6,
        "[" * 10**6,
        "*" * 10**6,
        "*a" * 10**6,
        "|-" * 10**6,
        "|a\n|-\n" * 10**5,
    ):
        prose(text)


# ── JUnit ────────────────────────────────────────────────────────────────────────────────────────

_ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "errors", "skipped"},
    "testsuite": {
        *("name", "time", "timestamp", "hostname", "tests", "failures", "errors", "skipped"),
    },
    "testcase": {"name", "classname", "time"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "rerunFailure": {"type", "message"},
    "flakyFailure": {"type", "message"},
    "skipped": {"message"},
    "properties": set(),
    "property": {"name", "value"},
}
_INSIDE = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "testcase": {"failure", "error", "skipped", "rerunFailure", "flakyFailure"},
    "properties": {"property"},
}


def valid(xml: bytes) -> ET.Element:
    """As the schema has it that Jenkins' xunit plug-in publishes: names, places, counts."""
    root = ET.fromstring(xml)
    for part in root.iter():
        assert set(part.attrib) <= _ATTRIBUTES[part.tag]
        assert {child.tag for child in part} <= _INSIDE.get(part.tag, set())
        assert len(part.findall("failure") + part.findall("error") + part.findall("skipped")) <= 1
        if part.tag in {"testsuite", "testsuites"}:
            for name, kind in (("tests", "testcase"), ("failures", "failure")):
                assert int(part.get(name, "-1")) == len(list(part.iter(kind)))
        if time := part.get("time"):
            assert re.fullmatch(r"\d+\.\d{3}", time)
    return root


def test_each_step_is_a_case_and_its_last_attempt_counts() -> None:
    root = valid(suites(told()))
    cases_ = {(c.get("classname"), c.get("name")): c for c in root.iter("testcase")}
    assert list(cases_) == [
        ("lint", "ruff check ."),
        ("lint", "Types"),
        ("test (3.11)", "pytest"),
        ("test (3.12)", "pytest"),
        ("docs", "docs"),
        ("notify", "curl chat"),
        ("deploy", "deploy"),
    ]
    flaky = cases_["test (3.11)", "pytest"]
    assert [part.tag for part in flaky] == ["flakyFailure"]
    (failed,) = cases_["test (3.12)", "pytest"]
    assert (failed.tag, failed.get("type"), failed.get("message")) == (
        "failure",
        "ExitCode",
        "assert 1 == 2",
    )
    assert failed.text == "assert 1 == 2\ntests/test_a.py:12: AssertionError"
    for name in ("docs", "deploy"):
        assert [part.tag for part in cases_[name, name]] == ["skipped"]
    assert [part.tag for part in cases_["notify", "curl chat"]] == ["skipped"]


def test_what_a_step_told_of_between_its_attempts_is_a_case_of_its_own() -> None:
    attempts = [
        step("a", "make", 0, 200, Status.ERROR, tags=("attempt:1",), error=failure("no")),
        step("a", "cc", 100, 150),
        step("a", "make", 300, 500, tags=("attempt:2",)),
        step("a", "cc", 400, 450),
    ]
    root = valid(suites(tell([pipeline(Status.SUCCESS, 900), *attempts, job("a", 0, 800)])))
    found = [(case.get("name"), [part.tag for part in case]) for case in root.iter("testcase")]
    assert sorted(found) == [("cc", []), ("cc", []), ("make", ["flakyFailure"])]


def test_what_failed_outside_of_every_step_is_an_error() -> None:
    pull = Failure(domain=failure("").domain, type="ImagePull", message="no such image")
    events: list[Event] = [
        job("a", 5, 5, Status.ERROR, error=pull),
        pipeline(Status.ERROR, 9, error=pull),
    ]
    root = valid(suites(tell(events)))
    (found,) = root.iter("error")
    assert (found.get("type"), found.get("message")) == ("ImagePull", "no such image")


@pytest.mark.parametrize("text", hostile.EVIL, ids=range(len(hostile.EVIL)))
def test_what_xml_cannot_hold_is_left_out(text: str) -> None:
    valid(suites(hostile.filled(told(), text)))


@given(st.text())
def test_any_text_makes_xml(text: str) -> None:
    events: list[Event] = [
        job("a", 0, 1, Status.ERROR, name=text, error=failure(text, text), tags=(text,)),
        pipeline(Status.ERROR, 1, name=text),
    ]
    valid(suites(tell(events)))


# ── the trace ────────────────────────────────────────────────────────────────────────────────────


def traced(one: Told) -> list[dict[str, Any]]:
    whole = json.loads(trace(one))
    assert whole["displayTimeUnit"] == "ms"
    events: list[dict[str, Any]] = whole["traceEvents"]
    for event in events:
        assert event["ph"] in {"X", "M"}
        assert isinstance(event["pid"], int)
        if event["ph"] == "X":
            assert {"name", "cat", "ts", "dur", "tid"} <= set(event)
            assert event["dur"] >= 0
    return events


def test_a_job_is_a_process_and_its_steps_are_spans_in_microseconds() -> None:
    events = traced(told())
    names = {e["args"]["name"]: e["pid"] for e in events if e["name"] == "process_name"}
    assert list(names) == [
        "Documentation Build",
        "lint",
        "test (3.11)",
        "docs",
        "test (3.12)",
        "notify",
    ]
    spans = [e for e in events if e["ph"] == "X" and e["pid"] == names["test (3.12)"]]
    assert [(e["name"], e["cat"], e["ts"], e["dur"]) for e in spans] == [
        ("queued", "queue", 0, 1_300_000),
        ("test (3.12)", "job", 1_300_000, 5_000_000),
        ("pytest", "step", 1_300_000, 5_000_000),
    ]
    assert "assert 1 == 2" in spans[-1]["args"]["error"]


def test_spans_of_one_lane_never_overlap() -> None:
    events: list[Event] = [step("a", f"s{n}", n % 7 * 10, n % 7 * 10 + n) for n in range(40)]
    events += [job("a", 0, 100), pipeline(Status.SUCCESS, 100)]
    lanes: dict[int, int] = {}
    steps = [e for e in traced(tell(events)) if e.get("cat") == "step"]
    assert len(steps) == 40
    for one in sorted(steps, key=lambda e: (e["ts"], e["tid"])):
        assert one["ts"] >= lanes.get(one["tid"], 0)
        lanes[one["tid"]] = one["ts"] + one["dur"]


def test_T14_hostile_text_leaves_the_trace_readable() -> None:
    for text in hostile.EVIL[:3]:
        assert len(traced(hostile.filled(told(), text))) == len(traced(told()))


# ── signalbox report ─────────────────────────────────────────────────────────────────────────────


def test_every_form_is_written_where_it_was_asked_for(ran: Workspace) -> None:
    forms = ("html", "markdown", "json", "junit", "trace")
    options = [f"--{form}=out.{form}" for form in forms]
    ended = ran.run("report", "latest", *options)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    found = {form: (ran.path / f"out.{form}").read_text() for form in forms}
    assert "assert 1 == 2" in found["html"]
    assert "# Built" in found["html"]
    assert "one\nE   assert 1 == 2" in found["html"]
    assert "staging" in found["html"]
    assert found["markdown"].startswith("## ❌ Docs: failed in")
    shown = json.loads(found["json"])
    assert shown == ran.run("show", "--json").json
    assert shown["envelope"]["provider_name"] == "signalbox"
    assert shown["node"]["hostname"]
    valid(found["junit"].encode())
    assert json.loads(found["trace"])["otherData"]["unique_id"] == shown["id"]
    assert not [file for file in os.listdir(ran.path) if file.endswith(".tmp")]


def test_a_dash_is_standard_output(ran: Workspace) -> None:
    ended = ran.run("report", "--junit", "-")
    assert ended.err == ""
    assert valid(ended.out.encode()).get("failures") == "1"


def test_T19_without_a_file_the_page_is_beside_the_logs_for_its_owner_alone(
    ran: Workspace,
) -> None:
    before = sorted(os.listdir(ran.path))
    ended = ran.run("report")
    page = Path(ended.out.strip())
    assert ended.code == 0
    assert page.is_relative_to(ran.path / ".signalbox")
    assert page.read_bytes().startswith(b"<!DOCTYPE html>")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert sorted(os.listdir(ran.path)) == before


def test_T19_a_link_in_the_way_is_replaced_not_followed(ran: Workspace) -> None:
    victim = ran.write("precious", "victim")
    (ran.path / "out.html").symlink_to(victim)
    assert ran.run("report", "--html", "out.html").code == 0
    assert victim.read_text() == "precious"


def test_the_machines_own_link_is_written_to_and_stays(ran: Workspace, tmp_path: Path) -> None:
    """Standard error is a plain file here: /dev/stderr leads to it, and root could replace it."""
    before = os.readlink("/dev/stderr")
    with (tmp_path / "err").open("wb") as err:
        command = [sys.executable, "-m", "runner", "report", "--json", "/dev/stderr"]
        subprocess.run(command, cwd=ran.path, env=ran.environ, stderr=err, check=True)
    assert os.readlink("/dev/stderr") == before
    assert json.loads((tmp_path / "err").read_bytes())["name"] == "Docs"
    assert json.loads(ran.run("report", "--json", "/dev/stdout").out)["name"] == "Docs"


def test_a_file_that_cannot_be_written_is_named(ran: Workspace) -> None:
    ended = ran.run("report", "--html", "nowhere/out.html")
    assert ended.code == 4
    assert "nowhere/out.html cannot be written: No such file or directory" in ended.err


def test_a_pipe_takes_a_report(ran: Workspace) -> None:
    os.mkfifo(ran.path / "pipe")
    taken: list[bytes] = []
    reader = threading.Thread(
        target=lambda: taken.append(
            subprocess.run(["cat", str(ran.path / "pipe")], capture_output=True, check=True).stdout
        )
    )
    reader.start()
    assert ran.run("report", "--json", "pipe").code == 0
    reader.join(10)
    assert json.loads(taken[0])["name"] == "Docs"


def test_a_run_that_is_not_there_is_named(ran: Workspace) -> None:
    ended = ran.run("report", "ffffffff", "--html", "out.html")
    assert ended.code == 2
    assert "no run 'ffffffff'" in ended.err
    assert not (ran.path / "out.html").exists()


def test_a_chain_is_told_as_one_story(workspace: Workspace) -> None:
    workspace.write(
        """
        name: Docs
        jobs:
          build: { steps: [echo built] }
          approve: { needs: [build], gate: Ship it? }
          ship: { needs: [approve], steps: [test -e ready] }
        """
    )
    workspace.commit()
    assert workspace.run("run", "--local").code == 75
    reason = ("--reason", "looks <b>good</b>")
    assert workspace.run("resume", "--approve", "approve", *reason, USER="ada").code == 1
    workspace.write("", "ready")
    assert workspace.run("retry").code == 0
    chain = workspace.run("report", "--json", "-").json["chain"]
    assert [kin["status"] for kin in chain] == ["blocked", "error", "success"]
    assert chain[1]["resumed_from"] == chain[0]["id"]
    assert chain[2]["retries"] == chain[1]["id"]
    (answer,) = chain[0]["answers"]
    assert (answer["gate"], answer["approved"]) == ("approve", True)
    page = workspace.run("report", "--html", "-").out
    assert "3 executions, one story" in page
    assert "looks &lt;b&gt;good&lt;/b&gt;" in page


def test_a_report_of_what_still_runs_says_so(workspace: Workspace) -> None:
    workspace.write("name: P\njobs: { a: { steps: [sleep 60] } }")
    workspace.commit()
    with workspace.start("run", "--local") as process:
        runs = workspace.path / ".signalbox" / "runs"
        workspace.until(lambda: runs.exists() and bool(list(runs.glob("*/*.log"))))
        told_ = workspace.run("report", "--json", "-").json
        page = workspace.run("report", "--html", "-").out
        process.terminate()
        process.communicate()
    assert told_["status"] == "running"
    assert "Duration so far" in page


def test_a_commit_without_a_page_of_its_own_is_no_link() -> None:
    git = Git(repository_url="git@git.test:a/b", sha="a" * 40, author_email="a@b.test")
    page = write_html(tell([pipeline(Status.SUCCESS, 5)], Beside(git=git)))
    assert b"git@git.test:a/b" in page
    assert "href" not in Outline(page).values


def test_what_was_stopped_is_told_after_what_failed_and_looks_it() -> None:
    stopped = failure("terminated", "Canceled")
    events: list[Event] = [
        step("a", "x", 0, 10, Status.ERROR, error=stopped),
        job("a", 0, 10, Status.CANCELED, error=stopped),
        step("b", "y", 5, 9, Status.ERROR, error=failure("boom")),
        job("b", 5, 9, Status.ERROR, error=failure("boom")),
        pipeline(Status.ERROR, 10, error=failure("boom")),
    ]
    drawn = waterfall(tell(events))
    assert [step.tone for job in drawn.jobs for step in job.steps] == ["canceled", "error"]
    assert [fault.job for fault in faults(drawn, {}).shown] == ["b", "a"]
