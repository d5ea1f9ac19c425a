"""Jenkins: the variables of a build, of its checkout and of the build-user-vars plugin.

Owns nothing else: Jenkins parses no log. Source: Jenkins' "Using environment variables", and the
plugins' own pages (git, branch-api, build-user-vars).
"""

from collections.abc import Mapping
from typing import Final

from runner.event import Node
from runner.execution import Commit
from runner.providers import Host, ReadFile, known
from runner.providers.local import Local

_NOBODY: Final = ("", "timer", "scmChange", "branchIndexing", "remoteRequest", "genericWebhook")
"""What the plugin says where no person started the build."""


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What Jenkins says of this run. A build has one tag for all that runs in it, side by side or
    not: nothing names a job, so the id is random.
    """
    del read_file
    env = environ.get
    person = env("BUILD_USER_ID", "")
    return Host(
        name="jenkins",
        url=env("BUILD_URL", ""),
        node=Node(name=env("NODE_NAME") or None, labels=tuple(env("NODE_LABELS", "").split())),
        manual=person not in _NOBODY or env("BUILD_CAUSE_MANUALTRIGGER") == "true",
        actor="" if person in _NOBODY else person,
        git=_git(environ),
        workspace=env("WORKSPACE", ""),
        tags=known(
            ("pr.number", env("CHANGE_ID", "")),
            ("git.pull_request.base_branch", env("CHANGE_TARGET", "")),
        ),
    )


def _git(environ: Mapping[str, str]) -> Commit:
    """The branch of a change request is called after its number (``PR-7``) but in one variable."""
    env = environ.get
    return Commit(
        repository_url=env("GIT_URL") or env("GIT_URL_1", ""),
        sha=env("GIT_COMMIT", ""),
        branch=env("CHANGE_BRANCH") or env("GIT_BRANCH") or env("BRANCH_NAME", ""),
        tag=env("TAG_NAME", ""),
    )


Log = Local
