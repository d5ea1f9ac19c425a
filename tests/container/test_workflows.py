"""Our own workflows: their form, what they may do, and what they trust (threats T24, T25)."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.container.build import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONS = [ROOT / "action.yml", ROOT / "composite/action.yml"]


def jobs(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text())["jobs"]
    return found


def steps(file: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(file).values() for step in job.get("steps", [])]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", WORKFLOWS),
        ("github-actions", ACTIONS),
        ("dependabot", [ROOT / ".github/dependabot.yml"]),
    ],
)
def test_they_fit_the_public_schema(schema: str, files: list[Path]) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_T25_nothing_is_allowed_that_a_job_does_not_ask_for(file: Path) -> None:
    declared = yaml.safe_load(file.read_text())
    assert declared["permissions"] == {}
    assert all("permissions" in job for job in declared["jobs"].values())
    assert "pull_request_target" not in file.read_text()


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_T25_actions_of_others_are_named_by_their_commit(file: Path) -> None:
    for step in steps(file):
        used = step.get("uses", "./")
        assert used.startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", used)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_T25_no_expression_stands_in_a_script(file: Path) -> None:
    assert not [step["run"] for step in steps(file) if "${{" in step.get("run", "")]


def test_T24_the_release_changes_the_one_line_that_names_the_image() -> None:
    text = (ROOT / ".github/workflows/release.yml").read_text()
    (pattern,) = re.findall(r'sed -i "s\|\^(.*?)\$\|', text)
    assert (ROOT / "action.yml").read_text().splitlines().count(pattern) == 1


def test_T24_the_release_grep_finds_the_version() -> None:
    lines = (ROOT / "runner/__init__.py").read_text().splitlines()
    assert (
        len([line for line in lines if re.fullmatch(r'__version__ = "\d+\.\d+\.\d+"', line)]) == 1
    )


def test_T24_the_images_base_is_named_by_its_digest() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(
        r"^ARG BASE_IMAGE=debian:bookworm-slim@sha256:[0-9a-f]{64}$", dockerfile, re.MULTILINE
    )
    assert not re.search(r"curl[^\n]*\|\s*(ba)?sh", dockerfile)


def test_T26_the_scripts_are_clean() -> None:
    for script in ("entrypoint.sh", "post-entrypoint.sh", "composite/install.sh"):
        done = subprocess.run(["bash", "-n", ROOT / script], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "eval" not in (ROOT / script).read_text()
