"""What ``tag`` and ``measure`` share: levels, a JSON file of values, the step's own file."""

import json
import os

from runner.errors import UsageError
from runner.notice import Level


def levels(names: tuple[str, ...]) -> list[Level]:
    """The levels asked for, also as one comma list; none: the step."""
    wanted = [name for text in names for name in text.split(",") if name]
    try:
        return [Level(name) for name in wanted or [Level.STEP.value]]
    except ValueError:
        known = ", ".join(level.value for level in Level)
        raise UsageError(f"--level: {','.join(wanted)!r} is no level", f"levels: {known}") from None


def from_file(path: str | None, option: str) -> dict[str, str]:
    """The values of a flat JSON object."""
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{option}: {path}: {error}") from None
    flat = isinstance(found, dict) and not any(isinstance(v, (dict, list)) for v in found.values())
    if not flat:
        raise UsageError(f"{option}: {path} is not one flat JSON object")
    return {str(key): v if isinstance(v, str) else json.dumps(v) for key, v in found.items()}


def append(variable: str, lines: list[str], option: str) -> int:
    """Append entries to the file that ``variable`` names."""
    if not lines:
        raise UsageError(f"nothing to say: no {option}")
    path = os.environ.get(variable)
    if not path:
        raise UsageError(
            f"{variable} is not set: this is no step of a run",
            "call it in a step of a pipeline that signalbox runs",
        )
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write("".join(lines))
    except OSError as error:
        raise UsageError(f"{variable}: {path}: {error.strerror}") from None
    return 0
