"""What of an upstream's stream the client sees, and what the gateway remembers of it."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.relay import Relay, UpstreamSaidError


def chunk(content: str | None = "hi", *, usage: object = ..., finish: str | None = None, **delta: object) -> bytes:
    body: dict[str, object] = {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "served-1",
        "choices": [
            {
                "index": 0,
                "delta": {**({"content": content} if content is not None else {}), **delta},
                "finish_reason": finish,
            }
        ],
    }
    if usage is not ...:
        body["usage"] = usage
    return orjson.dumps(body)


def usage_only(usage: object) -> bytes:
    return orjson.dumps(
        {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 7,
            "model": "served-1",
            "choices": [],
            "usage": usage,
        }
    )


def seen(sent: bytes) -> list[dict[str, object]]:
    """The frames a client would parse."""
    return [orjson.loads(frame.removeprefix(b"data: ")) for frame in sent.split(b"\n\n") if frame]


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_frames_after_the_first_pass_as_the_bytes_that_came() -> None:
    relay = Relay(include_usage=False)
    relay.feed([chunk("a", role="assistant")])
    odd = b'{"choices": [ {"index":0,"delta":{"content":"\\u00e9"}} ] ,"id":"c1"}'
    assert relay.feed([odd]) == b"data: " + odd + b"\n\n"


def test_usage_nobody_asked_for_is_stripped_byte_for_byte() -> None:
    relay = Relay(include_usage=False)
    relay.feed([chunk("a", usage=None)])
    with_null = chunk("b", usage=None)
    assert relay.feed([with_null]) == b"data: " + chunk("b") + b"\n\n"
    assert relay.feed([usage_only(USAGE)]) == b""
    assert relay.usage == USAGE


def test_a_text_that_talks_about_usage_is_not_touched() -> None:
    relay = Relay(include_usage=False)
    relay.feed([chunk("a")])
    talk = chunk('set ,"usage":null in the JSON, or "usage": 5')
    (frame,) = seen(relay.feed([talk]))
    assert frame == orjson.loads(talk)
    assert relay.usage is None


def test_a_client_that_asked_sees_null_on_every_frame_and_one_usage_chunk_at_the_end() -> None:
    relay = Relay(include_usage=True)
    sent = relay.feed(
        [
            chunk("a", usage=None),
            chunk("b", usage=None),
            chunk(None, usage=USAGE, finish="stop"),
            usage_only({**USAGE, "total_tokens": 6}),
        ]
    )
    frames = seen(sent + relay.usage_frame({**USAGE, "cost_krw": "0.37"}))
    assert [frame["usage"] for frame in frames[:-1]] == [None, None, None]
    assert frames[-1]["choices"] == []
    assert frames[-1]["usage"] == {**USAGE, "cost_krw": "0.37"}
    assert frames[-1]["id"] == "c1"


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ([USAGE], USAGE),
        ([USAGE, {"total_tokens": 9}], {"total_tokens": 9}),  # the last one wins, never a sum
        (
            [{"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}],
            {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        ),
        ([], None),
    ],
)
def test_the_last_usage_wins_and_zero_is_not_missing(stated: list[object], kept: object) -> None:
    relay = Relay(include_usage=False)
    relay.feed([chunk("a"), *(usage_only(one) for one in stated)])
    assert relay.usage == kept


def test_usage_on_a_frame_with_content_counts_and_the_content_is_delivered() -> None:
    relay = Relay(include_usage=False)
    sent = relay.feed([chunk("a"), chunk("last", usage=USAGE, finish="stop")])
    assert seen(sent)[-1]["choices"][0]["delta"]["content"] == "last"  # type: ignore[index]
    assert b"usage" not in sent
    assert relay.usage == USAGE


def test_the_first_delta_gets_a_role() -> None:
    (frame,) = seen(Relay(include_usage=False).feed([chunk("a")]))
    assert frame["choices"][0]["delta"]["role"] == "assistant"  # type: ignore[index]


def test_a_choice_that_called_tools_ends_with_tool_calls_whatever_the_upstream_says() -> None:
    relay = Relay(include_usage=False)
    call = {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    sent = relay.feed([chunk(None, tool_calls=[call]), chunk(None, finish="stop")])
    first, last = seen(sent)
    assert last["choices"][0]["finish_reason"] == "tool_calls"  # type: ignore[index]
    assert first["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] == '{"a":1}'  # type: ignore[index]
    assert relay.text() == "f"  # arguments that were no string are mended for the client, and not counted as text


def test_an_error_object_in_the_stream_is_an_error_not_content() -> None:
    relay = Relay(include_usage=False)
    relay.feed([chunk("a")])
    with pytest.raises(UpstreamSaidError) as caught:
        relay.feed([b'{"error":{"message":"secret prompt text","code":"overloaded"}}'])
    assert caught.value.code == "overloaded"
    assert "secret" not in str(caught.value)


@given(st.lists(st.text(max_size=40), max_size=30), st.booleans())
def test_everything_generated_is_delivered_once_and_remembered_in_order(texts: list[str], include: bool) -> None:
    relay = Relay(include_usage=include)
    payloads = [chunk(text, usage=None) for text in texts]
    sent = relay.feed(payloads) if payloads else b""
    assert "".join(frame["choices"][0]["delta"]["content"] for frame in seen(sent)) == "".join(texts)  # type: ignore[index]
    assert relay.text() == "".join(texts)
    assert relay.frames == len(texts)
