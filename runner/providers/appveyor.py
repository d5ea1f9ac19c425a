"""AppVeyor: environment variables.

Owns nothing else: AppVeyor parses no log, and messages need its agent's own program. Source:
AppVeyor's "Environment variables".
"""

from collections.abc import Mapping
from typing import Final

from runner.event import Node
from runner.execution import Commit
from runner.providers import Host, ReadFile, known
from runner.providers.local import Local

_SITES: Final = {"github": "github.com", "bitbucket": "bitbucket.org", "gitlab": "gitlab.com"}
"""Where the repositories of a provider lie; of others the checkout must say it."""


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What AppVeyor says of this run. "Re-run incomplete" may keep a job's id: then the id of the
    run is random.
    """
    del read_file
    env = environ.get
    again = env("APPVEYOR_RE_RUN_INCOMPLETE", "")
    server, job = env("APPVEYOR_URL") or "https://ci.appveyor.com", env("APPVEYOR_JOB_ID", "")
    url = _url(environ, server)
    return Host(
        name="appveyor",
        key=("appveyor", server, job) if job and not again else (),
        url=url,
        job_url=f"{url}/job/{job}" if url and job else "",
        node=Node(labels=(env("APPVEYOR_BUILD_WORKER_IMAGE", ""),)),
        manual=bool(env("APPVEYOR_FORCED_BUILD") or env("APPVEYOR_RE_BUILD") or again),
        git=_git(environ),
        workspace=env("APPVEYOR_BUILD_FOLDER", ""),
        tags=known(
            ("pr.number", env("APPVEYOR_PULL_REQUEST_NUMBER", "")),
            (
                "git.pull_request.base_branch",
                env("APPVEYOR_REPO_BRANCH", "") if env("APPVEYOR_PULL_REQUEST_NUMBER") else "",
            ),
        ),
    )


def _url(environ: Mapping[str, str], server: str) -> str:
    env = environ.get
    account, project = env("APPVEYOR_ACCOUNT_NAME"), env("APPVEYOR_PROJECT_SLUG")
    name = f"{account}/{project}" if account and project else env("APPVEYOR_REPO_NAME")
    build = env("APPVEYOR_BUILD_ID")
    return f"{server}/project/{name}/builds/{build}" if name and build else ""


def _git(environ: Mapping[str, str]) -> Commit:
    """``APPVEYOR_REPO_BRANCH`` is the target of a pull request."""
    env = environ.get
    site, name = _SITES.get(env("APPVEYOR_REPO_PROVIDER", "").lower()), env("APPVEYOR_REPO_NAME")
    subject, body = (env(f"APPVEYOR_REPO_COMMIT_MESSAGE{part}", "") for part in ("", "_EXTENDED"))
    return Commit(
        repository_url=f"https://{site}/{name}.git" if site and name else "",
        sha=env("APPVEYOR_REPO_COMMIT", ""),
        branch=env("APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH") or env("APPVEYOR_REPO_BRANCH", ""),
        tag=env("APPVEYOR_REPO_TAG_NAME", ""),
        message=f"{subject}\n{body}" if body else subject,
        author_name=env("APPVEYOR_REPO_COMMIT_AUTHOR", ""),
        author_email=env("APPVEYOR_REPO_COMMIT_AUTHOR_EMAIL", ""),
        head_sha=env("APPVEYOR_PULL_REQUEST_HEAD_COMMIT", ""),
    )


Log = Local
