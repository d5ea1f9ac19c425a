"""Azure Pipelines: predefined variables, groups and logging commands.

Owns what the agent parses and how it is escaped. Source: Azure's "Use predefined variables" and
"Logging commands", and the agent's own code (``Command``). The agent has no way to stop commands:
where a step prints one, the console breaks its ``##`` apart.
"""

from collections.abc import Mapping
from typing import Final

from runner.event import Node
from runner.execution import Commit
from runner.providers import Host, Kind, ReadFile, known, number, one_line
from runner.providers.local import Local

_OTHERS: Final = ("Manual", "Schedule", "BuildCompletion", "ResourceTrigger")
"""Reasons for which who asked for the run need not be who wrote the commit."""
_ESCAPES: Final = (("%", "%AZP25"), ("\r", "%0D"), ("\n", "%0A"))
_PROPERTY_ESCAPES: Final = (*_ESCAPES, (";", "%3B"), ("]", "%5D"))


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What Azure says of this run. The id of a job is that of one attempt at it, so nothing names
    the attempt before.
    """
    del read_file
    env = environ.get
    attempt = max(number(env("SYSTEM_JOBATTEMPT", "")), number(env("SYSTEM_STAGEATTEMPT", "")), 1)
    url, job, task = _url(environ), env("SYSTEM_JOBID", ""), env("SYSTEM_TASKINSTANCEID", "")
    return Host(
        name="azurepipelines",
        key=_key(environ, job, task),
        attempt=attempt,
        url=url,
        job_url=f"{url}&view=logs&j={job}&t={task}" if url and job and task else "",
        node=Node(
            hostname=env("AGENT_MACHINENAME") or None,
            name=env("AGENT_NAME") or None,
            labels=(env("AGENT_OS", ""), env("AGENT_OSARCHITECTURE", "")),
        ),
        manual=env("BUILD_REASON") == "Manual" or attempt > 1,
        actor=env("BUILD_REQUESTEDFOR", ""),
        git=_git(environ),
        workspace=env("BUILD_SOURCESDIRECTORY", ""),
        tags=known(
            ("pr.number", env("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", "")),
            ("git.pull_request.base_branch", env("SYSTEM_PULLREQUEST_TARGETBRANCH", "")),
        ),
    )


def _url(environ: Mapping[str, str]) -> str:
    env = environ.get
    server, project = env("SYSTEM_TEAMFOUNDATIONSERVERURI"), env("SYSTEM_TEAMPROJECTID")
    build = env("BUILD_BUILDID")
    if not (server and project and build):
        return ""
    return f"{server}{project}/_build/results?buildId={build}"


def _key(environ: Mapping[str, str], job: str, task: str) -> tuple[str, ...]:
    env = environ.get
    place = (env("SYSTEM_TEAMFOUNDATIONSERVERURI", ""), env("SYSTEM_TEAMPROJECTID", ""))
    attempts = (env("SYSTEM_STAGEATTEMPT", ""), env("SYSTEM_JOBATTEMPT", ""))
    build = env("BUILD_BUILDID", "")
    return ("azurepipelines", *place, build, job, *attempts, task) if build and job else ()


def _git(environ: Mapping[str, str]) -> Commit:
    """Of a pull request, the head: Azure builds a merge that nobody pushed."""
    env = environ.get
    head = env("SYSTEM_PULLREQUEST_SOURCECOMMITID", "")
    pushed = env("BUILD_REASON") not in _OTHERS
    return Commit(
        repository_url=(
            env("SYSTEM_PULLREQUEST_SOURCEREPOSITORYURI") or env("BUILD_REPOSITORY_URI", "")
        ),
        sha=head or env("BUILD_SOURCEVERSION", ""),
        branch=(
            env("SYSTEM_PULLREQUEST_SOURCEBRANCH")
            or env("BUILD_SOURCEBRANCH")
            or env("BUILD_SOURCEBRANCHNAME", "")
        ),
        message="" if head else env("BUILD_SOURCEVERSIONMESSAGE", ""),
        author_name=env("BUILD_REQUESTEDFOR", "") if pushed else "",
        author_email=env("BUILD_REQUESTEDFOREMAIL", "") if pushed else "",
        head_sha=head,
    )


class Log(Local):
    """Azure's log."""

    folds = True

    def group(self, key: str, title: str, at: int) -> str:
        """A group that is closed until someone opens it."""
        del key, at
        return f"##[group]{one_line(title).replace('##', '# #')}\n"

    def endgroup(self, key: str, at: int, *, ok: bool) -> str:
        """The end of the group."""
        del key, at, ok
        return "##[endgroup]\n"

    def annotation(
        self, message: str, *, kind: Kind = "error", file: str = "", line: int = 0, title: str = ""
    ) -> str:
        """An issue on the run's page; there are no notices."""
        if kind == "notice":
            return ""
        places = known(("sourcepath", file), ("linenumber", str(line) if file and line else ""))
        said = (f"{key}={_escaped(value, _PROPERTY_ESCAPES)};" for key, value in places.items())
        text = f"{one_line(title)}: {message}" if title else message
        return f"##vso[task.logissue type={kind};{''.join(said)}]{_escaped(text, _ESCAPES)}\n"


def _escaped(text: str, escapes: tuple[tuple[str, str], ...]) -> str:
    for sign, escape in escapes:
        text = text.replace(sign, escape)
    return text
