"""The pipeline file: golden pairs, the schema beside the reader, and what reading costs."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from runner.errors import PipelineFileError
from runner.manifest import EXAMPLE, document, load, schema, tree
from runner.manifest.problems import Problems
from runner.manifest.version import within
from runner.pipeline import Condition, Gate, Job, Parameter, Pipeline, Service, Step

FILES = Path(__file__).parent / "manifests"
GOOD = sorted(path.stem for path in FILES.glob("*.json"))
BAD = sorted(path.stem for path in FILES.glob("*.txt"))
VALIDATOR = Draft202012Validator(schema())

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


def test_the_example_has_no_mistakes_and_is_valid() -> None:
    pipeline = load(EXAMPLE.encode(), "pipeline.yml")
    assert [job.key for job in pipeline.jobs] == ["lint", "test", "approve", "deploy"]
    VALIDATOR.validate(value_of(EXAMPLE.encode()))


def test_the_example_needs_nothing_but_bash() -> None:
    for job in load(EXAMPLE.encode(), "pipeline.yml").jobs:
        for step in job.steps if isinstance(job, Job) else ():
            subprocess.run(["bash", "-n", "-c", step.run], check=True)
            assert step.run.split()[0] in {"echo", "sleep"}


# ── the schema ───────────────────────────────────────────────────────────────────────────────────

KEYS = {
    "": "name service env parameters tags measures secrets defaults jobs signalbox",
    "defaults": "shell timeout image env working-directory",
    "job": "name stage needs if image matrix services env tags timeout allow-failure shell "
    "working-directory user isolation cpus memory pids pull keep steps",
    "gate": "name needs stage gate expires approvers not-initiator fields",
    "step": "name run if env tags timeout retry allow-failure shell working-directory annotations",
    "service": "image env ready ports command",
}
"""As in the interface, section 2."""


def test_the_schema_has_the_keys_of_the_interface_each_with_a_sentence() -> None:
    top: Value = schema()
    job = top["properties"]["jobs"]["additionalProperties"]
    places = {
        "": top,
        "defaults": top["properties"]["defaults"],
        "job": job["else"],
        "gate": job["then"],
        "step": job["else"]["properties"]["steps"]["items"]["then"],
        "service": job["else"]["properties"]["services"]["additionalProperties"],
    }
    assert {at: [*place["properties"]] for at, place in places.items()} == {
        at: keys.split() for at, keys in KEYS.items()
    }
    assert all(
        key["description"].endswith(".")
        for at in places.values()
        for key in at["properties"].values()
    )


def value_of(text: bytes) -> Value:
    """A file as an editor's YAML 1.2 reads it."""

    def of(node: tree.Node) -> Value:
        match node:
            case tree.Scalar():
                return tree.value(node)
            case tree.Sequence():
                return [of(item) for item in node.items]
            case tree.Mapping():
                return {key.text: of(item) for key, item in node.entries}

    return of(tree.parse(text, Problems()))


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("name", GOOD)
def test_the_schema_accepts_what_the_reader_accepts(name: str) -> None:
    VALIDATOR.validate(value_of((FILES / f"{name}.yml").read_bytes()))


@pytest.mark.parametrize("name", ["unknown-keys", "wrong-types"])
def test_the_schema_refuses_what_the_reader_refuses(name: str) -> None:
    assert not VALIDATOR.is_valid(value_of((FILES / f"{name}.yml").read_bytes()))


_WORDS = [word for keys in KEYS.values() for word in keys.split()]
_JUNK: st.SearchStrategy[Value] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.sampled_from([0.5, -1.5, 1e3]),
    st.sampled_from(
        ["", " ", "x", "5m", "always", "job", "a b", "a:b", "1A", "../x", "x\x00", "$X"]
    ),
    st.sampled_from([[], ["x"], ["x", "y"], [["x"]], [None], {}, {"x": "y"}, {"run": "x"}]),
    st.just({"gate": "Go on?"}),
)
_EVERYTHING: Value = {
    "name": "x",
    "service": "s",
    "env": {"A": "1"},
    "parameters": {"P": {"default": "a", "choices": ["a", "b"], "description": "c"}},
    "tags": {"team": "web"},
    "measures": {"m": 1},
    "secrets": ["S"],
    "defaults": {"shell": "sh", "timeout": "1h", "image": "i", "env": {"D": "1"}},
    "signalbox": ">=0.1",
    "jobs": {
        "job": {
            "name": "n",
            "needs": ["other"],
            "if": "always",
            "matrix": {"AXIS": ["a", "b"]},
            "services": {"db": {"image": "i", "ports": [5432], "env": {"E": "x"}}},
            "cpus": 1,
            "memory": "1g",
            "pids": 9,
            "pull": "never",
            "isolation": "step",
            "user": "owner",
            "keep": ["dist/**"],
            "allow-failure": True,
            "steps": ["make", {"run": "x", "retry": 2, "if": "failure", "timeout": "1m"}],
        },
        "gate": {
            "gate": "Go on?",
            "expires": "7d",
            "approvers": ["ann"],
            "not-initiator": False,
            "fields": {"F": {}},
        },
    },
}


@st.composite
def changed(draw: st.DrawFn) -> Value:
    """A good document with one or two things put into it, taken out or turned into something."""
    whole: Value = json.loads(json.dumps(_EVERYTHING))
    for _ in range(draw(st.integers(1, 2))):
        place: Value = whole
        while True:
            keys = [*place] if isinstance(place, dict) else [*range(len(place))]
            inner = [key for key in keys if isinstance(place[key], dict | list) and place[key]]
            if not inner or draw(st.integers(0, 3)) == 0:
                break
            place = place[draw(st.sampled_from(inner))]
        how = draw(st.sampled_from(["put", "drop", "turn"]))
        if how == "put" and isinstance(place, dict):
            place[draw(st.sampled_from([*_WORDS, "x", "1A", "a b"]))] = draw(_JUNK)
        elif keys and how == "drop":
            del place[draw(st.sampled_from(keys))]
        elif keys:
            place[draw(st.sampled_from(keys))] = draw(_JUNK)
    return whole


@given(changed())
@settings(max_examples=100, deadline=None)
def test_reader_and_schema_accept_the_same(whole: Value) -> None:
    problems = Problems()
    document.read(tree.parse(json.dumps(whole).encode(), problems), problems)
    found = [mistake.message for mistake in problems.in_order()]
    assert (not found) == VALIDATOR.is_valid(whole), found


# ── the types ────────────────────────────────────────────────────────────────────────────────────

_text = st.text("ab $\"'#:{}\\é\n", min_size=0, max_size=8)
_script = st.text("ab $\"'#:{}\\é\n", min_size=1, max_size=8).filter(str.strip)
_line = st.from_regex(r"[ab#é:'][ab \"#{]{0,6}[ab}]", fullmatch=True)
_variable = st.from_regex(r"[A-Z][A-Z0-9_]{0,3}", fullmatch=True).map("V_{}".format)
_seconds = st.integers(1, 10**5).map(float)
_env = st.dictionaries(_variable, _text, max_size=2)
_tags = st.dictionaries(st.from_regex(r"[a-z.]{1,4}", fullmatch=True), _line, max_size=2)
_texts = st.lists(_line, max_size=2, unique=True).map(tuple)
_condition = st.sampled_from(Condition)
_parameter = st.builds(Parameter, default=st.none() | _text, description=_script)
_service = st.builds(Service, image=_script.filter(lambda text: "$" not in text), env=_env)
_step = st.builds(
    Step,
    name=_line,
    run=_script,
    condition=_condition,
    env=_env,
    tags=_tags,
    timeout=st.none() | _seconds,
    retry=st.integers(0, 100),
    allow_failure=st.booleans(),
    shell=st.just("") | _script,
    working_directory=st.just("") | _script,
    annotations=st.booleans(),
)
_job = st.builds(
    Job,
    key=st.just("job"),
    name=_line,
    stage=st.just("") | _line,
    condition=_condition,
    image=st.sampled_from(["", "debian:12"]),
    matrix=st.dictionaries(_variable, st.just(("1", "2")), max_size=2),
    services=st.dictionaries(st.sampled_from(["db", "a-b"]), _service, max_size=1),
    env=_env,
    tags=_tags,
    timeout=_seconds,
    allow_failure=st.booleans(),
    user=st.sampled_from(["", "owner", "1000"]),
    isolation=st.sampled_from(["job", "step"]),
    cpus=st.none() | st.floats(0.1, 64, allow_nan=False),
    memory=st.sampled_from(["", "512m"]),
    pids=st.none() | st.integers(1, 1000),
    pull=st.sampled_from(["", "always", "missing", "never"]),
    keep=st.sampled_from([(), ("dist/**",)]),
    steps=st.lists(_step, min_size=1, max_size=3).map(tuple),
)
_gate = st.builds(
    Gate,
    key=st.just("gate"),
    name=_line.map("gate {}".format),
    question=_line,
    stage=st.just("") | _line,
    expires=st.none() | _seconds,
    approvers=_texts,
    not_initiator=st.booleans(),
    fields=st.dictionaries(_variable, _parameter, max_size=2),
)
_pipeline = st.builds(
    Pipeline,
    name=_line,
    service=st.just("") | _line,
    env=_env,
    parameters=st.dictionaries(_variable, _parameter, max_size=2),
    tags=_tags,
    measures=st.dictionaries(st.just("m"), st.floats(allow_nan=False, allow_infinity=False)),
    secrets=st.just(()) | st.just(("TOKEN",)),
    jobs=st.tuples(_job, _gate),
)

_KEY_OF = {"condition": "if", "question": "gate"}
_SECONDS = {"timeout", "expires"}


def written(value: Value) -> Value:
    """A declaration as a person would write it: the reader's way, backwards."""
    if isinstance(value, Pipeline):
        jobs = {job.key: written(job) for job in value.jobs}
        return {**written_fields(value, skip={"jobs"}), "jobs": jobs}
    if isinstance(value, msgspec.Struct):
        return written_fields(value, skip={"key"})
    if isinstance(value, dict):
        return {key: written(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [written(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def written_fields(value: msgspec.Struct, skip: set[str]) -> Value:
    """The fields of ``value`` that are not at their defaults."""
    fields: dict[str, Value] = {}
    for field in msgspec.structs.fields(value):
        given = getattr(value, field.name)
        if field.name not in skip and given not in (field.default, (), {}):
            key = _KEY_OF.get(field.name, field.name.replace("_", "-"))
            fields[key] = f"{given:.0f}s" if field.name in _SECONDS else written(given)
    return fields


@given(_pipeline)
@settings(max_examples=60, deadline=None)
def test_whatever_the_types_hold_can_be_written_and_is_read_back(pipeline: Pipeline) -> None:
    text = json.dumps(written(pipeline), ensure_ascii=False)
    assert load(text.encode(), "p.yml") == pipeline


@given(changed())
@settings(max_examples=100, deadline=None)
def test_whatever_the_reader_accepts_the_types_accept(whole: Value) -> None:
    try:
        pipeline = load(json.dumps(whole).encode(), "p.yml")
    except PipelineFileError:
        return
    head = msgspec.structs.replace(pipeline, jobs=())
    for part in (*pipeline.jobs, *pipeline.parameters.values()):
        assert msgspec.convert(msgspec.to_builtins(part), type(part)) == part
    assert all(type(value) is str for value in (head.name, head.service, *head.env.values()))


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
