"""The pipeline file: golden pairs, single rules, the example, and what reading costs."""

import json
import subprocess
import sys
import time
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from runner.errors import PipelineFileError
from runner.manifest import EXAMPLE, load
from runner.manifest.version import within
from runner.pipeline import Gate, Job

FILES = Path(__file__).parent / "manifests"
GOOD = sorted(path.stem for path in FILES.glob("*.json"))
BAD = sorted(path.stem for path in FILES.glob("*.txt"))

Value = Any
"""What JSON can say."""


def mistakes(text: str | bytes) -> list[str]:
    """What is wrong with ``text``, one line each, as ``line:col: message``."""
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(PipelineFileError) as caught:
        load(raw, "p.yml")
    return [mistake.at("")[1:] for mistake in caught.value.mistakes]


def one_job(**keys: Value) -> Job:
    """The only job of a file, written as JSON, which is YAML."""
    job = {"steps": ["true"]} | keys
    loaded = load(json.dumps({"name": "x", "jobs": {"job": job}}).encode(), "p.yml").jobs[0]
    assert isinstance(loaded, Job)
    return loaded


def test_what_a_parameter_may_be_is_checked_by_its_type() -> None:
    parameters = {
        "A": {"type": "number", "default": "half"},
        "B": {"type": "boolean", "default": True, "choices": ["true", "maybe"]},
        "C": {"type": "date"},
        "D": {"type": "number", "default": -1.5, "choices": [-1.5, 2]},
    }
    text = json.dumps({"name": "x", "parameters": parameters, "jobs": {"j": {"steps": ["true"]}}})
    assert [mistake.partition(": ")[2] for mistake in mistakes(text)] == [
        "parameters.A.default: 'half' is not a number such as 3 or -0.5",
        "parameters.B.choices[1]: 'maybe' is not true or false",
        "parameters.C.type: expected string, number or boolean, found the text 'date'",
    ]


def test_the_words_of_other_cis_lead_to_ours() -> None:
    step = {"script": "true", "cwd": "x", "continue-on-error": True}
    job = {"depends_on": [], "container": "x", "script": ["true"], "when": "always", "vars": {}}
    found = {
        "name": "x",
        "enviroment": {},
        "inputs": {},
        "jobs": {"j": job, "k": {"steps": [step]}},
    }
    told = dict(
        line.split(": ")[1:] for line in mistakes(json.dumps(found)) if "required" not in line
    )
    assert told == {
        "enviroment": "unknown key, did you mean 'env'?",
        "inputs": "unknown key, did you mean 'parameters'?",
        "jobs.j.depends_on": "unknown key, did you mean 'needs'?",
        "jobs.j.container": "unknown key, did you mean 'image'?",
        "jobs.j.script": "unknown key, did you mean 'steps'?",
        "jobs.j.when": "unknown key, did you mean 'if'?",
        "jobs.j.vars": "unknown key, did you mean 'env'?",
        "jobs.k.steps[0].script": "unknown key, did you mean 'run'?",
        "jobs.k.steps[0].cwd": "unknown key, did you mean 'working-directory'?",
        "jobs.k.steps[0].continue-on-error": "unknown key, did you mean 'allow-failure'?",
    }


# ── golden pairs ─────────────────────────────────────────────────────────────────────────────────


def plain(value: Value) -> Value:
    """A struct as JSON has it, without the fields that are at their defaults."""
    match value:
        case msgspec.Struct():
            kind = {"": "gate"} if isinstance(value, Gate) else {}
            given = {
                f.name: (getattr(value, f.name), f.default) for f in msgspec.structs.fields(value)
            }
            return kind | {
                name: plain(now)
                for name, (now, default) in given.items()
                if now not in (default, {})
            }
        case Enum():
            return value.value
        case tuple():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case _:
            return value


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_is_read_as_its_golden_pair_says(name: str) -> None:
    pipeline = load((FILES / f"{name}.yml").read_bytes(), name)
    assert plain(pipeline) == json.loads((FILES / f"{name}.json").read_text())


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_every_mistake_of_its_golden_pair(name: str) -> None:
    found = mistakes((FILES / f"{name}.yml").read_bytes())
    assert found == (FILES / f"{name}.txt").read_text().splitlines()


def test_a_mistake_names_the_file_the_line_and_the_column() -> None:
    with pytest.raises(PipelineFileError) as caught:
        load(b"name: x\njobs:\n  test: { steps: [{ run: x, tiemout: 5m }] }\n", "ci/pipeline.yml")
    assert str(caught.value) == (
        "ci/pipeline.yml:3:29: jobs.test.steps[0].tiemout: unknown key, did you mean 'timeout'?"
    )
    assert caught.value.exit_code == 2


# ── meaning ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("7d", 604800),
        ("0.25s", 0.25),
        ("1d1h1m1s", 90061),
    ],
)
def test_a_duration_is_read_in_seconds(written: str, seconds: float) -> None:
    assert one_job(timeout=written).timeout == seconds


def test_a_matrix_may_have_256_legs_and_no_more() -> None:
    assert len(one_job(matrix={"A": [*range(16)], "B": [*range(16)]}).matrix["B"]) == 16
    job = {"matrix": {"A": [*range(257)]}, "steps": ["x"]}
    assert mistakes(json.dumps({"name": "x", "jobs": {"job": job}})) == [
        "1:32: jobs.job.matrix: the matrix makes 257 jobs; 256 are the most"
    ]


def test_a_matrix_of_thousands_of_axes_is_counted_not_made() -> None:
    axes = {f"A{n}": [1, 2, 3] for n in range(10_000)}
    job = {"matrix": axes, "steps": ["x"]}
    found = mistakes(json.dumps({"name": "x", "jobs": {"job": job}}))
    assert "more than 1,000,000 jobs" in found[0]


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        (">=0.1,<2", True),
        ("==0.1", True),
        ("==0.1.0.0", True),
        ("!=0.1", False),
        (">0.1", False),
        (" > 0.0.9 , <= 0.1 ", True),
        (">=0.10", False),
    ],
)
def test_a_range_of_versions_compares_numbers(wanted: str, holds: bool) -> None:
    assert within("0.1.0", wanted) is holds


def test_a_file_for_another_version_is_a_mistake() -> None:
    found = mistakes("name: x\njobs: {a: {steps: [x]}}\nsignalbox: '>=99'\n")
    assert found == ["3:12: signalbox: the file wants signalbox >=99; this is 0.1.0"]


def test_a_file_of_the_future_that_is_not_quoted_says_what_to_do() -> None:
    assert mistakes("signalbox: >=0.1,<2\n") == [
        "1:13: a value that begins with > or | must stand in quotes"
    ]


def test_the_name_of_a_step_is_never_replaced_when_it_is_its_script() -> None:
    assert one_job(steps=["echo $HOME $UNKNOWN"]).steps[0].name == "echo $$HOME $$UNKNOWN"


# ── the example ──────────────────────────────────────────────────────────────────────────────────


def test_the_example_has_no_mistakes() -> None:
    pipeline = load(EXAMPLE.encode(), "pipeline.yml")
    assert [job.key for job in pipeline.jobs] == ["lint", "test", "approve", "deploy"]


def test_the_example_needs_nothing_but_bash() -> None:
    for job in load(EXAMPLE.encode(), "pipeline.yml").jobs:
        for step in job.steps if isinstance(job, Job) else ():
            subprocess.run(["bash", "-n", "-c", step.run], check=True)
            assert step.run.split()[0] in {"echo", "sleep"}


# ── cost ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_right_file_costs_no_module_but_yaml() -> None:
    script = (
        "import sys, runner.manifest as m; m.load(m.EXAMPLE.encode(), 'x'); "
        "print(*{'difflib', 'unicodedata', 'json', 'jsonschema', 'click', 'requests', 'sqlite3'}"
        " & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout == "\n"


def test_a_long_file_costs_a_few_times_what_libyaml_takes() -> None:
    """For 12,000 lines the events alone take 47 ms on a 2-core machine, all of it 145 ms."""
    job = 'needs: []\n    env: { A: b, C: "1.10" }\n    steps:\n      - echo hi\n      - { run: b }'
    text = "name: x\njobs:\n" + "".join(f"  job{n}:\n    {job}\n" for n in range(500))

    def seconds(read: Value) -> float:
        start = time.process_time()
        read()
        return time.process_time() - start

    ratios = []
    for _ in range(5):
        events = seconds(lambda: [*yaml.parse(text.encode(), yaml.CSafeLoader)])
        ratios.append(seconds(lambda: load(text.encode(), "p.yml")) / events)
    assert sorted(ratios)[2] < 5
