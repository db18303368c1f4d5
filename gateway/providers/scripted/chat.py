"""OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from gateway.providers.scripted.composing import asked_for, check_chat, choice_of, in_one_piece, usages
from gateway.providers.scripted.script import Choice, Engine, Faults, Script, Step
from gateway.providers.scripted.text import count_prompt_tokens, count_tokens


def chat_completions(engine: Engine, request: dict[str, Any]) -> Script:
    """OpenAI's POST /chat/completions. https://platform.openai.com/docs/api-reference/chat"""
    check_chat(request)
    faults, prompt = asked_for(engine, request)
    if faults.fail is not None:
        return engine.refuse(
            faults.fail,
            "The practice upstream was told to fail.",
            code="practice_fault",
            before=faults.slow,
            request=request,
        )
    choices = [choice_of(request, prompt, index, faults.chunks) for index in range(request.get("n") or 1)]
    prompt_tokens = count_prompt_tokens(request)
    completion_tokens = sum(choice.tokens for choice in choices)
    told = usages(faults, prompt_tokens, completion_tokens, chat_usage)
    head = {
        "id": f"chatcmpl-{engine.new_id()}",
        "object": "chat.completion",
        "created": int(engine.clock()),
        "model": request["model"],
        "service_tier": "default",
        "system_fingerprint": "fp_practice",
    }
    headers = {"x-request-id": f"req_{head['id'][9:]}", "openai-processing-ms": "1"}
    stream = request.get("stream") is True
    if stream:
        headers |= {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        pace = engine.pace if faults.pace is None else faults.pace
        steps: Iterable[Step] = _chat_chunks(request, head, choices, told, faults, pace=pace)
        length = None
    else:
        headers["content-type"] = "application/json"
        body = _chat_body(request, head, choices, told, faults)
        steps, length = in_one_piece(body, completion_tokens, told, faults), len(body)
    return Script(
        200,
        headers,
        steps,
        before=faults.slow,
        length=length,
        cut=None if faults.cut is None else engine.cut,
        model=request["model"],
        stream=stream,
        prompt_tokens=prompt_tokens,
    )


def chat_usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _logprobs(request: Mapping[str, Any], piece: str) -> dict[str, Any] | None:
    if not request.get("logprobs"):
        return None

    def one(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    logprob = -(len(piece) % 5 + 1) / 10
    others = [
        one(f"{piece}{rank}" if rank else piece, logprob - rank) for rank in range(request.get("top_logprobs") or 0)
    ]
    return {**one(piece, logprob), "top_logprobs": others}


def _tool_call(
    request: Mapping[str, Any], head: Mapping[str, Any], index: int, name: str, arguments: str
) -> dict[str, Any]:
    return {
        "id": f"call_{head['id'][9:]}_{index}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _chat_body(
    request: Mapping[str, Any],
    head: Mapping[str, Any],
    choices: Sequence[Choice],
    told: Sequence[Mapping[str, Any]],
    faults: Faults,
) -> bytes:
    if faults.garbage:
        return b'{"id": "chatcmpl-garbage", "choices": [{"index": 0, "mess'
    answers = []
    for index, choice in enumerate(choices):
        text = "".join(choice.pieces)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        logprobs = None
        if choice.tool is not None:
            message["content"] = None
            message["tool_calls"] = [_tool_call(request, head, index, choice.tool, text)]
        elif request.get("logprobs"):
            logprobs = {"content": [_logprobs(request, piece) for piece in choice.pieces], "refusal": None}
        answers.append({"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish})
    return orjson.dumps({**head, "choices": answers, **({"usage": told[-1]} if told else {})})


def _chat_chunks(
    request: Mapping[str, Any],
    head: Mapping[str, Any],
    choices: Sequence[Choice],
    told: Sequence[Mapping[str, Any]],
    faults: Faults,
    *,
    pace: float,
) -> Iterator[Step]:
    """First a chunk with the role of each choice, then one token a chunk, the choices in turn, the ends, usage, [DONE]."""
    asked = bool((request.get("stream_options") or {}).get("include_usage"))
    base = {**head, "object": "chat.completion.chunk"}
    tail = {"usage": None} if asked else {}

    def event(index: int, delta: dict[str, Any], logprobs: object = None, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return b"data: %b\n\n" % orjson.dumps({**base, "choices": [choice], **tail})

    for index, choice in enumerate(choices):
        delta: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
        tokens = 0
        if choice.tool is not None:
            call = {"index": 0, **_tool_call(request, head, index, choice.tool, "")}
            delta, tokens = {"role": "assistant", "content": None, "tool_calls": [call]}, count_tokens(choice.tool)
        yield Step(event(index, delta), tokens=tokens)

    longest = max(len(choice.pieces) for choice in choices)
    chunks = sum(len(choice.pieces) for choice in choices)
    sent = 0
    for place in range(longest):
        for index, choice in enumerate(choices):
            if place >= len(choice.pieces):
                continue
            if faults.cut is not None and sent >= faults.cut:
                return
            piece = choice.pieces[place]
            delta = {"content": piece}
            if choice.tool is not None:
                delta = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
            found = None if choice.tool is not None else _logprobs(request, piece)
            half_way = sent == chunks // 2
            if half_way and faults.garbage:
                yield Step(b'data: {"id":"chatcmpl-garbage","choices":[{"ind\n\n')
            delay = pace + faults.stall if half_way else pace
            yield Step(event(index, delta, found and {"content": [found], "refusal": None}), delay=delay, tokens=1)
            sent += 1
    if faults.cut is not None:
        return
    for index, choice in enumerate(choices):
        yield Step(event(index, {}, finish=choice.finish))
    for usage in told if asked else ():
        yield Step(b"data: %b\n\n" % orjson.dumps({**base, "choices": [], "usage": usage}), usage=usage)
    yield Step(b"data: [DONE]\n\n")
