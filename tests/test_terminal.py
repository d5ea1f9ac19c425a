"""What reaches a terminal: colours at most, whatever a step prints and however it is cut."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.terminal import Filter, Look, cells, counted, fit, lines, look, plain

ESCAPES = [
    b"\x1b]0;title\x07",
    b"\x1b]8;;http://x\x1b\\",
    b"\x1bP1$r\x1b\\",
    b"\x1b_apc\x1b\\",
    b"\x1b[2J",
    b"\x1b[31m",
    b"\x1b[0m",
    b"\x1b[1;1H",
    b"\x1b[?1049h",
    b"\x1bc",
    b"\x1b",
    b"\x9b2J",
    "\u009b2J\u009d0;t\u009c".encode(),
    "\u202e\u2066".encode(),
    b"\x07\x08\x0b\x0c\x7f\x00\x0e",
    b"\r",
    b"\r\n",
    b"\n",
    b"\t",
    b"text ",
    "zażółć ✓ “so”".encode(),
    b"\xff\xc3",
]
hostile = st.lists(st.one_of(st.sampled_from(ESCAPES), st.binary(max_size=4))).map(b"".join)
SGR = re.compile(r"\x1b\[[0-9;:]*m")
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def filtered(pieces: list[bytes], **how: bool) -> str:
    stream = Filter(Look(**how))
    return (b"".join(map(stream.feed, pieces)) + stream.flush()).decode()


@st.composite
def cut(draw: st.DrawFn) -> list[bytes]:
    whole = draw(hostile)
    places = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=6)))
    return [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]


@given(cut())
@example([b"\x1b", b"[2J"])
@example([b"\x1b]0;ti", b"tle\x07"])
def test_T15_nothing_a_terminal_obeys_gets_through(pieces: list[bytes]) -> None:
    assert not OBEYED.search(filtered(pieces))
    assert not OBEYED.search(SGR.sub("", filtered(pieces, colour=True)))


@given(cut())
def test_T15_colours_end_with_the_line_and_with_every_piece(pieces: list[bytes]) -> None:
    stream = Filter(Look(colour=True))
    for shown in (*map(stream.feed, pieces), stream.flush()):
        for line in shown.decode().split("\n"):
            found = SGR.findall(line)
            assert not found or found[-1] in {"\x1b[0m", "\x1b[m"}


@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "Zs"]))), st.data())
def test_text_comes_out_as_it_went_in_however_it_is_cut(
    texts: list[str], data: st.DataObject
) -> None:
    whole = "".join(f"{text}\n" for text in texts).encode()
    at = data.draw(st.integers(0, len(whole)))
    assert filtered([whole[:at], whole[at:]]).encode() == whole


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([b"10%\r20%\r100%\n"], "100%\n"),
        ([b"10%\r", b"20%\r", b"\n"], "20%\n"),
        ([b"10%", b"\r20%\r30%\n"], "10%\n30%\n"),
        ([b"one\r\ntwo\r\n"], "one\ntwo\n"),
        ([b"one\r", b"\ntwo"], "one\ntwo\n"),
        ([b"one", b"\r", b"\n"], "one\n"),
        ([b"work\r\x1b[Kdone\n"], "done\n"),
        ([b"10%\r20%"], "20%\n"),
    ],
)
def test_a_line_written_over_shows_its_last_state(pieces: list[bytes], shown: str) -> None:
    assert filtered(pieces) == shown


@pytest.mark.parametrize(
    "pieces", [[b"a\x1b", b"[2Jb\n"], [b"a\x1b[3", b"1mb\n"], [b"a\x1b]0;ti", b"tle\x07b\n"]]
)
def test_T15_a_sequence_cut_in_two_is_still_one(pieces: list[bytes]) -> None:
    assert filtered(pieces) == "ab\n"


def test_a_character_cut_in_two_is_whole_again() -> None:
    assert filtered(["✓ é\n".encode()[:1], "✓ é\n".encode()[1:]]) == "✓ é\n"


def test_invalid_utf8_is_shown_as_such_and_breaks_nothing() -> None:
    assert filtered([b"a\xffb\n"]) == "a\ufffdb\n"


def test_a_colour_goes_on_over_lines_and_pieces() -> None:
    stream = Filter(Look(colour=True))
    assert stream.feed(b"\x1b[31mone\ntwo\n") == b"\x1b[31mone\x1b[0m\n\x1b[31mtwo\x1b[0m\n"
    assert stream.feed(b"three\x1b[0m\nfour\n") == b"\x1b[31mthree\x1b[0m\nfour\n"


def test_without_colours_a_steps_own_go_too() -> None:
    assert filtered([b"\x1b[1;31mred\x1b[0m\n"]) == "red\n"


def test_a_terminal_without_utf8_gets_ascii() -> None:
    assert Filter(Look(unicode=False)).feed("é✓\n".encode()) == b"??\n"
    assert Look(unicode=False).encode("é") == b"?"


def test_what_never_ends_is_not_kept() -> None:
    stream = Filter(Look())
    out = b"".join(stream.feed(b"\r" + b"x" * 50_000) + stream.feed(b"y" * 50_000) for _ in "abc")
    assert len(out) > 100_000
    assert len(Filter(Look()).feed(b"\x1b]" + b"x" * 10_000)) == 0


@given(st.text())
@example("\x1b]0;evil\x07name\r\nnext\u2028line\u202e")
@example("\ud800")
def test_T15_a_name_is_one_line_that_a_terminal_does_not_obey(text: str) -> None:
    assert not OBEYED.search(plain(text))
    assert not re.search(r"[\t\n\r\u0085\u2028\u2029]", plain(text))
    Look().encode(plain(text))


def test_lines_keep_their_indentation_alone() -> None:
    assert list(lines("a\n\tb\x1b[2J\r\n  c\n\n")) == ["a", "    b", "  c"]


@given(st.text(), st.integers(0, 30), st.booleans())
def test_a_cut_text_fits(text: str, width: int, middle: bool) -> None:
    assert cells(fit(text, width, middle=middle)) <= width
    if cells(text) <= width:
        assert fit(text, width, middle=middle) == text


def test_a_text_cut_in_its_middle_keeps_both_ends() -> None:
    assert fit("integration (3.11, slim)", 15, middle=True) == "integra…, slim)"


def test_wide_characters_take_two_cells_and_combining_ones_none() -> None:
    assert cells("日本") == 4
    assert cells("e\u0301") == 1


@pytest.mark.parametrize(
    ("environ", "tty", "colour"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "dumb"}, True, False),
        ({}, True, False),
        ({"TERM": "xterm"}, False, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"GITHUB_ACTIONS": "true"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1", "TERM": "xterm"}, True, False),
        ({"NO_COLOR": "", "TERM": "xterm"}, True, True),
    ],
)
def test_who_gets_colours(environ: dict[str, str], tty: bool, colour: bool) -> None:
    assert look(environ, tty=tty, encoding="utf-8", width=80).colour is colour


@pytest.mark.parametrize(
    ("encoding", "unicode"), [("UTF-8", True), ("utf8", True), ("ascii", False), ("what", False)]
)
def test_who_gets_more_than_ascii(encoding: str, unicode: bool) -> None:
    assert look({}, tty=False, encoding=encoding, width=80).unicode is unicode


def test_one_is_no_plural() -> None:
    assert [counted(number, "event") for number in (0, 1, 2)] == ["0 events", "1 event", "2 events"]
