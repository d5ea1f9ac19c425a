"""Buddy: default environment variables.

Owns nothing else: Buddy parses no log. Source: Buddy's "Environment variables".
"""

from collections.abc import Mapping

from runner.execution import Commit
from runner.providers import Host, ReadFile, known
from runner.providers.local import Local


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What Buddy says of this run. Its ids are the execution's, for all its actions and for a retry
    of it: so the id of a run is random.
    """
    del read_file
    env = environ.get
    pull = "BUDDY_EXECUTION_PULL_REQUEST"
    return Host(
        name="buddy",
        url=env("BUDDY_EXECUTION_URL", ""),
        manual=env("BUDDY_EXECUTION_MODE") == "MANUAL",
        actor=env("BUDDY_INVOKER_NAME", ""),
        git=Commit(
            repository_url=env("BUDDY_SCM_URL", ""),
            sha=env("BUDDY_EXECUTION_REVISION", ""),
            branch=env(f"{pull}_HEAD_BRANCH") or env("BUDDY_EXECUTION_BRANCH", ""),
            tag=env("BUDDY_EXECUTION_TAG", ""),
            message=env("BUDDY_EXECUTION_REVISION_MESSAGE", ""),
            committer_name=env("BUDDY_EXECUTION_REVISION_COMMITTER_NAME", ""),
            committer_email=env("BUDDY_EXECUTION_REVISION_COMMITTER_EMAIL", ""),
        ),
        tags=known(
            ("pr.number", env("BUDDY_RUN_PR_NO") or env(f"{pull}_NO", "")),
            (
                "git.pull_request.base_branch",
                env("BUDDY_RUN_PR_BASE_BRANCH") or env(f"{pull}_BASE_BRANCH", ""),
            ),
        ),
    )


Log = Local
