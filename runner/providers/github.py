"""GitHub Actions: its variables and event file, workflow commands, outputs, the job's page.

Owns what GitHub's runner parses and how it is escaped. Source: GitHub's "Variables reference" and
"Workflow commands", and the runner's own code (``ActionCommand``, ``FileCommandManager``).
"""

import os
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from runner.event import Node
from runner.execution import Commit
from runner.providers import Host, Kind, ReadFile, known, number, one_line
from runner.providers.local import Local

EVENT_LIMIT: Final = 25 * 1024 * 1024
"""Bytes of an event file: GitHub sends no larger payload."""
MESSAGE_LIMIT: Final = 4096
"""Characters of an annotation; the runner cuts there."""
SHORTEST: Final = 6
"""Characters of a value that is masked: architecture, "Masker"."""
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_-]*"

# ── the event file ───────────────────────────────────────────────────────────────────────────────


class _Person(msgspec.Struct):
    name: str | None = None
    email: str | None = None


class _Head(msgspec.Struct):
    """The commit of a push."""

    id: str = ""
    message: str | None = None
    author: _Person | None = None
    committer: _Person | None = None


class _Side(msgspec.Struct):
    ref: str = ""
    sha: str = ""


class _PullRequest(msgspec.Struct):
    number: int = 0
    head: _Side | None = None
    base: _Side | None = None


class _Repository(msgspec.Struct):
    default_branch: str | None = None


class _Event(msgspec.Struct):
    """What we read of an event; the rest is skipped unread."""

    repository: _Repository | None = None
    head_commit: _Head | None = None
    pull_request: _PullRequest | None = None


def _event(path: str, read_file: ReadFile) -> _Event:
    """The event that started the run; one that cannot be read says nothing."""
    if not path:
        return _Event()
    try:
        raw = read_file(path, EVENT_LIMIT)
        return msgspec.json.decode(raw, type=_Event)
    except (OSError, ValueError, RecursionError):  # DecodeError is a ValueError
        return _Event()


# ── facts ────────────────────────────────────────────────────────────────────────────────────────


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What GitHub says of this run."""
    env = environ.get
    event = _event(env("GITHUB_EVENT_PATH", ""), read_file)
    pull = event.pull_request or _PullRequest()
    attempt = env("GITHUB_RUN_ATTEMPT", "")
    count = max(number(attempt), 1)
    actor = env("GITHUB_TRIGGERING_ACTOR") or env("GITHUB_ACTOR", "")
    by_hand = env("GITHUB_EVENT_NAME") == "workflow_dispatch" or count > 1
    url = _run_url(environ)
    check = env("JOB_CHECK_RUN_ID", "")
    return Host(
        name="github",
        key=_key(environ, count),
        attempt=count,
        previous_key=_key(environ, count - 1) if count > 1 and not check else (),
        url=f"{url}/attempts/{attempt}" if url and attempt else url,
        job_url=f"{url}/job/{check}" if url and check else "",
        node=_node(environ),
        manual=by_hand and not actor.endswith("[bot]"),
        actor=actor,
        git=_git(environ, event),
        workspace=env("GITHUB_WORKSPACE", ""),
        tags=known(
            ("pr.number", str(pull.number or "")),
            ("git.pull_request.base_branch", env("GITHUB_BASE_REF", "")),
        ),
    )


def _run_url(environ: Mapping[str, str]) -> str:
    repository, run = environ.get("GITHUB_REPOSITORY"), environ.get("GITHUB_RUN_ID")
    return f"{_server(environ)}/{repository}/actions/runs/{run}" if repository and run else ""


def _server(environ: Mapping[str, str]) -> str:
    return environ.get("GITHUB_SERVER_URL") or "https://github.com"


def _key(environ: Mapping[str, str], attempt: int) -> tuple[str, ...]:
    """``GITHUB_JOB`` is the job's key in its file, the same for every leg of a matrix. Only the id
    of its check run, or the number of the leg, which our action passes on, tells them apart. Each
    attempt has a check run of its own, so that one names no attempt before.
    """
    env = environ.get
    run, job = env("GITHUB_RUN_ID", ""), env("GITHUB_JOB", "")
    leg = env("JOB_CHECK_RUN_ID") or env("INPUT_JOB-INDEX") or env("INPUT_JOB_INDEX")
    if not (run and job and leg):
        return ()
    return ("github", _server(environ), run, str(attempt), job, leg, env("GITHUB_ACTION", ""))


def _node(environ: Mapping[str, str]) -> Node:
    """A runner's name stands for its hostname: ours may be that of a container."""
    name = environ.get("RUNNER_NAME") or None
    labels = (environ.get(f"RUNNER_{part}", "") for part in ("ENVIRONMENT", "OS", "ARCH"))
    return Node(hostname=name, name=name, labels=tuple(label for label in labels if label))


def _git(environ: Mapping[str, str], event: _Event) -> Commit:
    """Of a pull request, ``GITHUB_SHA`` is its merge with the base, and the event names its head.
    Where the ref is not the pull request's (``pull_request_target``), neither is the commit.
    """
    env = environ.get
    ref, sha, repository = env("GITHUB_REF", ""), env("GITHUB_SHA", ""), env("GITHUB_REPOSITORY")
    pull = event.pull_request if ref.startswith("refs/pull/") else None
    head = event.head_commit if event.head_commit and event.head_commit.id == sha else _Head()
    author, committer = head.author or _Person(), head.committer or _Person()
    is_head = ref.startswith("refs/pull/") or not ref
    return Commit(
        repository_url=f"{_server(environ)}/{repository}.git" if repository else "",
        sha=sha,
        branch=(env("GITHUB_HEAD_REF") if is_head else "") or ref,
        message=head.message or "",
        author_name=author.name or "",
        author_email=author.email or "",
        committer_name=committer.name or "",
        committer_email=committer.email or "",
        default_branch=(event.repository.default_branch or "") if event.repository else "",
        head_sha=pull.head.sha if pull and pull.head else "",
    )


# ── the log and the files ────────────────────────────────────────────────────────────────────────


class Log(Local):
    """GitHub's log, outputs and job page."""

    folds = True

    def __init__(self, host: Host, environ: Mapping[str, str]) -> None:
        super().__init__(host, environ)
        self.outputs_path = environ.get("GITHUB_OUTPUT", "")
        self.page_path = environ.get("GITHUB_STEP_SUMMARY", "")

    def group(self, key: str, title: str, at: int) -> str:
        """A fold that is closed until someone opens it."""
        del key, at
        return f"::group::{_data(one_line(title))}\n"

    def endgroup(self, key: str, at: int, *, ok: bool) -> str:
        """The end of the fold."""
        del key, at, ok
        return "::endgroup::\n"

    def annotation(
        self, message: str, *, kind: Kind = "error", file: str = "", line: int = 0, title: str = ""
    ) -> str:
        """A note on the run's page and at the line of the pull request."""
        places = known(("file", file), ("line", str(line) if file and line else ""))
        places |= known(("title", one_line(title)))
        properties = ",".join(f"{key}={_property(value)}" for key, value in places.items())
        return (
            f"::{kind}{' ' if properties else ''}{properties}::{_data(message[:MESSAGE_LIMIT])}\n"
        )

    def quiet(self, token: str) -> str:
        """What steps print must not steer the runner."""
        return f"::stop-commands::{token}\n"

    def loud(self, token: str) -> str:
        """Only the token ends it."""
        return f"::{token}::\n"

    def mask(self, value: str) -> str:
        """Line by line, as a log is masked; a short line would hide half of it."""
        lines = (line.strip() for line in value.splitlines())
        return "".join(f"::add-mask::{_data(line)}\n" for line in lines if len(line) >= SHORTEST)

    def outputs(self, values: Mapping[str, str]) -> bytes:
        """Each value between delimiters nobody can foresee (CVE-2022-35954)."""
        return b"".join(_entry(name, value) for name, value in values.items())


def _entry(name: str, value: str) -> bytes:
    if not re.fullmatch(_NAME, name):
        raise ValueError(f"no name for an output: {name!r}")
    delimiter = f"ghadelimiter_{os.urandom(16).hex()}"
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n".encode("utf-8", "replace")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
