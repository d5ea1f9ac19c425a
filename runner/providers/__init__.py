"""The CI around us: what it says of the run, and what its log and its files understand.

Owns which CI it is, the facts in its environment (``Host``) and the variables by which a person
overrides them (``DD_CI_*``, ``DD_GIT_*``, as in Datadog's own tools). One file per CI. Prints and
writes nothing: presentation is text for whoever owns the terminal. Does not know git.
"""

import os
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final, Literal, Protocol

import msgspec

from runner.event import Node
from runner.execution import MILLISECOND, SECOND, Commit

ReadFile = Callable[[str, int], bytes]
"""The first bytes of a file, as many as asked for; raises ``OSError``."""
Kind = Literal["error", "warning", "notice"]


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What the CI says of this run."""

    name: str = ""
    """As Datadog's own tools name it, the value of the tag ``host_ci``; empty: none we know."""
    provider_name: str = "signalbox"
    """Who reports, as Datadog sees it; without a comma."""
    key: tuple[str, ...] = ()
    """What the unique id derives from; empty: the CI names no job, so the id is random."""
    attempt: int = 1
    previous_key: tuple[str, ...] = ()
    """The key of the attempt before this one, where it can be told."""
    url: str = ""
    job_url: str = ""
    node: Node = Node()
    """No hostname: the CI names none, ask the machine."""
    manual: bool = False
    """A person started, approved or retried it."""
    actor: str = ""
    queued_at: int | None = None
    """Epoch nanoseconds, where the CI tells since when nothing but a runner was waited for."""
    queue_time: int | None = None
    """Milliseconds, where the CI says how long it kept the whole run waiting."""
    git: Commit = Commit()
    """As the CI says it: a URL may still hold credentials until ``commit`` has read it."""
    workspace: str = ""
    tags: Mapping[str, str] = {}


class Provider(Protocol):
    """One CI. Text ends with a newline and is printed as it is; empty: the CI has no such thing."""

    @property
    def host(self) -> Host:
        """What the CI says of this run."""

    @property
    def folds(self) -> bool:
        """Whether the CI's log has groups."""

    @property
    def outputs_path(self) -> str:
        """The file that takes ``outputs``."""

    @property
    def page_path(self) -> str:
        """The file whose Markdown the CI shows on the job's page."""

    def group(self, key: str, title: str, at: int) -> str:
        """Begin a fold of the log; ``key`` names it, ``at`` is now. Folds do not nest."""

    def endgroup(self, key: str, at: int, *, ok: bool) -> str:
        """End the fold; where the CI can, leave it open if not ``ok``."""

    def annotation(
        self, message: str, *, kind: Kind = "error", file: str = "", line: int = 0, title: str = ""
    ) -> str:
        """A note at a line of a file of the repository."""

    def quiet(self, token: str) -> str:
        """From here on nothing printed is a command, until ``loud`` with the same secret token."""

    def loud(self, token: str) -> str:
        """Commands are heard again."""

    def mask(self, value: str) -> str:
        """Ask the CI to mask a value. Never between ``quiet`` and ``loud``: it would be printed."""

    def outputs(self, values: Mapping[str, str]) -> bytes:
        """What is appended to ``outputs_path``."""


def detect(environ: Mapping[str, str], read_file: ReadFile) -> Provider:
    """The CI around us. Only its own file is loaded."""
    name = next((name for name, *marks in _CIS if _all_set(environ, marks)), "local")
    module = import_module(f"{__name__}.{name}")
    log: Provider = module.Log(told(module.host(environ, read_file), environ), environ)
    return log


_CIS: Final = (
    ("github", "GITHUB_ACTIONS"),
    ("gitlab", "GITLAB_CI"),
    ("buildkite", "BUILDKITE"),
    ("azure", "TF_BUILD"),
    ("circleci", "CIRCLECI"),
    ("woodpecker", "CI_SYSTEM_NAME", "CI_PIPELINE_NUMBER"),  # sets most of Drone's, too
    ("drone", "DRONE"),
    ("bitbucket", "BITBUCKET_BUILD_NUMBER", "BITBUCKET_COMMIT"),
    ("travis", "TRAVIS"),
    ("appveyor", "APPVEYOR"),
    ("codefresh", "CF_BUILD_ID"),
    ("bitrise", "BITRISE_BUILD_SLUG"),
    ("buddy", "BUDDY"),
    ("teamcity", "TEAMCITY_VERSION"),
    ("jenkins", "JENKINS_URL", "BUILD_TAG"),  # the first alone is what its command line reads
    ("codebuild", "CODEBUILD_BUILD_ARN"),  # hosts runners of GitHub, GitLab and Buildkite
)
"""Each CI's file, and the variables that are all set in it and in no other. The first that fits:
what may run inside another stands before it.
"""


def _all_set(environ: Mapping[str, str], names: list[str]) -> bool:
    return all(environ.get(name, "").lower() not in ("", "false", "0") for name in names)


def read_file(path: str, limit: int) -> bytes:
    """At most ``limit`` bytes of a file; a pipe is not waited for."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return file.read(limit)


def told(host: Host, environ: Mapping[str, str]) -> Host:
    """The host with what a person says of it over what the CI says."""

    def said(name: str, otherwise: str) -> str:
        return environ.get(name, "").strip() or otherwise

    workspace = said("DD_CI_WORKSPACE_PATH", host.workspace)
    if workspace == "~" or workspace.startswith("~/"):
        workspace = environ.get("HOME", "~") + workspace[1:]
    url = page(said("DD_CI_PIPELINE_URL", host.url))
    tags = {**host.tags, **known(*((tag, said(name, "")) for tag, name in _TAGS.items()))}
    if base := tags.get(_BASE):
        tags[_BASE] = re.sub(r"^(refs/heads/|origin/)", "", base)
    return msgspec.structs.replace(
        host,
        provider_name=one_line(said("DD_CI_PROVIDER_NAME", host.provider_name)).replace(",", " "),
        url=url,
        job_url=page(said("DD_CI_JOB_URL", host.job_url)) or url,
        workspace=workspace,
        node=_node(host.node, workspace),
        actor=one_line(host.actor),
        tags=known(*((tag, one_line(value)) for tag, value in tags.items())),
    )


def _node(node: Node, workspace: str) -> Node:
    return Node(
        hostname=one_line(node.hostname or "") or None,
        name=one_line(node.name or "") or None,
        labels=tuple(label for label in map(one_line, node.labels) if label),
        workspace=workspace or None,
    )


_BASE: Final = "git.pull_request.base_branch"
_TAGS: Final = {
    "pr.number": "DD_PR_NUMBER",
    _BASE: "DD_GIT_PULL_REQUEST_BASE_BRANCH",
    "git.pull_request.base_branch_sha": "DD_GIT_PULL_REQUEST_BASE_BRANCH_SHA",
}
_GIT: Final = {
    "repository_url": "DD_GIT_REPOSITORY_URL",
    "sha": "DD_GIT_COMMIT_SHA",
    "branch": "DD_GIT_BRANCH",
    "tag": "DD_GIT_TAG",
    "message": "DD_GIT_COMMIT_MESSAGE",
    "author_name": "DD_GIT_COMMIT_AUTHOR_NAME",
    "author_email": "DD_GIT_COMMIT_AUTHOR_EMAIL",
    "author_time": "DD_GIT_COMMIT_AUTHOR_DATE",
    "committer_name": "DD_GIT_COMMIT_COMMITTER_NAME",
    "committer_email": "DD_GIT_COMMIT_COMMITTER_EMAIL",
    "commit_time": "DD_GIT_COMMIT_COMMITTER_DATE",
    "default_branch": "DD_GIT_DEFAULT_BRANCH",
    "head_sha": "DD_GIT_COMMIT_HEAD_SHA",
}


def overrides(environ: Mapping[str, str]) -> Commit:
    """What a person says of the commit with ``DD_GIT_*``; it wins over the CI and over git."""
    return Commit(**{field: environ.get(name, "").strip() for field, name in _GIT.items()})


def known(*pairs: tuple[str, str]) -> dict[str, str]:
    """Tags that have a value."""
    return {key: value for key, value in pairs if value}


def one_line(text: str) -> str:
    """A text without line ends and escapes: it stands in a line, or in a page."""
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()


_PAGE: Final = r"(https?://)(?:[^/?#]*@)?([^/?#@:\s]+|\[[0-9a-f.:]+\])(:\d+)?([/?#]\S*)?"


def page(url: str) -> str:
    """The address of a page that a person may open, without credentials; empty if it is none."""
    url = url.strip() if url.isprintable() else ""
    match = re.fullmatch(_PAGE, url, re.IGNORECASE) if url else None
    return "".join(part or "" for part in match.groups()) if match else ""


def server(url: str) -> str:
    """The host of an address: what tells two installations of one CI apart."""
    return page(url).partition("://")[2].partition("/")[0].lower()


def number(text: str) -> int:
    """What a CI counts; 0 for what is no number."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0


def waited(created: str, started: str) -> int | None:
    """Milliseconds between two moments that a CI names in whole seconds."""
    if not number(created) or number(started) < number(created):
        return None
    return (number(started) - number(created)) * SECOND // MILLISECOND
