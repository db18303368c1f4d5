"""The API to the letter, over a real socket: what a client reads, what leaves for the provider, and that both match the books."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from flows.harness import Answer, Gateway, Town, Upstream, asking

from gateway.providers.scripted import Script, ScriptedEngine
from gateway.providers.scripted_server import ScriptedServer

PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 40).decode()

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "report",
        "schema": {
            "type": "object",
            "properties": {"title": {"type": "string"}, "pages": {"type": "integer", "minimum": 2}},
            "required": ["title", "pages"],
        },
    },
}


class Recorder:
    """An upstream in this process that keeps the bodies it was sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.server = ScriptedServer(self)
        self._engine = ScriptedEngine(pace=0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def answer(self, path: str, body: bytes) -> Script:
        self.bodies.append(json.loads(body))
        return self._engine.answer(path, body)

    def __enter__(self) -> Recorder:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.server.listen("127.0.0.1", 0), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.server.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as listening:
        yield listening


@pytest.fixture(scope="module")
def place(found: Callable[..., Town], recorder: Recorder) -> Town:
    """Comments after a third of a second of silence, and a model whose upstream keeps what it was sent."""
    town = found("sqlite", keepalive_seconds=0.3)
    near, inside = town.settings["providers"]["near"], town.settings["models"][0]
    town.settings["providers"]["recorder"] = {**near, "base_url": recorder.server.base_url}
    deployment = {**inside["deployments"][0], "provider": "recorder"}
    town.settings["models"].append({**inside, "name": "recorded", "deployments": [deployment]})
    town.write_config()
    return town


def won(place: Town, answer: Answer) -> str:
    """What the ledger says an answer cost, as a decimal without needless zeros."""
    row = place.event(answer.request_id)
    return f"{(row['won'] + row['vat']) / 1_000_000:.6f}".rstrip("0").rstrip(".")


# ── usage and cost ──────────────────────────────────────────────────────────────────────────────────────────────────────


def anonymous(frame: bytes) -> bytes:
    frame = re.sub(rb'"id":"chatcmpl-[0-9a-f]+"', b'"id":"chatcmpl-0"', frame)
    return re.sub(rb'"created":\d+', b'"created":0', frame)


def test_usage_nobody_asked_for_is_stripped_to_the_byte(place: Town, gateway: Gateway) -> None:
    """A client reads what it would have read from the provider itself, which we asked for usage and it did not."""
    asked = asking("[[pace:0]] [[chunks:20]] 한 바이트도", stream=True)
    through = gateway.post(asked)
    direct = Upstream(place.folder, "direct")
    try:
        body = {**asked, "model": "served-inside", "max_tokens": 2048}
        raw = httpx.post(f"{direct.base_url}/chat/completions", json=body).content
    finally:
        direct.process.stop()
    assert anonymous(through.body) == anonymous(raw)
    assert b"usage" not in through.body
    place.books_agree()


def test_usage_that_was_asked_for_is_in_one_last_chunk_with_its_cost(place: Town, gateway: Gateway) -> None:
    answer = gateway.chat("[[chunks:20]] 얼마", stream=True, stream_options={"include_usage": True})
    *others, last = answer.chunks
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in others)
    assert last["choices"] == []
    assert last["object"] == "chat.completion.chunk"
    assert last["id"] == others[0]["id"]
    assert last["usage"]["completion_tokens"] == 20
    assert last["usage"]["cost_quality"] == "exact"
    assert last["usage"]["cost_krw"] == won(place, answer)
    assert answer.done


def test_a_whole_answer_has_its_cost_in_a_header(place: Town, gateway: Gateway) -> None:
    answer = gateway.chat("[[chunks:20]] 얼마")
    assert answer.headers["x-haechi-cost-krw"] == won(place, answer)
    assert answer.headers["x-haechi-cost-quality"] == "exact"
    assert answer.headers["x-haechi-model"] == "inside"
    assert answer.headers["x-request-id"] == answer.headers["request-id"] == answer.request_id
    row = place.event(answer.request_id)
    assert (row["tokens"], place.output_tokens(row)) == (answer.json["usage"]["total_tokens"], 20)


def test_an_estimate_says_so_to_the_client_too(place: Town, gateway: Gateway) -> None:
    whole = gateway.chat("[[no-usage]] [[chunks:20]] 모름")
    assert whole.headers["x-haechi-cost-quality"] == "estimated"
    assert whole.headers["x-haechi-cost-krw"] == won(place, whole)
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    told = gateway.chat("[[no-usage]] [[chunks:20]] 모름", **asked)
    assert told.chunks[-1]["usage"]["cost_quality"] == "estimated"
    assert told.chunks[-1]["usage"]["cost_krw"] == won(place, told)
    assert told.chunks[-1]["usage"]["completion_tokens"] == 20


def test_what_is_free_costs_nothing_and_is_counted(place: Town, gateway: Gateway) -> None:
    answer = gateway.chat("[[chunks:20]] 공짜", model="free")
    assert answer.headers["x-haechi-cost-krw"] == "0"
    assert place.event(answer.request_id)["tokens"] > 20


# ── silence ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_slow_model_is_bridged_with_comments(place: Town, gateway: Gateway) -> None:
    answer = gateway.chat("[[slow:1]] [[chunks:5]] 잠깐", stream=True)
    assert answer.status == 200
    assert answer.body.startswith(b": ping\n\n")
    assert answer.done
    assert answer.body.count(b"\n\n") == answer.body.count(b"data: ") + answer.body.count(b": ping\n\n")


def test_silence_in_mid_answer_is_bridged_too(gateway: Gateway) -> None:
    answer = gateway.chat("[[pace:0]] [[stall:1]] [[chunks:6]] 잠깐", stream=True)
    before, _, after = answer.body.partition(b": ping\n\n")
    assert b"data: {" in before
    assert b"data: [DONE]" in after


def test_a_failure_after_a_comment_is_an_error_frame(place: Town, gateway: Gateway) -> None:
    """The status is gone with the first comment; another place could still have answered."""
    answer = gateway.chat("[[slow:1]] [[fail:500]] 실패", stream=True)
    assert (answer.status, answer.done) == (200, False)
    assert [chunk["error"]["code"] for chunk in answer.chunks] == ["upstream_failed"]
    moved = gateway.chat("[[slow:1]] [[fail:500]] 실패", stream=True, model="guarded")
    assert moved.done
    assert {chunk["model"] for chunk in moved.chunks} == {"served-reserve"}
    place.books_agree()


# ── what models can do ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_tool_is_called(place: Town, gateway: Gateway, choice: Any) -> None:
    asked = {"tools": [WEATHER], "tool_choice": choice}
    whole = gateway.chat("비가 오나", **asked).json["choices"][0]
    (call,) = whole["message"]["tool_calls"]
    assert (whole["finish_reason"], call["function"]["name"]) == ("tool_calls", "weather")
    assert set(json.loads(call["function"]["arguments"])) == {"city"}
    chunks = gateway.chat("비가 오나", stream=True, **asked).chunks
    deltas = [c["choices"][0]["delta"] for c in chunks]
    calls = [delta["tool_calls"][0] for delta in deltas if delta.get("tool_calls")]
    assert deltas[0]["role"] == "assistant"
    assert {part["index"] for part in calls} == {0}
    assert [part["function"]["name"] for part in calls if part["function"].get("name")] == ["weather"]
    assert sum("id" in part for part in calls) == 1
    assert json.loads("".join(part["function"]["arguments"] for part in calls)).keys() == {"city"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    place.books_agree()


def test_a_tools_result_is_understood(gateway: Gateway) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "서울"}'}}
    messages = [
        {"role": "user", "content": "비가 오나"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "맑음"},
    ]
    assert gateway.post(asking(messages=messages, tools=[WEATHER])).status == 200


def test_structured_output(gateway: Gateway) -> None:
    for stream in (False, True):
        assert json.loads(gateway.chat("보고서", response_format=SCHEMA, stream=stream).text)["pages"] >= 2


def test_logprobs(gateway: Gateway) -> None:
    choice = gateway.chat("[[chunks:5]] 확률", logprobs=True, top_logprobs=2).json["choices"][0]
    assert [len(token["top_logprobs"]) for token in choice["logprobs"]["content"]] == [2] * 5
    streamed = gateway.chat("[[chunks:5]] 확률", logprobs=True, stream=True).chunks
    assert sum(bool(chunk["choices"][0]["logprobs"]) for chunk in streamed) == 5


@pytest.mark.parametrize("stream", [False, True])
def test_every_choice_is_delivered_and_billed(place: Town, gateway: Gateway, stream: bool) -> None:
    answer = gateway.chat("[[chunks:8]] 셋", n=3, stream=stream)
    if stream:
        assert {chunk["choices"][0]["index"] for chunk in answer.chunks} == {0, 1, 2}
    else:
        assert [choice["index"] for choice in answer.json["choices"]] == [0, 1, 2]
    row = place.event(answer.request_id)
    assert place.output_tokens(row) == 24
    (hold,) = place.rows("SELECT * FROM hold WHERE id = :id", id=row["id"])
    assert hold["amount"] == 1_400 * hold["input_bound"] + 3 * 5_600 * hold["output_cap"] + 2
    place.books_agree()


def test_stop_and_seed(gateway: Gateway) -> None:
    text = gateway.chat("[[chunks:40]] 같은 씨앗", seed=7).text
    assert gateway.chat("[[chunks:40]] 같은 씨앗", seed=7).text == text
    assert gateway.chat("[[chunks:40]] 같은 씨앗", seed=8).text != text
    word = text[20:23]
    assert gateway.chat("[[chunks:40]] 같은 씨앗", seed=7, stop=[word]).text == text.partition(word)[0]


def test_a_picture_by_its_bytes(place: Town, gateway: Gateway) -> None:
    parts = [{"type": "text", "text": "무엇인가"}, {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}]
    answer = gateway.post(asking(messages=[{"role": "user", "content": parts}]))
    assert answer.status == 200
    place.books_agree()


# ── what leaves ─────────────────────────────────────────────────────────────────────────────────────────────────────────

VENDOR: dict[str, Any] = {
    "top_k": 40,
    "min_p": 0.1,
    "repetition_penalty": 1.1,
    "chat_template_kwargs": {"enable_thinking": False},
    "reasoning": {"effort": "low"},
}
OURS: dict[str, Any] = {
    "user": "kim-canary",
    "metadata": {"case": "canary"},
    "store": True,
    "safety_identifier": "canary",
    "service_tier": "auto",
}


@pytest.mark.parametrize("stream", [False, True])
def test_only_what_is_understood_leaves(place: Town, gateway: Gateway, recorder: Recorder, stream: bool) -> None:
    recorder.bodies.clear()
    messages = [{"role": "user", "content": "무엇이 나가나"}]
    asked = asking(model="recorded", messages=messages, stream=stream, temperature=0.2, seed=None, **VENDOR, **OURS)
    assert gateway.post(asked, x_haechi_project="비밀".encode().hex(), x_haechi_purpose="draft").status == 200
    (left,) = recorder.bodies
    expected = {"model": "served-inside", "messages": messages, "temperature": 0.2, "max_tokens": 2048, **VENDOR}
    if stream:
        expected |= {"stream": True, "stream_options": {"include_usage": True}}
    assert left == expected


@pytest.mark.parametrize(
    ("caps", "cap"),
    [({}, 2048), ({"max_tokens": 7}, 7), ({"max_completion_tokens": 9}, 9), ({"max_tokens": 30000}, 30000)],
)
def test_the_cap_that_leaves_is_the_one_that_was_held_for(
    place: Town, gateway: Gateway, recorder: Recorder, caps: dict[str, int], cap: int
) -> None:
    recorder.bodies.clear()
    answer = gateway.chat("상한", model="recorded", **caps)
    (hold,) = place.rows("SELECT output_cap FROM hold WHERE request_id = :r", r=answer.request_id)
    assert [body["max_tokens"] for body in recorder.bodies] == [hold["output_cap"]] == [cap]


# ── grades, models, who may ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("grade", "model", "status"),
    [
        ("O", "inside", 200),
        ("o", "inside", 200),
        ("S", "inside", 200),
        ("C", "inside", 400),
        ("O", "abroad", 200),
        ("S", "abroad", 400),
        ("C", "abroad", 400),
    ],
)
def test_a_declared_grade_decides_where_text_may_go(
    place: Town, gateway: Gateway, grade: str, model: str, status: int
) -> None:
    for stream in (False, True):
        before = len(place.arrivals())
        answer = gateway.post(asking("[[chunks:3]] 등급", model=model, stream=stream), x_haechi_grade=grade)
        assert answer.status == status
        assert len(place.arrivals()) == before + (status == 200)
        if status == 200:
            assert place.event(answer.request_id)["grade"] == grade.upper()
        else:
            assert answer.error["code"] == "policy_blocked"
            assert "findings" in answer.error["haechi"]


def test_purpose_and_project_are_on_the_row_and_on_every_entry(place: Town, gateway: Gateway) -> None:
    answer = gateway.post(asking("용도"), x_haechi_purpose="draft", x_haechi_project="%EC%98%88%EC%82%B0 2026")
    row = place.event(answer.request_id)
    assert (row["purpose"], row["project"], row["surface"]) == ("draft", "예산 2026", "chat")
    query = "SELECT purpose, project FROM entry JOIN journal ON journal.seq = entry.journal_seq WHERE journal.id = :id"
    assert {(e["purpose"], e["project"]) for e in place.rows(query, id=row["id"])} == {("draft", "예산 2026")}


def test_the_list_of_models_says_what_may_be_used_and_why_not(place: Town, gateway: Gateway) -> None:
    listed = gateway.get("/v1/models").json
    assert listed["object"] == "list"
    models = {model["id"]: model for model in listed["data"]}
    assert list(models) == [model["name"] for model in place.settings["models"]]
    for model in models.values():
        assert (model["object"], type(model["created"])) == ("model", int)
        assert model["owned_by"]
        assert model["available"] == (model["reason"] is None)
    assert models["locked"]["available"] is False
    assert set(models["locked"]["reason"]) == {"ko", "en"}
    assert gateway.get("/v1/models/inside").json == models["inside"]
    assert gateway.get("/v1/models", key="").status == 401


def test_the_metrics_know_models_and_no_people(place: Town, gateway: Gateway) -> None:
    gateway.chat("세어 보자")
    told = gateway.get("/metrics", key="").body.decode()
    assert 'haechi_requests_total{model="inside",outcome="completed",quality="exact"}' in told
    assert "kim" not in told
    assert place.key[:12] not in told


def test_without_the_pledge_nothing_is_asked(found: Callable[..., Town]) -> None:
    """Whoever has not signed the published text is told to; the next request after signing is served. Streams have places."""
    town = found("sqlite", streams_per_key=2)
    gateway = town.gateway()
    for language in ("ko", "en"):
        (town.folder / f"{language}.txt").write_text("서약 · pledge")
    town.cli(f"pledge publish --ko {town.folder}/ko.txt --en {town.folder}/en.txt")
    someone = town.new_person("unsigned", signed=False)
    for stream in (False, True):
        answer = gateway.chat("안녕", key=someone.key, stream=stream)
        assert (answer.status, answer.error["code"]) == (403, "pledge_required")
    assert town.arrivals() == {}
    town.cli(f"pledge sign --user {someone.email}")
    assert gateway.chat("안녕", key=someone.key).status == 200

    wires = [gateway.wire() for _ in range(2)]
    for wire in wires:
        wire.ask(someone.key, asking("[[pace:50]] [[chunks:100]] 자리", stream=True))
        wire.read_until(lambda seen: b"data: " in seen)
    third = gateway.chat("안녕", key=someone.key, stream=True)
    assert (third.status, third.error["code"]) == (429, "rate_limit_exceeded")
    assert third.headers["retry-after"] == "1"
    assert gateway.chat("안녕", key=someone.key).status == 200, "a whole answer needs no place"
    for wire in wires:
        wire.leave("fin")
    town.books_agree()
    assert gateway.chat("[[chunks:2]] 안녕", key=someone.key, stream=True).done, "places are given back"
