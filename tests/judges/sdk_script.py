"""Uses the official OpenAI SDK the way a department's program would, and prints what it saw as JSON.

    .venv-sdk/bin/python tests/judges/sdk_script.py BASE_URL KEY KEY_WITHOUT_BUDGET

Run by test_openai_sdk.py, which asserts; it imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import openai
from openai import AsyncOpenAI, DefaultHttpx2Client, OpenAI

MODEL = "practice-inside"
ASK = [{"role": "user", "content": "주간 업무 보고서의 개요를 세 줄로 써 줘."}]
#: Made up; its check digit is right.
RRN = "주민등록번호 850312-2345677 확인"
TOOL = {
    "type": "function",
    "function": {
        "name": "budget_left",
        "description": "남은 예산을 원 단위로 알려 준다",
        "parameters": {"type": "object", "properties": {"department": {"type": "string"}}, "required": ["department"]},
    },
}


def whole(client: OpenAI) -> dict[str, Any]:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK, seed=7)
    answer = raw.parse()
    return {
        "text": answer.choices[0].message.content,
        "finish_reason": answer.choices[0].finish_reason,
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": answer.usage.completion_tokens,
        "total_tokens": answer.usage.total_tokens,
        "cost_krw_header": raw.headers.get("x-haechi-cost-krw"),
        "request_id": raw.headers.get("x-request-id"),
    }


def stream(client: OpenAI) -> dict[str, Any]:
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=ASK, seed=7, stream=True, stream_options={"include_usage": True}
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    usage = chunks[-1].usage
    return {
        "text": "".join(delta.content or "" for delta in deltas),
        "chunks": len(chunks),
        "roles": [delta.role for delta in deltas if delta.role],
        "usage": {name: getattr(usage, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
        "cost_krw": (usage.model_extra or {}).get("cost_krw"),
    }


def stream_without_usage(client: OpenAI) -> dict[str, Any]:
    chunks = list(client.chat.completions.create(model=MODEL, messages=ASK, seed=7, stream=True))
    return {
        "usage_frames": sum(chunk.usage is not None for chunk in chunks),
        "empty_choice_frames": sum(not chunk.choices for chunk in chunks),
    }


def accumulated(client: OpenAI) -> dict[str, Any]:
    with client.chat.completions.stream(model=MODEL, messages=ASK, seed=7) as events:
        for _ in events:
            pass
        return {"text": events.get_final_completion().choices[0].message.content}


def tool(client: OpenAI) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": MODEL, "messages": ASK, "tools": [TOOL], "tool_choice": "required"}
    choice = client.chat.completions.create(**asked).choices[0]
    call = choice.message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "1200000"}
    after = client.chat.completions.create(
        model=MODEL, messages=[*ASK, choice.message.to_dict(), result], tools=[TOOL], tool_choice="none"
    )
    pieces = [
        part.function
        for chunk in client.chat.completions.create(**asked, stream=True)
        for answer in chunk.choices
        for part in answer.delta.tool_calls or ()
    ]
    return {
        "finish_reason": choice.finish_reason,
        "name": call.function.name,
        "arguments": call.function.arguments,
        "after_result": after.choices[0].finish_reason,
        "streamed_name": "".join(piece.name or "" for piece in pieces),
        "streamed_arguments": "".join(piece.arguments or "" for piece in pieces),
    }


class Counting:
    """A client that counts what it really sends, so that a retry cannot hide."""

    def __init__(self, base_url: str, api_key: str, *, retries: int) -> None:
        self.requests = 0
        http = DefaultHttpx2Client(event_hooks={"request": [self._count]})
        self.client = OpenAI(base_url=base_url, api_key=api_key, max_retries=retries, http_client=http)

    def _count(self, _request: object) -> None:
        self.requests += 1


def refused(base_url: str, api_key: str, retries: int = 0, **asked: Any) -> dict[str, Any]:
    counting = Counting(base_url, api_key, retries=retries)
    try:
        counting.client.chat.completions.create(**{"model": MODEL, "messages": ASK, **asked})
    except openai.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        return {
            "raised": type(error).__name__,
            "status": error.status_code,
            "code": error.code,
            "type": error.type,
            "request_id": error.request_id,
            "haechi": body.get("haechi"),
            "requests": counting.requests,
        }
    return {"raised": None, "status": 200, "code": None, "requests": counting.requests}


def errors(base_url: str, key: str, broke: str) -> dict[str, Any]:
    return {
        "no_such_key": refused(base_url, "hc_live_nobody"),
        "no_such_model": refused(base_url, key, model="no-such-model"),
        "bad_parameter": refused(base_url, key, temperature=9),
        "unknown_parameter": refused(base_url, key, extra_body={"api_base": "http://127.0.0.1:9"}),
        "blocked_by_policy": refused(base_url, key, extra_headers={"x-haechi-grade": "C"}),
        "stopped_by_a_filter": refused(
            base_url, key, retries=3, model="practice-foreign", messages=[{"role": "user", "content": RRN}]
        ),
        "stream_stopped_by_a_filter": refused(
            base_url, key, retries=3, model="practice-foreign", messages=[{"role": "user", "content": RRN}], stream=True
        ),
        "out_of_budget": refused(base_url, broke, retries=3),
        "upstream_failed": refused(base_url, key, messages=[{"role": "user", "content": "[[fail:500]]"}]),
        "upstream_rate_limited": refused(base_url, key, messages=[{"role": "user", "content": "[[fail:429]]"}]),
    }


def cut_stream(client: OpenAI) -> dict[str, Any]:
    text = ""
    try:
        asked = [{"role": "user", "content": "[[cut:3]] 보고서 초안을 써 줘."}]
        for chunk in client.chat.completions.create(model=MODEL, messages=asked, stream=True):
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
    except openai.APIError as error:
        return {"raised": type(error).__name__, "text": text}
    return {"raised": None, "text": text}


async def parallel(base_url: str, key: str) -> dict[str, int]:
    async with AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        asks = [
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"{n}번째 질문"}])
            for n in range(16)
        ]
        answers = await asyncio.gather(*asks)
    return {"asked": len(asks), "answered": sum(bool(answer.choices[0].message.content) for answer in answers)}


def models(client: OpenAI) -> dict[str, Any]:
    return {"listed": [model.id for model in client.models.list()], "fetched": client.models.retrieve(MODEL).id}


def vectors(client: OpenAI) -> dict[str, Any]:
    """Without a format, the SDK asks for base64 behind its user's back and decodes it."""
    asked: dict[str, Any] = {"model": "text-embedding-3-small", "input": "민원 처리 기한"}
    unasked = client.embeddings.create(**asked)
    numbers = client.embeddings.create(**asked, encoding_format="float")
    return {
        "unasked": unasked.data[0].embedding,
        "as_numbers": numbers.data[0].embedding,
        "total_tokens": unasked.usage.total_tokens,
    }


def main(base_url: str, key: str, broke: str) -> None:
    with OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        seen = {
            "version": openai.__version__,
            "whole": whole(client),
            "stream": stream(client),
            "stream_without_usage": stream_without_usage(client),
            "accumulated": accumulated(client),
            "tool": tool(client),
            "errors": errors(base_url, key, broke),
            "cut_stream": cut_stream(client),
            "parallel": asyncio.run(parallel(base_url, key)),
            "models": models(client),
            "vectors": vectors(client),
        }
    print(json.dumps(seen, ensure_ascii=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
