"""What was sent is read back by the official client, unchanged, and in the stored shape."""

import sqlite3
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.serve_place import READ, SHA, Serve, ago, git, part, pipeline, serving

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from datadog_api_client import ApiClient, Configuration
    from datadog_api_client.exceptions import ApiException
    from datadog_api_client.v2.api.ci_visibility_logs_api import CIVisibilityLogsApi
    from datadog_api_client.v2.api.ci_visibility_pipelines_api import CIVisibilityPipelinesApi
    from datadog_api_client.v2.model import ci_app_aggregation_function as functions
    from datadog_api_client.v2.model.ci_app_compute import CIAppCompute
    from datadog_api_client.v2.model.ci_app_compute_type import CIAppComputeType
    from datadog_api_client.v2.model.ci_app_create_pipeline_event_request import (
        CIAppCreatePipelineEventRequest,
    )
    from datadog_api_client.v2.model.ci_app_create_pipeline_event_request_attributes import (
        CIAppCreatePipelineEventRequestAttributes,
    )
    from datadog_api_client.v2.model.ci_app_create_pipeline_event_request_data import (
        CIAppCreatePipelineEventRequestData,
    )
    from datadog_api_client.v2.model.ci_app_create_pipeline_event_request_data_type import (
        CIAppCreatePipelineEventRequestDataType,
    )
    from datadog_api_client.v2.model.ci_app_git_info import CIAppGitInfo
    from datadog_api_client.v2.model.ci_app_pipeline_event_finished_pipeline import (
        CIAppPipelineEventFinishedPipeline,
    )
    from datadog_api_client.v2.model.ci_app_pipeline_event_pipeline_level import (
        CIAppPipelineEventPipelineLevel,
    )
    from datadog_api_client.v2.model.ci_app_pipeline_event_pipeline_status import (
        CIAppPipelineEventPipelineStatus,
    )
    from datadog_api_client.v2.model.ci_app_pipeline_events_request import (
        CIAppPipelineEventsRequest,
    )
    from datadog_api_client.v2.model.ci_app_pipelines_aggregate_request import (
        CIAppPipelinesAggregateRequest,
    )
    from datadog_api_client.v2.model.ci_app_pipelines_group_by import CIAppPipelinesGroupBy
    from datadog_api_client.v2.model.ci_app_pipelines_query_filter import (
        CIAppPipelinesQueryFilter,
    )
    from datadog_api_client.v2.model.ci_app_query_page_options import CIAppQueryPageOptions
    from datadog_api_client.v2.model.ci_app_sort import CIAppSort
    from datadog_api_client.v2.model.ci_log_item import CILogItem

RUNS = 23


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """With pipelines of every kind, and a job and a step."""
    with serving(tmp_path_factory.mktemp("reading") / "state") as running:
        now = datetime.now(UTC)
        for number in range(RUNS):
            start = now - timedelta(minutes=number + 1)
            running.take(
                pipeline(
                    f"run-{number}",
                    name="Nightly" if number % 4 == 0 else "Build",
                    start=start.isoformat(),
                    end=(start + timedelta(seconds=number)).isoformat(),
                    status="error" if number % 3 == 0 else "success",
                    tags=["team:web", f"run:{number}"],
                    metrics=[f"coverage:{50 + number}"],
                )
            )
        running.take(
            part("stage", "run-0", "s", name="check"),
            part("job", "run-0", "j", name="test", stage_id="s", stage_name="check", queue_time=7),
            part("step", "run-0", "t", name="pytest", job_id="j", job_name="test"),
        )
        yield running


@pytest.fixture(scope="module")
def client(viewer: Serve) -> Iterator[ApiClient]:
    settings = Configuration(host=viewer.url)  # type: ignore[no-untyped-call]
    settings.api_key["apiKeyAuth"] = "any"
    settings.api_key["appKeyAuth"] = "any"
    with ApiClient(settings) as made:
        yield made


@pytest.fixture(scope="module")
def api(client: ApiClient) -> CIVisibilityPipelinesApi:
    return CIVisibilityPipelinesApi(client)  # type: ignore[no-untyped-call]


def written(unique_id: str, **git_more: str) -> CIAppCreatePipelineEventRequest:
    resource = CIAppPipelineEventFinishedPipeline(
        level=CIAppPipelineEventPipelineLevel.PIPELINE,
        unique_id=unique_id,
        name="Written",
        url="https://my-ci-provider.example/pipelines/my-pipeline/run/1",
        start=datetime.now(UTC) - timedelta(seconds=120),
        end=datetime.now(UTC) - timedelta(seconds=30),
        status=CIAppPipelineEventPipelineStatus.SUCCESS,
        partial_retry=False,
        git=CIAppGitInfo(
            repository_url="https://github.com/DataDog/datadog-agent",
            sha=SHA,
            author_email="john.doe@email.com",
            **git_more,
        ),
    )
    return CIAppCreatePipelineEventRequest(
        data=CIAppCreatePipelineEventRequestData(
            attributes=CIAppCreatePipelineEventRequestAttributes(
                resource=resource,  # type: ignore[arg-type]
            ),
            type=CIAppCreatePipelineEventRequestDataType.CIPIPELINE_RESOURCE_REQUEST,
        )
    )


def query(text: str, **more: str) -> CIAppPipelinesQueryFilter:
    return CIAppPipelinesQueryFilter(query=text, **more)


def test_the_client_writes_and_finds(api: CIVisibilityPipelinesApi) -> None:
    api.create_ci_app_pipeline_event(body=written("by-client", branch="main"))
    [found] = api.list_ci_app_pipeline_events(filter_query="@ci.pipeline.id:by-client").data
    attributes = found.attributes.attributes
    assert str(found.attributes.ci_level) == "pipeline"
    assert attributes["ci"]["provider"]["name"] == "custom"
    assert attributes["ci"]["pipeline"]["name"] == "Written"
    assert attributes["git"]["repository"]["id"] == "github.com/DataDog/datadog-agent"
    assert 80e9 < attributes["duration"] < 100e9


def test_the_client_is_told_what_was_wrong(api: CIVisibilityPipelinesApi) -> None:
    body = written("refused")
    body.data.attributes.resource.git.sha = "short"
    with pytest.raises(ApiException) as error:
        api.create_ci_app_pipeline_event(body=body)
    assert error.value.status == 400
    assert "data.attributes.resource.git.sha" in str(error.value.body)


def test_the_client_lists_page_by_page(api: CIVisibilityPipelinesApi) -> None:
    for size in (1, 5, RUNS, 100):
        found = list(
            api.list_ci_app_pipeline_events_with_pagination(
                filter_query="team:web",
                filter_from=datetime.now(UTC) - timedelta(hours=1),
                filter_to=datetime.now(UTC),
                sort=CIAppSort.TIMESTAMP_ASCENDING,
                page_limit=size,
            )
        )
        ids = [one.attributes.attributes["ci"]["pipeline"]["id"] for one in found]
        assert ids == [f"run-{n}" for n in reversed(range(RUNS))]


def test_the_client_searches_page_by_page(api: CIVisibilityPipelinesApi) -> None:
    body = CIAppPipelineEventsRequest(
        filter=query("ci_level:pipeline @ci.pipeline.name:Build", _from="now-15m", to="now"),
        page=CIAppQueryPageOptions(limit=3),
        sort=CIAppSort.TIMESTAMP_DESCENDING,
    )
    found = list(api.search_ci_app_pipeline_events_with_pagination(body=body))
    ids = [one.attributes.attributes["ci"]["pipeline"]["id"] for one in found]
    assert ids == [f"run-{n}" for n in range(14) if n % 4]


def test_the_client_aggregates(api: CIVisibilityPipelinesApi) -> None:
    body = CIAppPipelinesAggregateRequest(
        compute=[
            CIAppCompute(aggregation=functions.CIAppAggregationFunction.COUNT),
            CIAppCompute(
                aggregation=functions.CIAppAggregationFunction.PERCENTILE_90, metric="@duration"
            ),
            CIAppCompute(
                aggregation=functions.CIAppAggregationFunction.COUNT,
                type=CIAppComputeType.TIMESERIES,
                interval="5m",
            ),
        ],
        filter=query("ci_level:pipeline team:web"),
        group_by=[CIAppPipelinesGroupBy(facet="@ci.status", limit=5)],
    )
    answer = api.aggregate_ci_app_pipeline_events(body=body)
    buckets = {bucket.by["@ci.status"]: bucket.computes for bucket in answer.data.buckets}
    counts = {status: float(str(computes["c0"])) for status, computes in buckets.items()}
    assert counts == {"success": 15, "error": 8}
    points = buckets["error"]["c2"].value
    assert sum(point.value for point in points) == 8
    assert str(answer.meta.status) == "done"


def test_the_client_sends_lines_of_logs(client: ApiClient, viewer: Serve) -> None:
    lines = [
        CILogItem(message=f"line {n}", pipeline_unique_id="run-0", job_id="j", line_number=n)
        for n in range(3)
    ]
    settings = client.configuration
    settings.server_operation_index["submit_ci_log"] = 1
    address = {"protocol": "http", "name": viewer.url.removeprefix("http://")}
    settings.server_operation_variables["submit_ci_log"] = address
    logs = CIVisibilityLogsApi(client)  # type: ignore[no-untyped-call]
    logs.submit_ci_log(body=lines)
    kept = sqlite3.connect(f"file:{viewer.state}/serve/store.db?mode=ro", uri=True)
    found = kept.execute("SELECT number, message FROM line ORDER BY number").fetchall()
    kept.close()
    assert found == [(n, f"line {n}") for n in range(3)]


# ── the shape ────────────────────────────────────────────────────────────────────────────────────


def test_the_stored_shape_is_the_one_of_the_reference(viewer: Serve) -> None:
    viewer.take(
        pipeline(
            "shape",
            url="https://ci.example.test/1",
            is_manual=True,
            queue_time=1500,
            parameters={"TARGET": "staging"},
            node={"name": "n1", "labels": ["big"]},
            error={"domain": "user", "type": "ExitCode", "message": "2 failed"},
            tags=["team:web", "plain"],
            metrics=["coverage:81.5"],
            git=git(tag="v1", message="m", author_name="Ada", default_branch="main"),
            previous_attempt={"id": "before"},
        )
    )
    [found] = viewer.ask("GET", f"{READ}/events?filter[query]=@ci.pipeline.id:shape").json["data"]
    assert found["type"] == "cipipeline"
    assert found["id"]
    outer = found["attributes"]
    assert outer["ci_level"] == "pipeline"
    assert outer["tags"] == ["team:web", "plain"]
    inner = outer["attributes"]
    assert inner["ci"] == {
        "status": "success",
        "provider": {"name": "custom-ci"},
        "pipeline": {
            "id": "shape",
            "name": "Documentation Build",
            "url": "https://ci.example.test/1",
            "previous_attempt": {"id": "before"},
        },
        "node": {"name": "n1", "labels": ["big"]},
        "parameters": ["TARGET:staging"],
        "queue_time": 1_500_000_000,
        "is_manual": True,
        "partial_retry": False,
    }
    assert inner["error"] == {"domain": "user", "type": "ExitCode", "message": "2 failed"}
    assert inner["git"] == {
        "repository_url": "https://git.example.test/team/app.git",
        "repository": {
            "id": "git.example.test/team/app",
            "name": "app",
            "host": "git.example.test",
            "path": "/team/app",
            "scheme": "https",
        },
        "tag": "v1",
        "default_branch": "main",
        "commit": {
            "sha": SHA,
            "message": "m",
            "author": {"name": "Ada", "email": "ada@example.test"},
        },
    }
    assert inner["team"] == "web"
    assert inner["coverage"] == 81.5


def test_a_step_names_its_job_and_stage(viewer: Serve) -> None:
    [step] = viewer.search("ci_level:step @ci.job.name:test")
    ci = step["attributes"]["ci"]
    assert ci["step"] == {"id": "t", "name": "pytest"}
    assert ci["job"] == {"id": "j", "name": "test"}
    [job] = viewer.search("ci_level:job @ci.stage.name:check")
    assert job["attributes"]["ci"]["stage"] == {"id": "s", "name": "check"}
    assert job["attributes"]["ci"]["queue_time"] == 7_000_000


# ── what one may ask ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("query_text", "count"),
    [
        ("@duration:>10s", 12),
        ("@duration:[5s TO 10s]", 6),
        ("coverage:>=70", 3),
        ("run:2*", 4),
        ("run:(1 OR 3) -@ci.status:error", 1),
        ('@ci.pipeline.name:"Nightly"', 6),
    ],
)
def test_questions_people_ask(viewer: Serve, query_text: str, count: int) -> None:
    assert len(viewer.search(f"ci_level:pipeline team:web {query_text} run:*")) == count


@pytest.mark.parametrize(
    ("start", "end", "count"),
    [
        ("now-5m-30s", "now", 5),
        ("now-1h", "now-10m-30s", 13),
        ("{milliseconds}", "", 5),
        ("{text}", "now", 5),
    ],
)
def test_windows_in_every_notation(viewer: Serve, start: str, end: str, count: int) -> None:
    milliseconds = int((datetime.now(UTC).timestamp() - 330) * 1000)
    start = start.format(milliseconds=milliseconds, text=ago(330))
    found = viewer.search("", filter={"query": "team:web run:*", "from": start, "to": end})
    assert count - 1 <= len(found) <= count + 1


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        (f"{READ}/events/search", {"filter": {"query": "(a"}}, "column 1"),
        (f"{READ}/events/search", {"filter": {"query": "@duration:>soon"}}, "soon"),
        (f"{READ}/events/search", {"filter": {"from": "yesterday"}}, "yesterday"),
        (f"{READ}/events/search", {"page": {"limit": 1001}}, "page[limit]"),
        (f"{READ}/events/search", {"page": {"cursor": "../.."}}, "cursor"),
        (f"{READ}/events/search", {"sort": "name"}, "sort"),
        (f"{READ}/events/search", {"options": {"timezone": "../../etc/passwd"}}, "time zone"),
        (f"{READ}/analytics/aggregate", {"compute": [{"aggregation": "mode"}]}, "aggregation"),
        (f"{READ}/analytics/aggregate", {"compute": [{"aggregation": "sum"}]}, "metric"),
        (f"{READ}/analytics/aggregate", {"group_by": [{}]}, "facet"),
    ],
)
def test_a_question_that_cannot_be_read_is_answered_so(
    viewer: Serve, path: str, body: object, word: str
) -> None:
    answer = viewer.ask("POST", path, body)
    assert answer.status == 400
    assert word in answer.errors
    assert isinstance(answer.json["errors"][0], str)


def aggregate(viewer: Serve, **asked: Any) -> list[dict[str, Any]]:
    asked.setdefault("filter", {"query": "ci_level:pipeline team:web run:*"})
    answer = viewer.ask("POST", f"{READ}/analytics/aggregate", asked)
    assert answer.status == 200, answer.body
    buckets: list[dict[str, Any]] = answer.json["data"]["buckets"]
    return buckets


def test_every_figure(viewer: Serve) -> None:
    names = (
        "count cardinality pc75 pc90 pc95 pc98 pc99 sum min max avg median latest earliest delta"
    )
    compute = [{"aggregation": name, "metric": "coverage"} for name in names.split()]
    compute.append({"aggregation": "most_frequent", "metric": "@ci.pipeline.name"})
    [bucket] = aggregate(viewer, compute=compute)
    found = dict(zip([*names.split(), "most_frequent"], bucket["computes"].values(), strict=True))
    assert found == {
        "count": RUNS,
        "cardinality": RUNS,
        "pc75": 66.5,
        "pc90": pytest.approx(69.8),
        "pc95": pytest.approx(70.9),
        "pc98": pytest.approx(71.56),
        "pc99": pytest.approx(71.78),
        "sum": sum(range(50, 73)),
        "min": 50,
        "max": 72,
        "avg": 61,
        "median": 61,
        "latest": 50,
        "earliest": 72,
        "delta": -22,
        "most_frequent": "Build",
    }


def test_groups_in_groups_sorted_and_cut(viewer: Serve) -> None:
    found = aggregate(
        viewer,
        compute=[{"aggregation": "count"}],
        group_by=[
            {"facet": "@ci.pipeline.name", "limit": 1},
            {"facet": "@ci.status", "sort": {"type": "alphabetical", "order": "asc"}},
        ],
    )
    assert [(*one["by"].values(), one["computes"]["c0"]) for one in found] == [
        ("Build", "error", 6),
        ("Build", "success", 11),
    ]


def test_histograms_missing_values_and_totals(viewer: Serve) -> None:
    bins = {"interval": 10, "min": 50, "max": 70}
    found = aggregate(viewer, group_by=[{"facet": "coverage", "histogram": bins}])
    assert [(one["by"]["coverage"], one["computes"]["c0"]) for one in found] == [(50, 10), (60, 10)]
    found = aggregate(
        viewer,
        filter={"query": "@ci.pipeline.id:(run-0 OR run-1)"},
        group_by=[{"facet": "team", "missing": "nobody", "total": True}],
    )
    assert {one["by"]["team"]: one["computes"]["c0"] for one in found} == {
        "web": 2,
        "nobody": 3,
        "TOTAL": 5,
    }


def test_large_events_come_in_pages_that_fit_and_all_of_them(viewer: Serve) -> None:
    stack = "x" * 4_000_000
    for number in range(10):
        viewer.take(part("step", "large", str(number), error={"message": "m", "stack": stack}))
    found, cursor = [], ""
    while True:
        asked = {
            "filter": {"query": "@ci.pipeline.id:large"},
            "page": {"cursor": cursor, "limit": 1000},
        }
        answer = viewer.ask("POST", f"{READ}/events/search", asked)
        assert len(answer.body) < 40_000_000
        found += [
            one["attributes"]["attributes"]["ci"]["step"]["id"] for one in answer.json["data"]
        ]
        if "page" not in answer.json["meta"]:
            break
        cursor = answer.json["meta"]["page"]["after"]
    assert sorted(found) == [str(number) for number in range(10)]
