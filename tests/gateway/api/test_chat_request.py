"""Which chat bodies are understood, what of them may leave, and what is refused by name."""

import orjson
import pytest

from gateway.api.chat_request import FIELDS, VENDOR_FIELDS, Request, parse
from gateway.errors import BadRequest
from gateway.settings import Limits

LIMITS = Limits()
HELLO = {"model": "m", "messages": [{"role": "user", "content": "안녕"}]}


def read(**more: object) -> Request:
    return parse(orjson.dumps({**HELLO, **more}), LIMITS)


REFUSED = [
    pytest.param({"model": 5}, "invalid_type", "model", id="model is a number"),
    pytest.param({"model": ""}, "invalid_type", "model", id="model is empty"),
    pytest.param({"messages": []}, "invalid_type", "messages", id="no messages"),
    pytest.param({"messages": "hi"}, "invalid_type", "messages", id="messages is a string"),
    pytest.param(
        {"messages": [{"role": "king", "content": "x"}]}, "invalid_type", "messages[0].role", id="unknown role"
    ),
    pytest.param(
        {"messages": [{"role": "user", "content": 5}]}, "invalid_type", "messages[0].content", id="content is a number"
    ),
    pytest.param({"max_tokens": -1}, "invalid_type", "max_tokens", id="negative cap"),
    pytest.param({"max_tokens": 1.5}, "invalid_type", "max_tokens", id="cap is a fraction"),
    pytest.param({"max_tokens": True}, "invalid_type", "max_tokens", id="cap is a bool"),
    pytest.param({"temperature": 3}, "invalid_type", "temperature", id="too hot"),
    pytest.param({"n": 0}, "invalid_type", "n", id="no choices"),
    pytest.param({"n": 5}, "invalid_value", "n", id="too many choices"),
    pytest.param({"stop": ["a", "b", "c", "d", "e"]}, "invalid_type", "stop", id="five stops"),
    pytest.param({"stream": "yes"}, "invalid_type", "stream", id="stream is a word"),
    pytest.param({"service_tier": "priority"}, "invalid_value", "service_tier", id="a dearer tier"),
    pytest.param({"api_base": "http://evil"}, "unknown_parameter", "api_base", id="an address"),
    pytest.param({"api_key": "k"}, "unknown_parameter", "api_key", id="a key"),
    pytest.param({"extra_headers": {}}, "unknown_parameter", "extra_headers", id="headers"),
    pytest.param(
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]},
        "invalid_image_url",
        "messages.0.content",
        id="an image by address",
    ),
]


@pytest.mark.parametrize(("change", "code", "param"), REFUSED)
def test_refused_by_name(change: dict[str, object], code: str, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**change)
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(
    "field", ["user", "metadata", "store", "safety_identifier", "service_tier", "max_tokens", "stream", "model"]
)
def test_kept_back(field: str) -> None:
    given = {
        "user": "kim@city.kr",
        "metadata": {"a": "b"},
        "store": True,
        "safety_identifier": "kim",
        "service_tier": "auto",
        "max_tokens": 5,
        "stream": True,
        "model": "m",
    }
    assert field not in read(**{field: given[field]}).body


@pytest.mark.parametrize("field", sorted(VENDOR_FIELDS))
def test_what_other_vendors_understand_is_forwarded(field: str) -> None:
    assert read(**{field: 1}).body[field] == 1


def test_the_written_list_does_not_overlap_the_known_fields() -> None:
    assert not VENDOR_FIELDS & FIELDS


@pytest.mark.parametrize(
    ("caps", "cap"),
    [
        ({}, None),
        ({"max_tokens": 0}, None),
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 9}, 9),
        ({"max_tokens": 7, "max_completion_tokens": 5}, 5),
        ({"max_tokens": None}, None),
    ],
)
def test_the_smaller_cap_counts_and_zero_is_none(caps: dict[str, object], cap: int | None) -> None:
    assert read(**caps).output_cap == cap


IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]


@pytest.mark.parametrize(
    ("change", "needs"),
    [
        ({}, {"chat"}),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {"chat", "tools"}),
        ({"response_format": {"type": "json_object"}}, {"chat", "json"}),
        ({"response_format": {"type": "text"}}, {"chat"}),
        ({"messages": [{"role": "user", "content": IMAGE}]}, {"chat", "vision"}),
        ({"web_search_options": {}}, {"chat", "search"}),
        ({"modalities": ["text", "audio"]}, {"chat", "audio"}),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "x"}}]}]},
            {"chat", "documents"},
        ),
    ],
)
def test_what_the_model_must_be_able_to_do(change: dict[str, object], needs: set[str]) -> None:
    assert read(**change).needs == needs
