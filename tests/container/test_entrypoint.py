"""The entrypoint and the Action's description, as far as no engine is needed."""

import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.cli.commands import COMMANDS
from tests.container.build import ROOT

_OURS = "/opt/venv/bin/python"


@pytest.fixture(scope="session")
def entrypoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The entrypoint, with a program in our Python's place that prints what it was given."""
    place = tmp_path_factory.mktemp("entrypoint")
    stand_in = place / "python"
    stand_in.write_text('#!/bin/bash\nprintf "%s\\0" ours "$@"\n')
    stand_in.chmod(0o755)
    copy = place / "entrypoint.sh"
    copy.write_text((ROOT / "entrypoint.sh").read_text().replace(_OURS, str(stand_in)))
    copy.chmod(0o755)
    return copy


def started(entrypoint: Path, *arguments: str, **environ: str) -> list[str]:
    """What the entrypoint starts with these arguments, one after another."""
    done = subprocess.run(
        [entrypoint, *arguments],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().split("\0")[:-1]


def test_in_an_action_nothing_said_means_action(entrypoint: Path) -> None:
    ours = ["ours", "-I", "-m", "runner"]
    assert started(entrypoint) == ours
    assert started(entrypoint, GITHUB_ACTIONS="true") == [*ours, "action"]
    assert started(entrypoint, PLUGIN_STEPS="make") == [*ours, "action"]


@pytest.mark.parametrize("command", [*COMMANDS, "action", "--version", "-h"])
def test_every_command_is_known_to_the_entrypoint(entrypoint: Path, command: str) -> None:
    assert started(entrypoint, command, "-x") == ["ours", "-I", "-m", "runner", command, "-x"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), max_size=4))
def test_T26_arguments_arrive_as_they_were_given(entrypoint: Path, arguments: list[str]) -> None:
    assert started(entrypoint, "printf", "%s\\0", "", *arguments) == ["", *arguments]
    assert started(entrypoint, "run", *arguments)[4:] == ["run", *arguments]


def test_T26_hostile_and_long_arguments_are_only_arguments(entrypoint: Path) -> None:
    hostile = ["$(touch /tmp/x)", "`id`", "-o", "*", "a\nb", "x" * 100_000, '" --privileged']
    assert started(entrypoint, "run", *hostile)[4:] == ["run", *hostile]


def test_the_actions_description_hands_nothing_on_by_arguments() -> None:
    runs = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]
    assert runs == {
        "using": "docker",
        "image": "Dockerfile",
        "post-entrypoint": "/post-entrypoint.sh",
        "post-if": "always()",
    }
