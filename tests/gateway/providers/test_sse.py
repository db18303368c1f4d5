"""The event parser: what the network does to the bytes must not show in the events."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.sse import Event, EventParser, LineTooLong


@pytest.mark.parametrize(
    ("wire", "payloads"),
    [
        (b"", []),
        (b'data: {"a":1}\n\n', [b'{"a":1}']),
        (b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n", [b"1", b"2", b"[DONE]"]),
        (b"data: 1\r\n\r\ndata: 2\r\n\r\n", [b"1", b"2"]),
        (b"data: 1\r\rdata: 2\r\r", [b"1", b"2"]),
        (b"data: 1\r\n\ndata: 2\n\r\n", [b"1", b"2"]),
        (b"data:1\n\ndata:  2\n\n", [b"1", b" 2"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\n", [b""]),
        (b"data:\ndata:\n\n", [b"\n"]),
        (b": ping\n\ndata: 1\n\n", [b"1"]),
        (b": ping\ndata: 1\n: pong\n\n", [b"1"]),
        (b"id: 7\nretry: 3000\ndata: 1\n\n", [b"1"]),
        (b"id: 7\n\nevent: x\n\n", []),
        (b"database: 1\n\n", []),
        (b"data: 1\n\n\n\n\ndata: 2\n\n", [b"1", b"2"]),
        (b"data: 1\n\n\ndata: 2\n\n", [b"1", b"2"]),
        (b"\n\ndata: 1\n\n", [b"1"]),
        (b"\xef\xbb\xbfdata: 1\n\n", [b"1"]),
        (b"\xef\xbbdata: 1\n\n", []),
        ("data: 한글 😀\n\n".encode(), ["한글 😀".encode()]),
        (b"data: \xff\xfe\x00\n\n", [b"\xff\xfe\x00"]),
        (b"data: 1\n\ndata: unfinished", [b"1"]),
        (b"data: 1\n\ndata: unfinished\n", [b"1"]),
    ],
)
def test_the_grammar(wire: bytes, payloads: list[bytes]) -> None:
    """Each wire gives its payloads at once and also byte by byte."""
    assert EventParser().feed(wire) == payloads
    parser = EventParser()
    assert [found for byte in wire for found in parser.feed(bytes([byte]))] == payloads


def test_event_names_are_kept_for_the_dialects_that_use_them() -> None:
    wire = b"event: message_start\ndata: {}\n\ndata: 1\n\n: ping\n\nevent:error\ndata: 2\n\n"
    assert EventParser().feed_events(wire) == [Event(b"message_start", b"{}"), Event(None, b"1"), Event(b"error", b"2")]


def test_a_last_event_without_its_blank_line_is_only_in_the_rest() -> None:
    parser = EventParser()
    assert parser.feed(b"data: 1\n\ndata: [DONE]") == [b"1"]
    assert parser.rest() == [b"[DONE]"]
    assert EventParser().rest() == []


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_a_line_over_the_cap_raises_once_the_events_before_it_are_out(size: int) -> None:
    """However it is cut, the stream gives `ok` and then LineTooLong, and never holds much more than the cap."""
    wire = b"data: ok\n\ndata: " + b"x" * 5000 + b"\n\ndata: never\n\n"
    parser = EventParser(max_line=1000)
    found: list[bytes] = []

    def play() -> None:
        for start in range(0, len(wire), size):
            found.extend(parser.feed(wire[start : start + size]))
        parser.rest()

    with pytest.raises(LineTooLong):
        play()
    assert found == [b"ok"]
    with pytest.raises(LineTooLong):
        parser.feed(b"data: more\n\n")


@pytest.mark.parametrize("blanks", range(1, 9))
def test_blank_lines_do_not_count_towards_the_cap(blanks: int) -> None:
    assert EventParser(max_line=7).feed(b"data: 1" + b"\n" * (blanks + 1) + b"data: 2\n\n") == [b"1", b"2"]


def test_many_short_lines_of_one_event_count_together() -> None:
    with pytest.raises(LineTooLong):
        EventParser(max_line=1000).feed(b"data: x\n" * 1000)


LINES = st.lists(
    st.sampled_from(
        [
            b"data: {}",
            b"data:1",
            b"data",
            b": c",
            b"event: e",
            b"id: 3",
            b"",
            b"",
            b"",
            "data: 가😀".encode(),
            b"\xef\xbb\xbf",
            b"x",
        ]
    )
    | st.binary(max_size=12),
    max_size=12,
)
ENDS = st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=12, max_size=12)


@given(
    lines=LINES, ends=ENDS, cuts=st.lists(st.integers(0, 200), max_size=8), cap=st.sampled_from([2, 5, 8, 16, 1 << 20])
)
def test_any_split_of_the_bytes_gives_the_same_events(
    lines: list[bytes], ends: list[bytes], cuts: list[int], cap: int
) -> None:
    wire = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    parts = [wire[start:end] for start, end in itertools.pairwise(places)]
    assert _played(parts, cap) == _played([wire], cap) == _played([bytes([byte]) for byte in wire], cap)


@given(st.lists(st.binary(max_size=64), max_size=8))
def test_no_bytes_make_it_raise(parts: list[bytes]) -> None:
    parser = EventParser()
    for part in parts:
        parser.feed(part)
    parser.rest()


def _played(parts: list[bytes], cap: int) -> tuple[list[Event], bool]:
    """All events of the parts, and whether the cap was hit."""
    parser, found = EventParser(max_line=cap), []
    try:
        for part in parts:
            found += parser.feed_events(part)
        parser.rest()
    except LineTooLong:
        return found, True
    return found, False
