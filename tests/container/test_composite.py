"""The composite action, its inner steps carried out as GitHub's runner does, on this machine."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import KEY, Workspace, by_level
from tests.container.build import ROOT, wheels
from tests.intake_server import Answer, Fault, Server


def described(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return found


class Composite:
    """One use of the action in a job."""

    def __init__(self, workspace: Workspace, place: Path) -> None:
        self.workspace, self.action = workspace, described("composite/action.yml")
        self.output = place / "output"
        (place / "temp").mkdir()
        self.environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": workspace.environ["HOME"],
            "PIP_FIND_LINKS": str(wheels()),
            "PIP_NO_INDEX": "1" if sys.version_info[:2] == (3, 11) else "0",  # they are for it
            "RUNNER_TEMP": str(place / "temp"),
            "GITHUB_ACTION_PATH": str(ROOT / "composite"),
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(self.output),
        }

    def run(self, inputs: Mapping[str, str]) -> tuple[dict[str, int], str]:
        """The code of each inner step that ran, and what they printed."""
        self.output.write_text("")
        declared = self.action["inputs"]
        given = {name: one.get("default", "") for name, one in declared.items()} | {**inputs}
        codes: dict[str, int] = {}
        printed = ""
        for step in self.action["runs"]["steps"]:
            if any(codes.values()) and step.get("if") != "always()":
                continue
            env = {key: evaluated(value, given) for key, value in step.get("env", {}).items()}
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
                cwd=self.workspace.path,
                env=self.environ | env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            codes[step["name"]] = done.returncode
            printed += done.stdout
        return codes, printed


def evaluated(text: str, inputs: Mapping[str, str]) -> str:
    assert text == "${{ toJSON(inputs) }}"
    return json.dumps(inputs, indent=2)


def test_both_actions_have_the_same_inputs_and_outputs() -> None:
    container, host = described("action.yml"), described("composite/action.yml")
    said = {name: one.get("default") for name, one in container["inputs"].items()}
    assert said == {name: one.get("default") for name, one in host["inputs"].items()}
    assert [*container["outputs"]] == [*host["outputs"]]
    for name, one in host["outputs"].items():
        assert one["value"] == f"${{{{ steps.run.outputs.{name} }}}}"


def test_every_input_of_the_contract_is_there_and_no_other() -> None:
    contract = (
        "pipeline steps image name job parameters tags measures site api-key intake-url env service"
        " command resume-run approve reject reason retry state logs report blocked allow-untrusted"
        " job-index"
    )
    assert {*described("action.yml")["inputs"]} == {*contract.split()}
    outputs = {"status", "pipeline-id", "url", "gate", "report", "state"}
    assert {*described("action.yml")["outputs"]} == outputs


def test_T25_no_input_stands_in_a_script() -> None:
    for step in described("composite/action.yml")["runs"]["steps"]:
        assert "${{" not in step["run"]


@pytest.mark.engine  # no engine, but the wheels that it fetched
def test_it_installs_itself_runs_and_its_last_step_sends_what_is_left(
    workspace: Workspace, tmp_path: Path, server: Server
) -> None:
    workspace.write("name: Host\njobs: { a: { steps: ['env | grep -c INPUT || true', 'exit 3'] } }")
    workspace.commit()
    composite = Composite(workspace, tmp_path)
    server.script([Answer(fault=Fault.RESET)] * 2)
    codes, printed = composite.run({"api-key": KEY, "intake-url": server.url})
    assert codes == {"Install Signalbox": 0, "Signalbox": 1, "Send what is left": 0}, printed
    assert re.search(r"^status<<(\S+)\nerror\n\1$", composite.output.read_text(), re.MULTILINE)
    assert [event["status"] for event in by_level(server.events, "pipeline")] == ["error"]
    assert KEY not in printed
    again, printed = composite.run({"steps": "true"})
    assert again == {"Install Signalbox": 0, "Signalbox": 0, "Send what is left": 0}, printed
