"""``examples/gate``: a run that stopped at a gate is carried to another machine and resumed there,
and what comes after it in the CI does not start before, whatever the colour of the job.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import MakePlace
from tests.examples.place import BASH, EXAMPLES, SH, Place, environment, load

GATE = EXAMPLES / "gate"
STATE = "state.tar"


@pytest.fixture
def place(make_place: MakePlace, request: pytest.FixtureRequest) -> Place:
    key = {"SIGNALBOX_STATE_KEY": "a key that both jobs know"}
    return make_place(GATE / "pipeline.yml", {**environment(request.param), **key})


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("place", [name], indirect=True)


def carried(place: Place, path: str = STATE) -> None:
    """The artifact, on another machine with a fresh checkout."""
    kept = place.path.parent / "artifact"
    shutil.move(place.path / path, kept)
    place.clone()
    shutil.move(kept, place.path / STATE)


def resumed(place: Place, commands: list[str], shell: tuple[str, ...] = SH) -> None:
    """The commands of the resuming job answer the gate and deploy."""
    said = ""
    for command in commands:
        ended = place.run(command, shell)
        assert ended.code == 0, ended.err
        said += ended.err
    assert "deploying" in said
    shown = json.loads(place.run("signalbox show --json").out)
    assert shown["resumed_from"]
    assert shown["manual"]  # a person has answered, whatever started the CI's own pipeline


def stopped(place: Place, commands: list[str], shell: tuple[str, ...], code: int) -> None:
    """The commands of the first job stop at the gate; the job ends with ``code``."""
    said, last = "", 0
    for command in commands:
        ended = place.run(command, shell)
        said, last = said + ended.err, ended.code
        if last:
            break
    assert last == code, said
    assert "Deploy to production?" in said
    assert "deploying" not in said


# ── GitHub ───────────────────────────────────────────────────────────────────────────────────────


def github(expression: str, known: Mapping[str, str]) -> bool:
    """An ``if`` of a workflow: ``==``, ``&&``, ``||``, ``!cancelled()``; the unknown is empty. One
    without a status function also asks for ``success()`` of what it needs.
    """
    text = expression.strip().removeprefix("${{").removesuffix("}}")
    text = re.sub(r"[a-z]+(?:\.[a-z]+)+", lambda path: repr(known.get(path[0], "")), text)
    text = text.replace("!cancelled()", "True").replace("&&", " and ").replace("||", " or ")
    assert re.fullmatch(r"(?:'[a-z]*'|True|and|or|==|[\s()])*", text), text
    return bool(eval(text, {"__builtins__": {}}))


@of("github-push")
def test_github_goes_on_by_status(place: Place) -> None:
    jobs = load(GATE / "github.yml")["jobs"]
    upload, conditions = jobs["pipeline"]["steps"][2], {name: jobs[name].get("if") for name in jobs}
    output = place.path.parent / "output"
    output.touch()
    ended = place.run("signalbox action", BASH, GITHUB_OUTPUT=str(output))
    assert ended.code == 0, ended.err  # green, though it is blocked
    said = outputs(output)
    assert said["status"] == "blocked"
    seen = {"steps.pipeline.outputs.status": said["status"]}
    assert github(upload["if"], seen)
    assert upload["with"]["include-hidden-files"]
    needs = {"needs.pipeline.outputs.status": said["status"], "needs.resume.outputs.status": ""}
    assert github(conditions["resume"], needs)
    assert not github(conditions["announce"], needs)
    assert jobs["resume"]["environment"] == "production"
    assert set(jobs["announce"]["needs"]) == {"pipeline", "resume"}
    for status in ("error", "canceled", ""):
        other = {"needs.pipeline.outputs.status": status}
        assert not github(conditions["resume"], other)
        assert not github(conditions["announce"], other)

    carried(place, said["state"])
    given = jobs["resume"]["steps"][2]["with"]
    inputs = " ".join(
        f"INPUT_{key.upper()}={value}" for key, value in given.items() if key != "api-key"
    )
    output.write_text("")
    ended = place.run(f"env {inputs} signalbox action", BASH, GITHUB_OUTPUT=str(output))
    assert ended.code == 0, ended.err
    assert "deploying" in ended.err
    needs["needs.resume.outputs.status"] = outputs(output)["status"]
    assert github(conditions["announce"], needs)


def outputs(path: Path) -> dict[str, str]:
    found = re.findall(r"^([\w-]+)<<(\w+)\n(.*?)\n\2$", path.read_text(), re.DOTALL | re.MULTILINE)
    return {name: value for name, _, value in found}


# ── the others ───────────────────────────────────────────────────────────────────────────────────


@of("gitlab-branch")
def test_gitlab_waits_at_the_manual_job(place: Place) -> None:
    it = load(GATE / "gitlab-ci.yml")
    stopped(place, it["pipeline"]["script"], SH, 75)
    assert it["pipeline"]["allow_failure"] == {"exit_codes": [75]}
    assert place.run(it["pipeline"]["after_script"][0]).code == 0
    resume, announce = it["resume"], it["announce"]
    assert (resume["when"], resume["allow_failure"]) == ("manual", False)
    order = it["stages"]
    assert order.index(announce["stage"]) > order.index(resume["stage"])
    assert "needs" not in announce  # it would start without waiting for the stage before
    carried(place)
    resumed(place, resume["script"])


@of("buildkite-webhook")
def test_buildkite_waits_at_the_block_step(place: Place) -> None:
    steps = load(GATE / "buildkite.yml")["steps"]
    kinds = [step if isinstance(step, str) else next(iter(step)) for step in steps]
    assert kinds == ["label", "block", "label", "wait", "label"]
    first, block, resume, *_ = steps
    stopped(place, [first["command"].replace("$$", "$")], BASH, 75)
    assert first["soft_fail"] == [{"exit_status": 75}]
    assert block["blocked_state"] == "running"
    assert not any("depends_on" in step for step in steps if isinstance(step, dict))
    carried(place, first["artifact_paths"])
    assert resume["command"][0] == f"buildkite-agent artifact download {STATE} ."
    resumed(place, resume["command"][1:], BASH)


def azure(expression: str, known: Mapping[str, object]) -> bool:
    """A ``condition``: ``and``, ``or``, ``eq``, ``succeeded``."""
    names: dict[str, Any] = {
        "both": lambda *given: all(given),
        "either": lambda *given: any(given),
        "eq": lambda one, other: one == other,
        "succeeded": lambda: known["succeeded"],
        "look": lambda path: known.get(path, ""),
    }
    text = re.sub(r"\b(?:dependencies|variables)[\w.]*(?:\['[\w.]+'\])?", _look, expression)
    text = re.sub(r"\band\(", "both(", re.sub(r"\bor\(", "either(", text))
    return bool(eval(" ".join(text.split()), {"__builtins__": {}}, names))


def _look(path: re.Match[str]) -> str:
    return f"look({path[0]!r})"


@of("azure-branch")
def test_azure_goes_on_by_status(place: Place) -> None:
    check, release, announce = load(GATE / "azure-pipelines.yml")["stages"]
    run, publish = check["jobs"][0]["steps"]
    ended = place.run(run["bash"], BASH)
    assert ended.code == 0, ended.err  # green, though it is blocked
    assert "deploying" not in ended.err
    said = re.findall(r"^##vso\[task\.setvariable variable=status;isOutput=true\](\w+)$", ended.out)
    assert said == ["blocked"]
    path = (
        f"dependencies.{check['stage']}.outputs['{check['jobs'][0]['job']}.{run['name']}.status']"
    )
    known = {"succeeded": True, path: said[0], f"variables['{run['name']}.status']": said[0]}
    assert azure(publish["condition"], known)
    assert azure(release["condition"], known)
    assert not azure(announce["condition"], known)
    assert not azure(release["condition"], {"succeeded": True, path: "success"})
    assert azure(announce["condition"], {"succeeded": True, path: "success"})
    result = f"dependencies.{release['stage']}.result"
    assert not azure(announce["condition"], {**known, result: "Rejected"})
    carried(place, publish["publish"])
    (job,) = release["jobs"]
    assert job["environment"] == "production"
    (place.path / "state").mkdir()
    shutil.move(place.path / STATE, place.path / "state")
    (answer,) = (step for step in job["strategy"]["runOnce"]["deploy"]["steps"] if "bash" in step)
    ended = place.run(answer["bash"], BASH, PIPELINE_WORKSPACE=str(place.path))
    assert ended.code == 0, ended.err
    assert "deploying" in ended.err
    assert azure(announce["condition"], {**known, result: "Succeeded"})


@of("circleci-branch")
def test_circleci_waits_at_the_approval(place: Place) -> None:
    it = load(GATE / "circleci.yml")
    first, ask, resume, announce = it["workflows"]["deploy"]["jobs"]
    steps = {
        name: [step["run"] for step in job["steps"] if "run" in step]
        for name, job in it["jobs"].items()
    }
    stopped(place, steps["pipeline"], BASH, 0)
    (approval,) = ask.items()
    assert approval == ("deploy-to-production", {"type": "approval", "requires": ["pipeline"]})
    assert resume["resume"]["requires"] == ["deploy-to-production"]
    assert "production" in resume["resume"]["context"]
    assert announce["announce"]["requires"] == ["resume"]
    carried(place)
    resumed(place, steps["resume"], BASH)
    assert "pipeline" in first


@of("bitbucket-branch")
def test_bitbucket_waits_at_the_manual_step(place: Place) -> None:
    steps = [
        it["step"] for it in load(GATE / "bitbucket-pipelines.yml")["pipelines"]["branches"]["main"]
    ]
    first, resume, announce = steps
    stopped(place, first["script"], SH, 0)
    assert (resume["trigger"], resume["deployment"]) == ("manual", "production")
    assert announce["name"] == "Announce"  # steps run one after another
    carried(place, *first["artifacts"])
    resumed(place, resume["script"])


@of("codefresh-branch")
def test_codefresh_waits_at_the_approval(place: Place) -> None:
    steps = load(GATE / "codefresh.yml")["steps"]
    stopped(place, steps["pipeline"]["commands"], SH, 0)
    assert list(steps) == ["clone", "pipeline", "ask", "resume", "announce"]
    assert steps["ask"]["type"] == "pending-approval"
    assert steps["ask"]["timeout"]["finalState"] == "denied"
    assert steps["resume"]["when"] == {"steps": [{"name": "ask", "on": ["approved"]}]}
    assert steps["announce"]["when"] == {"steps": [{"name": "resume", "on": ["success"]}]}
    resumed(place, steps["resume"]["commands"])


@of("jenkins-branch")
def test_jenkins_asks_and_then_goes_by_the_exit_code(place: Place) -> None:
    text = (GATE / "Jenkinsfile").read_text()
    first, resume, announce = re.split(r"\n    stage\(", text)[1:]
    (run,) = re.findall(r"env\.CODE = sh\(returnStatus: true, script: '(.*)'\)", first)
    stopped(place, [run], SH, 75)
    (pack,) = re.findall(r"env\.CODE == '75'\) \{\n +sh '(.*)'", first)
    assert place.run(pack).code == 0
    assert (
        "when { beforeInput true; beforeAgent true; environment name: 'CODE', value: '75' }"
        in resume
    )
    assert re.search(r"input \{ message '.*'; submitter '.+' \}", resume)
    assert "when { environment name: 'CODE', value: '0' }" in announce
    carried(place)
    resumed(place, re.findall(r"^ +sh '(.*)'$", resume, re.MULTILINE))


def test_every_gate_has_a_test() -> None:
    here: list[Callable[..., None]] = [
        it for name, it in globals().items() if name.startswith("test_")
    ]
    tested = {name for it in here for name in it.__code__.co_consts if isinstance(name, str)}
    files = {path.name for path in GATE.iterdir()} - {"pipeline.yml"}
    assert files <= tested
