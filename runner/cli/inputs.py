"""The inputs of the action, by the names in ``action.yml``: how a CI hands them over.

Owns the spellings (``INPUT_*`` of GitHub's runner and its like, ``PLUGIN_*`` of Drone and
Woodpecker, ``INPUT_ALL`` of ``composite/action.yml``) and the forms of a list. What an input means
is ``action``'s.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from runner.errors import UsageError

SETTINGS: Final = {
    "api-key": "DD_API_KEY",
    "site": "DD_SITE",
    "intake-url": "SIGNALBOX_INTAKE_URL",
    "env": "DD_ENV",
    "service": "DD_SERVICE",
    "logs": "SIGNALBOX_LOGS",
}
"""Inputs that stand for a variable."""
NEW: Final = ("pipeline", "steps", "name", "job", "parameters", "image")
"""Inputs of a run that starts from nothing."""
_LISTS: Final = {
    "job": "",
    "approve": "",
    "retry": "",
    "steps": "",
    "parameters": "=",
    "tags": ":",
    "measures": ":",
}
"""Inputs that take one thing a line; what stands between a key and its value."""
_SWITCH: Final = {"true": "on", "false": "off"}


class Inputs:
    """The inputs; an empty one was not given. GitHub keeps the hyphens of a name, other runners
    make underscores of them; where both stand, the hyphens are the runner's own.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._given = _handed_on(environ.get("INPUT_ALL", ""))
        for name in sorted(environ, key=_rank):
            prefix, _, rest = name.partition("_")
            value = environ[name].encode(errors="surrogateescape").decode(errors="replace").strip()
            if value and rest and name != "INPUT_ALL" and prefix in {"INPUT", "PLUGIN"}:
                known = rest.replace("_", "-").lower()
                self._given[known] = _setting(known, value) if prefix == "PLUGIN" else value

    def __getitem__(self, name: str) -> str:
        return self._given.get(name, "")

    def lines(self, name: str) -> tuple[str, ...]:
        """An input that takes one thing a line."""
        return tuple(line.strip() for line in self[name].splitlines() if line.strip())

    def choice(self, name: str, *known: str) -> str:
        """One of the ``known`` values; the first when none was given."""
        chosen = self[name] or known[0]
        if chosen not in known:
            raise UsageError(f"input {name}: {chosen!r} is none of {', '.join(known)}")
        return chosen

    def settings(self) -> dict[str, str]:
        """The variables that inputs stand for."""
        found = {name: self[given] for given, name in SETTINGS.items() if self[given]}
        if logs := found.get("SIGNALBOX_LOGS"):
            found["SIGNALBOX_LOGS"] = _SWITCH.get(logs, logs)
        return found


def _handed_on(text: str) -> dict[str, str]:
    """The inputs of a composite action, whose steps get none by themselves."""
    if not text:
        return {}
    given = msgspec.json.decode(text, type=dict[str, str])
    return {name: value.strip() for name, value in given.items() if value.strip()}


def _rank(name: str) -> tuple[bool, bool]:
    """What counts more comes later."""
    return name.startswith("INPUT_"), "-" in name


def _setting(name: str, value: str) -> str:
    """A plugin's setting as an action's input: its lists are joined with commas, its maps and
    nested lists are JSON. A step is never split at a comma, which may be the command's own.
    """
    if name not in _LISTS:
        return value
    found = _decoded(value)
    if isinstance(found, dict):
        return "\n".join(f"{key}{_LISTS[name]}{_text(one)}" for key, one in found.items())
    if isinstance(found, list):
        return "\n".join(map(_text, found))
    return value if "\n" in value or name == "steps" else value.replace(",", "\n")


def _decoded(value: str) -> object:
    try:
        return msgspec.json.decode(value) if value[0] in "[{" else None
    except (ValueError, RecursionError):
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
