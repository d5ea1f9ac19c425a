"""What each CI says of a run, and what its log and files understand.

``environments/*.json``: the variables a CI documents, its event, and the host they must give.
Oracles: the parsers of GitHub's runner, written down again from their description.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import providers
from runner.commit import read
from runner.execution import Commit
from runner.providers import Host, Kind, Provider, detect, overrides

HERE = Path(__file__).parent / "environments"
TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
AT = 1772442960_123_456_789


class Environment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    environ: Mapping[str, str]
    event: Mapping[str, Any] | None
    host: Host
    files: Mapping[str, str] = {}


def found(
    environ: Mapping[str, str], event: bytes = b"", files: Mapping[str, str] | None = None
) -> Provider:
    texts = {path: text.encode() for path, text in (files or {}).items()}
    if event:
        texts["/github/workflow/event.json"] = event

    def read(path: str, limit: int) -> bytes:
        if path not in texts:
            raise FileNotFoundError(path)
        return texts[path][:limit]

    return detect(environ, read)


GITHUB = found({"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": "/o", "GITHUB_STEP_SUMMARY": "/p"})
GITLAB = found({"GITLAB_CI": "true"})
BUILDKITE = found({"BUILDKITE": "true"})
LOCAL = found({})


# ── facts ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", sorted(HERE.glob("*.json")), ids=lambda path: path.stem)
def test_an_environment_gives_its_host(path: Path) -> None:
    case = msgspec.json.decode(path.read_bytes(), type=Environment)
    event = msgspec.json.encode(case.event) if case.event is not None else b""
    assert found(case.environ, event, case.files).host == case.host


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"repository": 7}',
        b'{"pull_request": {"number": "seven"}}',
        b'{"other":' + b"[" * 100_000,
        b'{"repository": {"default_branch": "x"}, "other": "' + b"a" * 27_000_000 + b'"}',
    ],
    ids=lambda event: event[:12].decode("latin-1") + str(len(event)),
)
def test_an_event_that_cannot_be_read_says_nothing(event: bytes) -> None:
    case = msgspec.json.decode((HERE / "github-push.json").read_bytes(), type=Environment)
    host = found(case.environ, event).host
    assert host.git.default_branch == ""
    assert host.key == case.host.key


@given(
    values=st.dictionaries(
        st.sampled_from(
            sorted(
                {
                    name
                    for path in HERE.glob("*.json")
                    for name in msgspec.json.decode(path.read_bytes(), type=Environment).environ
                }
            )
        ),
        st.one_of(TEXT, st.sampled_from(["", "0", "-1", "9" * 30, "\udcff", "²", "http://[", "["])),
        max_size=12,
    ),
    event=st.binary(max_size=20),
)
def test_no_environment_raises(values: dict[str, str], event: bytes) -> None:
    marks = {mark for _, *names in providers._CIS for mark in names}
    for _, *names in (*providers._CIS, ("local", "NONE")):
        environ = {name: value for name, value in values.items() if name not in marks}
        host = found({**environ, **dict.fromkeys(names, "1")}, event).host
        assert host.attempt >= 1
        assert "," not in host.provider_name


@pytest.mark.parametrize("name", ["github-push", "gitlab-branch", "buildkite-webhook"])
def test_a_ci_that_says_it_all_needs_no_repository(name: str) -> None:
    case = msgspec.json.decode((HERE / f"{name}.json").read_bytes(), type=Environment)
    git, warnings = read(None, case.host.git, Commit(), {})
    assert warnings == ()
    assert git is not None
    assert (git.branch, git.author_email) == ("main", "author@example.com")
    assert git.default_branch == "main"


def test_two_legs_of_a_matrix_have_two_keys() -> None:
    case = msgspec.json.decode((HERE / "github-push.json").read_bytes(), type=Environment)
    legs = [found({**case.environ, "INPUT_JOB-INDEX": leg}).host.key for leg in "01"]
    assert legs[0] != legs[1]
    steps = [found({**case.environ, "GITHUB_ACTION": step}).host.key for step in ("a", "b")]
    assert steps[0] != steps[1]


def test_an_attempt_names_the_key_that_the_one_before_had() -> None:
    case = msgspec.json.decode((HERE / "github-push.json").read_bytes(), type=Environment)
    first = found({**case.environ, "GITHUB_RUN_ATTEMPT": "1"}).host
    second = found({**case.environ, "GITHUB_RUN_ATTEMPT": "2"}).host
    assert first.previous_key == ()
    assert second.previous_key == first.key != second.key


def test_overrides_are_datadogs_own_variables() -> None:
    assert overrides({}) == Commit()
    said = overrides(
        {
            "DD_GIT_REPOSITORY_URL": "https://github.com/acme/docs.git",
            "DD_GIT_COMMIT_SHA": " abc ",
            "DD_GIT_BRANCH": "origin/tags/v1",
            "DD_GIT_COMMIT_AUTHOR_DATE": "2026-03-02T09:15:00Z",
            "DD_GIT_COMMIT_COMMITTER_EMAIL": "committer@example.com",
        }
    )
    assert said == Commit(
        repository_url="https://github.com/acme/docs.git",
        sha="abc",
        branch="origin/tags/v1",
        author_time="2026-03-02T09:15:00Z",
        committer_email="committer@example.com",
    )


def test_every_field_of_a_commit_can_be_overridden() -> None:
    assert set(providers._GIT) == set(Commit.__struct_fields__)


def test_read_file_is_capped_and_waits_for_no_writer(tmp_path: Path) -> None:
    (tmp_path / "event").write_bytes(b"x" * 100)
    assert providers.read_file(str(tmp_path / "event"), 10) == b"x" * 10
    os.mkfifo(tmp_path / "pipe")
    assert providers.read_file(str(tmp_path / "pipe"), 10) == b""


# ── the log ──────────────────────────────────────────────────────────────────────────────────────


def test_groups() -> None:
    assert GITHUB.group("k", "100%\nTests", AT) == "::group::100%25 Tests\n"
    assert GITHUB.endgroup("k", AT, ok=False) == "::endgroup::\n"
    assert BUILDKITE.group("k", "Tests", AT) == "--- Tests\n"
    assert BUILDKITE.endgroup("k", AT, ok=True) == ""
    assert BUILDKITE.endgroup("k", AT, ok=False) == "^^^ +++\n"
    start, end = GITLAB.group("test (3.11)/1", "Tests", AT), GITLAB.endgroup("x", AT, ok=True)
    assert re.fullmatch(
        r"\x1b\[0Ksection_start:1772442960:test_3\.11_1-[0-9a-f]{8}\[collapsed=true\]\r"
        r"\x1b\[0KTests\n",
        start,
    )
    assert re.fullmatch(r"\x1b\[0Ksection_end:1772442960:x-[0-9a-f]{8}\r\x1b\[0K\n", end)


@given(one=TEXT, other=TEXT)
def test_a_section_ends_under_the_name_it_began_with(one: str, other: str) -> None:
    def name(text: str) -> str:
        (section,) = re.findall(r"section_(?:start|end):\d+:([a-zA-Z0-9._-]+)", text)
        return str(section)

    assert name(GITLAB.group(one, "t", AT)) == name(GITLAB.endgroup(one, AT, ok=True))
    assert (one == other) == (
        name(GITLAB.group(one, "t", AT)) == name(GITLAB.group(other, "t", AT))
    )


@given(title=TEXT)
def test_a_title_is_one_line_without_escapes(title: str) -> None:
    for provider in (GITHUB, BUILDKITE):
        line = provider.group("k", title, AT)
        assert line.splitlines() == [line[:-1]]
        assert "\x1b" not in line
    assert GITLAB.group("k", title, AT).count("\x1b") == 2


def test_locally_there_is_nothing_to_say() -> None:
    said = (
        LOCAL.group("k", "t", AT),
        LOCAL.endgroup("k", AT, ok=False),
        LOCAL.annotation("m", file="f", line=1),
        LOCAL.quiet("t"),
        LOCAL.loud("t"),
        LOCAL.mask("secret"),
        LOCAL.outputs({"a": "b"}).decode(),
        LOCAL.outputs_path,
        LOCAL.page_path,
    )
    assert said == ("",) * 9
    assert not LOCAL.folds
    for provider in (GITLAB, BUILDKITE):
        assert provider.annotation("m") == provider.mask("secret") == provider.quiet("t") == ""


def test_the_files_of_the_job() -> None:
    assert (GITHUB.outputs_path, GITHUB.page_path) == ("/o", "/p")


class Heard(msgspec.Struct):
    """A workflow command as the runner understands it."""

    name: str
    properties: dict[str, str]
    text: str


def heard(line: str) -> Heard | None:
    """The runner's ActionCommand.TryParseV2: ``::name key=value,key=value::text``."""
    match = re.fullmatch(r"::([\w-]+)(?: ([^\n]*?))?::(.*)", line)
    if match is None:
        return None
    properties = {}
    for pair in filter(None, (match[2] or "").split(",")):
        key, _, value = pair.partition("=")
        value = value.replace("%3A", ":").replace("%2C", ",")
        properties[key] = value.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
    text = match[3].replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
    return Heard(match[1], properties, text)


@given(
    message=TEXT,
    file=TEXT,
    line=st.integers(min_value=0),
    title=TEXT,
    kind=st.sampled_from(["error", "warning", "notice"]),
)
def test_T12_an_annotation_is_heard_as_it_was_meant(
    message: str, file: str, line: int, title: str, kind: Kind
) -> None:
    said = GITHUB.annotation(message, kind=kind, file=file, line=line, title=title)
    assert said.count("\n") == 1
    assert said.endswith("\n")
    assert "\r" not in said
    command = heard(said[:-1])
    assert command is not None
    assert (command.name, command.text) == (kind, message)
    assert command.properties.get("file", "") == file
    assert command.properties.get("line", "0") == (str(line) if file else "0")


def test_an_annotation_is_cut_where_the_runner_cuts() -> None:
    command = heard(GITHUB.annotation("%" * 5000).strip())
    assert command is not None
    assert command.text == "%" * 4096
    assert GITHUB.annotation("m") == "::error::m\n"
    assert GITHUB.annotation("m", line=3) == "::error::m\n"


def test_T12_commands_are_stopped_and_resumed_with_one_token() -> None:
    assert GITHUB.quiet("0f8a") == "::stop-commands::0f8a\n"
    assert GITHUB.loud("0f8a") == "::0f8a::\n"


def test_a_value_is_masked_line_by_line() -> None:
    key = "-----BEGIN KEY-----\r\nMIIEpAIBAAKC%AQEA\n}\n\n-----END KEY-----\n"
    assert GITHUB.mask(key) == (
        "::add-mask::-----BEGIN KEY-----\n"
        "::add-mask::MIIEpAIBAAKC%25AQEA\n"
        "::add-mask::-----END KEY-----\n"
    )


# ── T13: outputs ─────────────────────────────────────────────────────────────────────────────────


def parsed(raw: bytes) -> dict[str, str]:
    """The runner's EnvFileKeyValuePairs on Linux, where only a line feed ends a line."""
    lines = iter(raw.decode("utf-8").split("\n"))
    pairs = {}
    for line in lines:
        if not line:
            continue
        equals, heredoc = line.find("="), line.find("<<")
        if heredoc < 0 or 0 <= equals < heredoc:
            name, _, pairs[name] = line.partition("=")
            continue
        name, _, delimiter = line.partition("<<")
        value = []
        for inner in lines:
            if inner == delimiter:
                break
            value.append(inner)
        else:
            raise AssertionError("no closing delimiter: the runner refuses the whole file")
        pairs[name] = "\n".join(value)
    return pairs


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,20}", fullmatch=True),
        st.one_of(
            TEXT,
            st.sampled_from(
                ["\nEVIL=1", "x\nEVIL<<E\n1\nE", "ghadelimiter_", "\r\n", "a\r", "\ufeffa", "="]
            ),
        ),
        max_size=4,
    )
)
def test_T13_outputs_are_parsed_as_what_was_written(values: dict[str, str]) -> None:
    assert parsed(GITHUB.outputs(values)) == values
    assert parsed(GITHUB.outputs({"first": "1"}) + GITHUB.outputs(values)) == {
        "first": "1",
        **values,
    }


def test_T13_a_delimiter_is_used_once() -> None:
    raw = b"".join(GITHUB.outputs({"a": "1", "b": "2"}) for _ in range(20))
    delimiters = re.findall(rb"<<ghadelimiter_([0-9a-f]{32})\n", raw)
    assert len(set(delimiters)) == 40


@pytest.mark.parametrize("name", ["", "a=b", "a<<b", "a\nb", "1a", "ü", "a b"])
def test_T13_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name for an output"):
        GITHUB.outputs({name: "x"})
