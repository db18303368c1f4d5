"""The helpers of a raw ASGI handler, against a client that is a list of messages; and the pure parts of the server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.raw import (
    DONE,
    ClientLeft,
    Disconnect,
    error_body,
    finish_sse,
    json_headers,
    read_body,
    send_json,
    send_refusal,
    send_sse,
    sse_error,
    sse_frame,
    sse_headers,
    start_sse,
)
from gateway.errors import BadRequest, QuotaExhausted, Refusal, TooLarge, Unavailable
from gateway.server.chunked import BadChunk, ChunkedBody
from gateway.server.head import CHUNKED, HeadParser, check_unfinished
from gateway.server.limits import ServerLimits


class Wire:
    """An ASGI client: `receive` gives the messages one by one and then waits for ever; `send` keeps what it gets."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages)
        self.sent: list[dict[str, Any]] = []
        self.more = asyncio.Event()

    def leave(self, **facts: Any) -> None:
        self.messages.append({"type": "http.disconnect", **facts})
        self.more.set()

    async def receive(self) -> dict[str, Any]:
        while not self.messages:
            await self.more.wait()
        return self.messages.pop(0)

    async def send(self, message: Any) -> None:
        self.sent.append(message)


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


READ: list[tuple[str, list[dict[str, Any]], int, bytes | type[Exception]]] = [
    ("nothing", [part(b"")], 5, b""),
    ("one message", [part(b"hello")], 5, b"hello"),
    ("fields left out", [{"type": "http.request"}], 5, b""),
    ("several", [part(b"he", more=True), part(b"", more=True), part(b"llo")], 5, b"hello"),
    ("empty last", [part(b"hello", more=True), part(b"")], 5, b"hello"),
    ("one byte too many", [part(b"hello!")], 5, TooLarge),
    ("too many before the end", [part(b"hel", more=True), part(b"lo!", more=True)], 5, TooLarge),
    ("left at once", [{"type": "http.disconnect"}], 5, ClientLeft),
    ("left half-way", [part(b"he", more=True), {"type": "http.disconnect"}], 5, ClientLeft),
]


@pytest.mark.parametrize(("messages", "limit", "expected"), [row[1:] for row in READ], ids=[row[0] for row in READ])
async def test_read_body(messages: list[dict[str, Any]], limit: int, expected: bytes | type[Exception]) -> None:
    wire = Wire(*messages)
    if isinstance(expected, bytes):
        assert await read_body(wire.receive, limit) == expected
    else:
        with pytest.raises(expected):
            await read_body(wire.receive, limit)


async def test_read_body_says_why_the_client_is_gone() -> None:
    """The server's reason; from another server, which gives none, it is the client."""
    for facts, reason in [({"reason": "shutdown"}, "shutdown"), ({}, "client")]:
        with pytest.raises(ClientLeft) as raised:
            await read_body(Wire({"type": "http.disconnect", **facts}).receive, 5)
        assert raised.value.reason == reason


BODIES: list[tuple[str, Refusal, dict[str, Any]]] = [
    (
        "nothing but a message",
        Refusal("m"),
        {"message": "m", "type": "server_error", "param": None, "code": None},
    ),
    (
        "param and code",
        BadRequest("m", code="bad", param="n"),
        {"message": "m", "type": "invalid_request_error", "param": "n", "code": "bad"},
    ),
    (
        "details, Korean",
        QuotaExhausted("예산 초과", details={"limit_krw": None}),
        {
            "message": "예산 초과",
            "type": "insufficient_quota",
            "param": None,
            "code": "insufficient_quota",
            "haechi": {"limit_krw": None},
        },
    ),
]


@pytest.mark.parametrize(("refusal", "error"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_error_body(refusal: Refusal, error: dict[str, Any]) -> None:
    """OpenAI's shape; what is absent is null, and never the word None."""
    body = error_body(refusal, "req_1")
    assert json.loads(body) == {"error": error, "request_id": "req_1"}
    assert b"None" not in body


async def test_send_refusal() -> None:
    wire = Wire()
    await send_refusal(wire.send, Unavailable("m", retry_after=7), "req_1", [(b"x-a", b"b")])
    start, body = wire.sent
    headers = dict(start["headers"])
    assert start["status"] == 503
    assert headers[b"retry-after"] == b"7"
    assert headers[b"x-a"] == b"b"
    assert headers[b"content-length"] == b"%d" % len(body["body"])
    assert json.loads(body["body"])["error"]["code"] == "unavailable"


@pytest.mark.parametrize("build", [json_headers, sse_headers])
def test_headers_every_answer_has(build: Any) -> None:
    headers = build("req_1", [(b"x-a", b"b")])
    assert len(dict(headers)) == len(headers)
    expected = {
        (b"x-request-id", b"req_1"),
        (b"request-id", b"req_1"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-a", b"b"),
    }
    assert expected < set(headers)
    assert b"content-type" in dict(headers)


async def test_send_json_leaves_the_callers_list_alone() -> None:
    wire = Wire()
    headers = json_headers("req_1")
    await send_json(wire.send, 201, b'{"a":1}', headers)
    assert headers == json_headers("req_1")
    assert wire.sent[0]["status"] == 201
    assert (b"content-length", b"7") in wire.sent[0]["headers"]
    assert wire.sent[1] == {"type": "http.response.body", "body": b'{"a":1}', "more_body": False}


async def test_event_stream() -> None:
    wire = Wire()
    await start_sse(wire.send, sse_headers("req_1"))
    await send_sse(wire.send, sse_frame(b"1") + sse_frame(b"2", b"ping"))
    await finish_sse(wire.send, sse_error(BadRequest("m"), "req_1") + DONE)
    assert [message.get("more_body") for message in wire.sent] == [None, True, False]
    assert wire.sent[1]["body"] == b"data: 1\n\nevent: ping\ndata: 2\n\n"
    assert wire.sent[2]["body"].startswith(b'data: {"error":{"message":"m"')
    assert wire.sent[2]["body"].endswith(b"}\n\ndata: [DONE]\n\n")


def test_frame_with_line_feeds() -> None:
    assert sse_frame(b"a\nb") == b"data: a\ndata: b\n\n"


# Disconnect behind another server: one task on receive()


async def test_disconnect_wakes_waiters_and_callbacks() -> None:
    wire = Wire()
    with Disconnect(wire.receive) as gone:
        seen: list[str] = []
        gone.then(seen.append)
        waiter = asyncio.ensure_future(_reason(gone))
        await asyncio.sleep(0)
        assert not gone.left
        wire.leave()
        assert await asyncio.wait_for(waiter, 5) == "client"
        assert (gone.left, gone.reason, seen) == (True, "client", ["client"])
        gone.then(seen.append)  # late, and told all the same
        await asyncio.sleep(0)
        assert seen == ["client", "client"]
        assert await gone == "client"


async def test_one_waiter_giving_up_does_not_end_the_wait_of_another() -> None:
    wire = Wire()
    with Disconnect(wire.receive) as gone:
        first, second = (asyncio.ensure_future(_reason(gone)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        wire.leave(reason="shutdown")
        assert await asyncio.wait_for(second, 5) == "shutdown"


async def test_closed_disconnect_is_silent() -> None:
    wire = Wire()
    seen: list[str] = []
    with Disconnect(wire.receive) as gone:
        gone.then(seen.append)
    wire.leave()
    for _ in range(5):
        await asyncio.sleep(0)
    assert (gone.left, seen) == (False, [])


async def _reason(gone: Disconnect) -> str:
    return await gone


# The chunked coding, however it is cut


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.binary(max_size=10), st.data())
def test_chunks_survive_any_cut(parts: list[bytes], after: bytes, data: st.DataObject) -> None:
    """Encoded, cut anywhere and decoded, a body is what it was, and what follows it is left over untouched."""
    wire = b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in parts) + b"0\r\n\r\n"
    decoder = ChunkedBody()
    got = b""
    at = 0
    while at < len(wire):
        step = data.draw(st.integers(1, len(wire) - at))
        end = at + step
        got += decoder.feed(wire[at:end] + (after if end == len(wire) else b""))
        assert decoder.done == (end == len(wire))
        at = end
    assert got == b"".join(parts)
    assert decoder.rest == after


@given(st.binary(max_size=60), st.data())
def test_chunk_verdict_does_not_depend_on_the_cut(noise: bytes, data: st.DataObject) -> None:
    """Noise gives the same data and the same verdict in one piece as in many: no state is reached only by cutting."""
    wire = b"3\r\nabc\r\n" + noise
    cut = data.draw(st.integers(0, len(wire)))
    assert _decoded([wire]) == _decoded([wire[:cut], wire[cut:]]) == _decoded([bytes([byte]) for byte in wire])


def _decoded(pieces: list[bytes]) -> tuple[bytes, bool] | None:
    """The data and whether the body is done; None when refused."""
    decoder = ChunkedBody()
    got = b""
    try:
        for piece in pieces:
            if decoder.done:
                break
            got += decoder.feed(piece)
    except BadChunk:
        return None
    return got, decoder.done


# Heads


@given(st.binary(max_size=80))
def test_any_head_is_understood_or_refused(noise: bytes) -> None:
    """No bytes make the parser fail in another way, and what it does understand is a plain path with a known length."""
    head = b"POST /a HTTP/1.1\r\nHost: a\r\n" + noise.replace(b"\r\n\r\n", b"") + b"\r\n\r\n"
    try:
        parsed = HeadParser(ServerLimits()).parse(head[: head.index(b"\r\n\r\n") + 4])
    except Refusal:
        return
    assert (parsed.method, parsed.path) == ("POST", b"/a")
    assert parsed.length >= 0 or parsed.length == CHUNKED
    assert all(name == name.lower() for name, _ in parsed.headers)


def test_every_beginning_of_a_request_is_waited_for() -> None:
    """However slowly a request comes, no part of it looks malformed."""
    whole = b"\r\nPOST /a?b HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\r\n"
    for end in range(1, len(whole) - 1):
        assert check_unfinished(whole[:end], ServerLimits()) is None
