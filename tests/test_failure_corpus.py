"""What tools really printed when they failed, and the reason an engineer reads out of it.

``failures/NAME.txt`` is the output, with neutral paths and addresses; ``failures/expected.json``
says for each its exit code and what is to be read. A file that begins with ``# From documentation``
was not printed on the machine the others were made on.
"""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.event import MESSAGE_LIMIT, Domain
from runner.failure import STACK_LIMIT, TAIL, Explained, explain
from runner.notice import Exit, Reason

CORPUS = Path(__file__).parent / "failures"
COPIED = b"# From documentation, not run here.\n"


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be read; ``message`` is its first line."""

    code: int
    type: str
    domain: str
    place: str
    message: str


EXPECTED = msgspec.json.decode((CORPUS / "expected.json").read_bytes(), type=dict[str, Expected])


def printed(name: str) -> bytes:
    return (CORPUS / f"{name}.txt").read_bytes().removeprefix(COPIED)


def read(name: str, before: bytes = b"", after: bytes = b"") -> Explained:
    output = before + printed(name) + after
    ended = Exit(code=EXPECTED[name].code)
    return explain(ended, output, workspace="/repo/app", directory="/repo/app")


def test_the_corpus_is_whole_and_most_of_it_was_really_printed() -> None:
    files = sorted(CORPUS.glob("*.txt"))
    assert {path.stem for path in files} == set(EXPECTED)
    assert sum(not path.read_bytes().startswith(COPIED) for path in files) >= 60


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_reason_is_read_as_an_engineer_reads_it(name: str) -> None:
    explained = read(name)
    failure = explained.failure
    assert EXPECTED[name] == Expected(
        code=EXPECTED[name].code,
        type=failure.type,
        domain=failure.domain.value,
        place=explained.place,
        message=failure.message.split("\n")[0][:200],
    )


ROWS = [
    "cargo-error", "curl-dns", "git-rejected", "go-build", "go-test", "gradle-test", "jest-failed",
    "java-exception", "maven-test", "node-type-error", "npm-404", "pip-dns", "pytest-failed",
    "python-chained", "rust-panic", "tsc-errors", "vitest-failed",
]  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("survived", ["curl-dns", "python-json-decode", "gcc-error", "npm-dns"])
def test_what_was_survived_before_changes_nothing(name: str, survived: str) -> None:
    before = printed(survived) + b"going on without it\n" + b"part %d\n" * 3
    alone, both = read(name).failure, read(name, before=before).failure
    assert (both.type, both.domain, both.message) == (alone.type, alone.domain, alone.message)


@pytest.mark.parametrize("name", ROWS)
def test_who_repeats_that_something_failed_changes_nothing(name: str) -> None:
    after = (
        b"make[1]: *** [Makefile:7: check] Error 1\nmake[1]: Leaving directory '/repo/app'\n"
        b"make: *** [Makefile:2: all] Error 2\nerror Command failed with exit code 2.\n"
    )
    alone, both = read(name), read(name, after=after)
    assert both.failure == alone.failure
    assert both.place == (alone.place or "Makefile:7")


def test_a_network_that_failed_and_came_back_is_not_the_reason() -> None:
    after = b"part done\n" * 12
    for name in ("curl-dns", "curl-timeout", "ssh-refused"):
        assert read(name).failure.domain is Domain.PROVIDER
        assert read(name, after=after).failure.domain is Domain.USER


@pytest.mark.parametrize("name", ["pre-commit", "yamllint", "bandit", "sqlfluff", "biome-lint"])
def test_what_a_linter_found_before_is_not_what_ended_it(name: str) -> None:
    both = read(name, after=b"3 findings are known\ngoing on\n" + printed("cargo-error"))
    assert both.failure == read("cargo-error").failure


def test_a_stack_is_the_trace_and_nothing_else() -> None:
    stack = read("java-exception").failure.stack or ""
    assert stack.splitlines()[0].endswith("IllegalStateException: no region in settings")
    assert stack.splitlines()[-1] == "\t... 1 more"
    stack = read("node-type-error").failure.stack or ""
    assert stack.startswith("TypeError: Cannot read properties")
    assert stack.endswith("run_main_module:28:49")
    stack = read("go-panic").failure.stack or ""
    assert stack.startswith("panic: runtime error")
    assert "main.main()" in stack
    assert "exit status" not in stack


def test_every_test_that_failed_is_named() -> None:
    for name, second in (
        ("pytest-failed", "FAILED tests/test_cart.py::test_remove - KeyError: 'tea'"),
        ("unittest-failed", "FAIL: test_name (__main__.Sums.test_name)"),
        ("go-test-panic", "--- FAIL: TestFirst"),
        ("mocha-suites", 'hooks "before all" hook for "x"'),
        ("node-test-spec", "✖ second"),
        ("playwright-failed", "a.spec.js:3:1 \u203a browser"),
        ("maven-test", "AppTest.isCalledWithNull:15 NullPointer"),
    ):
        assert second in read(name).failure.message


def test_the_cause_stands_before_what_it_led_to() -> None:
    first, second = read("node-fetch-dns").failure.message.splitlines()
    assert "getaddrinfo ENOTFOUND" in first
    assert second == "TypeError: fetch failed"
    first, second, _ = read("pip-dns").failure.message.splitlines()
    assert "Name or service not known" in first or "Failed to resolve" in first
    assert second.startswith("ERROR: Could not find a version")


def test_of_a_group_of_exceptions_each_is_told_and_the_group_last() -> None:
    assert read("python-exception-group").failure.message.splitlines() == [
        "RuntimeError: cannot upload a.tgz",
        "RuntimeError: cannot upload b.tgz",
        "ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)",
    ]
    assert read("python-exception-groups").failure.message.splitlines() == [
        "OSError: no traceback",
        "ValueError: wrapped",
        "RuntimeError: plain",
        "ExceptionGroup: outer (2 sub-exceptions)",
    ]


def test_what_an_error_of_node_was_thrown_for_is_told() -> None:
    assert read("node-config").failure.message.splitlines() == [
        "Error: config is bad",
        "SyntaxError: Expected property name or '}' in JSON at position 1",
    ]
    assert read("node-aggregate").failure.message.splitlines() == [
        "AggregateError: All promises were rejected",
        "Error: one",
        "Error: two",
    ]


@pytest.mark.parametrize("name", ["python-chained", "pytest-failed", "jest-failed", "go-panic"])
def test_what_compose_puts_before_each_line_changes_nothing(name: str) -> None:
    lines = [b"web-1  | " + line for line in printed(name).splitlines()]
    output = b"\n".join([b"Attaching to db-1, web-1", *lines, b"web-1 exited with code 1", b""])
    composed = explain(Exit(code=1), output, workspace="/repo/app", directory="/repo/app")
    assert (composed.failure.message, composed.place) == (
        read(name).failure.message,
        read(name).place,
    )


@pytest.mark.parametrize("root", [b"/usr/local/go", b"/opt/hostedtoolcache/go/1.22.1/x64"])
def test_wherever_go_lies_its_own_packages_are_no_place(root: bytes) -> None:
    output = printed("go-timeout").replace(b"/usr/lib/go-1.19", root)
    assert explain(Exit(code=1), output, workspace="/repo/app").place == "gto/a_test.go:3"


def test_what_explains_an_error_is_told_with_it() -> None:
    title, detail, _ = read("terraform-variable").failure.message.splitlines()
    assert title == "Error: Reference to undeclared input variable"
    assert detail.startswith('An input variable with the name "nope" has not been declared.')
    assert read("git-diff").failure.message.splitlines()[-2:] == ["-x", "+y"]


def test_advice_and_usage_are_no_reason() -> None:
    title, said = read("jest-syntax").failure.message.splitlines()
    assert (title, said.rpartition(": ")[2]) == (
        "● Test suite failed to run",
        "Unexpected token (1:21)",
    )
    sync, missing = read("npm-lock").failure.message.splitlines()
    assert missing == "Missing: iniparser@1.0.5 from lock file"
    assert sync.startswith("`npm ci` can only install packages when")


def test_a_place_is_told_from_the_workspace() -> None:
    output = b"src/main.c:3:5: error: no\n/repo/app/lib/x.c:1:1: error: no\n"
    ended = Exit(code=1)
    assert explain(ended, output).place == "src/main.c:3"
    inside = explain(ended, output, workspace="/repo/app", directory="/repo/app/sub")
    assert inside.place == "sub/src/main.c:3"
    outside = explain(ended, output, workspace="/repo/app", directory="/elsewhere")
    assert outside.place == "/elsewhere/src/main.c:3"
    absolute = explain(ended, output[26:], workspace="/repo/app/", directory="/repo/app")
    assert absolute.place == "lib/x.c:1"


def test_a_domain_is_raised_and_never_taken_back() -> None:
    for name in EXPECTED:
        for reason in (Reason.IMAGE_PULL, Reason.CONTAINER_LOST, Reason.DISK_FULL):
            failure = explain(Exit(code=1, reason=reason), printed(name)).failure
            assert (failure.type, failure.domain) == (reason.value, Domain.PROVIDER)


@st.composite
def pieces(draw: st.DrawFn) -> bytes:
    """A part of a real output, cut anywhere, perhaps with something before each line."""
    whole = printed(draw(st.sampled_from(sorted(EXPECTED))))
    start = draw(st.integers(0, 2000))
    part = whole[start : start + draw(st.integers(1, 4000))]
    return part.replace(b"\n", b"\n" + draw(st.sampled_from([b"", b"", b"12:00 ", b"  "])))


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces(), max_size=6), st.sampled_from([1, 2, 126, 127, 134, 137]))
def test_P8_whatever_of_it_came_out_the_event_is_text_within_its_limits(
    parts: list[bytes], code: int
) -> None:
    explained = explain(Exit(code=code), b"".join(parts)[-TAIL:], workspace="/repo/app")
    failure = explained.failure
    assert 0 < len(failure.message) <= MESSAGE_LIMIT
    assert len(failure.stack or "") <= STACK_LIMIT
    assert not explained.place or explained.place.rpartition(":")[2].isdigit()
    assert failure.domain in {Domain.PROVIDER, Domain.USER, Domain.UNKNOWN}
