"""What a step says in its files: read as written, and what means nothing is named."""

import math
import string
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner import entries, scope
from runner.errors import UsageError
from runner.notice import Level, Said
from runner.redact import Masker

keys = st.from_regex(r"[A-Za-z][A-Za-z0-9_\-./]{0,40}", fullmatch=True).filter(
    lambda key: (
        key.lower() not in {"host", "device", "source", "service", "env", "version"}
        and not key.lower().startswith(("ci.", "git.", "_dd.", "error."))
    )
)
printable = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
names = st.from_regex(scope.NAME, fullmatch=True).filter(lambda name: not scope.steers(name))
levels = st.sampled_from(Level)


def read(*, tags: str = "", measures: str = "", output: str = "", summary: str = "") -> Said:
    return entries.read(tags.encode(), measures.encode(), output.encode(), summary.encode())


# ── tags and measures ────────────────────────────────────────────────────────────────────────────


def test_a_tag_belongs_to_the_step_unless_it_names_a_level() -> None:
    said = read(tags="team:web\njob browser:firefox\npipeline release: 1.2: final \nstage:unit\n")
    assert said.tags == {
        Level.STEP: {"team": "web", "stage": "unit"},
        Level.JOB: {"browser": "firefox"},
        Level.PIPELINE: {"release": "1.2: final"},
    }
    assert said.warnings == ()


def test_a_level_may_be_written_in_brackets() -> None:
    assert read(tags="[stage] a:b").tags == {Level.STAGE: {"a": "b"}}


def test_of_one_key_and_level_the_last_value_wins() -> None:
    said = read(tags="a:1\njob a:2\na:3\r\n\n  \n", measures="job m:1\njob m:2.5")
    assert said.tags == {Level.STEP: {"a": "3"}, Level.JOB: {"a": "2"}}
    assert said.measures == {Level.JOB: {"m": 2.5}}


@settings(max_examples=50)
@given(levels, keys, st.text(printable, min_size=1, max_size=250))
def test_a_tag_is_read_as_it_was_written(level: Level, key: str, value: str) -> None:
    if not value.strip():
        return
    said = read(tags=entries.tag_entry(level, key, value))
    assert said == Said(tags={level: {key: value.strip()}})


@settings(max_examples=50)
@given(levels, keys, st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 10**15))
def test_a_measure_is_read_as_it_was_written(level: Level, key: str, value: float) -> None:
    said = read(measures=entries.measure_entry(level, key, value))
    assert said == Said(measures={level: {key: value}})


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("no colon", "not of the form key:value"),
        ("1st:x", "a key is a letter"),
        ("a b:x", "a key is a letter"),
        ("world job:x", "a key is a letter"),
        ("é:x", "a key is a letter"),
        (":x", "a key is a letter"),
        ("key: ", "the value is empty"),
        ("Host:x", "the key Host is reserved"),
        ("ci.pipeline.id:x", "is reserved"),
        ("error.type:x", "is reserved"),
        ("key:a\x1b[31m", "control characters"),
        ("key:a\u2028b", "control characters"),
        ("key:" + "x" * 298, "more than 300 characters"),
    ],
)
def test_T21_a_bad_tag_is_a_warning_that_names_it(entry: str, why: str) -> None:
    said = read(tags=f"good:1\n{entry}\nalso:2\njob 1:x")
    assert said.tags == {Level.STEP: {"good": "1", "also": "2"}}
    assert len(said.warnings) == 2
    assert said.warnings[0].startswith("SIGNALBOX_TAGS, line 2: ")
    assert why in said.warnings[0]
    named = entry.strip() if len(entry) < 80 and entry.isprintable() else f"({len(entry)} char"
    assert named in said.warnings[0]
    assert not {"\x1b", "\u2028"} & set(said.warnings[0])


@pytest.mark.parametrize(
    "value", ["NaN", "inf", "-Infinity", "1e999", "1_000", "0x10", "twelve", "٣"]
)
def test_a_measure_that_is_no_finite_number_is_a_warning(value: str) -> None:
    said = read(measures=f"size:{value}\nok:1\n")
    assert said.measures == {Level.STEP: {"ok": 1.0}}
    assert said.warnings == (
        f"SIGNALBOX_MEASURES, line 1: the value is not a finite number: size:{value}",
    )


@pytest.mark.parametrize("key", ["", "1", "a:b", "a b", "git.sha", "version", "a" * 300])
def test_a_writer_refuses_what_the_reader_would(key: str) -> None:
    with pytest.raises(UsageError):
        entries.tag_entry(Level.STEP, key, "value")
    with pytest.raises(UsageError):
        entries.measure_entry(Level.STEP, key, 1)


@pytest.mark.parametrize("value", ["", " ", "a\nb:c", "\ud800", "a\x00"])
def test_T21_no_value_can_pass_for_another_entry(value: str) -> None:
    with pytest.raises(UsageError):
        entries.tag_entry(Level.STEP, "key", value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_writer_refuses_what_is_no_number(value: float) -> None:
    with pytest.raises(UsageError):
        entries.measure_entry(Level.STEP, "key", value)


def test_T21_ten_thousand_tags_become_a_hundred_and_few_warnings() -> None:
    said = read(
        tags="".join(f"key{number}:x\n" for number in range(10_000)) + "key7:last\njob a:b\n"
    )
    assert len(said.tags[Level.STEP]) == entries.KEYS
    assert said.tags[Level.STEP]["key7"] == "last"
    assert said.tags[Level.JOB] == {"a": "b"}
    assert len(said.warnings) == entries.WARNINGS + 1
    assert "at most 100" in said.warnings[0]
    assert said.warnings[-1] == "SIGNALBOX_TAGS: 9890 more entries that mean nothing"


# ── outputs ──────────────────────────────────────────────────────────────────────────────────────


def test_an_output_is_a_line_or_lines_up_to_a_word() -> None:
    said = read(output="A=1\nB<< EOF\none\n\n  two=2\nEOF\nC= x=y<<z \nD=\nA=last\n")
    assert said.outputs == {"A": "last", "B": "one\n\n  two=2", "C": " x=y<<z ", "D": ""}
    assert said.warnings == ()


def test_lines_may_end_as_on_windows() -> None:
    said = read(output="\ufeffA=1\r\nB<<EOF\r\none\r\ntwo\r\nEOF\r\n", tags="\ufeffa:b\r\n")
    assert said.outputs == {"A": "1", "B": "one\ntwo"}
    assert said.tags == {Level.STEP: {"a": "b"}}


@settings(max_examples=50)
@given(
    st.dictionaries(
        names,
        st.text(st.sampled_from("ab=<\r\n EOF_\u2028é'\"$"), max_size=30)
        | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
        max_size=4,
    )
)
@example({"A": "x\r"})
@example({"A": "\r\n\r"})
def test_T13_any_output_is_read_as_it_was_written(outputs: dict[str, str]) -> None:
    said = read(output="".join(entries.output_entry(*output) for output in outputs.items()))
    assert said == Said(outputs=outputs)


def test_T13_a_value_cannot_end_itself_early() -> None:
    value = "x\nEOF\nEVIL=1\nEOF_\nEVIL=2"
    assert read(output=entries.output_entry("A", value)).outputs == {"A": value}


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "PATH", "BASH_ENV", "NODE_OPTIONS", "SIGNALBOX_TAGS", "DD_API_KEY"]
)
def test_a_name_that_steers_is_refused_in_both_forms(name: str) -> None:
    said = read(output=f"{name}=x\n{name}<<EOF\nB=1\nEOF\nA=1\n")
    assert said.outputs == {"A": "1"}
    assert [warning.split(":")[0] for warning in said.warnings] == [
        "SIGNALBOX_OUTPUT, line 1",
        "SIGNALBOX_OUTPUT, line 2",
    ]
    assert f"{name} steers" in said.warnings[0]
    with pytest.raises(UsageError):
        entries.output_entry(name, "x")


@pytest.mark.parametrize("entry", ["1A=x", "A B=x", "=x", "é=x", "just words", "A =x", "A=\0"])
def test_a_bad_output_is_a_warning_that_names_it(entry: str) -> None:
    said = read(output=f"{entry}\nGOOD=1\n")
    assert said.outputs == {"GOOD": "1"}
    (warning,) = said.warnings
    assert warning.startswith("SIGNALBOX_OUTPUT, line 1: ")
    assert warning.endswith(entry if entry.isprintable() else "(3 characters)")


def test_lines_without_their_last_one_are_a_warning_that_names_them() -> None:
    said = read(output="A=1\nB<<EOF\ntwo\n EOF\nC=3\n")
    assert said.outputs == {"A": "1"}
    (warning,) = said.warnings
    assert warning.startswith("SIGNALBOX_OUTPUT, line 2: its last line is missing")
    assert warning.endswith(": B<<EOF")


def test_P14_a_value_that_no_program_could_be_given_is_refused() -> None:
    fits, large = "x" * (entries.VALUE - 2), "x" * (entries.VALUE - 1)
    said = read(output=f"A={fits}\nB={large}\n")
    assert list(said.outputs) == ["A"]
    assert "line 2: a variable cannot hold more than 131071 bytes" in said.warnings[0]
    print_a = [sys.executable, "-c", "import os; print(len(os.environ['A']))"]
    done = subprocess.run(print_a, env=dict(said.outputs), capture_output=True, check=True)
    assert int(done.stdout) == len(fits)


# ── all files ────────────────────────────────────────────────────────────────────────────────────


def test_a_file_over_its_limit_is_cut_at_a_line_and_says_so() -> None:
    line = "key:" + "x" * 95 + "\n"
    count = entries.LIMIT // len(line)
    said = read(tags=line * (count + 5), summary="y" * (entries.LIMIT + 1))
    assert said.summary == ""
    assert said.warnings == (
        f"SIGNALBOX_TAGS: only 1048576 bytes are read, up to line {count}",
        "SIGNALBOX_SUMMARY: only 1048576 bytes are read, up to line 0",
    )
    assert read(summary="y" * entries.LIMIT).warnings == ()


def test_P8_bytes_that_are_no_text_are_replaced() -> None:
    said = entries.read(b"a:\xff\n", b"\xfe:1\n", b"A=\xff\n", b"# \xff\0\n")
    assert said.tags == {Level.STEP: {"a": "\ufffd"}}
    assert said.outputs == {"A": "\ufffd"}
    assert said.summary == "# \ufffd\n"
    assert "SIGNALBOX_MEASURES, line 1" in said.warnings[0]


@settings(max_examples=100)
@given(*[st.binary(max_size=80) | st.text(string.printable, max_size=80).map(str.encode)] * 4)
def test_whatever_is_written_is_read_without_an_error(
    tags: bytes, measures: bytes, output: bytes, summary: bytes
) -> None:
    said = entries.read(tags, measures, output, summary)
    assert all(math.isfinite(number) for own in said.measures.values() for number in own.values())
    assert all(scope.NAME.fullmatch(name) for name in said.outputs)
    assert len(said.warnings) <= 4 * (entries.WARNINGS + 1)


def test_T10_each_line_of_the_mask_file_is_a_value() -> None:
    raw = b"hunter2hunter2\r\n\n \nsecond secret\nsecond secret\ncaf\xe9-secret"
    values = entries.masks(raw)
    assert values == ("hunter2hunter2", "second secret", "caf\udce9-secret")
    assert Masker(values).bytes(b"<caf\xe9-secret>") == b"<***>"


def test_T7_a_warning_quotes_an_entry_whole_or_not_at_all() -> None:
    secret = "hunter2" * 20
    said = read(tags=f"no colon {secret}\n", output=f"A B={secret}\n")
    assert not any("hunter2" in warning for warning in said.warnings)
