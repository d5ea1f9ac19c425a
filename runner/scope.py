"""Which variables there are, and ``$NAME`` in names, tags, images and questions.

Owns replacing (interface, section 2: "``$NAME`` and ``${NAME}`` are replaced in ...; ``$$`` is a
dollar") and the names that nobody may set. Does not read the environment and touches no script:
scripts have a shell.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

_REFERENCE: Final = re.compile(
    r"\$(?:\$|(?P<bare>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})", re.ASCII
)
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""What a variable may be called (POSIX, 8.1)."""

_STEERING: Final = (
    r"LD_.*|DYLD_.*|BASH_ENV|BASH_FUNC_.*|BASHOPTS|SHELLOPTS|ENV|IFS|PS4|PATH|HOME|SHELL|TMPDIR"
    r"|PROMPT_COMMAND|CDPATH|GLOBIGNORE|PYTHON(PATH|HOME|STARTUP|INSPECT|BREAKPOINT|WARNINGS)"
    r"|NODE_OPTIONS|NODE_PATH|RUBYOPT|RUBYLIB|PERL5(OPT|LIB|DB)|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS"
    r"|JDK_JAVA_OPTIONS|GIT_.*|GCONV_PATH|SIGNALBOX.*|DD_API_KEY|DATADOG_API_KEY|TRACEPARENT"
)


class UnknownNameError(LookupError):
    """A template names a variable that nobody sets."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown variable ${name}")
        self.name = name


def names(template: str) -> tuple[str, ...]:
    """The variables that ``template`` asks for, in order."""
    found = (m["bare"] or m["braced"] for m in _REFERENCE.finditer(template))
    return tuple(name for name in found if name)


def replace(template: str, values: Mapping[str, str]) -> str:
    """``template`` with every variable replaced; raises ``UnknownNameError`` for the first that
    ``values`` lacks. A value is never read again: what it holds stays what it is.
    """
    if "$" not in template:
        return template

    def value(match: re.Match[str]) -> str:
        name = match["bare"] or match["braced"]
        if not name:
            return "$"
        if name not in values:
            raise UnknownNameError(name)
        return values[name]

    return _REFERENCE.sub(value, template)


def steers(name: str) -> bool:
    """Whether a variable of this name steers a shell, a loader or us, so that no step may set it
    for another (CVE-2020-15228 was ``set-env`` with such names).
    """
    return re.fullmatch(_STEERING, name) is not None


def merge(layers: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """One environment from many; the later layer wins."""
    merged: dict[str, str] = {}
    for layer in layers:
        merged.update(layer)
    return merged
