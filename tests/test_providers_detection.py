"""Which CI it is when several seem to be there, what a hostile one may say, and who has the last
word: for every environment in ``environments``.
"""

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from runner import providers
from runner.cli.identity import identity
from runner.commit import read
from runner.providers import Host, overrides, page
from tests.conftest import ROOT
from tests.test_providers import HERE, Environment, found

CASES = {path.stem: path for path in sorted(HERE.glob("*.json"))}
CIS = [name for name, *_ in providers._CIS]


def case(name: str) -> Environment:
    return msgspec.json.decode(CASES[name].read_bytes(), type=Environment)


def of(ci: str) -> list[str]:
    return [name for name in CASES if name.startswith(f"{ci}-")]


def test_every_ci_has_its_environments() -> None:
    assert {ci: len(of(ci)) >= 3 for ci in CIS} == dict.fromkeys(CIS, True)
    assert {path.stem for path in Path(providers.__file__).parent.glob("[a-z]*.py")} == {
        *CIS,
        "local",
    }


@pytest.mark.parametrize("ci", CIS)
def test_of_two_cis_the_one_that_may_run_inside_the_other_is_seen(ci: str) -> None:
    inner = case(of(ci)[0])
    for outer in CIS[CIS.index(ci) + 1 :]:
        both = found({**case(of(outer)[0]).environ, **inner.environ}, files=inner.files).host
        assert both.name == inner.host.name, outer
        assert both.key == inner.host.key, outer


@pytest.mark.parametrize(
    "environ",
    [
        {"CI": "true"},
        {"JENKINS_URL": "https://jenkins.example/"},
        {"BUILD_TAG": "v1", "BUILD_URL": "https://example.com", "BUILD_NUMBER": "7"},
        {"BITBUCKET_COMMIT": "7c1f6d3"},
        {"CI_SYSTEM_NAME": "woodpecker"},
        {"DRONE_TAG": "v1"},
        {"AWS_REGION": "eu-north-1", "CODEBUILD_CI": "true"},
        {"TRAVIS": "false", "APPVEYOR": "False", "TF_BUILD": "0", "BUDDY": ""},
    ],
    ids="+".join,
)
def test_what_looks_like_a_ci_is_none(environ: Mapping[str, str]) -> None:
    assert found(environ).host == Host()


def test_only_the_file_of_the_ci_is_loaded() -> None:
    program = """
import json, sys
from runner import providers
for environ in json.load(sys.stdin):
    providers.detect(environ, providers.read_file)
    files = [m for m in sys.modules if m.startswith("runner.providers.")]
    print(*(m.rpartition(".")[2] for m in files))
    for m in files:
        del sys.modules[m]
    assert "urllib.parse" not in sys.modules
"""
    environs = [case(of(ci)[0]).environ for ci in CIS]
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(environs),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = [set(line.split()) - {"local"} for line in done.stdout.splitlines()]
    assert loaded == [{ci} for ci in CIS]


# ── hostile values ───────────────────────────────────────────────────────────────────────────────


def texts(host: Host) -> list[str]:
    """What of a host stands in a line, on a page or in an event, but for the commit."""
    node = (host.node.name, host.node.hostname, *host.node.labels)
    return [text or "" for text in (host.url, host.job_url, host.actor, *node, *host.tags.values())]


@pytest.mark.parametrize("name", CASES)
def test_T15_no_value_brings_a_line_end_or_an_escape_with_it(name: str) -> None:
    given = case(name)
    for evil in ("\n", "\r\n::error::", "\x1b]0;title\x07", "\x9b2J", "\u202e", "\u2028"):
        environ = {
            key: value if value.lower() in ("true", "false") else f"{value}{evil}x"
            for key, value in given.environ.items()
        }
        host = found(environ, files=given.files).host
        assert host.name == given.host.name, evil
        assert all(text.isprintable() for text in texts(host)), evil
        git, _ = read(None, host.git, overrides(environ), {})
        told = [] if git is None else [git.branch, git.tag, git.author_name, git.repository_url]
        assert all((text or "").isprintable() for text in told), evil


@pytest.mark.parametrize("name", CASES)
def test_T7_credentials_in_an_address_stay_where_they_are(name: str) -> None:
    given = case(name)

    def dressed(texts: Mapping[str, str]) -> dict[str, str]:
        known = {
            key: text.replace("octocat@", "").replace("://", "://octocat:HUSHhush@")
            for key, text in texts.items()
        }
        return {key: text.replace("\\://", "\\://octocat:HUSHhush@") for key, text in known.items()}

    environ, files = dressed(given.environ), dressed(given.files)
    host = found(environ, files=files).host
    assert "HUSHhush" not in "".join(texts(host))
    if given.host.url and not given.host.name.startswith("aws"):
        assert host.url == given.host.url
    git, _ = read(None, host.git, overrides(environ), {})
    assert "HUSHhush" not in (git.repository_url if git else "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ci.example/7?a=b#c", "https://ci.example/7?a=b#c"),
        ("HTTPS://ci.example:8443", "HTTPS://ci.example:8443"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("https://me:pass@word@ci.example/7", "https://ci.example/7"),
        ("https://token@ci.example", "https://ci.example"),
        ("https://me:pa/ss@ci.example/7", ""),
        ("javascript:alert(1)", ""),
        ("file:///etc/passwd", ""),
        ("https://ci.example/a b", ""),
        ("https://ci.example/\n", ""),
        ("https://", ""),
        ("ci.example/7", ""),
        ("", ""),
    ],
)
def test_T14_a_page_is_an_address_of_the_web_without_credentials(url: str, shown: str) -> None:
    assert page(url) == shown


# ── the last word ────────────────────────────────────────────────────────────────────────────────

SAID = {
    "DD_CI_PROVIDER_NAME": "ours, really",
    "DD_CI_PIPELINE_URL": "https://ours.example/pipeline",
    "DD_CI_JOB_URL": "https://ours.example/job",
    "DD_CI_WORKSPACE_PATH": "/ours",
    "DD_PR_NUMBER": "4711",
    "DD_GIT_PULL_REQUEST_BASE_BRANCH": "ours-base",
    "DD_GIT_PULL_REQUEST_BASE_BRANCH_SHA": "b" * 40,
    "DD_GIT_REPOSITORY_URL": "https://ours.example/repository.git",
    "DD_GIT_COMMIT_SHA": "a" * 40,
    "DD_GIT_TAG": "v9-ours",
    "DD_GIT_COMMIT_MESSAGE": "ours: message",
    "DD_GIT_COMMIT_AUTHOR_NAME": "Our Author",
    "DD_GIT_COMMIT_AUTHOR_EMAIL": "ours@example.com",
    "DD_GIT_DEFAULT_BRANCH": "ours-default",
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_person_says_stands_above_every_ci(name: str) -> None:
    given = case(name)
    environ = {**given.environ, **SAID}
    host = found(environ, files=given.files).host
    assert host.name == given.host.name
    assert host.provider_name == "ours  really"
    assert (host.url, host.job_url) == (SAID["DD_CI_PIPELINE_URL"], SAID["DD_CI_JOB_URL"])
    assert (host.workspace, host.node.workspace) == ("/ours", "/ours")
    assert host.tags == {
        "pr.number": "4711",
        "git.pull_request.base_branch": "ours-base",
        "git.pull_request.base_branch_sha": "b" * 40,
    }
    git, warnings = read(None, host.git, overrides(environ), {})
    assert git is not None, warnings
    assert (git.repository_url, git.sha) == (SAID["DD_GIT_REPOSITORY_URL"], "a" * 40)
    assert (git.branch, git.tag, git.default_branch) == (None, "v9-ours", "ours-default")
    assert (git.author_name, git.author_email) == ("Our Author", "ours@example.com")
    assert git.message == "ours: message"


def test_keys_differ_wherever_the_place_does() -> None:
    """Two jobs of one run, two attempts, two servers: each has an id of its own."""
    place = {
        "azure": ("SYSTEM_JOBID", "SYSTEM_JOBATTEMPT", "SYSTEM_TEAMFOUNDATIONSERVERURI"),
        "circleci": ("CIRCLE_WORKFLOW_JOB_ID", "CIRCLE_NODE_INDEX", "CIRCLE_WORKFLOW_ID"),
        "bitbucket": ("BITBUCKET_STEP_UUID", "BITBUCKET_STEP_RUN_NUMBER"),
        "drone": ("DRONE_SYSTEM_HOST", "DRONE_BUILD_NUMBER", "DRONE_STAGE_NUMBER"),
        "woodpecker": ("CI_SYSTEM_URL", "CI_PIPELINE_NUMBER", "CI_WORKFLOW_NUMBER"),
        "codefresh": ("CF_BUILD_ID", "CF_STEP_NAME"),
        "bitrise": ("BITRISE_BUILD_SLUG",),
        "appveyor": ("APPVEYOR_JOB_ID", "APPVEYOR_URL"),
        "codebuild": ("CODEBUILD_BUILD_ARN",),
    }
    for ci, names in place.items():
        environ = case(of(ci)[0]).environ
        keys = [found({**environ, name: f"9{environ[name]}"}).host.key for name in names]
        keys.append(found(environ).host.key)
        assert all(keys)
        assert all(one != other for one, other in itertools.combinations(keys, 2)), ci


def test_a_restart_names_the_id_that_the_run_before_it_had() -> None:
    again = case("woodpecker-restart-of-a-tag").environ
    before = {**again, "CI_PIPELINE_NUMBER": again["CI_PIPELINE_PARENT"]} | {
        "CI_PIPELINE_RERUNS": "",
        "CI_PIPELINE_PARENT": "0",
    }
    first, nothing = identity(found(before).host, "Docs", ())
    second, previous = identity(found(again).host, "Docs", ())
    assert nothing is None
    assert previous is not None
    assert previous.id == first != second


@pytest.mark.parametrize("name", ["jenkins-branch", "travis-branch", "buddy-branch"])
def test_a_ci_that_names_no_job_or_no_attempt_gives_no_key(name: str) -> None:
    assert case(name).host.key == ()
