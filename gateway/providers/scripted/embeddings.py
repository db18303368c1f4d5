"""Embeddings: OpenAI's POST /embeddings, Cohere's /embed and Gemini's :batchEmbedContents.

A vector is a function of the model and the text. The directives for failures and usage are obeyed in the last text.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.providers.scripted.composing import in_one_piece, usages
from gateway.providers.scripted.script import Engine, Faults, Rejected, Script, read_directives
from gateway.providers.scripted.text import count_tokens

_SIZE = 8
_MOST = 3072


def openai_embeddings(engine: Engine, request: dict[str, Any]) -> Script:
    given = request.get("input")
    alone = isinstance(given, str) or (isinstance(given, list) and bool(given) and isinstance(given[0], int))
    texts = [given] if alone else given
    size = request.get("dimensions", _SIZE)
    encoded = request.get("encoding_format") == "base64"

    def body(vectors: list[list[float]], usage: Mapping[str, Any] | None) -> dict[str, Any]:
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if encoded else vector}
            for index, vector in enumerate(vectors)
        ]
        stated = {} if usage is None else {"usage": usage}
        return {"object": "list", "model": request["model"], "data": data, **stated}

    return _embedded(engine, request, texts, size, body, _openai_usage)


def embed_v2(engine: Engine, request: dict[str, Any]) -> Script:
    """https://docs.cohere.com/reference/embed"""

    def body(vectors: list[list[float]], usage: Mapping[str, Any] | None) -> dict[str, Any]:
        stated = {} if usage is None else {"meta": usage}
        return {"id": engine.new_id(), "embeddings": {"float": vectors}, "texts": request["texts"], **stated}

    return _embedded(engine, request, request.get("texts"), request.get("output_dimension", _SIZE), body, _cohere_usage)


def batch_embed_contents(engine: Engine, request: dict[str, Any]) -> Script:
    """https://ai.google.dev/api/embeddings"""
    texts = [one["content"]["parts"][0]["text"] for one in request["requests"]]
    size = request["requests"][0].get("outputDimensionality", _SIZE)

    def body(vectors: list[list[float]], usage: Mapping[str, Any] | None) -> dict[str, Any]:
        stated = {} if usage is None else {"usageMetadata": usage}
        return {"embeddings": [{"values": vector} for vector in vectors], **stated}

    return _embedded(engine, request, texts, size, body, _gemini_usage)


def _embedded(  # noqa: PLR0917 – a request, and what its format reads and writes
    engine: Engine,
    request: Mapping[str, Any],
    texts: Any,
    size: Any,
    body: Callable[[list[list[float]], Mapping[str, Any] | None], dict[str, Any]],
    write: Callable[[int, int], dict[str, Any]],
) -> Script:
    if not isinstance(request.get("model"), str) or not request["model"]:
        raise Rejected("you must provide a model parameter", "model")
    if not isinstance(texts, list) or not texts or not all(map(_is_text, texts)):
        raise Rejected("'input' must be a string or a non-empty array of strings.", "input")
    if type(size) is not int or not 0 < size <= _MOST:
        raise Rejected("'dimensions' is out of range.", "dimensions")
    faults, _ = read_directives(texts[-1]) if engine.faults and isinstance(texts[-1], str) else (Faults(), "")
    if faults.fail is not None:
        return engine.refuse(
            faults.fail,
            "The practice upstream was told to fail.",
            code="practice_fault",
            before=faults.slow,
            request=request,
        )
    sent = sum(count_tokens(text) if isinstance(text, str) else len(text) for text in texts)
    told = usages(faults, sent, 0, write)
    vectors = [_vector(request["model"], str(text), size) for text in texts]
    answer = b'{"object":"list","da' if faults.garbage else orjson.dumps(body(vectors, told[-1] if told else None))
    return Script(
        200,
        {"content-type": "application/json", "x-request-id": f"req_{engine.new_id()}"},
        in_one_piece(answer, 0, told, faults),
        before=faults.slow,
        length=len(answer),
        cut=None if faults.cut is None else engine.cut,
        model=request["model"],
        prompt_tokens=sent,
    )


def _is_text(given: object) -> bool:
    """A text, or its tokens by number."""
    if isinstance(given, list):
        return bool(given) and all(type(token) is int for token in given)
    return isinstance(given, str) and bool(given)


def _vector(model: str, text: str, size: int) -> list[float]:
    """Numbers between -1 and 1, four to the hash."""
    found: list[float] = []
    turn = 0
    while len(found) < size:
        drawn = hashlib.blake2b(f"{model}\0{turn}\0{text}".encode(), digest_size=16).digest()
        found += [number / 2**31 for number in struct.unpack(">4i", drawn)]
        turn += 1
    return found[:size]


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _openai_usage(sent: int, answered: int) -> dict[str, Any]:
    return {"prompt_tokens": sent, "total_tokens": sent + answered}


def _cohere_usage(sent: int, answered: int) -> dict[str, Any]:
    return {"billed_units": {"input_tokens": sent + answered}}


def _gemini_usage(sent: int, answered: int) -> dict[str, Any]:
    return {"promptTokenCount": sent, "totalTokenCount": sent + answered}
