"""What the logs of Azure, TeamCity and Travis understand, and that steps command none of them.

Oracles: the parsers of the Azure and the TeamCity agent, written down again from their description.
"""

import re
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.providers import Kind
from tests.conftest import Workspace
from tests.test_providers import AT, HERE, TEXT, Environment, found

pytestmark = pytest.mark.usefixtures("forked")

AZURE = found({"TF_BUILD": "True"})
TEAMCITY = found({"TEAMCITY_VERSION": "2025.03"})
TRAVIS = found({"TRAVIS": "true"})
KINDS = st.sampled_from(["error", "warning", "notice"])


class Heard(msgspec.Struct):
    """A command as the agent understands it."""

    name: str
    values: dict[str, str]
    text: str = ""


def azure(line: str) -> Heard | None:
    """``##vso[area.event key=value;]text``, anywhere in a line; groups at its start."""
    if group := re.match(r"##\[(\w+)\]", line):
        return Heard(group[1], {})
    match = re.search(r"##vso\[([\w.]+)(?: ([^\]]*))?\](.*)", line)
    if match is None:
        return None
    pairs = (pair.partition("=") for pair in (match[2] or "").split(";") if pair)
    values = {key: azure_text(value) for key, _, value in pairs}
    return Heard(match[1], values, azure_text(match[3]))


def azure_text(text: str) -> str:
    for escape, sign in (("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%3B", ";"), ("%AZP25", "%")):
        text = text.replace(escape, sign)
    return text


def teamcity(line: str) -> Heard | None:
    """A service message: ``##teamcity[name key='value']``, one a line."""
    match = re.search(r"##teamcity\[(\w+)((?: \w+='(?:[^|'\n\r\[\]]|\|.)*')*)\]", line)
    if match is None:
        return None
    pairs = re.findall(r" (\w+)='((?:[^|']|\|.)*)'", match[2])
    return Heard(match[1], {key: teamcity_text(value) for key, value in pairs})


def travis(line: str) -> Heard | None:
    """A fold: its mark ends with a carriage return."""
    match = re.search(r"travis_fold:(start|end):[\w.-]+\r", line)
    return Heard(match[1], {}) if match else None


def teamcity_text(text: str) -> str:
    signs = {"n": "\n", "r": "\r"}
    return re.sub(
        r"\|(?:0x([0-9a-f]{4})|(.))",
        lambda match: chr(int(match[1], 16)) if match[1] else signs.get(match[2], match[2]),
        text,
    )


def test_groups() -> None:
    assert AZURE.group("k", "100%\nTests", AT) == "##[group]100% Tests\n"
    assert AZURE.endgroup("k", AT, ok=False) == "##[endgroup]\n"
    assert (
        TEAMCITY.group("k", "It's [3.11]", AT) == "##teamcity[blockOpened name='It|'s |[3.11|]']\n"
    )
    assert TEAMCITY.endgroup("k", AT, ok=True) == "##teamcity[blockClosed name='It|'s |[3.11|]']\n"
    assert TRAVIS.group("test (3.11)", "Tests", AT) == (
        "travis_fold:start:test_3.11_\r\x1b[0KTests\n"
    )
    assert TRAVIS.endgroup("test (3.11)", AT, ok=True) == "travis_fold:end:test_3.11_\r\x1b[0K\n"
    assert (AZURE.folds, TEAMCITY.folds, TRAVIS.folds) == (True, True, True)


@given(title=TEXT)
def test_a_title_is_one_line_without_escapes(title: str) -> None:
    for provider in (AZURE, TEAMCITY):
        line = provider.group("k", title, AT)
        assert line.splitlines() == [line[:-1]]
        assert "\x1b" not in line
    assert TRAVIS.group("k", title, AT).count("\x1b") == 1


@given(message=TEXT, file=TEXT, line=st.integers(min_value=0), kind=KINDS)
def test_P9_an_issue_is_heard_by_azure_as_it_was_meant(
    message: str, file: str, line: int, kind: Kind
) -> None:
    said = AZURE.annotation(message, kind=kind, file=file, line=line)
    if kind == "notice":
        assert said == ""
        return
    assert said.count("\n") == 1
    assert "\r" not in said
    command = azure(said)
    assert command is not None
    assert (command.name, command.text) == ("task.logissue", message)
    assert command.values.get("sourcepath", "") == file
    assert command.values.get("linenumber", "0") == (str(line) if file else "0")
    assert command.values["type"] == kind


@given(message=TEXT, file=TEXT, line=st.integers(min_value=0), kind=KINDS)
def test_P9_a_message_is_heard_by_teamcity_as_it_was_meant(
    message: str, file: str, line: int, kind: Kind
) -> None:
    said = TEAMCITY.annotation(message, kind=kind, file=file, line=line)
    assert said.isascii()
    assert said.count("\n") == 1
    command = teamcity(said)
    assert command is not None
    assert command.values["status"] == {"error": "ERROR", "warning": "WARNING"}.get(kind, "NORMAL")
    place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
    seen = "".join("?" if ord(sign) > 0xFFFF else sign for sign in place + message)
    assert command.values["text"] == seen


EVIL = """
name: Evil
jobs:
  evil:
    steps:
      - name: "##vso[task.setvariable variable=PATH]/evil ##teamcity[buildStop]"
        run: |
          say() { printf '%s\\n' "$@"; }
          say '##vso[task.setvariable variable=A]x' 'b ##vso[task.complete result=Failed]'
          say '##[group]x'
          say "##teamcity[setParameter name='env.PATH' value='/evil']" 'travis_fold:start:mine'
          say '##teamcity[enableServiceMessages]'
          split() { printf '%s' "$1"; sleep 0.25; say "$2"; }
          split '#' '#vso[task.setvariable variable=B]x'
          split '##' 'teamcity[buildStop]'
          split '##vso' '[a.b]'
          split '###' '#teamcity[buildStop]'
          printf '\\033[0Ktravis_fold:end:x\\r\\033[0K##\\033[0mvso[task.complete]x\\n'
          exit 1
"""


@pytest.mark.parametrize(
    ("name", "hear", "ours"),
    [
        ("azure-branch", azure, ["group", "endgroup", "task.logissue"]),
        ("teamcity-branch", teamcity, ["blockOpened", "blockClosed", "message"]),
        ("travis-branch", travis, ["start", "end"]),
    ],
)
def test_P9_what_steps_print_is_no_command_of_the_host(
    workspace: Workspace, name: str, hear: Callable[[str], Heard | None], ours: list[str]
) -> None:
    case = msgspec.json.decode((HERE / f"{name}.json").read_bytes(), type=Environment)
    workspace.write(EVIL)
    workspace.environ |= case.environ
    ended = workspace.run("run")
    assert ended.code == 1
    lines = ended.err.replace("\n\x1b[0K", "\r\x1b[0K").split("\n")  # as it was written
    assert [command.name for line in lines if (command := hear(line))] == ours


def test_where_there_are_no_groups_a_step_has_its_line(workspace: Workspace) -> None:
    case = msgspec.json.decode((HERE / "jenkins-branch.json").read_bytes(), type=Environment)
    workspace.write("name: Plain\njobs: { plain: { steps: [{ name: Greet, run: echo hello }] } }")
    workspace.environ |= case.environ
    ended = workspace.run("run")
    assert "Greet" in ended.err
    assert "\x1b" not in ended.err
