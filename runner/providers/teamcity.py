"""TeamCity: variables, the files of build parameters, service messages.

Owns what the agent parses and how it is escaped. Source: TeamCity's "List of predefined build
parameters" and "Service messages". TeamCity's own way to stop messages has no secret token: any
step could undo it. So where a step prints one, the console breaks its ``##`` apart.
"""

import re
from collections.abc import Mapping
from typing import Final

from runner.event import Node
from runner.execution import Commit
from runner.providers import Host, Kind, ReadFile, known, one_line, server
from runner.providers.local import Local

LIMIT: Final = 1024 * 1024
"""Bytes of a file of parameters that are read."""
_STATUS: Final = {"error": "ERROR", "warning": "WARNING", "notice": "NORMAL"}
_ESCAPES: Final = {"|": "||", "'": "|'", "\n": "|n", "\r": "|r", "[": "|[", "]": "|]"}


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What TeamCity says of this run: most of it in two files, one of which names the other. A
    build is what one agent does, and is never started again under its number.
    """
    env = environ.get
    system = _parameters(env("TEAMCITY_BUILD_PROPERTIES_FILE", ""), read_file)
    other = _parameters(system.get("teamcity.configuration.properties.file", ""), read_file)
    said = {**system, **other}.get
    build, url = said("teamcity.build.id", ""), env("BUILD_URL", "")
    person = said("teamcity.build.triggeredBy.username", "n/a")
    pull = "teamcity.pullRequest"
    return Host(
        name="teamcity",
        key=("teamcity", server(said("teamcity.serverUrl") or url), build) if build else (),
        url=url,
        node=Node(name=said("agent.name")),
        manual=person != "n/a",
        actor="" if person == "n/a" else person,
        git=Commit(
            repository_url=said("vcsroot.url", ""),
            sha=env("BUILD_VCS_NUMBER", ""),
            branch=said(f"{pull}.source.branch") or _branch(other),
        ),
        workspace=said("teamcity.build.checkoutDir", ""),
        tags=known(
            ("pr.number", env("TEAMCITY_PULLREQUEST_NUMBER") or said(f"{pull}.number", "")),
            (
                "git.pull_request.base_branch",
                env("TEAMCITY_PULLREQUEST_TARGET_BRANCH") or said(f"{pull}.target.branch", ""),
            ),
        ),
    )


def _branch(said: Mapping[str, str]) -> str:
    """Of the first root. The branch of the build itself may be called ``<default>``."""
    roots = (key for key in said if key.startswith("teamcity.build.vcs.branch."))
    return said.get(next(roots, ""), "")


def _parameters(path: str, read_file: ReadFile) -> dict[str, str]:
    """A file of parameters, in the format of Java; one that cannot be read says nothing."""
    if not path:
        return {}
    try:
        text = read_file(path, LIMIT).decode("latin-1")
    except (OSError, ValueError):
        return {}
    lines = (line.partition("=") for line in text.split("\n") if not line.startswith("#"))
    return {_plain(key): _plain(value) for key, equals, value in lines if equals}


def _plain(text: str) -> str:
    r"""Java escapes ``:``, ``=`` and what is not ASCII: ``https\://example.com``."""
    return re.sub(
        r"\\(?:u([0-9a-fA-F]{4})|(.))",
        lambda match: chr(int(match[1], 16)) if match[1] else match[2],
        text.strip(),
    )


class Log(Local):
    """TeamCity's log."""

    folds = True

    def __init__(self, host: Host, environ: Mapping[str, str]) -> None:
        super().__init__(host, environ)
        self._block = ""

    def group(self, key: str, title: str, at: int) -> str:
        """A block; it ends under the name it began with."""
        del key, at
        self._block = one_line(title)
        return _message("blockOpened", name=self._block)

    def endgroup(self, key: str, at: int, *, ok: bool) -> str:
        """The end of the block."""
        del key, at, ok
        return _message("blockClosed", name=self._block)

    def annotation(
        self, message: str, *, kind: Kind = "error", file: str = "", line: int = 0, title: str = ""
    ) -> str:
        """A line of the log with a status. A build problem would end the build as failed, whatever
        its exit code.
        """
        place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        heading = f"{one_line(title)}: " if title else ""
        return _message("message", text=f"{place}{heading}{message}", status=_STATUS[kind])


def _message(kind: str, /, **values: str) -> str:
    said = "".join(f" {key}='{_escaped(value)}'" for key, value in values.items())
    return f"##teamcity[{kind}{said}]\n"


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(sign) or _ascii(sign) for sign in text)


def _ascii(sign: str) -> str:
    """What is not ASCII goes by its number; beyond the first plane there is none."""
    code = ord(sign)
    if code < 0x80:  # noqa: PLR2004
        return sign
    return f"|0x{code:04x}" if code <= 0xFFFF else "?"  # noqa: PLR2004
