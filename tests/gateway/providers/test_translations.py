"""Every translation over whole provider answers: what comes out is OpenAI's shape, and the usage is the vendor's to the letter.

Over our own answers, written by hand, the result is written out; over the folder in HAECHI_TRANSCRIPTS, where that is set, what
must hold of any answer is asserted. Requests are held against what each vendor's reference says.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from recorded import Answer, answers

from billing.extract import extract
from gateway.providers.anthropic import AnthropicMessages
from gateway.providers.base import Call
from gateway.providers.bedrock import BedrockConverse
from gateway.providers.cohere import CohereChat
from gateway.providers.gemini import GeminiGenerateContent
from gateway.providers.openai_responses import OpenAIResponses
from gateway.providers.translated import Dialect, Unsayable

OWN = Path(__file__).parents[2] / "transcripts"
FOLDERS = [OWN, *(Path(folder) for folder in [os.environ.get("HAECHI_TRANSCRIPTS")] if folder)]

#: Which dialect reads usage of this (provider, flavor).
DIALECTS: dict[tuple[str, str], Callable[[], Dialect]] = {
    ("anthropic", "messages"): AnthropicMessages,
    ("google", "generateContent"): GeminiGenerateContent,
    ("cohere", "v2"): CohereChat,
    ("aws", "converse"): BedrockConverse,
    **{(vendor, "responses"): OpenAIResponses for vendor in ("openai", "azure", "xai", "perplexity")},
}

CALL = Call("req-1", 1, "practice", {"messages": [{"role": "user", "content": "?"}]})


@dataclass(frozen=True)
class Recorded:
    path: Path
    dialect: Callable[[], Dialect]
    answer: Answer

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"


def recorded(stream: bool) -> Iterator[Recorded]:
    for folder in FOLDERS:
        for answer in answers(folder):
            dialect = DIALECTS.get((answer.provider, answer.flavor))
            if dialect is not None and answer.stream == stream and "embedding" not in answer.name:
                yield Recorded(folder / answer.name, dialect, answer)


WHOLE, STREAMED = list(recorded(False)), list(recorded(True))


def events(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return [event for event in found if event.keys() != {"written_by_hand_from"}]


@dataclass
class Streamed:
    chunks: list[dict[str, Any]]
    usage: Any
    context: Any


def streams(one: Recorded) -> list[Streamed]:
    """Each answer of a file of events, as a stream would hand it on."""
    found: list[Streamed] = []
    reader, chunks = one.dialect().reader(CALL), list[dict[str, Any]]()
    for event in events(one.path):
        if event.get("type") == "message_start" and any("usage" in chunk for chunk in chunks):
            reader, chunks = one.dialect().reader(CALL), []
        chunks += reader.feed(event)
        if reader.done:
            found.append(Streamed(chunks, reader.usage, reader.context))
            reader, chunks = one.dialect().reader(CALL), []
    if chunks:
        ending = reader.end()
        assert ending is not None, "the answer is complete"
        found.append(Streamed([*chunks, *ending], reader.usage, reader.context))
    return found


def put_together(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The message a client makes of a stream."""
    message: dict[str, Any] = {}
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        assert "error" not in chunk
        orjson.dumps(chunk)
        for choice in chunk["choices"]:
            for name, value in choice["delta"].items():
                if name == "tool_calls":
                    for part in value:
                        call = calls.setdefault(part["index"], {"arguments": ""})
                        call |= {key: part[key] for key in ("id",) if key in part}
                        call |= {"name": part["function"]["name"]} if "name" in part["function"] else {}
                        call["arguments"] += part["function"].get("arguments", "")
                elif isinstance(value, str) and name != "role":
                    message[name] = message.get(name, "") + value
                else:
                    message[name] = value
            if choice["finish_reason"]:
                assert "finish_reason" not in message
                message["finish_reason"] = choice["finish_reason"]
    if calls:
        message["calls"] = [
            (calls[n]["id"], calls[n]["name"], orjson.loads(calls[n]["arguments"])) for n in sorted(calls)
        ]
    return message


def shape_of(body: dict[str, Any]) -> dict[str, Any]:
    """The same of a whole answer."""
    (choice,) = body["choices"]
    message = {name: value for name, value in choice["message"].items() if name != "tool_calls" and value is not None}
    if calls := choice["message"].get("tool_calls"):
        message["calls"] = [
            (call["id"], call["function"]["name"], orjson.loads(call["function"]["arguments"])) for call in calls
        ]
    return {**message, "finish_reason": choice["finish_reason"]}


def metered(one: Recorded, usage: Any, context: Any) -> Any:
    return extract(one.answer.provider, one.answer.flavor, usage, model=one.answer.model, context=context)


@pytest.mark.parametrize("one", WHOLE, ids=lambda one: one.name)
def test_a_whole_answer_keeps_the_vendors_usage(one: Recorded) -> None:
    said = json.loads(one.path.read_text("utf-8"))
    answer = one.dialect().answer(said, CALL)
    assert answer.usage == one.answer.usage
    assert metered(one, answer.usage, answer.context) == metered(one, one.answer.usage, one.answer.context)
    assert (answer.body["object"], len(answer.body["choices"])) == ("chat.completion", 1)
    assert shape_of(answer.body)["finish_reason"] in {"stop", "length", "tool_calls", "content_filter"}
    assert answer.body["usage"]["total_tokens"] >= 0
    orjson.dumps(answer.body)


@pytest.mark.parametrize("one", STREAMED, ids=lambda one: one.name)
def test_a_stream_ends_with_the_vendors_usage(one: Recorded) -> None:
    found = streams(one)
    assert found
    assert one.answer.usage in [stream.usage for stream in found]
    for stream in found:
        message = put_together(stream.chunks)
        assert message["role"] == "assistant"
        assert message["finish_reason"] in {"stop", "length", "tool_calls", "content_filter"}
        assert ("calls" in message) == (message["finish_reason"] == "tool_calls") or message["finish_reason"] != "stop"
        assert stream.chunks[-1]["choices"] == []
        assert metered(one, stream.usage, stream.context).quality == "exact"


THOUGHT, SAID = "규정을 먼저 찾는다.", "찾아보겠습니다."
ARGUMENTS = {"name": "지방회계법", "article": 6}

#: file → (what a client has in hand, OpenAI's counts, the meters).
WRITTEN_OUT: dict[str, tuple[dict[str, Any], tuple[int, int], dict[str, int]]] = {
    # 410 + 90 from the cache = 500 sent
    "anthropic/messages-tools": (
        {
            "content": SAID,
            "reasoning_content": THOUGHT,
            "calls": [("toolu_own_1", "find_rule", ARGUMENTS), ("toolu_own_2", "today", {})],
            "finish_reason": "tool_calls",
        },
        (500, 75),
        {"input": 410, "cache_read": 90, "output": 75},
    ),
    # 40 answered + 25 thought = 65
    "google/generate-tools": (
        {
            "content": SAID,
            "reasoning_content": THOUGHT,
            "calls": [("call_own-3_0_0", "find_rule", ARGUMENTS), ("call_own-3_0_1", "today", {})],
            "finish_reason": "tool_calls",
        },
        (120, 65),
        {"input": 120, "output": 65},
    ),
    # the model saw 1549 and wrote 103; billed are 119 and 52
    "cohere/chat-tools": (
        {
            "reasoning_content": THOUGHT,
            "calls": [("find_rule_own1", "find_rule", ARGUMENTS), ("today_own2", "today", {})],
            "finish_reason": "tool_calls",
        },
        (1549, 103),
        {"input": 119, "output": 52},
    ),
    "amazon-bedrock/converse-tools": (
        {
            "content": SAID,
            "reasoning_content": THOUGHT,
            "calls": [("tooluse_own_1", "find_rule", ARGUMENTS), ("tooluse_own_2", "today", {})],
            "finish_reason": "tool_calls",
        },
        (300, 60),
        {"input": 300, "output": 60},
    ),
    "perplexity/responses": (
        {
            "content": "해치는 옳고 그름을 가린다.",
            "citations": ["https://example.org/haechi"],
            "finish_reason": "stop",
        },
        (150, 220),
        {"input": 150, "output": 220, "web_search": 2},
    ),
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_our_own_answers_come_out_as_written_here(name: str) -> None:
    expected, counts, meters = WRITTEN_OUT[name]
    whole = next(one for one in WHOLE if one.path == OWN / f"{name}.json")
    streamed = next(one for one in STREAMED if one.path == OWN / f"{name}.chunks.txt")
    answer = whole.dialect().answer(json.loads(whole.path.read_text("utf-8")), CALL)
    (stream,) = streams(streamed)
    for message, usage in (
        (shape_of(answer.body), answer.body["usage"]),
        (put_together(stream.chunks), stream.chunks[-1]["usage"]),
    ):
        assert {key: message.get(key) for key in expected} == expected
        assert message.get("content", "") == expected.get("content", "")
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == counts
    assert answer.usage == stream.usage
    for found in (answer, stream):
        read = metered(whole, found.usage, found.context)
        assert (read.quality, {meter: n for meter, n in read.meters.items() if n}) == ("exact", meters)


def test_a_signature_comes_back_with_its_call() -> None:
    """Gemini refuses a conversation whose signatures were lost; a client that keeps the message keeps them."""
    said = json.loads((OWN / "google/generate-tools.json").read_text("utf-8"))
    message = GeminiGenerateContent().answer(said, CALL).body["choices"][0]["message"]
    turn = {"messages": [{"role": "user", "content": "?"}, message]}
    sent = GeminiGenerateContent().request(Call("r", 1, "gemini-3.1-pro-preview", turn), stream=False).body
    calls = [part for part in sent["contents"][1]["parts"] if "functionCall" in part]
    assert calls[0]["thoughtSignature"] == "b3duLXNpZ25hdHVyZQ=="
    assert "thoughtSignature" not in calls[1]
    for call in message["tool_calls"]:
        call.pop("extra_content", None)
    for model, signature in (
        ("gemini-3.1-pro-preview", "skip_thought_signature_validator"),
        ("gemini-2.5-flash", None),
    ):
        sent = GeminiGenerateContent().request(Call("r", 1, model, turn), stream=False).body
        first = next(part for part in sent["contents"][1]["parts"] if "functionCall" in part)
        assert first.get("thoughtSignature") == signature


# requests

CONVERSATION = [
    {"role": "system", "content": "짧게 답하라."},
    {"role": "user", "content": [
        {"type": "text", "text": "이 그림은?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}},
        {"id": "c2", "type": "function", "function": {"name": "look", "arguments": '{"at":2}'}},
    ]},
    {"role": "tool", "tool_call_id": "c1", "content": '{"seen":"해치"}'},
    {"role": "tool", "tool_call_id": "c2", "content": "광화문"},
]  # fmt: skip
SCHEMA = {"type": "object", "properties": {"at": {"type": "integer"}}}
BODY = {
    "messages": CONVERSATION,
    "max_tokens": 100,
    "temperature": 0.5,
    "stop": ["끝"],
    "tools": [{"type": "function", "function": {"name": "look", "description": "보기", "parameters": SCHEMA}}],
    "tool_choice": "required",
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
}


def asked(dialect: Callable[[], Dialect], stream: bool = False, **more: Any) -> tuple[str, dict[str, Any]]:
    body = {name: value for name, value in {**BODY, **more}.items() if value is not None}
    path, sent = dialect().request(Call("r", 1, "model-1", body), stream=stream)
    return path, dict(sent)


def test_a_request_to_anthropic() -> None:
    path, sent = asked(AnthropicMessages, stream=True)
    assert path == "/messages"
    assert sent == {
        "model": "model-1",
        "max_tokens": 100,
        "temperature": 0.5,
        "stop_sequences": ["끝"],
        "stream": True,
        "system": [{"type": "text", "text": "짧게 답하라."}],
        "tools": [{"name": "look", "description": "보기", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any"},
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "이 그림은?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": 1}},
                    {"type": "tool_use", "id": "c2", "name": "look", "input": {"at": 2}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "content": [{"type": "text", "text": '{"seen":"해치"}'}],
                    },
                    {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "광화문"}]},
                ],
            },
        ],
    }


def test_a_request_to_gemini() -> None:
    path, sent = asked(
        GeminiGenerateContent, stream=True, tool_choice={"type": "function", "function": {"name": "look"}}
    )
    assert path == "/models/model-1:streamGenerateContent?alt=sse"
    assert sent["systemInstruction"] == {"parts": [{"text": "짧게 답하라."}]}
    assert sent["generationConfig"] == {
        "temperature": 0.5,
        "maxOutputTokens": 100,
        "stopSequences": ["끝"],
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }
    assert sent["tools"] == [
        {"functionDeclarations": [{"name": "look", "description": "보기", "parametersJsonSchema": SCHEMA}]}
    ]
    assert sent["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look"]}}
    assert [turn["role"] for turn in sent["contents"]] == ["user", "model", "user"]
    assert sent["contents"][0]["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    assert sent["contents"][2]["parts"] == [
        {"functionResponse": {"name": "look", "response": {"seen": "해치"}}},
        {"functionResponse": {"name": "look", "response": {"result": "광화문"}}},
    ]


def test_a_request_to_cohere() -> None:
    path, sent = asked(CohereChat)
    assert (path, sent["tool_choice"], sent["stop_sequences"]) == ("/chat", "REQUIRED", ["끝"])
    assert sent["response_format"] == {"type": "json_object", "json_schema": SCHEMA}
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "tool", "tool"]
    assert sent["messages"][2]["tool_calls"] == CONVERSATION[2]["tool_calls"]


def test_a_request_to_bedrock() -> None:
    path, sent = asked(BedrockConverse, stream=True)
    assert path == "/model/model-1/converse-stream"
    assert sent["inferenceConfig"] == {"temperature": 0.5, "maxTokens": 100, "stopSequences": ["끝"]}
    assert sent["toolConfig"]["toolChoice"] == {"any": {}}
    assert sent["messages"][0]["content"][1] == {"image": {"format": "png", "source": {"bytes": "AAAA"}}}
    assert [block["toolResult"]["toolUseId"] for block in sent["messages"][2]["content"]] == ["c1", "c2"]
    arn = Call("r", 1, "eu.amazon.nova-pro-v1:0", {"messages": CONVERSATION[:2]})
    assert BedrockConverse().request(arn, stream=False).path == "/model/eu.amazon.nova-pro-v1%3A0/converse"


def test_a_request_to_responses() -> None:
    with pytest.raises(Unsayable, match="stop"):
        asked(OpenAIResponses)
    path, sent = asked(OpenAIResponses, stop=None, web_search_options={"search_context_size": "low"})
    assert (path, sent["instructions"], sent["max_output_tokens"]) == ("/responses", "짧게 답하라.", 100)
    assert (sent["store"], sent["tool_choice"]) == (False, "required")
    assert sent["text"] == {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}
    assert sent["tools"][1] == {"type": "web_search", "search_context_size": "low"}
    assert [item["type"] for item in sent["input"]] == [
        "message",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
    ]
    assert sent["input"][0]["content"][1]["image_url"] == "data:image/png;base64,AAAA"
