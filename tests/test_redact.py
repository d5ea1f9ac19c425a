"""The masker: no secret leaves, for any split of the stream, in any form a program prints."""

import base64
import html
import json
import random
import re
import shlex
import string
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.redact import MOST, SHOWN, Masker, Needles, is_secret_name

KEY = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACDq0C8c2TR4mZlVd7RyWnJc6fWkYdTnXrNQ0q8v6iYbRwAAAJjY1y0t2Nct
LQAAAAtzc2gtZWQyNTUxOQAAACDq0C8c2TR4mZlVd7RyWnJc6fWkYdTnXrNQ0q8v6iYbRw
AAAEC0x3vWkq6m1QhXh1QmYb2m0hTJ8dGx4b0o1w5pYQh2WurQLxzZNHiZmVV3tHJaclzp
9aRh1Odes1DSry/qJhtHAAAAEHRlc3RAZXhhbXBsZS5jb20BAgMEBQ==
-----END OPENSSH PRIVATE KEY-----
"""
ODD = """p@s's "w0rd\\$1 <&>/+%=é`*{x}"""

values = st.lists(st.text("ab", min_size=6, max_size=12), min_size=1, max_size=5)
noise = st.text("ab\n", max_size=9)
cuts = st.lists(st.integers(0, 90), max_size=12)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], bytes, list[int]]:
    """Secrets, a text that holds some of them whole and in part, and where to cut it."""
    secrets = draw(values)
    words = draw(st.lists(noise | st.sampled_from(secrets), max_size=9))
    return secrets, "".join(words).encode(), draw(cuts)


def naive(secrets: Iterable[str], text: bytes) -> list[tuple[int, int]]:
    """Every match at every place, one byte at a time: slow and plain."""
    covered = bytearray(len(text))
    for secret in map(str.encode, secrets):
        for at in range(len(text) - len(secret) + 1):
            if text.startswith(secret, at):
                covered[at : at + len(secret)] = b"\1" * len(secret)
    return [match.span() for match in re.finditer(b"\1+", covered)]


def naively_masked(secrets: Iterable[str], text: bytes, upto: int = 10**9) -> bytes:
    masked, at = b"", 0
    for start, end in naive(secrets, text):
        if start < upto:
            masked += text[at:start] + b"***"
            at = end
    return masked + text[at:upto]


def bare(secrets: Iterable[str]) -> Masker:
    """A masker for these alone: their longer forms would hold more of the stream back."""
    masker = Masker()
    masker.needles = Needles(set(map(str.encode, secrets)))
    return masker


def split(text: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@settings(max_examples=150)
@given(cases())
@example((["aabaab"], b"xaabaabaab", [3, 7]))
@example((["bbabba"], b"bbbabba", [1, 2, 3]))
@example((["ababac"], b"ababababac", [4]))
def test_T8_the_output_is_the_same_for_every_split(
    case: tuple[list[str], bytes, list[int]],
) -> None:
    secrets, text, places = case
    for masker in bare(secrets), Masker(secrets):
        stream = masker.stream()
        out = b"".join(map(stream.feed, split(text, places))) + stream.flush()
        assert out == naively_masked(secrets, text)
        assert masker.bytes(text) == out


@settings(max_examples=100)
@given(cases())
def test_T8_a_silent_stream_shows_three_bytes_of_a_secret_at_most(
    case: tuple[list[str], bytes, list[int]],
) -> None:
    secrets, text, places = case
    stream, out = bare(secrets).stream(), b""
    for piece in split(text, places):
        out += stream.feed(piece) + stream.idle()
    assert reads_as(out + stream.flush(), secrets, text)


def reads_as(out: bytes, secrets: Iterable[str], text: bytes) -> bool:
    """Whether ``out`` is ``text`` with masks for covered bytes, where nothing is shown of any
    secret but its first bytes. ``places``: where in ``text`` one may be after what was read.
    """
    covered = {at for start, end in naive(secrets, text) for at in range(start, end)}
    hidden = {at for secret in secrets for at in past_beginning(secret.encode(), text)}
    places = {0}
    for token in re.findall(rb"\*\*\*|[^*]", out):
        if token == b"***":
            ends = {at + 1 for at in places & covered}
            while more := {at + 1 for at in ends & covered} - ends:
                ends |= more
            places = ends
        else:
            places = {at + 1 for at in places - hidden if text[at : at + 1] == token}
    return len(text) in places


def past_beginning(secret: bytes, text: bytes) -> Iterable[int]:
    """The bytes of ``text`` that are in a match, but not among its first SHOWN."""
    for at in range(len(text)):
        if text.startswith(secret, at):
            yield from range(at + SHOWN, at + len(secret))


@settings(max_examples=60)
@given(cases())
def test_less_than_the_longest_secret_is_held_back_and_nothing_before_a_newline(
    case: tuple[list[str], bytes, list[int]],
) -> None:
    secrets, text, places = case
    stream, fed, out = bare(secrets).stream(), b"", b""
    for piece in split(text, places):
        fed += piece
        out += stream.feed(piece)
        sure = max(fed.rfind(b"\n") + 1, len(fed) - max(map(len, secrets)) + 1, 0)
        assert out == naively_masked(secrets, fed, sure)


@pytest.mark.parametrize("count", [1, 12, 60, 400])
@pytest.mark.parametrize("size", [6, 7, 11, 19, 35, 90])
def test_a_secret_is_found_at_every_place_whatever_else_is_searched(count: int, size: int) -> None:
    chance = random.Random(count * size)
    secrets = ["".join(chance.choices(string.ascii_letters, k=size)) for _ in range(count)]
    masker = Masker(secrets)
    for at in [*range(70), *range(1000, 1040)]:
        secret = secrets[at % count].encode()
        text = b"." * at + secret + b"." * (at % 7)
        assert masker.bytes(text) == b"." * at + b"***" + b"." * (at % 7)


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_T11_text_full_of_hits_is_masked_like_any_other(chance: random.Random) -> None:
    secrets = ["".join(chance.choices("ab", k=chance.randint(6, 11))) for _ in range(70)]
    text = "".join(chance.choices("ab\n", (9, 9, 1), k=500)).encode()
    assert Masker(secrets).bytes(text) == naively_masked(secrets, text)
    text = b"b" + b"a" * 2000
    assert Masker(["aaaaaa", "aaabaa"]).bytes(text) == b"b***"


@pytest.mark.parametrize("end", ["", "b"])
def test_T11_a_thousand_secrets_and_the_worst_text_take_no_more_than_their_size(end: str) -> None:
    masker = Masker("a" * length + end for length in range(6, 306))
    masker.add(f"{'a' * 20}{number}" for number in range(MOST - 300))
    stream = masker.stream()
    stream.feed(b"a" * 65536)  # the automaton is built once, when first needed
    start = time.process_time()
    for _ in range(4):
        stream.feed(b"a" * 65536)
    assert time.process_time() - start < 4 * 65536 / 100_000  # 0.1 MB/s; 2 MB/s measured


def test_ordinary_text_passes_at_tens_of_megabytes_a_second() -> None:
    chance = random.Random(1)
    secrets = ["".join(chance.choices(string.ascii_letters, k=30)) for _ in range(10)]
    text = b"".join(b"%d ordinary lines have words of some length\n" % n for n in range(100_000))
    stream = Masker(secrets).stream()
    start = time.process_time()
    for at in range(0, len(text), 65536):
        stream.feed(text[at : at + 65536])
    assert len(text) / (time.process_time() - start) > 20e6  # over 200 MB/s measured


def ansi_c(text: str) -> str:
    """As bash prints what holds a control character."""
    command = ["bash", "-c", 'printf "%s" "${1@Q}"', "bash", "\x01" + text]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "printed",
    [
        ODD,
        shlex.quote(ODD),
        repr(ODD),
        repr(ODD.encode()),
        json.dumps(ODD),
        json.dumps(ODD, ensure_ascii=False),
        json.dumps(ODD).replace("/", r"\/"),
        quote(ODD),
        quote(ODD, safe=""),
        quote(ODD, safe="").lower(),
        quote_plus(ODD),
        quote(ODD, safe="~!*'();/?:@&=+$,#"),
        html.escape(ODD),
        html.escape(ODD, quote=False),
        ODD.encode().hex(),
        ODD.encode().hex().upper(),
        ansi_c(ODD),
        *(base64.b64encode(b"x" * n + ODD.encode() + b"yz").decode() for n in range(3)),
        *(base64.urlsafe_b64encode(b"x" * n + ODD.encode()).decode() for n in range(3)),
    ],
)
def test_T9_every_form_of_a_secret_is_masked(printed: str) -> None:
    masked = Masker([ODD]).text(f"before {printed} after")
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert "***" in masked
    left = masked.removeprefix("before ").removesuffix(" after").replace("***", "")
    # what stays are brackets, neighbours, and characters that share bits with them
    assert len(left) <= len("$'\\001'") + 1, left


def test_T9_of_base64_only_characters_stay_that_share_bits_with_their_neighbours() -> None:
    secret = b"hunter2hunter2"
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + secret + b"z" * 5).decode()
        start, _, end = Masker([secret.decode()]).text(encoded).partition("***")
        assert len(secret) * 8 - 6 * (len(encoded) - len(start + end)) < 2 * 6


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r\r\n"])
@pytest.mark.parametrize(
    "script",
    [
        'printf "%s" "$KEY"',
        'set -x; : "$KEY"',
        'printf "%q" "$KEY"',
        "declare -p KEY",
        'echo "$KEY" | base64 -w 76',
        'echo "$KEY" | base64 -w 64',
        'echo "$KEY" | base64 -w 0',
        'echo "$KEY" | sed "s/^/   | /"',
    ],
)
def test_T9_a_private_key_is_masked_as_a_shell_prints_it(script: str, ending: str) -> None:
    key = KEY.replace("\n", ending)
    command = ["bash", "-c", script]
    printed = subprocess.run(
        command, check=True, stdout=-1, stderr=subprocess.STDOUT, env={"KEY": key, "PATH": "/bin"}
    ).stdout
    stream = Masker([key]).stream()
    masked = b"".join(stream.feed(printed[at : at + 7]) for at in range(0, len(printed), 7))
    masked += stream.flush()
    assert b"***" in masked
    assert max(map(len, re.findall(rb"[A-Za-z0-9+/=]+", masked)), default=0) <= len("declare")


def test_T10_a_secret_added_late_counts_from_the_next_piece() -> None:
    masker = Masker()
    stream = masker.stream()
    assert stream.feed(b"hunter2hunter2\n") == b"hunter2hunter2\n"
    assert masker.add(["hunter2hunter2"]) == ()
    assert stream.feed(b"hunter2hunter2\n") == b"***\n"


def test_T10_a_secret_added_late_masks_what_is_still_held_back() -> None:
    masker = Masker(["another-secret"])
    stream = masker.stream()
    assert stream.feed(b"hunter2") == b""
    masker.add(["hunter2hunter2"])
    assert stream.feed(b"hunter2\n") == b"***\n"


def test_short_values_are_returned_and_not_masked() -> None:
    masker = Masker(["long enough"])
    assert masker.add(["abcde", "      ", "", "abcdef", "a\nbc\nd", "x\nsix-or-more"]) == (
        "abcde",
        "      ",
        "",
        "a\nbc\nd",
    )
    assert masker.text("abcde abcdef x six-or-more") == "abcde *** x ***"


def test_T11_lines_beyond_the_bound_are_returned() -> None:
    masker = Masker(f"secret-{number}" for number in range(MOST))
    assert masker.add(["one-too-many", "secret-1"]) == ("one-too-many",)
    assert Masker().add(["x" * 300_000]) == ("x" * 300_000,)


def test_a_prompt_is_shown_whole_once_the_stream_falls_silent() -> None:
    stream = Masker(["nothing-of-the-kind"]).stream()
    assert stream.feed(b"Go on?") + stream.idle() == b"Go on?"
    assert stream.feed(b" yes/no") + stream.idle() == b" yes/no"
    assert stream.feed(b"thing") + stream.idle() == b""
    assert stream.feed(b" more") + stream.idle() == b"thing more"


def test_a_secret_that_ends_the_line_is_masked_while_the_stream_is_silent() -> None:
    stream = Masker(["hunter2hunter2"]).stream()
    assert stream.feed(b"password: hunter2hunter2") + stream.idle() == b"password: ***"
    assert stream.feed(b" ok") + stream.idle() == b" ok"


def test_the_beginning_of_a_secret_is_let_out_at_the_end_of_the_stream() -> None:
    stream = Masker(["hunter2hunter2"]).stream()
    assert stream.feed(b"hunter2") + stream.idle() == b""
    assert stream.flush() == b"hunter2"
    assert stream.flush() == b""


def test_after_its_end_a_stream_begins_anew() -> None:
    stream = Masker(["hunter2hunter2"]).stream()
    for _ in range(2):
        assert stream.feed(b"hunter2hunter2") + stream.flush() == b"***"


def test_T8_the_fourth_byte_of_a_secret_is_never_shown() -> None:
    stream = Masker(["abcdefgh"]).stream()
    assert stream.feed(b"> abc") + stream.idle() == b"> abc"
    assert stream.feed(b"d") + stream.idle() == b""
    assert stream.feed(b"efgh") + stream.idle() == b"***"
    assert stream.feed(b" abcd") + stream.idle() == b" "


def test_a_mask_has_one_length() -> None:
    masker = Masker(["abcdef", "abcdefghijkl", "ghijkl"])
    assert masker.text("abcdef abcdefghijkl ghijklabcdef") == "*** *** ***"


def test_P8_bytes_that_are_no_text_pass_and_are_masked_as_the_process_was_given_them() -> None:
    value = b"caf\xe9\xff-secret".decode(errors="surrogateescape")
    masker = Masker([value])
    assert masker.bytes(b"\xff\x00caf\xe9\xff-secret\xfe") == b"\xff\x00***\xfe"
    assert masker.text(f"<{value}>") == "<***>"
    assert masker.text("\ud800 untouched") == "\ud800 untouched"
    assert masker.hits(f"\ud800{value[3:]}") is False


def test_a_whole_text_is_masked_in_every_line() -> None:
    masker = Masker(["hunter2hunter2"])
    assert masker.text("a hunter2hunter2\nb hunter2hunter2") == "a ***\nb ***"
    assert masker.hits("x\nhunter2hunter2")
    assert not masker.hits("hunter2")


def test_secrets_may_be_added_while_others_stream() -> None:
    masker = Masker()
    out: list[bytes] = []

    def print_all() -> None:
        stream = masker.stream()
        out.extend(stream.feed(b"secret-%d\n" % number) for number in range(300))

    threads = [threading.Thread(target=print_all) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(0, 300, 30):
        masker.add(f"secret-{number + index}" for index in range(30))
    for thread in threads:
        thread.join()
    assert len(out) == 600
    assert masker.bytes(b"".join(out)).count(b"secret") == 0


@pytest.mark.parametrize(
    "name", ["NPM_TOKEN", "npm_token", "A_SECRET", "DB_PASSWORD", "X_API_KEY", "A_PRIVATE_KEY"]
)
def test_a_variable_named_like_a_secret_is_one(name: str) -> None:
    assert is_secret_name(name)
    assert is_secret_name(name.partition("_")[2])


@pytest.mark.parametrize("name", ["TOKENS", "TOKEN_FILE", "PATH", "MY_KEY", "NOTOKEN", "", "A\nB"])
def test_other_variables_are_not(name: str) -> None:
    assert not is_secret_name(name)
