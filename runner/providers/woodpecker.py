"""Woodpecker: built-in variables.

Owns nothing else: Woodpecker parses no log. Source: Woodpecker's "Environment variables".
"""

from collections.abc import Mapping

from runner.event import Node
from runner.execution import Commit
from runner.providers import Host, ReadFile, known, number, waited
from runner.providers.local import Local


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What Woodpecker says of this run. A restart is a new pipeline that names the old as its
    parent and has its workflows and steps under the same numbers.
    """
    del read_file
    env = environ.get
    reruns = number(env("CI_PIPELINE_RERUNS", ""))
    return Host(
        name="woodpecker",
        key=_key(environ, env("CI_PIPELINE_NUMBER", "")),
        previous_key=_key(environ, env("CI_PIPELINE_PARENT", "")) if reruns else (),
        attempt=reruns + 1,
        url=env("CI_PIPELINE_URL", ""),
        job_url=env("CI_STEP_URL", ""),
        node=Node(labels=(env("CI_SYSTEM_PLATFORM", ""),)),
        manual=env("CI_PIPELINE_EVENT") in ("manual", "deployment") or bool(reruns),
        actor=env("CI_PIPELINE_AUTHOR", ""),
        queue_time=waited(env("CI_PIPELINE_CREATED", ""), env("CI_PIPELINE_STARTED", "")),
        git=_git(environ),
        workspace=env("CI_WORKSPACE", ""),
        tags=known(
            ("pr.number", env("CI_COMMIT_PULL_REQUEST", "")),
            ("git.pull_request.base_branch", env("CI_COMMIT_TARGET_BRANCH", "")),
        ),
    )


def _key(environ: Mapping[str, str], pipeline: str) -> tuple[str, ...]:
    env = environ.get
    place = (env("CI_SYSTEM_URL", ""), env("CI_REPO", ""), pipeline)
    step = (env("CI_WORKFLOW_NUMBER", ""), env("CI_WORKFLOW_NAME", ""), env("CI_STEP_NAME", ""))
    return ("woodpecker", *place, *step) if all((*place, *step)) and number(pipeline) else ()


def _git(environ: Mapping[str, str]) -> Commit:
    """``CI_COMMIT_BRANCH`` is the target of a pull request."""
    env = environ.get
    return Commit(
        repository_url=env("CI_REPO_CLONE_URL", ""),
        sha=env("CI_COMMIT_SHA", ""),
        branch=env("CI_COMMIT_SOURCE_BRANCH") or env("CI_COMMIT_BRANCH", ""),
        tag=env("CI_COMMIT_TAG", ""),
        message=env("CI_COMMIT_MESSAGE", ""),
        author_email=env("CI_COMMIT_AUTHOR_EMAIL", ""),
        default_branch=env("CI_REPO_DEFAULT_BRANCH", ""),
    )


Log = Local
