"""Embeddings: every way of asking, what is booked for it, and what is refused before anything leaves."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from flows.inside import Inside, opened

from billing.holds import SetQuota
from gateway.directory.ids import now_us
from gateway.providers.scripted import Script, ScriptedEngine, Step
from gateway.providers.scripted_server import ScriptedServer, serve

PRICES = """\
provider: acme
currency: USD
valid_from: 2026-01-01
source: written for this test
confirmed: true
prices:
  - key: acme/embedding
    per_million: {input: "0.02"}
  - key: acme/chat
    per_million: {input: "1", output: "4"}
"""


class Upstream:
    """The scripted upstream, and one thing more: token numbers are taken as OpenAI takes them. `seen` is what arrived."""

    def __init__(self) -> None:
        self._engine = ScriptedEngine(faults=True)
        self.seen: list[dict[str, Any]] = []

    def answer(self, path: str, body: bytes) -> Script:
        request = json.loads(body)
        self.seen.append({"path": path, **request})
        given = request.get("input")
        if path.endswith("/embeddings") and isinstance(given, list) and not isinstance(given[0], str):
            texts = given if isinstance(given[0], list) else [given]
            count = sum(map(len, texts))
            data = [{"object": "embedding", "index": i, "embedding": [0.5, -0.5]} for i in range(len(texts))]
            usage = {"prompt_tokens": count, "total_tokens": count}
            said = json.dumps({"object": "list", "model": request["model"], "data": data, "usage": usage}).encode()
            return Script(200, {"content-type": "application/json"}, [Step(said)], length=len(said))
        return self._engine.answer(path, body)


def config(base_url: str) -> dict[str, Any]:
    def model(name: str, **more: Any) -> dict[str, Any]:
        place = {"provider": "near", "model": f"served-{name}", "price": "acme/embedding", **more.pop("place", {})}
        given = {"name": name, "title": {"ko": name, "en": name}, "grade": "S", "context": 8191, "max_output": 1}
        return {**given, "capabilities": ["embeddings"], "deployments": [place], **more}

    return {
        "organisation": {"name": "데모시", "timezone": "Asia/Seoul"},
        "providers": {
            "near": {"kind": "openai_compatible", "base_url": base_url, "destination": "inside", "family": "vllm/chat"},
            "packs": {
                "kind": "openai_compatible",
                "base_url": base_url,
                "destination": "inside",
                "family": "vllm/chat",
                "base64_vectors": True,
            },
        },
        "models": [
            model("vectors"),
            model("talker", capabilities=["chat"], place={"price": "acme/chat"}),
            model("outside-grade", grade="O"),
            model("exact", place={"tokenizer": "cl100k_base"}),
            model("packing", place={"provider": "packs"}),
        ],
    }


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, ScriptedServer]]:
    made = Upstream()
    async with serve(made) as server:
        yield made, server


@pytest.fixture
async def inside(
    upstream: tuple[Upstream, ScriptedServer], tmp_path: Path, migrated_sqlite: Path
) -> AsyncIterator[Inside]:
    given = config(upstream[1].base_url)
    async with opened(tmp_path / "gateway", migrated_sqlite, given, prices={"acme.yaml": PRICES}) as gateway:
        yield gateway


# Each row: what is asked, and how many tokens the upstream counts for it ("Hello" is one, " world" is one).
@pytest.mark.parametrize(
    ("given", "tokens", "vectors"),
    [("Hello world", 2, 1), (["Hello", "Hello world"], 3, 2), ([5, 6, 7], 3, 1), ([[5, 6], [7], [8, 9]], 5, 3)],
    ids=["a text", "texts", "tokens", "lists of tokens"],
)
async def test_every_way_of_asking_is_answered_and_booked(
    inside: Inside, given: Any, tokens: int, vectors: int
) -> None:
    """0.02 USD a million is 2e-8 USD a token: 200 ticks of 1e-10 each."""
    answer = await inside.post("/v1/embeddings", model="vectors", input=given)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert [one["index"] for one in said["data"]] == list(range(vectors))
    event = inside.event(answer)
    assert inside.meters(event) == {"input": tokens}
    assert (inside.ticks(event), event["quality"], event["outcome"]) == (tokens * 200, "exact", "completed")
    assert (event["surface"], event["extractor"], event["purpose"]) == (
        "embeddings",
        "openai_embeddings/1",
        "embeddings",
    )
    assert json.loads(event["raw_usage"]) == said["usage"]
    assert float(answer.headers["x-haechi-cost-krw"]) == (event["won"] + event["vat"]) / 1_000_000
    assert answer.headers["x-haechi-model"] == "vectors"
    assert inside.rows("SELECT * FROM hold WHERE state NOT IN ('posted')") == []


async def test_vectors_under_a_key_come_again_and_are_charged_once(inside: Inside) -> None:
    headers = {"idempotency-key": "01a7b0c2-vectors"}
    body = {"model": "vectors", "input": ["Hello", "Hello world"]}
    first, again = [await inside.client.post("/v1/embeddings", json=body, headers=headers) for _ in range(2)]
    assert (again.content, again.headers["x-haechi-replayed"]) == (first.content, "true")
    assert again.headers["x-request-id"] == first.headers["x-request-id"]
    assert inside.event(first)["tokens"] == 3
    assert len(inside.rows("SELECT id FROM usage_event")) == 1


async def test_what_leaves_is_the_text_and_its_format_only(
    inside: Inside, upstream: tuple[Upstream, ScriptedServer]
) -> None:
    answer = await inside.post(
        "/v1/embeddings", model="vectors", input="Hello", dimensions=4, encoding_format="base64", user="kim@city.kr"
    )
    packed = base64.b64decode(answer.json()["data"][0]["embedding"])
    assert len(struct.unpack("<4f", packed)) == 4
    sent = upstream[0].seen[-1]
    assert sent == {
        "path": "/v1/embeddings",
        "model": "served-vectors",
        "input": "Hello",
        "dimensions": 4,
        "encoding_format": "float",
    }


@pytest.mark.parametrize("given", ["Hello", ["Hello", "Hello world"], [5, 6]])
async def test_packed_vectors_are_the_numbers(inside: Inside, given: Any) -> None:
    """OpenAI's SDK asks for base64 unless told otherwise, and not every upstream knows what that is."""
    numbers = (await inside.post("/v1/embeddings", model="vectors", input=given)).json()["data"]
    packed = (await inside.post("/v1/embeddings", model="vectors", input=given, encoding_format="base64")).json()[
        "data"
    ]
    assert len(packed) == len(numbers)
    for one, other in zip(packed, numbers, strict=True):
        raw = base64.b64decode(one["embedding"])
        assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(other["embedding"])


async def test_an_upstream_that_packs_vectors_itself_is_asked_to(
    inside: Inside, upstream: tuple[Upstream, ScriptedServer]
) -> None:
    answer = await inside.post("/v1/embeddings", model="packing", input="Hello", encoding_format="base64")
    assert isinstance(answer.json()["data"][0]["embedding"], str)
    assert upstream[0].seen[-1]["encoding_format"] == "base64"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"input": ""}, (400, "invalid_value", "input")),
        ({"input": []}, (400, "invalid_value", "input")),
        ({"input": ["a", ""]}, (400, "invalid_value", "input")),
        ({"input": ["a", 5]}, (400, "invalid_value", "input")),
        ({"input": [[5], []]}, (400, "invalid_value", "input")),
        ({"input": [-1]}, (400, "invalid_value", "input")),
        ({"input": [True]}, (400, "invalid_value", "input")),
        ({"input": ["a"] * 2049}, (400, "invalid_value", "input")),
        ({"input": {"text": "a"}}, (400, "invalid_type", "input")),
        ({"dimensions": 0}, (400, "invalid_type", "dimensions")),
        ({"encoding_format": "hex"}, (400, "invalid_type", "encoding_format")),
        ({"api_base": "http://evil"}, (400, "unknown_parameter", "api_base")),
        ({"model": "vectorz"}, (404, "model_not_found", "model")),
        ({"model": "talker"}, (400, "unsupported_capability", "model")),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_name_and_costs_nothing(
    inside: Inside,
    upstream: tuple[Upstream, ScriptedServer],
    change: dict[str, Any],
    says: tuple[Any, ...],
) -> None:
    answer = await inside.post("/v1/embeddings", **{"model": "vectors", "input": "Hello", **change})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == says
    assert upstream[0].seen == []
    assert inside.rows("SELECT * FROM hold") == []


async def test_a_model_that_only_makes_vectors_does_not_chat(inside: Inside) -> None:
    answer = await inside.chat("vectors")
    assert answer.status_code == 400
    assert "chat" in answer.json()["error"]["message"]


async def test_a_declared_grade_is_kept(inside: Inside, upstream: tuple[Upstream, ScriptedServer]) -> None:
    body = {"model": "outside-grade", "input": "Hello"}
    answer = await inside.client.post("/v1/embeddings", json=body, headers={"x-haechi-grade": "S"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "policy_blocked")
    assert upstream[0].seen == []


async def test_an_empty_budget_refuses_it(inside: Inside, upstream: tuple[Upstream, ScriptedServer]) -> None:
    op = SetQuota("organisation", "month", 0, hard=True, set_by="test", at=now_us())
    await inside.app.writer.submit(op)
    answer = await inside.post("/v1/embeddings", model="vectors", input="Hello")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
    assert answer.headers["x-should-retry"] == "false"
    assert upstream[0].seen == []


async def test_tokens_are_counted_exactly_where_the_budget_is_tight(inside: Inside) -> None:
    """2,000 tokens cost 0.00004 USD = 0.056 won at 1,400; by their bytes (18,000 and more) they would not fit into 0.1 won."""
    op = SetQuota("organisation", "month", 100_000, hard=True, set_by="test", at=now_us())
    await inside.app.writer.submit(op)
    answer = await inside.post("/v1/embeddings", model="exact", input=[12345678] * 2000)
    assert answer.status_code == 200, answer.text
    assert inside.ticks(inside.event(answer)) == 2000 * 200


@pytest.mark.parametrize(
    ("prompt", "status", "quality"),
    [
        ("[[fail:500]]", 502, "exact"),
        ("[[fail:429]]", 429, "exact"),
        ("[[garbage]]", 502, "estimated"),
        ("[[no-usage]]", 200, "estimated"),
        ("[[usage-absurd]]", 200, "suspense"),
    ],
)
async def test_an_upstream_that_fails_is_booked_for_what_it_was(
    inside: Inside, prompt: str, status: int, quality: str
) -> None:
    answer = await inside.post("/v1/embeddings", model="vectors", input=prompt)
    assert answer.status_code == status, answer.text
    events = inside.rows("SELECT * FROM usage_event WHERE request_id = :id", id=answer.headers["x-request-id"])
    assert {event["quality"] for event in events} == {quality}
    assert inside.rows("SELECT * FROM hold WHERE state IN ('open', 'sent')") == []
