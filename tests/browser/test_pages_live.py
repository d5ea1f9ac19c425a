"""Pages follow what runs: a real run delivers while they are open, and nobody is disturbed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.chromium import keep
from tests.browser.conftest import Open
from tests.browser.seed import ended, site
from tests.browser.served import serving

pytestmark = pytest.mark.browser
GO = "while [ ! -e go ]; do sleep 0.02; done"
"""A step that lasts until the test says otherwise."""
PIPELINE = f"""\
name: Watched
jobs:
  first:
    steps: [echo hello]
  second:
    needs: [first]
    steps:
      - {{ name: Wait, run: "echo waiting; {GO}" }}
      - {{ name: Fail, run: "echo over; exit 1" }}
"""


class Watched:
    """A server, and a pipeline that stands still until ``go``."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._workspace = site(folder, url)
        self._workspace.write(PIPELINE, "watched.yml")
        self._runs = [self._workspace.start("run", "watched.yml")]

    def start(self) -> None:
        self._runs.append(self._workspace.start("run", "watched.yml"))

    def go(self) -> None:
        (self._workspace.path / "go").touch()

    def end(self) -> None:
        self.go()
        for process in self._runs:
            ended(process)
        self._runs = []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("live")
    with serving(folder / "state") as url:
        yield url, folder


@pytest.fixture
def watched(server: tuple[str, Path], request: pytest.FixtureRequest) -> Iterator[Watched]:
    url, folder = server
    made = Watched(url, folder / request.node.name)
    yield made
    made.end()


def running(page: Page, watched: Watched) -> None:
    """The page of the execution that runs."""
    page.goto(f"{watched.url}/executions?q=@ci.status:running")
    expect(page.locator("[data-rows] tbody tr")).to_have_count(1)
    page.locator("[data-rows] tbody .called a").click()
    expect(page.locator("h1 + .pill")).to_have_text("running")
    page.wait_for_load_state("load")  # from here on its script listens


def test_a_list_takes_up_what_starts_and_leaves_the_reader_alone(
    watched: Watched, open_page: Open
) -> None:
    page = open_page(f"{watched.url}/executions")
    lines = page.locator("[data-rows] tbody tr")
    expect(lines).to_have_count(1)
    expect(lines.first.locator(".status.running")).to_be_visible()
    facet = page.locator("details.facet", has_text="CI provider")
    facet.locator("summary").click()
    page.get_by_role("checkbox").last.check()
    page.keyboard.press("k")
    chosen = page.locator("tr[aria-selected=true]").get_attribute("data-key")
    page.locator("[data-search]").fill("half a que")
    watched.start()
    expect(lines).to_have_count(2)
    expect(page.locator("[data-search]")).to_be_focused()
    expect(page.locator("[data-search]")).to_have_value("half a que")
    assert page.locator("tr[aria-selected=true]").get_attribute("data-key") == chosen
    expect(page.get_by_role("checkbox").last).to_be_checked()
    expect(facet).to_have_attribute("open", "")
    expect(page.locator("#compare")).to_be_visible()
    watched.go()
    expect(page.locator("[data-rows] .status.running")).to_have_count(0)
    expect(page.locator("[data-rows] .status.error")).to_have_count(2)


def test_an_execution_grows_and_ends_while_it_is_looked_at(
    watched: Watched, open_page: Open
) -> None:
    page = open_page(watched.url)
    running(page, watched)
    expect(page.locator(".waterfall .job")).to_have_count(2)
    first = page.locator(".waterfall .job", has_text="first")
    first.locator("summary").first.click()
    expect(first).not_to_have_attribute("open", "")
    search = page.get_by_placeholder("Filter jobs and steps")
    search.fill("second")
    expect(first).to_be_hidden()
    keep(page, "pages-live")
    watched.go()
    expect(page.locator("h1 + .pill")).to_have_text("failed")
    expect(page.locator(".failure")).to_contain_text("Fail")
    expect(search).to_have_value("second")
    expect(first).to_be_hidden()
    search.fill("")
    expect(first).to_be_visible()
    expect(first).not_to_have_attribute("open", "")


def test_a_log_is_followed_and_a_lost_server_found_again(
    watched: Watched, browser: Browser
) -> None:
    page = browser.new_page()
    running(page, watched)
    page.get_by_role("link", name="Logs").click()
    page.locator(".logs .jobs").get_by_role("link", name="second").click()
    expect(page.locator(".log li")).to_have_text(["1waiting"])

    def lose(route: Route) -> None:
        route.fulfill(status=502, body="<h1>bad gateway</h1>")

    page.route("**/executions/*", lose)
    expect(page.locator("#live")).to_have_text("Lost", timeout=15_000)
    expect(page.locator("h1")).to_have_text("Watched")
    expect(page.get_by_role("status")).to_contain_text("The connection is lost")
    keep(page, "pages-lost")
    watched.go()
    page.unroute("**/executions/*")
    expect(page.locator(".log li")).to_have_text(["1waiting", "2over"], timeout=15_000)
    expect(page.locator("#live")).to_have_text("Live")
    page.close()


def test_nothing_is_asked_while_paused_or_in_the_background(
    watched: Watched, open_page: Open
) -> None:
    page = open_page(watched.url)
    running(page, watched)
    page.keyboard.press("p")
    expect(page.locator("#live")).to_have_text("Paused")
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    watched.go()
    page.wait_for_timeout(1500)
    expect(page.locator("h1 + .pill")).to_have_text("running")
    hide = "Object.defineProperty(document, 'hidden', { value: %s, configurable: true });"
    wake = "document.dispatchEvent(new Event('visibilitychange'));"
    page.evaluate(hide % "true" + wake)
    page.keyboard.press("p")
    page.wait_for_timeout(1200)
    assert asked == []
    page.evaluate(hide % "false" + wake)
    expect(page.locator("h1 + .pill")).to_have_text("failed")
