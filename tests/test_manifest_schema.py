"""The pipeline file's JSON Schema, its reader and its types say the same."""

import json
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from runner.errors import PipelineFileError
from runner.manifest import EXAMPLE, document, load, schema, tree
from runner.manifest.problems import Problems
from runner.pipeline import Condition, Gate, Job, Parameter, Pipeline, Service, Step

FILES = Path(__file__).parent / "manifests"
GOOD = sorted(path.stem for path in FILES.glob("*.json"))
VALIDATOR = Draft202012Validator(schema())

Value = Any
"""What JSON can say."""

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


def test_the_schema_is_one_and_the_example_fits_it() -> None:
    Draft202012Validator.check_schema(schema())
    VALIDATOR.validate(value_of(EXAMPLE.encode()))


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
    st.sampled_from(["[]", '["x"]', '["x", "y"]', '[["x"]]', "[null]"]).map(json.loads),
    st.sampled_from(["{}", '{"x": "y"}', '{"run": "x"}', '{"gate": "?"}']).map(json.loads),
)
_EVERYTHING: Value = {
    "name": "x",
    "service": "s",
    "env": {"A": "1"},
    "parameters": {"P": {"default": "a", "type": "string", "choices": ["a", "b"]}},
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
