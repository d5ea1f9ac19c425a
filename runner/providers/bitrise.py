"""Bitrise: the variables of its website and of the Git Clone step.

Owns nothing else: Bitrise parses no log. Source: Bitrise's "Available environment variables".
"""

from collections.abc import Mapping

from runner.execution import Commit
from runner.providers import Host, ReadFile, known, server
from runner.providers.local import Local


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What Bitrise says of this run. A build is one workflow on one machine; a rebuild is a new
    one.
    """
    del read_file
    env = environ.get
    url, build = env("BITRISE_BUILD_URL", ""), env("BITRISE_BUILD_SLUG", "")
    return Host(
        name="bitrise",
        key=("bitrise", server(url), build) if build else (),
        url=url,
        manual=env("BITRISE_TRIGGER_METHOD") == "manual",
        actor=env("BITRISE_TRIGGER_BY", ""),
        git=Commit(
            repository_url=env("GIT_REPOSITORY_URL", ""),
            sha=env("BITRISE_GIT_COMMIT") or env("GIT_CLONE_COMMIT_HASH", ""),
            branch=env("BITRISE_GIT_BRANCH", ""),
            tag=env("BITRISE_GIT_TAG", ""),
            message=env("BITRISE_GIT_MESSAGE", ""),
        ),
        workspace=env("BITRISE_SOURCE_DIR", ""),
        tags=known(
            ("pr.number", env("BITRISE_PULL_REQUEST", "")),
            ("git.pull_request.base_branch", env("BITRISEIO_GIT_BRANCH_DEST", "")),
        ),
    )


Log = Local
