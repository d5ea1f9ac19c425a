"""Drone: the runner's variables.

Owns nothing else: Drone parses no log but for its cards, whose escapes the console takes out.
Source: Drone's "Environment reference".
"""

from collections.abc import Mapping

from runner.event import Node
from runner.execution import Commit
from runner.providers import Host, ReadFile, known, waited
from runner.providers.local import Local


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What Drone says of this run. A restart is a new build with numbers of its own, told apart
    from a promotion by nothing: so none is taken for the attempt before.
    """
    del read_file
    env = environ.get
    trigger = env("DRONE_BUILD_TRIGGER", "")
    person = "" if trigger.startswith("@") else trigger  # @hook, @cron
    return Host(
        name="drone",
        key=_key(environ),
        url=env("DRONE_BUILD_LINK", ""),
        node=Node(
            hostname=env("DRONE_STAGE_MACHINE") or None,
            name=env("DRONE_STAGE_MACHINE") or None,
            labels=(env("DRONE_STAGE_OS", ""), env("DRONE_STAGE_ARCH", "")),
        ),
        manual=bool(person),
        actor=person or env("DRONE_COMMIT_AUTHOR", ""),
        queue_time=waited(env("DRONE_BUILD_CREATED", ""), env("DRONE_BUILD_STARTED", "")),
        git=_git(environ),
        workspace=env("DRONE_WORKSPACE", ""),
        tags=known(
            ("pr.number", env("DRONE_PULL_REQUEST", "")),
            (
                "git.pull_request.base_branch",
                env("DRONE_TARGET_BRANCH", "") if env("DRONE_PULL_REQUEST") else "",
            ),
        ),
    )


def _key(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Each step of each stage has its number in the build."""
    names = ("SYSTEM_HOST", "REPO", "BUILD_NUMBER", "STAGE_NUMBER", "STEP_NUMBER")
    parts = tuple(environ.get(f"DRONE_{name}", "") for name in names)
    return ("drone", *parts) if all(parts) else ()


def _git(environ: Mapping[str, str]) -> Commit:
    """``DRONE_BRANCH`` is the target of a pull request."""
    env = environ.get
    source = env("DRONE_SOURCE_BRANCH") if env("DRONE_PULL_REQUEST") else ""
    return Commit(
        repository_url=env("DRONE_GIT_HTTP_URL", ""),
        sha=env("DRONE_COMMIT_SHA", ""),
        branch=source or env("DRONE_BRANCH", ""),
        tag=env("DRONE_TAG", ""),
        message=env("DRONE_COMMIT_MESSAGE", ""),
        author_name=env("DRONE_COMMIT_AUTHOR_NAME", ""),
        author_email=env("DRONE_COMMIT_AUTHOR_EMAIL", ""),
        default_branch=env("DRONE_REPO_BRANCH", ""),
    )


Log = Local
