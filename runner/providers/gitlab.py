"""GitLab CI: predefined variables, collapsible sections.

Owns nothing else: GitLab has no annotations and no job page from a log. Source: GitLab's
"Predefined CI/CD variables reference" and "Custom collapsible sections".
"""

import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Final

import msgspec

from runner.event import Node
from runner.execution import SECOND, Commit
from runner.providers import Host, ReadFile, known, one_line
from runner.providers.local import Local

_PERSON: Final = r"\s*(.*?)\s*<([^<>]*)>\s*"


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What GitLab says of this run. A retried job is a new one, and nothing names the old."""
    del read_file
    env = environ.get
    job, url = env("CI_JOB_ID", ""), env("CI_PIPELINE_URL", "")
    return Host(
        name="gitlab",
        key=("gitlab", env("CI_SERVER_URL", ""), env("CI_PIPELINE_ID", ""), job) if job else (),
        url=url,
        job_url=env("CI_JOB_URL", ""),
        node=Node(name=env("CI_RUNNER_ID") or None, labels=_labels(env("CI_RUNNER_TAGS", ""))),
        manual=env("CI_PIPELINE_SOURCE") == "web" or env("CI_JOB_MANUAL") == "true",
        actor=env("GITLAB_USER_LOGIN", ""),
        queued_at=_queued_at(environ),
        git=_git(environ),
        workspace=env("CI_PROJECT_DIR", ""),
        tags=known(
            ("pr.number", env("CI_MERGE_REQUEST_IID", "")),
            ("git.pull_request.base_branch", env("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "")),
        ),
    )


def _git(environ: Mapping[str, str]) -> Commit:
    """``CI_REPOSITORY_URL`` holds the job's token, the project's address does not. The timestamp is
    the committer's (``committed_date`` in GitLab's own code).
    """
    env = environ.get
    project, tag = env("CI_PROJECT_URL", ""), env("CI_COMMIT_TAG", "")
    source = env("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME") or env("CI_COMMIT_BRANCH")
    person = re.fullmatch(_PERSON, env("CI_COMMIT_AUTHOR", ""))
    return Commit(
        repository_url=f"{project}.git" if project else env("CI_REPOSITORY_URL", ""),
        sha=env("CI_COMMIT_SHA", ""),
        branch="" if tag else source or env("CI_COMMIT_REF_NAME", ""),
        tag=tag,
        message=env("CI_COMMIT_MESSAGE", ""),
        author_name=person[1] if person else "",
        author_email=person[2] if person else "",
        commit_time=env("CI_COMMIT_TIMESTAMP", ""),
        default_branch=env("CI_DEFAULT_BRANCH", ""),
        head_sha=env("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", ""),
    )


def _labels(tags: str) -> tuple[str, ...]:
    """A JSON array since GitLab 14, ``a, b`` before."""
    try:
        return tuple(msgspec.json.decode(tags, type=list[str]))
    except ValueError:  # msgspec.DecodeError is one
        return tuple(tag.strip() for tag in tags.split(",") if tag.strip())


def _queued_at(environ: Mapping[str, str]) -> int | None:
    """The pipeline's creation, for a job that waited for nothing else: ``.pre`` is always first.
    Of any other job nobody can tell how much of the time went to the jobs before it.
    """
    if environ.get("CI_JOB_STAGE") != ".pre" or environ.get("CI_JOB_MANUAL") == "true":
        return None
    try:
        created = datetime.fromisoformat(environ.get("CI_PIPELINE_CREATED_AT", ""))
        return None if created.tzinfo is None else int(created.timestamp()) * SECOND
    except (ValueError, OverflowError):
        return None


class Log(Local):
    """GitLab's log. What a step prints begins no section: its escapes are taken out."""

    folds = True

    def group(self, key: str, title: str, at: int) -> str:
        """A section that is closed until someone opens it."""
        start = f"section_start:{at // SECOND}:{_section(key)}[collapsed=true]"
        return f"\x1b[0K{start}\r\x1b[0K{one_line(title)}\n"

    def endgroup(self, key: str, at: int, *, ok: bool) -> str:
        """The end of the section; GitLab opens none by itself."""
        del ok
        return f"\x1b[0Ksection_end:{at // SECOND}:{_section(key)}\r\x1b[0K\n"


def _section(key: str) -> str:
    """A section's name may hold letters, digits, ``_.-``; the digest keeps two keys apart."""
    readable = re.sub(r"[^a-zA-Z0-9._-]+", "_", key)[:40]
    return f"{readable}-{sha256(key.encode('utf-8', 'replace')).hexdigest()[:8]}"
