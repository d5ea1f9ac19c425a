"""The report in a real browser: it needs nothing, nothing breaks it, and everybody can use it."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Page, expect

from runner.event import Envelope, Event, Node, Status, encode, join
from runner.report import Answered, Beside, Kin, Told, tell
from runner.report.web.page import Attached, write_html
from tests import hostile
from tests import told as cases
from tests.browser.chromium import NARROW, WIDE, keep
from tests.browser.conftest import Open, faults
from tests.told import at, job, pipeline, step

pytestmark = pytest.mark.browser
FILTER = ".tools [type=search]"
SUMMARY = """# Coverage
**87.5 %** of all lines, see [the docs](https://docs.example.test/coverage) and `coverage.xml`.

| Module | Lines | Covered |
|---|---:|---:|
| `runner/engine` | 412 | 98.1 % |
| `runner/report` | 868 | 91.4 % |

- two files are *new*
- none is gone
```
Name    Stmts   Miss
TOTAL    4210    126
```
"""
OUTLINE = """() => [...document.querySelectorAll("*")].map(e =>
  [e.tagName, ...[...e.attributes].map(a => a.name).sort()].join(" "))"""


def whole() -> Told:
    """An execution with everything that a page can show."""
    events, beside = cases.failing()
    chain = (
        Kin(
            id="a1b2c3d4-0000-4000-8000-000000000000",
            status=Status.BLOCKED,
            start=at(-900_000),
            duration_ms=61_000,
            answers=(
                Answered(
                    gate="approve deploy", approved=True, who="Ada", reason="ship it", at=at(-100)
                ),
            ),
        ),
        Kin(
            id="b1b2c3d4-0000-4000-8000-000000000000",
            status=Status.ERROR,
            start=at(-90_000),
            duration_ms=6_100,
            resumed_from="a1b2c3d4-0000-4000-8000-000000000000",
        ),
        Kin(
            id=cases.RUN,
            status=Status.ERROR,
            start=at(0),
            duration_ms=6_400,
            retries="b1b2c3d4-0000-4000-8000-000000000000",
        ),
    )
    envelope = Envelope(provider_name="signalbox", service="docs", env="ci")
    told = tell(events, msgspec.structs.replace(beside, envelope=envelope, chain=chain))
    node = Node(hostname="build-7", name="large", labels=("linux", "x64"), workspace="/repo")
    questions = tell(*cases.blocked()).questions
    return msgspec.structs.replace(told, node=node, questions=questions)


def attached(told: Told) -> Attached:
    events, _ = cases.failing()
    envelope, git = encode(Envelope(provider_name="signalbox")), encode(cases.GIT)
    return Attached(
        tails={job.id: "collected 120 items\n....F\n" for job in told.jobs if job.failure},
        summaries=[SUMMARY],
        events=[join(envelope, git, encode(event)) for event in events],
    )


def running() -> Told:
    events: list[Event] = [
        pipeline(Status.RUNNING, None),
        step("lint", "ruff check .", 0, 800),
        job("lint", 0, 800),
        step("test", "pytest -x", 900, 4_000),
        job("test", 900, None, queue_time=100),
    ]
    return tell(events, Beside(git=cases.GIT, now=cases.START + 6_000_000_000))


STATES: dict[str, Callable[[], Told]] = {
    "failed": whole,
    "blocked": lambda: tell(*cases.blocked()),
    "running": running,
    "empty": lambda: tell([pipeline(Status.RUNNING, None)], Beside(now=cases.START)),
}


def put(tmp_path: Path, told: Told, beside: Attached | None = None) -> str:
    file = tmp_path / "report.html"
    file.write_bytes(write_html(told, beside))
    return file.as_uri()


@pytest.fixture
def page(tmp_path: Path, open_page: Open) -> Page:
    told = whole()
    return open_page(put(tmp_path, told, attached(told)))


def visible(page: Page) -> list[str]:
    """The names of the rows that can be seen."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll(".rows .row .n > b")]
          .filter(name => name.checkVisibility()).map(name => name.textContent)"""
    )
    return found


# ── it stands alone ──────────────────────────────────────────────────────────────────────────────


def test_it_asks_nobody_for_anything(tmp_path: Path, open_page: Open) -> None:
    page = open_page("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(put(tmp_path, whole(), attached(whole())))
    page.click("text=Raw events")
    expect(page.locator(".events .list")).to_contain_text("of 16 events")
    assert asked == [page.url]


def test_without_the_script_everything_is_still_there(tmp_path: Path, open_page: Open) -> None:
    page = open_page(put(tmp_path, whole()), java_script_enabled=False)
    expect(page.get_by_text("pytest").first).to_be_visible()
    expect(page.locator(".tools input").first).to_be_hidden()
    reason = page.locator("#j3s0 pre")
    expect(reason).to_be_hidden()
    page.click("#j3s0 summary")
    expect(reason).to_have_text("assert 1 == 2\ntests/test_a.py:12: AssertionError")


def test_the_policy_lets_no_other_script_run(tmp_path: Path, open_page: Open) -> None:
    page = open_page(put(tmp_path, whole()), forgiven="Content Security Policy")
    blocked = page.evaluate(
        """() => new Promise(done => {
          document.addEventListener("securitypolicyviolation", e => done(e.violatedDirective));
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
        })"""
    )
    assert blocked == "script-src-elem"
    assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("text", hostile.EVIL[:4], ids=range(4))
def test_T14_hostile_text_changes_no_element(tmp_path: Path, open_page: Open, text: str) -> None:
    page = open_page(put(tmp_path, *said("word")))
    benign = page.evaluate(OUTLINE)
    page.goto(put(tmp_path, *said(text)))
    assert page.evaluate(OUTLINE) == benign
    assert len(benign) > 300


def said(text: str) -> tuple[Told, Attached]:
    """A report that says ``text`` wherever it says something."""
    told = hostile.filled(whole(), text)
    sayable = text.encode(errors="replace").decode()  # JSON cannot say half a surrogate pair
    events = [encode(cases.pipeline(Status.ERROR, 6400, name=sayable))]
    tails = {job.id: text for job in told.jobs if job.failure}
    return told, Attached(tails=tails, summaries=[" ".join(text.split())], events=events)


# ── it can be used ───────────────────────────────────────────────────────────────────────────────


def test_the_filter_shows_what_it_names_and_what_failed(page: Page) -> None:
    page.fill(FILTER, "ruff")
    assert visible(page) == ["Pipeline", "check", "lint", "ruff check ."]
    page.fill(FILTER, "nothing of the kind")
    expect(page.get_by_text("Nothing matches the filter.")).to_be_visible()
    page.fill(FILTER, "")
    page.check(".tools [value=error]", force=True)
    assert visible(page) == ["Pipeline", "check", "test (3.12)", "pytest"]
    page.check(".tools [value=critical]", force=True)
    assert "test (3.11)" not in visible(page)


def test_zoom_widens_the_line_of_time_and_keeps_names_in_sight(page: Page) -> None:
    bar, name = page.locator("#j0 > .row rect").last, page.locator("#j0 > .row .n")
    before, left = bar.bounding_box(), name.bounding_box()
    for _ in range(3):
        page.keyboard.press("+")
    page.evaluate("document.querySelector('.rows').scrollLeft = 0")
    after = bar.bounding_box()
    assert before
    assert after
    assert after["width"] == pytest.approx(8 * before["width"], rel=0.05)
    page.evaluate("document.querySelector('.rows').scrollLeft = 500")
    assert name.bounding_box() == left
    expect(page.locator(".axis")).to_have_js_property("scrollLeft", 500)  # no eval: the page's CSP
    marks = page.locator(".axis text").all_text_contents()
    assert {"200 ms", "300 ms", "400 ms", "500 ms"} <= set(marks)
    assert "3 s" not in marks
    page.keyboard.press("0")
    assert page.locator(".rows").evaluate("e => e.scrollWidth <= e.clientWidth")


def test_a_stretch_drawn_on_the_line_of_time_is_zoomed_to(page: Page) -> None:
    page.locator(".axis").scroll_into_view_if_needed()
    box = page.locator(".axis svg").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 10)
    expect(page.locator(".axis text.cursor")).to_have_text("3 s")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 10)
    page.mouse.up()
    assert page.locator(".waterfall").evaluate("e => +e.style.getPropertyValue('--zoom')") == (
        pytest.approx(4, rel=0.02)
    )


def test_keys_alone_suffice(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("types")
    assert visible(page) == ["Pipeline", "check", "lint", "Types"]
    page.keyboard.press("Escape")
    page.locator("#j0 > summary").focus()
    page.keyboard.press("ArrowLeft")
    assert "Types" not in visible(page)
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.parentElement.id") == "j1"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    assert "Types" in visible(page)


def test_rows_that_are_replaced_keep_filter_and_folds(page: Page) -> None:
    page.click("#j0 > summary")
    page.click("#j3s0 > summary")
    page.fill(FILTER, "test")
    page.evaluate(
        """() => {
          const body = document.querySelector(".waterfall .body");
          const again = new DOMParser().parseFromString(body.outerHTML, "text/html");
          for (const part of again.querySelectorAll("details")) part.open = part.id === "j0";
          for (const part of again.querySelectorAll("[hidden]")) part.hidden = false;
          body.replaceChildren(...again.querySelector(".body").childNodes);
          body.dispatchEvent(new Event("replaced", {bubbles: true}));
        }"""
    )
    expect(page.locator("#j0")).to_be_hidden()
    expect(page.locator("#j3s0 pre")).to_be_visible()
    page.fill(FILTER, "")
    assert "Types" not in visible(page)


def test_the_raw_events_are_what_the_intake_receives(page: Page) -> None:
    page.click("text=Raw events")
    page.fill("[aria-label='Search events']", "ruff check .")
    page.click(".events .list summary")
    expect(page.locator(".events .list pre")).not_to_be_empty()  # "toggle" comes after the click
    event = page.locator(".events .list pre").inner_text()
    assert '"sha": "4f2a91c0d1e2f30415263748596a7b8c9d0e1f20"' in event
    assert '"provider_name": "signalbox"' in event


def test_a_link_to_a_row_opens_what_it_is_in(page: Page) -> None:
    page.click("text=Close")
    page.click("text=In the waterfall")
    expect(page.locator("#j3 > summary")).to_be_in_viewport()


def test_on_paper_nothing_is_folded(page: Page) -> None:
    page.click("text=Close")
    page.emulate_media(media="print")
    for name in ("Types", "curl chat"):
        expect(page.get_by_text(name, exact=True)).to_be_visible()
    expect(page.locator(".tools .field")).to_be_hidden()
    keep(page, "report-print")


# ── it looks as it should ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("look", ["light", "dark", "narrow"])
def test_everybody_can_read_it(tmp_path: Path, open_page: Open, state: str, look: str) -> None:
    told = STATES[state]()
    page = open_page(
        put(tmp_path, told, attached(told) if state == "failed" else None),
        color_scheme="dark" if look == "dark" else "light",
        size=NARROW if look == "narrow" else WIDE,
    )
    keep(page, f"report-{state}-{look}")
    assert not faults(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [360, 400, 600, 720])
def test_the_labels_of_the_time_axis_stand_apart(
    tmp_path: Path, open_page: Open, width: int
) -> None:
    events: list[Event] = [pipeline(Status.SUCCESS, 995), job("test", 0, 995)]
    page = open_page(put(tmp_path, tell(events)), size=(width, 780))
    page.get_by_role("button", name="Open").click()  # and the script has drawn it
    boxes = page.evaluate(
        """() => [...document.querySelectorAll(".axis text:not(.cursor)")]
          .map(text => text.getBoundingClientRect()).filter(box => box.width)
          .map(box => [box.left, box.right])"""
    )
    assert len(boxes) > 1
    assert all(one[1] < following[0] for one, following in pairwise(boxes))


def test_a_short_name_of_what_failed_is_not_broken(tmp_path: Path, open_page: Open) -> None:
    failed = cases.failure("step one", "exit code 1")
    events: list[Event] = [
        pipeline(Status.ERROR, 900, error=failed),
        step("deploy", "sleep 0.2; echo deployed; [ -e ok ] && echo fine", 0, 800, error=failed),
        job("deploy", 0, 800, Status.ERROR, error=failed),
    ]
    page = open_page(put(tmp_path, tell(events)), size=(360, 780))
    name = page.locator(".failure > summary > b")
    assert name.evaluate("name => name.getClientRects().length") == 1
    assert name.evaluate("name => name.offsetHeight") < 30


def test_five_thousand_steps_are_all_there(tmp_path: Path, open_page: Open) -> None:
    page = open_page(put(tmp_path, tell(*cases.large())))
    assert page.locator(".s").count() == 5_000
    page.fill(FILTER, "packages/42/tests/test_module_063")
    assert visible(page) == [
        "Pipeline",
        "stage 4",
        "package 42",
        "pytest packages/42/tests/test_module_063.py",
    ]
