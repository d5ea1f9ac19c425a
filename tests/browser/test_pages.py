"""The pages of ``serve`` in a real browser, over runs of the real program."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.chromium import keep
from tests.browser.conftest import Open, faults
from tests.browser.seed import seed, site
from tests.browser.served import post, serving

pytestmark = pytest.mark.browser
NARROW = (360, 780)


class Place:
    """A server with runs in it, and the workspace that they were run in."""

    def __init__(self, url: str) -> None:
        self.url = url

    def search(self, query: str) -> str:
        return f"{self.url}/executions?{query}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("pages")
    with serving(folder / "state") as url:
        seed(site(folder, url))
        yield Place(url)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path / "state") as url:
        yield url


def rows(page: Page) -> Locator:
    return page.locator("[data-rows] tbody tr")


def names(page: Page) -> list[str]:
    return page.locator("[data-rows] tbody .called a").all_inner_texts()


def open_failed(page: Page, place: Place) -> None:
    """The page of the execution that failed."""
    page.goto(place.search("q=@ci.status:error"))
    page.get_by_role("link", name="API", exact=True).last.click()
    expect(page.locator("h1")).to_have_text("API")


# ── looking ──────────────────────────────────────────────────────────────────────────────────────


def test_every_page_leads_to_the_next(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.url}/")
    expect(rows(page)).to_have_count(7)
    keep(page, "pages-executions")
    page.get_by_role("link", name="Pipelines").click()
    expect(rows(page)).to_have_count(3)
    page.get_by_role("link", name="All branches").click()
    expect(rows(page)).to_have_count(5)
    assert page.url.endswith("/pipelines?branches=all")
    keep(page, "pages-pipelines")
    page.locator("tr", has_text="feature/search").get_by_role("link", name="Release").click()
    expect(rows(page)).to_have_count(1)
    rows(page).first.get_by_role("link").click()
    expect(page.locator("h1")).to_have_text("Release")
    expect(page.locator(".question")).to_contain_text("It waits at a gate")
    keep(page, "pages-gate")
    page.locator(".crumbs").get_by_role("link", name="Executions").click()
    expect(rows(page)).to_have_count(7)


def test_an_execution_tells_why_it_failed_and_what_it_printed(
    place: Place, open_page: Open
) -> None:
    page = open_page(f"{place.url}/executions")
    open_failed(page, place)
    expect(page.locator(".failure .reason").first).to_contain_text("assert 'b' == 'a'")
    expect(page.locator(".waterfall .job")).to_have_count(3)
    expect(page.locator(".waterfall .job.error")).to_contain_text("attempt 2")
    keep(page, "pages-failed")
    page.get_by_role("link", name="Logs").click()
    sections = page.locator(".log details")
    expect(sections).to_have_count(2)
    expect(sections.nth(1).locator("summary")).to_contain_text("pytest (attempt 2)")
    expect(sections.nth(0)).to_contain_text("1 failed, 2 passed")
    keep(page, "pages-log")
    page.locator(".logs .jobs").get_by_role("link", name="compile").click()
    expect(page.locator(".log li")).to_have_count(1)
    page.get_by_role("link", name="Raw events").click()
    page.locator(".raws summary").first.click()
    expect(page.locator(".raws pre").first).to_contain_text('"status": "error"')


def test_a_long_log_is_shown_from_its_end(empty: str, open_page: Open) -> None:
    job: dict[str, object] = {
        "id": "j",
        "name": "job",
        "pipeline_unique_id": "long",
        "pipeline_name": "Long",
    }
    parts: list[dict[str, object]] = [
        {"unique_id": "long", "name": "Long", "partial_retry": False, "level": "pipeline"},
        job | {"level": "job"},
    ]
    times = {
        "start": "2026-03-02T09:15:00Z",
        "end": "2026-03-02T09:16:00Z",
        "url": "https://x.test",
    }
    for part in parts:
        resource = part | times | {"status": "success"}
        element = {"type": "cipipeline_resource_request", "attributes": {"resource": resource}}
        post(f"{empty}/api/v2/ci/pipeline", {"data": element})
    line = {"pipeline_unique_id": "long", "job_id": "j"}
    for first in (1, 1001, 2001):
        numbers = range(first, first + 1000)
        lines = [line | {"message": f"line {n}", "line_number": n} for n in numbers]
        post(f"{empty}/api/v2/cilogs", lines)
    page = open_page(f"{empty}/executions/long?tab=logs")
    shown = page.locator(".log li")
    expect(shown.first).to_have_text("1001line 1001")
    expect(shown.last).to_have_text("3000line 3000")
    page.get_by_role("link", name="Lines before these").click()
    expect(shown.first).to_have_text("1line 1")
    page.get_by_role("link", name="Lines after these").click()
    expect(shown.last).to_have_text("3000line 3000")


def test_attempts_stand_side_by_side(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.url}/executions")
    open_failed(page, place)
    expect(page.locator(".story li")).to_have_count(2)
    page.get_by_role("link", name="Side by side").click()
    expect(page.locator(".beside thead th")).to_have_count(3)
    unit = page.locator(".beside tr", has=page.get_by_role("rowheader", name="unit"))
    expect(unit.locator("td.changed")).to_contain_text("succeeded")
    compiled = page.locator(".beside tr", has=page.get_by_role("rowheader", name="compile"))
    expect(compiled).to_contain_text("not run")
    keep(page, "pages-attempts")


def test_a_gate_and_its_answer_are_one_story(place: Place, open_page: Open) -> None:
    page = open_page(place.search("q=@ci.is_resumed:true"))
    rows(page).first.get_by_role("link").click()
    story = page.locator(".story")
    expect(story).to_contain_text("approved")
    expect(story).to_contain_text("Numbers look good")
    story.get_by_role("link").first.click()
    expect(page.locator("h1 + .pill")).to_have_text("blocked")
    expect(page.get_by_text("It waits at a gate")).to_have_count(0)


def test_two_executions_are_picked_and_compared(place: Place, open_page: Open) -> None:
    page = open_page(place.search('q=@ci.pipeline.name:"Documentation Build"'))
    boxes = page.get_by_role("checkbox")
    boxes.nth(0).check()
    expect(page.locator("#compare")).not_to_have_attribute("href", re.compile("."))
    boxes.nth(1).check()
    page.get_by_role("link", name="Compare the two").click()
    table = page.locator(".beside")
    expect(table.locator("tr", has_text="Branch").locator("td.changed")).to_contain_text(
        "feature/search"
    )
    expect(table.locator("tr", has_text="Parameter TARGET")).to_contain_text("production")
    expect(table.locator("tbody .cell")).to_have_count(12)
    keep(page, "pages-compare")
    page.get_by_role("link", name="Swap").click()
    expect(table.locator("tr", has_text="Branch").locator("td.changed")).to_contain_text("main")


def test_a_job_found_leads_to_its_row(place: Place, open_page: Open) -> None:
    page = open_page(place.search("level=job&q=@ci.job.name:contract"))
    expect(page.locator("th", has_text="Part of")).to_be_visible()
    rows(page).first.get_by_role("link").first.click()
    expect(page.locator(".waterfall .row.here")).to_contain_text("contract")


# ── searching ────────────────────────────────────────────────────────────────────────────────────


def test_facets_narrow_widen_and_exclude_without_a_reload(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.url}/executions")
    page.evaluate("window.same = true")
    facets = page.locator(".facets")
    facets.get_by_role("link", name="blocked").first.click()
    expect(rows(page)).to_have_count(2)
    expect(page.locator("[data-search]")).to_have_value("@ci.status:blocked")
    facets.get_by_role("link", name="error").first.click()
    expect(rows(page)).to_have_count(3)
    expect(page.locator("[data-search]")).to_have_value("(@ci.status:blocked OR @ci.status:error)")
    page.go_back()
    expect(rows(page)).to_have_count(2)
    facets.get_by_role("link", name="blocked").first.click()
    expect(rows(page)).to_have_count(7)
    facets.locator("li", has=page.get_by_role("link", name="Without API", exact=True)).hover()
    page.get_by_role("link", name="Without API", exact=True).click()
    expect(rows(page)).to_have_count(5)
    assert "q=-%40ci.pipeline.name%3AAPI" in page.url
    assert page.evaluate("window.same") is True


def test_a_stretch_of_time_is_picked_in_the_chart(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.url}/executions")
    page.locator(".chart a").last.click()
    expect(rows(page)).not_to_have_count(7)  # two may stand in one bar
    assert "from=" in page.url
    assert rows(page).count() in {1, 2}
    page.get_by_role("link", name="Any time again").click()
    expect(rows(page)).to_have_count(7)


def test_a_mistake_in_a_search_is_told_where_it_is(place: Place, open_page: Open) -> None:
    page = open_page(place.search("q=(a"))
    expect(page.get_by_role("alert")).to_contain_text("column")
    page.get_by_role("link", name="Clear it").click()
    expect(rows(page)).to_have_count(7)


def test_everything_is_in_the_address(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.url}/executions")
    page.get_by_role("link", name="Job", exact=True).click()
    expect(page.locator("th", has_text="Part of")).to_be_visible()
    page.get_by_role("link", name="1d", exact=True).click()
    expect(page.locator(".switch [aria-current]")).to_have_text(["Job", "1d"])
    page.locator("[data-search]").fill("@ci.job.name:test*")
    page.keyboard.press("Enter")
    expect(rows(page)).to_have_count(4)
    other = open_page(page.url)
    assert names(other) == names(page)
    expect(other.locator(".switch [aria-current]")).to_have_text(["Job", "1d"])


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


def test_keys_alone_find_and_open_an_execution(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.url}/executions")
    page.keyboard.press("/")
    page.keyboard.type("@git.branch:main")
    page.keyboard.press("Enter")
    expect(rows(page)).to_have_count(5)
    page.wait_for_load_state("load")  # from here on its script listens
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    chosen = page.locator("tr[aria-selected=true]")
    expect(chosen).to_have_count(1)
    assert chosen.get_attribute("data-key") == rows(page).nth(1).get_attribute("data-key")
    page.keyboard.press("x")
    expect(chosen.get_by_role("checkbox")).to_be_checked()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Release")
    page.wait_for_load_state("load")
    page.keyboard.press("g")
    page.keyboard.press("p")
    expect(page).to_have_url(f"{place.url}/pipelines")


def test_the_first_tab_leads_past_the_frame(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.url}/pipelines")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("To the content")
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


# ── for everybody ────────────────────────────────────────────────────────────────────────────────

LISTS = ("/executions", "/pipelines?branches=all")


def every(page: Page, place: Place) -> Iterator[str]:
    """Opens one page after the other; their names."""
    for path in LISTS:
        page.goto(place.url + path)
        yield re.sub(r"\W+", "-", path).strip("-")
    open_failed(page, place)
    yield "one"
    for tab in ("Side by side", "Logs"):
        page.get_by_role("link", name=tab).click()
        expect(page.locator(".tabs [aria-current]")).to_contain_text(tab)
        yield tab.replace(" ", "-").lower()


def test_axe_finds_no_serious_fault(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.url}/compare")
    for name in every(page, place):
        assert not faults(page), name


def test_axe_finds_no_serious_fault_in_the_dark(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.url}/executions", color_scheme="dark")
    keep(page, "pages-dark-executions")
    open_failed(page, place)
    assert not faults(page)
    keep(page, "pages-dark-one")


def test_nothing_is_wider_than_a_narrow_screen(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.url}/compare", size=NARROW)
    for name in every(page, place):
        assert page.evaluate("document.scrollingElement.scrollWidth") <= NARROW[0], name
        keep(page, f"pages-narrow-{name}")


def test_what_has_not_changed_is_not_sent_again(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.url}/pipelines")
    with page.expect_response(lambda answer: answer.status == 304, timeout=15_000):
        pass


def test_pages_are_whole_without_their_script(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.url}/executions", java_script_enabled=False)
    page.locator(".facets").get_by_role("link", name="error").first.click()
    expect(rows(page)).to_have_count(1)
    rows(page).first.get_by_role("link").click()
    expect(page.locator(".waterfall .job")).to_have_count(3)


# ── what is not there ────────────────────────────────────────────────────────────────────────────


def test_an_empty_store_says_what_to_do(empty: str, open_page: Open) -> None:
    page = open_page(f"{empty}/executions")
    expect(page.locator(".state")).to_contain_text(f"SIGNALBOX_INTAKE_URL={empty} signalbox run")
    keep(page, "pages-empty")
    page.goto(f"{empty}/pipelines")
    expect(page.locator(".state")).to_contain_text("Nothing has run yet")
