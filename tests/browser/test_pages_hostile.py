"""Whatever text comes in, the pages have the elements that they have for harmless text (T14)."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from runner.execution import rfc3339
from tests.browser.conftest import Open
from tests.browser.served import post, serving
from tests.hostile import EVIL

pytestmark = pytest.mark.browser
OUTLINE = """() => [...document.querySelectorAll("*")].map(e =>
  [e.tagName, ...[...e.attributes].map(a => a.name).sort()].join(" "))"""
PARSED = """async (path) => {
  const text = await (await fetch(path)).text();
  return [...new DOMParser().parseFromString(text, "text/html").querySelectorAll("*")].map(e =>
    [e.tagName, ...[...e.attributes].map(a => a.name).sort()].join(" "));
}"""
"""The same of a page that is parsed and not shown: that takes a tenth of the time."""
LINKS = """() => [...document.querySelectorAll("[href], [src], [action]")].map(e =>
  e.getAttribute("href") ?? e.getAttribute("src") ?? e.getAttribute("action"))"""
BAD_URLS = ("javascript:alert(1)", "data:text/html,<script>alert(1)</script>", "//evil.example/")
HARMLESS = "harmless"


def texts(evil: str) -> str:
    """What the intake takes of a hostile text: no lone surrogate is JSON."""
    return evil.encode("utf-8", "replace").decode()


def events(run: str, evil: str, url: str) -> list[dict[str, Any]]:
    """An execution with ``evil`` in every text of every event."""
    now = time.time_ns() - 60_000_000_000
    start, end = rfc3339(now), rfc3339(now + 5_000_000_000)
    error = {"domain": "user", "type": evil[:90], "message": evil, "stack": evil}
    git = {
        "repository_url": "https://example.com/acme/site.git",
        "sha": "a" * 40,
        "author_email": "ada@example.test",
        "author_name": evil,
        "message": evil,
        "branch": evil,
    }
    shared = {
        "start": start,
        "end": end,
        "status": "error",
        "error": error,
        "git": git,
        "tags": [f"key:{evil}"],
        "metrics": ["n:1"],
        "node": {"hostname": evil, "name": evil, "labels": [evil], "workspace": evil},
    }
    part = shared | {"pipeline_unique_id": run, "pipeline_name": evil}
    return [
        shared
        | {
            "level": "pipeline",
            "unique_id": run,
            "name": evil,
            "url": url,
            "partial_retry": False,
            "parameters": {"NAME": evil},
        },
        part | {"level": "stage", "id": f"{run}-s", "name": evil},
        part
        | {
            "level": "job",
            "id": f"{run}-j",
            "name": evil,
            "url": url,
            "stage_id": f"{run}-s",
            "stage_name": evil,
        },
        part
        | {"level": "step", "id": f"{run}-t", "name": evil, "job_id": f"{run}-j", "job_name": evil},
    ]


def send(address: str, run: str, evil: str, url: str = "https://example.com/") -> None:
    body = [
        {"type": "cipipeline_resource_request", "attributes": {"provider_name": "x", "resource": e}}
        for e in events(run, texts(evil), url)
    ]
    post(f"{address}/api/v2/ci/pipeline", {"data": body})
    line = {"pipeline_unique_id": run, "job_id": f"{run}-j", "message": texts(evil)}
    post(f"{address}/api/v2/cilogs", [line | {"section_name": texts(evil), "line_number": 1}])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    with serving(folder / "state") as url:
        send(url, HARMLESS, HARMLESS)
        for place, evil in enumerate(EVIL):
            send(url, f"run-{place}", evil)
        yield url


def paths(run: str) -> tuple[str, ...]:
    """Every page of one execution."""
    only = quote(f"@ci.pipeline.id:{run}")
    return (
        f"/executions?q={only}",
        f"/executions?level=step&q={only}",
        f"/executions/{run}",
        f"/executions/{run}?tab=logs",
        f"/executions/{run}?tab=events",
        f"/compare?base={run}&with={run}",
    )


def test_T14_hostile_text_changes_no_element(served: str, open_page: Open) -> None:
    page = open_page(f"{served}/compare")
    harmless = [page.evaluate(PARSED, path) for path in paths(HARMLESS)]
    assert min(map(len, harmless)) > 50
    for place, evil in enumerate(EVIL):
        found = [page.evaluate(PARSED, path) for path in paths(f"run-{place}")]
        assert found == harmless, evil


def test_T14_hostile_text_runs_nothing_and_changes_nothing_while_it_is_shown(
    served: str, open_page: Open
) -> None:
    page = open_page(served)
    shown = []
    for run in (HARMLESS, "run-0", "run-1"):
        page.goto(f"{served}/executions/{run}")
        page.locator(".waterfall summary.row").first.click()
        shown.append(page.evaluate(OUTLINE))
    assert shown[0] == shown[1] == shown[2]


def test_T14_hostile_text_in_an_address_changes_no_element(served: str, open_page: Open) -> None:
    page = open_page(served)
    for path in ("/executions?q=", "/executions?level=job&q=", "/pipelines?q="):
        harmless = page.evaluate(PARSED, f"{path}zzz")
        for evil in EVIL[:3]:
            hostile = path + quote('"zzz' + evil.replace('"', "") + '"')
            assert page.evaluate(PARSED, hostile) == harmless, path


@pytest.mark.parametrize("url", BAD_URLS)
def test_T14_links_lead_to_web_pages_alone(served: str, open_page: Open, url: str) -> None:
    run = f"url-{BAD_URLS.index(url)}"
    send(served, run, HARMLESS, url)
    page = open_page(f"{served}/executions/{run}")
    links = page.evaluate(LINKS)
    assert links
    wrong = [link for link in links if not link.startswith(("/", "#", "https://example.com/"))]
    assert not wrong
    assert not [link for link in links if link.startswith("//")]


def test_T14_nothing_is_loaded_from_elsewhere_and_nothing_inline_runs(served: str) -> None:
    answer = requests.get(f"{served}/executions/{HARMLESS}", timeout=10)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "<style" not in answer.text
    assert " style=" not in answer.text
    assert "<script>" not in answer.text


LONG = "services/payments/backend/test_with_a_very_long_module_name_that_never_ends.py::TestClass"


@pytest.mark.parametrize("name", ["Gated", LONG])
def test_no_name_makes_a_page_wider_than_a_narrow_screen(
    served: str, open_page: Open, name: str
) -> None:
    for run in ("before", "after"):
        send(served, f"{name[:5]}-{run}", name)
    page = open_page(f"{served}/compare", size=(360, 780))
    for path in paths(f"{name[:5]}-after"):
        page.goto(served + path)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 360, path
