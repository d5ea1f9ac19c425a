"""Travis CI: default variables, folds of the log.

Owns nothing else. What a step prints begins no fold: the escapes that belong to one are taken out.
Source: Travis' "Environment variables", and the script its own builds run (``travis_fold``).
"""

import re
from collections.abc import Mapping

from runner.event import Node
from runner.execution import Commit
from runner.providers import Host, ReadFile, known, one_line
from runner.providers.local import Local


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What Travis says of this run. A job keeps its id when it is started again, and nothing counts
    the attempts: so the id of a run is random. An ``api`` event may be a button or a script.
    """
    del read_file
    env = environ.get
    pull = env("TRAVIS_PULL_REQUEST", "")
    pull = "" if pull == "false" else pull
    slug = env("TRAVIS_REPO_SLUG")
    return Host(
        name="travisci",
        url=env("TRAVIS_BUILD_WEB_URL", ""),
        job_url=env("TRAVIS_JOB_WEB_URL", ""),
        node=Node(labels=(env("TRAVIS_OS_NAME", ""), env("TRAVIS_CPU_ARCH", ""))),
        git=Commit(
            repository_url=f"https://github.com/{slug}.git" if slug else "",
            sha=env("TRAVIS_COMMIT", ""),
            branch=env("TRAVIS_PULL_REQUEST_BRANCH") or env("TRAVIS_BRANCH", ""),
            tag=env("TRAVIS_TAG", ""),
            message=env("TRAVIS_COMMIT_MESSAGE", ""),
            head_sha=env("TRAVIS_PULL_REQUEST_SHA", ""),
        ),
        workspace=env("TRAVIS_BUILD_DIR", ""),
        tags=known(
            ("pr.number", pull),
            ("git.pull_request.base_branch", env("TRAVIS_BRANCH", "") if pull else ""),
        ),
    )


class Log(Local):
    """Travis' log."""

    folds = True

    def group(self, key: str, title: str, at: int) -> str:
        """A fold that is closed until someone opens it."""
        del at
        return f"travis_fold:start:{_fold(key)}\r\x1b[0K{one_line(title)}\n"

    def endgroup(self, key: str, at: int, *, ok: bool) -> str:
        """The end of the fold."""
        del at, ok
        return f"travis_fold:end:{_fold(key)}\r\x1b[0K\n"


def _fold(key: str) -> str:
    return re.sub(r"[^a-zA-Z0-9._-]+", "_", key)
