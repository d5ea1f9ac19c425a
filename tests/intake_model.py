"""What an intake would make of the events it was sent, and everything it would object to.

Owns the judgement: the JSON Schema, what the schema leaves open (unknown members, a sha with a
newline, branch beside tag), and a model of the store: one event per id and kind, never un-final,
children that fit their parents. Does not own the wire (``intake_server``).
"""

import base64
import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

SCHEMA: Final = Path(__file__).parent / "schema" / "pipeline-event.schema.json"

Resource = dict[str, Any]

_SHAPES: Final = {
    ("pipeline", False): "CIAppPipelineEventFinishedPipeline",
    ("pipeline", True): "CIAppPipelineEventInProgressPipeline",
    ("job", False): "CIAppPipelineEventFinishedJob",
    ("job", True): "CIAppPipelineEventInProgressJob",
    ("stage", False): "CIAppPipelineEventStage",
    ("step", False): "CIAppPipelineEventStep",
}
"""The schema's ``oneOf`` decided by level and status: the same verdict, ten times as fast and with
a message that names the member.
"""
_MEMO: Final = ("git", "node", "error")
"""Parts that are the same in many events are checked once for each text."""
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_NEVER: Final = datetime(1, 1, 1, tzinfo=UTC)
_ENVELOPE: Final = {"type", "attributes"}
_ATTRIBUTES: Final = {"provider_name", "service", "env", "resource"}
_TAG: Final = re.compile(r"[^:\s][^:]*:.+", re.DOTALL)
_SHA: Final = re.compile(r"[a-fA-F0-9]{40}")


class Stored(msgspec.Struct, frozen=True):
    """One event as it came: the envelope around it and the resource itself."""

    envelope: Resource
    resource: Resource
    raw: bytes
    """The resource written canonically: equal exactly when every member is."""

    @property
    def level(self) -> str:
        """The level it names, or nothing."""
        return str(self.resource.get("level", ""))

    @property
    def id(self) -> str:
        """The id of its level."""
        return str(self.resource.get("unique_id" if self.level == "pipeline" else "id", ""))

    @property
    def running(self) -> bool:
        """Whether it is no final event."""
        return self.resource.get("status") == "running"

    @property
    def pipeline(self) -> str:
        """The unique id of the pipeline it belongs to."""
        return self.id if self.level == "pipeline" else str(self.resource.get("pipeline_unique_id"))

    @property
    def label(self) -> str:
        """How findings call it."""
        return f"{self.level} {self.resource.get('name')!r} ({self.resource.get('status')})"


def take_apart(body: bytes) -> list[Stored]:
    """The events of one request, in order; raises ``ValueError`` for anything else."""
    document = json.loads(body)
    elements = document["data"]
    if isinstance(elements, dict):
        elements = [elements]
    return [_stored(element) for element in elements]


def _stored(element: Resource) -> Stored:
    resource = element["attributes"]["resource"]
    return Stored(element, resource, msgspec.json.encode(resource, order="sorted"))


class Judge:
    """The schema, compiled once, and the lints on top of it."""

    def __init__(self) -> None:
        # Here, because jsonschema takes 100 ms to import and a sink never judges.
        from jsonschema import (  # noqa: PLC0415
            Draft202012Validator,
            FormatChecker,
        )

        document = json.loads(SCHEMA.read_bytes())
        self._definitions = document["$defs"]
        formats = FormatChecker()

        def compiled(name: str) -> Callable[[object], Iterable[Any]]:
            schema = {"$ref": f"#/$defs/{name}", "$defs": document["$defs"]}
            iter_errors: Callable[[object], Iterable[Any]] = Draft202012Validator(
                schema, format_checker=formats
            ).iter_errors
            return iter_errors

        self._request = Draft202012Validator(document, format_checker=formats).iter_errors
        self._shapes = {key: compiled(name) for key, name in _SHAPES.items()}
        self._parts = {
            "git": compiled("CIAppGitInfo"),
            "node": compiled("CIAppHostInfo"),
            "error": compiled("CIAppCIError"),
        }
        self._sound: set[object] = set()
        self._memo: dict[tuple[str, bytes], list[str]] = {}

    def whole(self, body: object) -> list[str]:
        """What the schema itself says of a whole request, slowly."""
        return [f"{error.json_path}: {error.message}" for error in self._request(body)]

    def event(self, stored: Stored) -> Iterator[str]:
        """Everything wrong with one event by itself."""
        resource = stored.resource
        shape = self._shapes.get((stored.level, stored.running))
        if shape is None:
            yield f"{stored.label}: no event of this level has this status"
            return
        parts = {name: resource[name] for name in _MEMO if name in resource}
        found: list[str] = []
        rest = {name: value for name, value in resource.items() if name not in parts}
        silhouette = _silhouette(rest)
        if silhouette not in self._sound:
            found = [f"{error.json_path}: {error.message}" for error in shape(rest)]
            found += self._unknown(_SHAPES[stored.level, stored.running], resource)
            self._sound |= set() if found else {silhouette}
        for name, part in parts.items():
            found += self._part(name, part)
        found += _envelope(stored.envelope)
        found += _lint(stored)
        yield from (f"{stored.label}: {finding}" for finding in found)

    def _part(self, name: str, part: object) -> list[str]:
        key = (name, msgspec.json.encode(part, order="sorted"))
        if key not in self._memo:
            found = [
                f"{name}{error.json_path[1:]}: {error.message}" for error in self._parts[name](part)
            ]
            definition = {"git": "CIAppGitInfo", "node": "CIAppHostInfo", "error": "CIAppCIError"}
            found += self._unknown(definition[name], part)
            if name == "git" and isinstance(part, dict):
                found += _git(part)
            self._memo[key] = found
        return self._memo[key]

    def _unknown(self, definition: str, part: object) -> list[str]:
        known = self._definitions[definition]["properties"]
        members = part if isinstance(part, dict) else {}
        return [f"unknown member {name!r}" for name in members if name not in known]


def _silhouette(rest: Resource) -> object:
    """What the schema can see of an event beside ``_MEMO``: members, types, level, status, the
    sign of numbers, whether a time is one. Two events of one silhouette get one verdict.
    """
    return tuple((name, _visible(name, rest[name])) for name in sorted(rest))


def _visible(name: str, value: object) -> object:
    match value:
        case str() if name in ("level", "status"):
            return value
        case str() if name in ("start", "end"):
            return _is_instant(value) or value
        case int() | float():
            return (type(value), value >= 0)
        case list():
            return frozenset(map(type, value))
        case dict():
            return frozenset((key, type(item)) for key, item in value.items())
        case _:
            return type(value)


def _is_instant(text: str) -> bool:
    return bool(_INSTANT.fullmatch(text)) and _time(text) is not _NEVER


def _envelope(element: Resource) -> list[str]:
    found = [f"unknown member {name!r}" for name in element if name not in _ENVELOPE]
    if element.get("type") != "cipipeline_resource_request":
        found.append(f"type is {element.get('type')!r}")
    attributes = element["attributes"]
    found += [f"unknown attribute {name!r}" for name in attributes if name not in _ATTRIBUTES]
    provider = attributes.get("provider_name")
    if not isinstance(provider, str) or not provider or "," in provider:
        found.append(f"provider_name {provider!r} is empty or has a comma")
    found += [
        f"{name} is not text"
        for name in ("service", "env")
        if not isinstance(attributes.get(name, ""), str)
    ]
    return found


def _lint(stored: Stored) -> Iterator[str]:
    resource = stored.resource
    if stored.running and "end" in resource:
        yield "a running event has an end"
    for name in ("unique_id", "id", "name", "pipeline_unique_id", "pipeline_name"):
        if resource.get(name) == "":
            yield f"{name} is empty"
    if (
        not stored.running
        and resource.get("end", "")
        and _time(resource["end"]) < _time(resource["start"])
    ):
        yield "ends before it starts"
    for name in ("tags", "metrics"):
        for entry in resource.get(name) or ():
            if not _TAG.fullmatch(str(entry)):
                yield f"{name}: {entry!r} is not key:value"
    for entry in resource.get("metrics") or ():
        if not _number(str(entry).partition(":")[2]):
            yield f"metrics: {entry!r} is not key:number"


def _git(git: Resource) -> Iterator[str]:
    if not _SHA.fullmatch(str(git.get("sha"))):
        yield f"git.sha {git.get('sha')!r} is not 40 hex digits"
    if git.get("branch") and git.get("tag"):
        yield "git has both branch and tag"
    url = str(git.get("repository_url"))
    if "://" in url and urlsplit(url).password:
        yield "git.repository_url holds a password"
    if url.startswith("http") and "@" in urlsplit(url).netloc:
        yield "git.repository_url holds a user"


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _time(text: object) -> datetime:
    """A point in time; a long time ago for what is none, which the schema tells anyway."""
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(str(text))
        return moment if moment.tzinfo else _NEVER
    return _NEVER


class Model:
    """The store of an intake: the last event of each id and kind, and what should not have come."""

    def __init__(self) -> None:
        self.finals: dict[tuple[str, str], Stored] = {}
        self.runnings: dict[tuple[str, str], Stored] = {}
        self.findings: list[str] = []

    def take(self, event: Stored) -> None:
        """Store one event."""
        key = (event.level, event.id)
        if event.running:
            if key in self.finals:
                self.findings.append(f"{event.label}: running after final")
            self._compare(event, self.runnings.get(key))
            self.runnings[key] = event
        else:
            self._compare(event, self.finals.get(key))
            self.finals[key] = event
        first = self.runnings.get(key)
        if first is not None and first.resource["start"] != event.resource["start"]:
            self.findings.append(f"{event.label}: start moved")

    def _compare(self, event: Stored, earlier: Stored | None) -> None:
        if earlier is None or earlier.raw == event.raw:
            return
        grown = event.running and event.level == "pipeline"
        if not (grown and _superset(event.resource, earlier.resource)):
            self.findings.append(f"{event.label}: sent twice with different bytes")

    def incomplete(self) -> Iterator[str]:
        """What does not fit together, for every pipeline whose final event is there."""
        pipelines = {event.id: event for event in self.finals.values() if event.level == "pipeline"}
        for event in self.finals.values():
            if event.level != "pipeline" and event.pipeline in pipelines:
                yield from self._child(event, pipelines[event.pipeline])
        for (level, name), event in self.runnings.items():
            if level == "job" and event.pipeline in pipelines and (level, name) not in self.finals:
                yield f"{event.label}: never ended though its pipeline did"
        for event in (*self.runnings.values(), *self.finals.values()):
            pipeline = pipelines.get(event.pipeline)
            if pipeline is None or event.level == "pipeline":
                continue
            if event.resource["pipeline_name"] != pipeline.resource["name"]:
                yield f"{event.label}: pipeline_name is not its pipeline's name"

    def _child(self, event: Stored, pipeline: Stored) -> Iterator[str]:
        resource = event.resource
        parents = {"pipeline": pipeline}
        for level in ("stage", "job"):
            if resource.get(f"{level}_id"):
                parent = self.finals.get((level, resource[f"{level}_id"]))
                if parent is None:
                    yield f"{event.label}: its {level} was never sent"
                    continue
                parents[level] = parent
                if resource.get(f"{level}_name") != parent.resource["name"]:
                    yield f"{event.label}: {level}_name is not its {level}'s name"
        if event.level == "step" and not resource.get("job_id"):
            yield f"{event.label}: names no job"
        for level, parent in parents.items():
            if _time(resource["start"]) < _time(parent.resource["start"]) or _time(
                resource["end"]
            ) > _time(parent.resource["end"]):
                yield f"{event.label}: does not lie inside its {level}"
        for other in resource.get("dependencies") or ():
            if (event.level, other) not in self.finals:
                yield f"{event.label}: depends on {other}, which was never sent"


# ── job logs ─────────────────────────────────────────────────────────────────────────────────────

LOG_LINES: Final = 1000
LOG_BYTES: Final = 5_347_737
"""Per request, before compression: 5.1 MiB."""
_LINE: Final = {
    "message": str,
    "pipeline_unique_id": str,
    "job_id": str,
    "provider_name": str,
    "line_number": int,
    "section_name": str,
    "status": str,
    "timestamp": str,
    "ddtags": str,
}
_UNTOLD: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class LogModel:
    """What the endpoint of job logs would make of what it was sent (reference, section 7)."""

    def __init__(self) -> None:
        self.findings: list[str] = []
        self.lines: dict[tuple[str, str], dict[int, Resource]] = {}
        """By pipeline and job, then by number."""

    def take(self, body: bytes) -> None:
        """One request's body, decompressed."""
        records = json.loads(body)
        if len(body) > LOG_BYTES:
            self._find(f"a request of {len(body)} bytes of log lines")
        if not 1 <= len(records) <= LOG_LINES:
            self._find(f"a request of {len(records)} log lines")
        last: dict[object, int] = {}
        for record in records:
            self._record(record)
            number = record.get("line_number", -1)
            if number <= last.get(record.get("job_id"), -1):
                self._find(f"line {number} does not come after the line before it")
            last[record.get("job_id")] = number

    def _record(self, record: Resource) -> None:
        for name, value in record.items():
            if not isinstance(value, _LINE.get(name, type(None))):
                self._find(f"log member {name!r} is {value!r}")
        if absent := _LINE.keys() - record.keys() - {"ddtags"}:
            self._find(f"a log line without {sorted(absent)}")
            return
        if not record["message"].strip() or _UNTOLD.search(record["message"]):
            self._find(f"a message is blank or holds controls: {record['message']!r}")
        if "," in record["provider_name"] or record["line_number"] < 1:
            self._find(f"provider {record['provider_name']!r}, line {record['line_number']}")
        age = datetime.now(UTC) - _time(record["timestamp"])
        if not _is_instant(record["timestamp"]) or not -12 * 3600 < age.total_seconds() < 18 * 3600:
            self._find(f"timestamp {record['timestamp']!r}")
        lines = self.lines.setdefault((record["pipeline_unique_id"], record["job_id"]), {})
        told = lines.setdefault(record["line_number"], record)
        if (told["message"], told["section_name"]) != (record["message"], record["section_name"]):
            self._find(f"line {record['line_number']} came twice, and not the same")

    def compare(self, events: Iterable[Stored]) -> Iterator[str]:
        """What does not fit the events."""
        jobs = {
            (event.pipeline, event.id): event.envelope["attributes"]["provider_name"]
            for event in events
            if event.level == "job"
        }
        for key, lines in self.lines.items():
            if key not in jobs:
                yield f"log lines of a job {key[1]} that was never sent"
            elif {line["provider_name"] for line in lines.values()} != {jobs[key]}:
                yield f"log lines of job {key[1]} name another provider than its event"

    def _find(self, finding: str) -> None:
        self.findings.append(finding)


def _superset(late: Resource, early: Resource) -> bool:
    """Whether ``late`` says everything that ``early`` said (reference, 6.2: add, do not change)."""
    lists = ("tags", "metrics")
    same = all(late.get(name) == value for name, value in early.items() if name not in lists)
    return same and all(not Counter(early.get(n, ())) - Counter(late.get(n, ())) for n in lists)


def disguises(secret: str) -> Mapping[str, bytes]:
    """The forms in which a secret might slip through: raw, JSON, URL, base64 at every shift."""
    raw = secret.encode()
    forms = {
        "raw": raw,
        "json": json.dumps(secret)[1:-1].encode(),
        "url": quote(secret, safe="").encode(),
    }
    for shift in range(3):
        # The characters that mix in a neighbour's bits are left out, on both sides.
        coded = base64.b64encode(b"\0" * shift + raw)
        forms[f"base64+{shift}"] = coded[(0, 2, 3)[shift] : -4]
    return {name: form for name, form in forms.items() if len(form) > 5}
