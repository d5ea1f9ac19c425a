"""Pipeline files that mean harm or are broken: refused with a place, at once, never a crash."""

import json
import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.errors import PipelineFileError
from runner.manifest import EXAMPLE, load


def mistakes(text: str | bytes) -> list[str]:
    """What is wrong with ``text``, one line each, as ``line:col: message``."""
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(PipelineFileError) as caught:
        load(raw, "p.yml")
    return [mistake.at("")[1:] for mistake in caught.value.mistakes]


def file(jobs: str) -> str:
    """A file with these jobs, in flow style or lines indented by two."""
    return f"name: x\njobs:\n{jobs}"


# ── Y1: names and needs ──────────────────────────────────────────────────────────────────────────


def test_Y1_a_chain_of_thousands_of_needs_is_no_recursion() -> None:
    jobs = "".join(f"  j{n}: {{ needs: [j{n + 1}], steps: [x] }}\n" for n in range(9_000))
    assert (
        load(file(jobs + "  j9000: { steps: [x] }\n").encode(), "p.yml").jobs[9000].key == "j9000"
    )


def test_Y1_a_ring_of_thousands_is_one_short_message() -> None:
    size = 5_000
    jobs = "".join(f"  j{n}: {{ needs: [j{(n + 1) % size}], steps: [x] }}\n" for n in range(size))
    (found,) = mistakes(file(jobs))
    assert "j0 -> j1 -> j2 -> j3 -> j4 -> ... -> j4997 -> j4998 -> j4999 -> j0" in found


def test_Y1_all_jobs_needing_all_ends_soon_and_says_so() -> None:
    names = [f"j{n}" for n in range(250)]
    jobs = {name: {"needs": names, "steps": ["x"]} for name in names}
    found = mistakes(json.dumps({"name": "x", "jobs": jobs}))
    assert 250 < len(found) <= 501


# ── Y2, Y3: values and duplicates are in the golden pairs ────────────────────────────────────────


def test_Y3_a_duplicate_key_inside_an_unknown_one_is_found_too() -> None:
    assert mistakes("x: { a: 1, a: 2 }\nname: x\njobs: { a: { steps: [x] } }\n") == [
        "1:1: x: unknown key",
        "1:12: x.a: duplicate key 'a' (first at line 1)",
    ]


# ── Y4: encodings and tabs ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (b"jobs:\n\ttest: x\n", "2:1: a tab cannot indent; use spaces"),
        (b"\tname: x\n", "1:1: a tab cannot indent; use spaces"),
        (b"a:\n  b: 1\n\tc: 2\n", "3:1: a tab cannot indent; use spaces"),
        ("name: x\n".encode("utf-16"), "1:1: the file is UTF-16; save it as UTF-8"),
        (b"\xfe\xff\x00n", "1:1: the file is UTF-16; save it as UTF-8"),
        ("# ü\nname: Größe\n".encode("latin-1"), "1:3: byte 0xfc is not UTF-8; save it as UTF-8"),
        (b"\xef\xbb\xbfname: \xff", "1:7: byte 0xff is not UTF-8; save it as UTF-8"),
        (b"name: \xed\xa0\x80\n", "1:7: byte 0xed is not UTF-8; save it as UTF-8"),
        (b"name: x\n# \x00\n", "2:3: character U+0000 may not stand in YAML"),
        ("name: x\n# é\x1b[31m\n".encode(), "2:4: character U+001B may not stand in YAML"),
    ],
)
def test_Y4_a_strange_encoding_or_a_tab_is_told_with_its_place(text: bytes, mistake: str) -> None:
    assert mistakes(text) == [mistake]


def test_Y4_a_byte_order_mark_and_windows_lines_are_welcome() -> None:
    text = b"\xef\xbb\xbf" + EXAMPLE.replace("\n", "\r\n").encode()
    assert load(text, "p.yml") == load(EXAMPLE.encode(), "p.yml")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: [\n", "2:1: did not find expected node content (while parsing a flow node)"),
        ("a: 'x\n", "2:1: found unexpected end of stream (while scanning a quoted scalar)"),
        ("a: `x`\n", "1:4: a value that begins with ` must stand in quotes"),
        ("a: @x\n", "1:4: a value that begins with @ must stand in quotes"),
        (
            "run: echo a: b\n",
            "1:12: a colon and a space inside a value: quote the value or mind the indentation",
        ),
    ],
)
def test_Y4_what_is_no_yaml_says_what_to_do(text: str, mistake: str) -> None:
    assert mistakes(text) == [mistake]


# ── Y5 to Y9: bombs, depth, size ─────────────────────────────────────────────────────────────────


def laughs(levels: int, merge: str = "") -> str:
    """Billion laughs: each level names the one before nine times."""
    lines = ["a0: &a0 { k: lol }" if merge else "a0: &a0 [lol]"]
    for n in range(1, levels):
        inner = ", ".join([f"*a{n - 1}"] * 9)
        lines.append(f"a{n}: &a{n} {{ {merge}[{inner}] }}" if merge else f"a{n}: &a{n} [{inner}]")
    return "\n".join(lines)


BOMBS: dict[str, Callable[[], str]] = {
    "Y5 laughs": lambda: laughs(40),
    "Y5 laughs with k": lambda: laughs(40, "k: "),
    "Y5 one long list, often": lambda: f"a: &a [{'x,' * 5000}]\nb: [{'*a,' * 5000}]",
    "Y6 merge keys": lambda: laughs(30, "<<: "),
    "Y7 flow lists": lambda: "[" * 100_000,
    "Y7 flow mappings": lambda: "{a: " * 100_000,
    "Y7 block lists": lambda: "- " * 100_000,
    "Y7 block mappings": lambda: "\n".join(" " * n + "a:" for n in range(1000)),
    "Y7 explicit keys": lambda: "? " * 100_000,
    "Y7 closed again": lambda: "a: " + "[" * 51 + "]" * 51,
    "Y8 itself": lambda: "a: &a [*a]",
    "Y8 around": lambda: "a: &a { b: &b { c: *a, d: *b } }",
    "Y8 as a key": lambda: "&a { *a : x }",
    "Y9 ten megabytes": lambda: "# " + "x" * 10_000_000,
    "Y9 one byte too many": lambda: "#" * (1024 * 1024 + 1),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_Y5_to_Y9_a_bomb_is_refused_within_100_ms(bomb: str) -> None:
    text = BOMBS[bomb]().encode()
    took = []
    for _ in range(3):
        start = time.process_time()
        found = mistakes(text)
        took.append(time.process_time() - start)
        assert found[0].split(":")[0].isdigit()
    assert min(took) < 0.1


def test_Y5_to_Y9_a_bomb_takes_little_memory() -> None:
    for make in BOMBS.values():
        text = make().encode()
        tracemalloc.start()
        mistakes(text)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64_000_000


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (BOMBS["Y7 closed again"](), "1:53: nested more than 50 levels deep"),
        ("a: &a\n  - *a\n", "2:5: alias 'a' stands inside what it names"),
        ("a: *b\nb: &b x\n", "1:4: alias 'b' names no anchor above it"),
        ("a: &a [x]\n---\nb: *a\n", "2:1: a second document begins here; a pipeline file is one"),
        ("", "1:1: the file is empty"),
        ("# only a comment\n\n", "1:1: the file is empty"),
        ("---\n...\n", "2:1: expected a mapping with the keys of a pipeline, found nothing"),
        ("just text\n", "1:1: expected a mapping with the keys of a pipeline, found 'just text'"),
        ("- a\n- b\n", "1:1: expected a mapping with the keys of a pipeline, found a list"),
    ],
)
def test_Y8_Y10_a_file_that_cannot_be_read_has_one_mistake(text: str, mistake: str) -> None:
    (found,) = mistakes(text)
    assert found.startswith(mistake)


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system", "!!python/name:os.system", "!!str", "!!int", "!mine", "!"],
)
def test_Y10_a_tag_runs_nothing_and_is_a_mistake(tag: str) -> None:
    found = mistakes(f"name: x\nservice: {tag} x\njobs: {{ a: {{ steps: [x] }} }}\n")
    assert len(found) == 1
    assert found[0].startswith("2:10: service: tag '")


@pytest.mark.parametrize("key", ["[a]", "{a: b}", "~", "&a [x]", ""])
def test_Y10_a_key_that_is_no_text_is_a_mistake(key: str) -> None:
    found = mistakes(file(f"  a: {{ steps: [x], env: {{ ? {key} : x }} }}\n"))
    assert len(found) == 1
    assert found[0].endswith("a key must be a text")


def test_Y10_merge_keys_are_told_at_their_place() -> None:
    found = mistakes(file("  a: &a { steps: [x] }\n  b: { <<: *a, steps: [y] }\n"))
    assert found == ["4:8: jobs.b['<<']: merge keys (<<) are not read; write the keys out"]


def test_Y9_a_file_at_the_limits_is_judged_in_two_seconds() -> None:
    wide = file("".join(f"  j{n}: {{ steps: [{'a,' * 90}] }}\n" for n in range(1_050)))
    start = time.process_time()
    assert len(load(wide.encode(), "p.yml").jobs) == 1_050
    assert time.process_time() - start < 2


def test_a_file_that_is_all_mistakes_is_told_in_part() -> None:
    jobs = "".join(f"  j{n}: {{ stpes: [x], nedes: [jj], name: $X }}\n" for n in range(9_000))
    start = time.process_time()
    found = mistakes(file(jobs))
    assert len(found) == 501
    assert any(one.endswith("500 mistakes; what else is wrong is not shown") for one in found)
    assert time.process_time() - start < 2


def test_nothing_that_a_file_holds_reaches_a_terminal_raw() -> None:
    found = mistakes(file('  "\\e]0;x\\a": { "\\e[2J\\u202e": x, steps: ["\\0"] }\n') + "\x85")
    assert found
    assert "".join(found).isprintable()


def test_a_text_of_a_megabyte_is_cut_in_a_message() -> None:
    found = mistakes(f"name: x\njobs: {'y' * 1_000_000}\n")
    assert len(found[0]) < 200


# ── anything at all ──────────────────────────────────────────────────────────────────────────────

_YAMLISH = st.text(
    st.sampled_from(
        [*"&*!|>'\"%@`{}[],:?-#~<=$ \n\t\\", *"abn01.", "\ufeff", "\x85", "\u2028", "\U0001f600"]
    ),
    max_size=60,
)


@given(st.one_of(st.binary(max_size=60), _YAMLISH.map(str.encode)))
@example(b"\xff\xfe")
@example(b"!<")
@example(b"%YAML 9.9\n---\n")
@example(b"%TAG ! !\n---\n!x")
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_a_pipeline_or_mistakes_with_places(text: bytes) -> None:
    judge(text)


@given(
    st.lists(st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 20), _YAMLISH), max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_a_file_with_anything_written_into_it_is_read_or_refused(
    edits: list[tuple[int, int, str]],
) -> None:
    text = EXAMPLE
    for at, gone, put in edits:
        text = text[:at] + put[:8] + text[at + gone :]
    judge(text.encode())


def judge(text: bytes) -> None:
    """Fails unless ``text`` is a pipeline or has mistakes that stand in it, in line order."""
    try:
        assert load(text, "p.yml").jobs
    except PipelineFileError as error:
        found = error.mistakes
    else:
        return
    places = [(mistake.line, mistake.column) for mistake in found]
    lines = len(text.splitlines()) + text.count(b"\xc2\x85") + text.count(b"\xe2\x80\xa8") + 1
    assert places == sorted(places)
    assert all(1 <= line <= lines and column >= 1 for line, column in places)
    assert all(mistake.message.isprintable() for mistake in found)
