"""``examples``: each is what its CI reads, and its commands do what its comment says."""

import json
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from runner.providers import detect, read_file
from tests.conftest import ROOT, Workspace, tags
from tests.examples.conftest import MakePlace
from tests.examples.place import BASH, EXAMPLES, IMAGE, SH, environment, load
from tests.intake_server import Server

FILES = sorted(path for path in (*EXAMPLES.glob("*"), *EXAMPLES.glob("gate/*")) if path.is_file())
SCHEMAS = {
    "azure-pipelines.yml": "azure-pipelines",
    "bitbucket-pipelines.yml": "bitbucket-pipelines",
    "buildkite.yml": "buildkite",
    "circleci.yml": "circle-ci",
    "drone.yml": "drone-ci",
    "github.yml": "github-workflows",
    "github-composite.yml": "github-workflows",
    "gitlab-ci.yml": "gitlab-ci",
    "travis.yml": "travis",
    "woodpecker.yml": "woodpecker-ci",
}
"""Whose form a published schema knows."""


def commands(steps: list[Any], key: str) -> list[str]:
    found = [step[key] for step in steps if isinstance(step, dict) and key in step]
    return [it if isinstance(it, str) else it["command"] for it in found]


COMMANDS: Mapping[str, tuple[str, tuple[str, ...], Callable[[Any], list[str]]]] = {
    "appveyor.yml": ("appveyor-branch", BASH, lambda it: commands(it["test_script"], "sh")),
    "azure-pipelines.yml": ("azure-branch", BASH, lambda it: commands(it["steps"], "bash")),
    "bitbucket-pipelines.yml": (
        "bitbucket-branch",
        SH,
        lambda it: it["pipelines"]["default"][0]["step"]["script"],
    ),
    "bitrise.yml": (
        "bitrise-branch",
        BASH,
        lambda it: [it["workflows"]["check"]["steps"][1]["script@1"]["inputs"][0]["content"]],
    ),
    "buddy.yml": ("buddy-branch", SH, lambda it: it[0]["actions"][0]["execute_commands"]),
    "buildkite.yml": (
        "buildkite-webhook",
        BASH,
        lambda it: [text.replace("$$", "$") for text in commands(it["steps"], "command")],
    ),
    "buildspec.yml": (
        "codebuild-in-codepipeline",
        SH,
        lambda it: it["phases"]["build"]["commands"],
    ),
    "circleci.yml": (
        "circleci-branch",
        BASH,
        lambda it: commands(it["jobs"]["check"]["steps"], "run"),
    ),
    "codefresh.yml": ("codefresh-branch", SH, lambda it: it["steps"]["check"]["commands"]),
    "gitlab-ci.yml": (
        "gitlab-branch",
        SH,
        lambda it: [*it["check"]["script"], *it["check"]["after_script"]],
    ),
    "travis.yml": ("travis-branch", BASH, lambda it: it["script"]),
    "woodpecker.yml": ("woodpecker-branch", SH, lambda it: it["steps"][0]["commands"]),
    "Jenkinsfile": ("jenkins-branch", SH, lambda it: re.findall(r"sh '(.*)'", it)),
    "teamcity.kts": (
        "teamcity-branch",
        SH,
        lambda it: re.findall(r'scriptContent = "(.*)"', it),
    ),
}
"""For each example: the variables that its CI sets, its shell, and where its commands stand."""


def schema(name: str) -> Any:
    vendor = files("check_jsonschema.builtin_schemas.vendor")
    return json.loads((vendor / f"{name}.json").read_text())


def wrong(name: str, document: Any) -> list[str]:
    known = schema(SCHEMAS[name])
    validator = jsonschema.validators.validator_for(known)(known)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_an_example_is_what_its_ci_reads(path: Path) -> None:
    if path.suffix == ".yml":
        document = load(path)
        assert path.name not in SCHEMAS or wrong(path.name, document) == []
    assert path.suffix == ".md" or max(map(len, path.read_text().splitlines())) <= 125


def broken(found: Any, word: str) -> Any:
    """The same with a number for each ``word``."""
    match found:
        case dict():
            return {key: 7 if key == word else broken(it, word) for key, it in found.items()}
        case list():
            return [broken(it, word) for it in found]
        case _:
            return found


@pytest.mark.parametrize("name", SCHEMAS)
def test_its_schema_would_have_found_a_mistake(name: str) -> None:
    document = load(EXAMPLES / name)
    mistakes = [broken(document, word) for word in ("steps", "jobs", "pipelines", "script")]
    assert any(wrong(name, mistake) for mistake in mistakes if mistake != document)


def test_the_readme_names_every_example_and_no_other() -> None:
    linked = set(re.findall(r"\]\(([\w./-]+)\)", (EXAMPLES / "README.md").read_text()))
    there = {str(path.relative_to(EXAMPLES)) for path in FILES} - {"README.md"}
    assert {link for link in linked if not link.startswith("..")} == there | {"demo/pipeline.yml"}


def test_the_examples_name_the_image_of_this_version() -> None:
    for path in FILES:
        images = re.findall(r"REGISTRY/OWNER/signalbox\S*", path.read_text())
        assert {image.strip("\"'.;, }])") for image in images} <= {IMAGE, IMAGE.rpartition(":")[0]}


def test_every_ci_that_we_know_has_an_example() -> None:
    known = {variables.partition("-")[0] for variables, _, _ in COMMANDS.values()}
    there = {path.stem for path in (ROOT / "runner" / "providers").glob("[a-z]*.py")}
    assert known | {"github", "drone"} == there - {"local"}


def settled(server: Server, environ: Mapping[str, str]) -> None:
    """The run was reported, as one of this CI."""
    host = detect(environ, read_file).host
    event = server.event("pipeline")
    assert (event["status"], event["name"]) == ("success", "Documentation Build")
    assert tags(event)["host_ci"] == host.name
    assert event["url"] == host.url
    assert [server.event("job", name)["status"] for name in ("lint", "test")] == ["success"] * 2


@pytest.mark.parametrize("name", COMMANDS)
def test_its_commands_report_a_run_of_its_ci(
    workspace: Workspace, make_place: MakePlace, server: Server, name: str
) -> None:
    variables, shell, extract = COMMANDS[name]
    path = EXAMPLES / name
    text = load(path) if path.suffix == ".yml" else path.read_text()
    found = extract(text)
    assert any("signalbox" in command for command in found)
    environ = environment(variables)
    workspace.to(server)
    place = make_place(EXAMPLES / "pipeline.yml", environ)
    for command in found:
        ended = place.run(command, shell)
        assert ended.code == 0, ended.err
    settled(server, environ)
    if "junit.xml" in path.read_text():
        assert (place.path / "junit.xml").read_text().count("<testcase ") == 2


# ── the action, and the plugin ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["github.yml", "github-composite.yml"])
def test_the_workflow_gives_only_inputs_that_there_are(name: str) -> None:
    (job,) = load(EXAMPLES / name)["jobs"].values()
    (step,) = (step for step in job["steps"] if "OWNER/signalbox" in step["uses"])
    folder = step["uses"].removeprefix("OWNER/signalbox").removesuffix("@v1").strip("/")
    assert (folder == "composite") == ("composite" in name)
    inputs = load(ROOT / folder / "action.yml")["inputs"]
    assert set(step["with"]) <= set(inputs)


def test_the_github_example_reports_a_run_of_github(
    workspace: Workspace, make_place: MakePlace, server: Server
) -> None:
    step = load(EXAMPLES / "github.yml")["jobs"]["check"]["steps"][1]
    assert step["with"] == {"api-key": "${{ secrets.DD_API_KEY }}"}
    environ = environment("github-push")
    workspace.to(server)
    place = make_place(EXAMPLES / "pipeline.yml", environ)
    key = workspace.environ.pop("DD_API_KEY")
    ended = place.run("exec env INPUT_API-KEY=$KEY signalbox action", KEY=key)
    assert ended.code == 0, ended.err
    settled(server, environ)


def test_the_drone_example_reports_a_run_of_drone(
    workspace: Workspace, make_place: MakePlace, server: Server
) -> None:
    (step,) = load(EXAMPLES / "drone.yml")["steps"]
    assert step["image"] == IMAGE
    environ = environment("drone-branch")
    workspace.to(server)
    place = make_place(EXAMPLES / "pipeline.yml", environ)
    secrets = {"datadog_api_key": workspace.environ.pop("DD_API_KEY")}
    settings: dict[str, str] = {
        f"PLUGIN_{name.upper()}": secrets[value["from_secret"]]
        if isinstance(value, dict)
        else value
        for name, value in step["settings"].items()
    }
    assert "action" in (ROOT / "entrypoint.sh").read_text()
    ended = place.run("signalbox action", SH, **settings)
    assert ended.code == 0, ended.err
    settled(server, environ)
    event = server.event("pipeline")
    assert event["queue_time"] == 7000  # as Drone says it
    assert event["node"]["hostname"] == environ["DRONE_STAGE_MACHINE"]
