"""Buildkite: the agent's variables, folds of the log.

Owns nothing else: annotations need the agent's own program. Source: Buildkite's "Environment
variables" and "Managing log output".
"""

from collections.abc import Mapping
from typing import Final

from runner.event import Node
from runner.execution import Commit
from runner.providers import Host, ReadFile, known, number, one_line, server
from runner.providers.local import Local

_META: Final = "BUILDKITE_AGENT_META_DATA_"


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What Buildkite says of this run. A retried job is a new one, and nothing names the old."""
    del read_file
    env = environ.get
    build, job, url = (env(f"BUILDKITE_{name}", "") for name in ("BUILD_ID", "JOB_ID", "BUILD_URL"))
    pull, person = env("BUILDKITE_PULL_REQUEST", ""), env("BUILDKITE_UNBLOCKER", "")
    return Host(
        name="buildkite",
        key=("buildkite", server(url), build, job) if build and job else (),
        attempt=number(env("BUILDKITE_RETRY_COUNT", "")) + 1,
        url=url,
        job_url=f"{url}#{job}" if url and job else "",
        node=Node(name=env("BUILDKITE_AGENT_ID") or None, labels=_labels(environ)),
        manual=(
            env("BUILDKITE_SOURCE") == "ui"
            or env("BUILDKITE_RETRY_TYPE") == "manual"
            or bool(person)
        ),
        actor=person or env("BUILDKITE_BUILD_CREATOR", ""),
        git=_git(environ),
        workspace=env("BUILDKITE_BUILD_CHECKOUT_PATH", ""),
        tags=known(
            ("pr.number", "" if pull == "false" else pull),
            ("git.pull_request.base_branch", env("BUILDKITE_PULL_REQUEST_BASE_BRANCH", "")),
        ),
    )


def _git(environ: Mapping[str, str]) -> Commit:
    """A build started by hand is of ``HEAD`` until the agent has checked it out."""
    env = environ.get
    sha = env("BUILDKITE_COMMIT", "")
    return Commit(
        repository_url=env("BUILDKITE_REPO", ""),
        sha="" if sha == "HEAD" else sha,
        branch=env("BUILDKITE_BRANCH", ""),
        tag=env("BUILDKITE_TAG", ""),
        message=env("BUILDKITE_MESSAGE", ""),
        author_name=env("BUILDKITE_BUILD_AUTHOR", ""),
        author_email=env("BUILDKITE_BUILD_AUTHOR_EMAIL", ""),
        default_branch=env("BUILDKITE_PIPELINE_DEFAULT_BRANCH", ""),
    )


def _labels(environ: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{name.removeprefix(_META).lower()}:{value}"
        for name, value in sorted(environ.items())
        if name.startswith(_META)
    )


class Log(Local):
    """Buildkite's log. What stands in it commands nothing."""

    folds = True

    def group(self, key: str, title: str, at: int) -> str:
        """A fold that is closed until someone opens it."""
        del key, at
        return f"--- {one_line(title)}\n"

    def endgroup(self, key: str, at: int, *, ok: bool) -> str:
        """A fold ends where the next one begins; this opens the last one."""
        del key, at
        return "" if ok else "^^^ +++\n"
