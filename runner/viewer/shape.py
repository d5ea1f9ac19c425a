"""A stored event in the shape in which the API gives it back (reference, "Stored event").

Owns that shape: units are nanoseconds, names are those of facets. Dictionaries, for this is the
edge.
"""

from collections.abc import Iterable
from typing import Any, Final

from runner.viewer.attributes import MILLISECOND
from runner.viewer.columns import repository
from runner.viewer.resources import members
from runner.viewer.rows import Row

_TIMES: Final = {"author": "author_time", "committer": "commit_time"}
_OWN: Final = frozenset({"start", "duration", "ci", "git", "error", "env", "service"})


def stored(row: Row, body: bytes) -> dict[str, Any]:
    """``{id, type, attributes: {ci_level, tags, attributes}}``."""
    resource = members(body)
    tags = [*row.tags, *([f"env:{row.env}"] if row.env else ())]
    found: dict[str, Any] = {"start": row.start * MILLISECOND}
    if row.duration is not None:
        found["duration"] = row.duration * MILLISECOND
    found["ci"] = _ci(row, resource)
    if git := resource.get("git"):
        found["git"] = _git(git, row)
    if error := _present(resource.get("error") or {}):
        found["error"] = error
    if row.env:
        found["env"] = row.env
    if row.service:
        found["service"] = row.service
    found |= _custom(row)
    return {
        "id": row.cursor,
        "type": "cipipeline",
        "attributes": {"ci_level": row.level, "tags": tags, "attributes": found},
    }


def _ci(row: Row, resource: dict[str, Any]) -> dict[str, Any]:
    pipeline: dict[str, Any] = {"id": row.execution, "name": row.pipeline}
    if row.level == "pipeline":
        pipeline |= _present({"url": row.url, "pipeline_id": resource.get("pipeline_id")})
        for name in ("previous_attempt", "parent_pipeline"):
            if linked := _present(resource.get(name) or {}):
                pipeline[name] = linked
    ci = {
        "status": row.status,
        "provider": _present({"name": row.provider, "instance": row.service}),
        "pipeline": pipeline,
        **_parts(row, resource),
        "node": _present(resource.get("node") or {}),
        "parameters": [
            f"{key}:{value}" for key, value in (resource.get("parameters") or {}).items()
        ],
        "dependencies": resource.get("dependencies"),
        "queue_time": None if row.queue is None else row.queue * MILLISECOND,
        "is_manual": resource.get("is_manual"),
        "is_resumed": resource.get("is_resumed"),
        "partial_retry": resource.get("partial_retry"),
    }
    return {name: value for name, value in ci.items() if value not in (None, "", [], {})}


def _parts(row: Row, resource: dict[str, Any]) -> dict[str, Any]:
    """The stage, job and step that it is, or is part of."""
    found: dict[str, Any] = {}
    for level, name in (("stage", row.stage), ("job", row.job), ("step", row.name)):
        if level == row.level:
            found[level] = _present({"id": row.id, "name": row.name, "url": row.url})
        elif level != "step" and name:
            found[level] = _present({"id": resource.get(f"{level}_id"), "name": name})
    return found


def _git(git: dict[str, Any], row: Row) -> dict[str, Any]:
    url = str(git.get("repository_url"))
    scheme, separator, _ = url.partition("://")
    host, _, path = repository(url).partition("/")
    return _present(
        {
            "repository_url": url,
            "repository": _present(
                {
                    "id": row.repository,
                    "name": path.rpartition("/")[2],
                    "host": host,
                    "path": f"/{path}",
                    "scheme": scheme if separator else "",
                }
            ),
            "branch": git.get("branch"),
            "tag": git.get("tag"),
            "default_branch": git.get("default_branch"),
            "commit": _present(
                {
                    "sha": git.get("sha"),
                    "message": git.get("message"),
                    **{who: _person(git, who, time) for who, time in _TIMES.items()},
                }
            ),
        }
    )


def _person(git: dict[str, Any], who: str, time: str) -> dict[str, Any]:
    return _present(
        {"name": git.get(f"{who}_name"), "email": git.get(f"{who}_email"), "date": git.get(time)}
    )


def _custom(row: Row) -> dict[str, Any]:
    """Tags and measures of whoever sent it, by key."""
    found: dict[str, Any] = dict(_pairs(row.tags))
    for key, value in _pairs(row.measures):
        try:
            found[key] = float(value)
        except ValueError:
            found[key] = value
    return {key: value for key, value in found.items() if key not in _OWN}


def _pairs(texts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in texts:
        key, colon, value = text.partition(":")
        if colon:
            yield key, value


def _present(value: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if item not in (None, "", {})}
