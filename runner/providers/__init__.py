"""The CI around us: what it says of the run, and what its log and its files understand.

Owns which CI it is, the facts in its environment (``Host``) and the variables by which a person
overrides them (``DD_CI_*``, ``DD_GIT_*``, as in Datadog's own tools). One file per CI. Prints and
writes nothing: presentation is text for whoever owns the terminal. Does not know git.
"""

import os
from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol

import msgspec

from runner.event import Node
from runner.execution import Commit

ReadFile = Callable[[str, int], bytes]
"""The first bytes of a file, as many as asked for; raises ``OSError``."""
Kind = Literal["error", "warning", "notice"]


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What the CI says of this run."""

    name: str = ""
    """``github``, ``gitlab``, ``buildkite``; empty: no CI that we know."""
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
    if _set(environ, "GITHUB_ACTIONS"):
        from runner.providers import github  # noqa: PLC0415

        return github.GitHub(told(github.host(environ, read_file), environ), environ)
    if _set(environ, "GITLAB_CI"):
        from runner.providers import gitlab  # noqa: PLC0415

        return gitlab.GitLab(told(gitlab.host(environ), environ))
    if _set(environ, "BUILDKITE"):
        from runner.providers import buildkite  # noqa: PLC0415

        return buildkite.Buildkite(told(buildkite.host(environ), environ))
    from runner.providers import local  # noqa: PLC0415

    return local.Local(told(Host(), environ))


def _set(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() not in ("", "false", "0")


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
    url = said("DD_CI_PIPELINE_URL", host.url)
    tags = known(*((tag, said(name, host.tags.get(tag, ""))) for tag, name in _TAGS.items()))
    return msgspec.structs.replace(
        host,
        provider_name=said("DD_CI_PROVIDER_NAME", host.provider_name).replace(",", " "),
        url=url,
        job_url=said("DD_CI_JOB_URL", host.job_url or url),
        workspace=workspace,
        node=msgspec.structs.replace(host.node, workspace=workspace or None),
        tags={**host.tags, **tags},
    )


_TAGS: Final = {
    "pr.number": "DD_PR_NUMBER",
    "git.pull_request.base_branch": "DD_GIT_PULL_REQUEST_BASE_BRANCH",
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
