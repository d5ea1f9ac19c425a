"""An execution as JUnit's XML, which every CI reads: a job is a suite, a step a case.

Owns that form. What XML 1.0 cannot hold is left out. Source of the form: the schema that Jenkins'
xunit plug-in publishes, which GitLab, Azure and Buildkite take too.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from runner.event import Failure, Status
from runner.report import JobTold, StepTold, Told
from runner.terminal import lines, plain

_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MESSAGE: Final = 300
"""Characters of a failure that stand in an attribute."""


def suites(told: Told) -> bytes:
    """The whole file."""
    root = ET.Element("testsuites", name=_text(told.name), time=_seconds(told.duration_ms))
    for job in told.jobs:
        root.append(_suite(told, job))
    for left in told.not_started:
        suite = ET.SubElement(root, "testsuite", name=_text(left.name), time="0.000")
        case = ET.SubElement(suite, "testcase", _named(left.name, left.name, 0))
        ET.SubElement(case, "skipped", message=_text(left.why))
        _count(suite)
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _suite(told: Told, job: JobTold) -> ET.Element:
    suite = ET.Element(
        "testsuite",
        name=_text(job.name),
        time=_seconds(job.duration_ms),
        timestamp=job.start.partition(".")[0].removesuffix("Z"),
        hostname=_text((told.node and told.node.hostname) or ""),
    )
    if job.tags or job.measures:
        properties = ET.SubElement(suite, "properties")
        for tag in (*job.tags, *job.measures):
            key, _, value = tag.partition(":")
            ET.SubElement(properties, "property", name=_text(key), value=_text(value))
    for attempts in _steps(job):
        suite.append(_step(job, attempts))
    if job.failure and not any(step.failure == job.failure for step in job.steps):
        case = ET.SubElement(suite, "testcase", _named(job.name, job.name, 0))
        _failed(case, job.failure, "error")
    elif not job.steps:
        case = ET.SubElement(suite, "testcase", _named(job.name, job.name, job.duration_ms))
        if job.status is not Status.SUCCESS:
            ET.SubElement(case, "skipped", message=job.status.value)
    _count(suite)
    return suite


def _steps(job: JobTold) -> Iterator[list[StepTold]]:
    """The attempts at each step; what a step's own commands told of stands between them."""
    open_: dict[str, list[StepTold]] = {}
    for step in job.steps:
        if (step.attempt or 1) > 1 and step.name in open_:
            open_[step.name].append(step)
            continue
        if step.name in open_:
            yield open_.pop(step.name)
        open_[step.name] = [step]
    yield from open_.values()


def _step(job: JobTold, attempts: Sequence[StepTold]) -> ET.Element:
    """The last attempt counts; those before it are told as Surefire tells reruns."""
    *before, last = attempts
    case = ET.Element("testcase", _named(last.name, job.name, last.duration_ms))
    if last.status is Status.ERROR and last.allowed:
        said = last.failure.message if last.failure else ""
        ET.SubElement(case, "skipped", message=_text(f"failed, and may: {said}"))
    elif last.status is Status.ERROR:
        _failed(case, last.failure, "failure")
    for attempt in before:
        _failed(
            case, attempt.failure, "rerunFailure" if last.status is Status.ERROR else "flakyFailure"
        )
    return case


def _failed(case: ET.Element, failure: Failure | None, kind: str) -> None:
    if failure is None:
        ET.SubElement(case, kind, type="unknown", message="")
        return
    first = next(iter(lines(failure.message)), "")[:_MESSAGE]
    found = ET.SubElement(case, kind, type=_text(failure.type), message=_text(first))
    found.text = _block("\n".join(filter(None, (failure.message, failure.stack))))


def _count(suite: ET.Element) -> None:
    """How many cases there are, and how many of each kind."""
    suite.set("tests", str(len(suite.findall("testcase"))))
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall(f"testcase/{kind}"))))


def _named(name: str, of: str, milliseconds: int) -> dict[str, str]:
    return {"name": _text(name), "classname": _text(of), "time": _seconds(milliseconds)}


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}"


def _text(text: str) -> str:
    return _ILLEGAL.sub("", plain(text))


def _block(text: str) -> str:
    return _ILLEGAL.sub("", "\n".join(lines(text)))
