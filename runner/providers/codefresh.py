"""Codefresh: system variables.

Owns nothing else: Codefresh parses no log. Source: Codefresh's "Variables in pipelines".
"""

from collections.abc import Mapping

from runner.execution import Commit
from runner.providers import Host, ReadFile, known, server
from runner.providers.local import Local


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What Codefresh says of this run. A step's name is its key in the file: there is one of each
    in a build, and a restart is a new build. The commit's message has its quotes changed, so git's
    own is better.
    """
    del read_file
    env = environ.get
    build, step, url = (env(f"CF_{name}", "") for name in ("BUILD_ID", "STEP_NAME", "BUILD_URL"))
    return Host(
        name="codefresh",
        key=("codefresh", server(url), build, step) if build and step else (),
        url=url,
        manual=env("CF_BUILD_TRIGGER") == "build",
        actor=env("CF_BUILD_INITIATOR", ""),
        git=Commit(
            repository_url=env("CF_REPO_CLONE_URL", ""),
            sha=env("CF_REVISION", ""),
            branch=env("CF_BRANCH", ""),
        ),
        tags=known(
            ("pr.number", env("CF_PULL_REQUEST_NUMBER") or env("CF_PULL_REQUEST_ID", "")),
            ("git.pull_request.base_branch", env("CF_PULL_REQUEST_TARGET", "")),
        ),
    )


Log = Local
