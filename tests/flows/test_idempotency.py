"""`Idempotency-Key`: however often a request is repeated, it is executed once and charged once, across crashes and processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import openai
import pytest
from flows.harness import CHAT, KIM, LEE, Answer, Gateway, Town, asking, eventually, read_answer

from gateway.app import ROUTES

LEASE_SECONDS = 2


def keyed(gateway: Gateway, key: str, prompt: str = "안녕하세요", *, owner: str | None = None, **body: Any) -> Answer:
    return gateway.post(asking(prompt, **body), key=owner, Idempotency_Key=key)


def new_rows(town: Town, before: set[str]) -> list[dict[str, Any]]:
    return [row for row in town.events() if row["id"] not in before]


@pytest.fixture
def before(place: Town) -> set[str]:
    return {row["id"] for row in place.events()}


def test_the_same_answer_comes_again_and_is_charged_once(place: Town, gateway: Gateway, before: set[str]) -> None:
    key = str(uuid4())
    first = keyed(gateway, key, "한 번만 계산해 줘")
    again = keyed(gateway, key, "한 번만 계산해 줘")
    assert (first.status, again.status) == (200, 200)
    assert again.body == first.body
    assert "x-haechi-replayed" not in first.headers
    assert again.headers["x-haechi-replayed"] == "true"
    for header in ("x-request-id", "x-haechi-cost-krw", "x-haechi-cost-quality", "x-haechi-model"):
        assert again.headers[header] == first.headers[header]
    assert [row["request_id"] for row in new_rows(place, before)] == [first.request_id]
    place.books_agree()


def test_without_a_key_each_request_is_its_own(place: Town, gateway: Gateway, before: set[str]) -> None:
    """So that the test above shows the key at work and not a cache."""
    answers = [gateway.chat("두 번 계산해 줘") for _ in range(2)]
    assert len({row["request_id"] for row in new_rows(place, before)}) == 2
    assert [answer.status for answer in answers] == [200, 200]


# Each row: what differs in the second request under the same key.
OTHERS: dict[str, Callable[[Gateway, str], Answer]] = {
    "other words": lambda gateway, key: keyed(gateway, key, "다른 말"),
    "another model": lambda gateway, key: keyed(gateway, key, "같은 말", model="free"),
    "as a stream": lambda gateway, key: keyed(gateway, key, "같은 말", stream=True),
    "another grade": lambda gateway, key: gateway.post(asking("같은 말"), Idempotency_Key=key, x_haechi_grade="S"),
    "another project": lambda gateway, key: gateway.post(asking("같은 말"), Idempotency_Key=key, x_haechi_project="p"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=list(OTHERS))
def test_a_key_of_another_request_is_refused(
    place: Town, gateway: Gateway, before: set[str], other: Callable[[Gateway, str], Answer]
) -> None:
    key = str(uuid4())
    first = keyed(gateway, key, "같은 말")
    refused = other(gateway, key)
    assert refused.status == 422
    assert (refused.error["type"], refused.error["code"]) == ("idempotency_error", "idempotency_key_reused")
    assert refused.error["haechi"] == {"request_id": first.request_id}
    assert refused.headers["x-should-retry"] == "false"
    assert len(new_rows(place, before)) == 1


def test_a_key_is_its_owners(place: Town, gateway: Gateway, before: set[str]) -> None:
    """Another person's same key is another request; another key of the same person is the same person."""
    key = str(uuid4())
    mine = keyed(gateway, key)
    theirs = keyed(gateway, key, owner=place.new_key(LEE))
    mine_again = keyed(gateway, key, owner=place.new_key(KIM))
    assert "x-haechi-replayed" not in theirs.headers
    assert theirs.request_id != mine.request_id
    assert mine_again.request_id == mine.request_id
    assert len(new_rows(place, before)) == 2


def test_a_key_is_a_surfaces_own(place: Town, gateway: Gateway) -> None:
    """What is remembered of a question is not mistaken for vectors."""
    key = str(uuid4())
    body = {"model": "inside", "input": "안녕"}
    headers = {"authorization": f"Bearer {place.key}", "idempotency-key": key}
    refused = read_answer(gateway.client.post("/v1/embeddings", json=body, headers=headers))
    assert refused.error["code"] == "unsupported_capability"
    assert keyed(gateway, key).status == 200


@pytest.mark.parametrize("key", ["", "has space", "x" * 256, "ключ"], ids=["empty", "space", "long", "cyrillic"])
def test_a_key_that_is_none_is_refused(place: Town, gateway: Gateway, before: set[str], key: str) -> None:
    headers = {"authorization": f"Bearer {place.key}", "idempotency-key": key.encode()}
    answer = read_answer(gateway.client.post(CHAT, json=asking(), headers=headers))
    assert answer.status == 400
    assert answer.error["param"] == "Idempotency-Key"
    assert new_rows(place, before) == []


def test_while_the_first_runs_the_others_are_told_to_wait_and_then_get_its_answer(
    place: Town, gateway: Gateway, before: set[str]
) -> None:
    """Twenty at once: one execution, one row."""
    key = str(uuid4())
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: keyed(gateway, key, "[[slow:1]] 스무 번"), range(20)))
    whole = [answer for answer in answers if answer.status == 200]
    waiting = [answer for answer in answers if answer.status == 409]
    assert len(whole) + len(waiting) == 20
    assert len([answer for answer in whole if "x-haechi-replayed" not in answer.headers]) == 1
    for answer in waiting:
        assert answer.error["code"] == "idempotency_in_progress"
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.error["haechi"] == {"request_id": whole[0].request_id}
    assert waiting, "none of them met the first one running: this proves nothing"
    assert keyed(gateway, key, "[[slow:1]] 스무 번").body == whole[0].body
    assert len(new_rows(place, before)) == 1
    place.books_agree()


def test_the_official_sdk_waits_and_gets_the_first_answer(place: Town, gateway: Gateway, before: set[str]) -> None:
    """It gives up on the first try, and its own retry, under the same key, meets the first still running."""
    client = openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=place.key, timeout=0.5, max_retries=5)
    answer = client.chat.completions.create(
        model="inside",
        messages=[{"role": "user", "content": "[[slow:1.5]] 기다려"}],
        extra_headers={"Idempotency-Key": str(uuid4())},
    )
    (row,) = new_rows(place, before)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == place.output_tokens(row)
    place.books_agree()


def test_a_stream_is_not_streamed_twice(place: Town, gateway: Gateway, before: set[str]) -> None:
    key = str(uuid4())
    first = keyed(gateway, key, "흘려 줘", stream=True)
    assert first.done
    again = eventually(lambda: _over(keyed(gateway, key, "흘려 줘", stream=True)), what="the stream's end is noted")
    assert again.status == 409
    assert again.error["code"] == "idempotency_key_spent"
    (row,) = new_rows(place, before)
    assert again.error["haechi"] == {"request_id": first.request_id, "cost_krw": won(row)}
    assert first.request_id in again.error["message"]
    assert again.headers["x-should-retry"] == "false"


def _over(answer: Answer) -> Answer | None:
    return None if answer.error["code"] == "idempotency_in_progress" else answer


def won(row: dict[str, Any]) -> str:
    total = row["won"] + row["vat"]
    return f"{total // 1_000_000}.{total % 1_000_000:06}".rstrip("0").rstrip(".")


# Each row: a first request that cost nothing, and so leaves its key free.
@pytest.mark.parametrize(
    ("prompt", "more"),
    [
        ("[[fail:500]] 다시", {}),
        ("[[fail:429]] 다시", {}),
        ("다시", {"model": "unreachable"}),
        ("다시", {"model": "locked"}),
    ],
    ids=["upstream failed", "upstream limits", "nobody there", "not available"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_request_that_cost_nothing_may_be_tried_again_under_its_key(
    place: Town, gateway: Gateway, prompt: str, more: dict[str, Any], stream: bool
) -> None:
    key = str(uuid4())
    first = keyed(gateway, key, prompt, stream=stream, **more)
    again = keyed(gateway, key, prompt, stream=stream, **more)
    assert first.status == again.status >= 400
    assert first.error["code"] == again.error["code"] != "idempotency_key_spent"


def test_a_failure_that_may_have_cost_something_is_not_repeated(
    place: Town, gateway: Gateway, before: set[str]
) -> None:
    """The upstream broke off in its answer and may bill it: it is booked as an estimate, once."""
    key = str(uuid4())
    first = keyed(gateway, key, "[[cut:1]] 끊겼다")
    again = keyed(gateway, key, "[[cut:1]] 끊겼다")
    assert first.status == 502
    (row,) = new_rows(place, before)
    assert again.error["haechi"] == {"request_id": row["request_id"], "cost_krw": won(row)}


def test_a_refused_budget_leaves_the_key_free(found: Callable[..., Town]) -> None:
    town = found("sqlite", quota_wait_seconds=0)
    gateway = town.gateway()
    key = str(uuid4())
    town.cli(f"quota set --user {KIM} --won 0 --period day")
    assert keyed(gateway, key).error["code"] == "insufficient_quota"
    town.cli(f"quota set --user {KIM} --won 1000 --period day")
    assert keyed(gateway, key).status == 200


def test_an_answer_too_large_to_keep_is_told_by_its_receipt(found: Callable[..., Town]) -> None:
    town = found("sqlite", idempotency_answer_kb=0)
    gateway = town.gateway()
    key = str(uuid4())
    first = keyed(gateway, key)
    again = keyed(gateway, key)
    assert again.status == 409
    assert again.error["haechi"] == {
        "request_id": first.request_id,
        "cost_krw": first.headers["x-haechi-cost-krw"],
    }


#: A good body for every route that costs something. One that is missing here was added without a thought for this header.
BODIES = {"/v1/chat/completions": asking(), "/v1/embeddings": {"model": "inside", "input": "안녕"}}


def test_every_route_that_costs_something_takes_the_header(place: Town, gateway: Gateway) -> None:
    """A key that is none is refused by the header's own name, so somebody looked at it."""
    assert BODIES.keys() == {route.path for route in ROUTES if route.metered and route.method == "POST"}
    for path, body in BODIES.items():
        headers = {"authorization": f"Bearer {place.key}", "idempotency-key": "no key"}
        answer = read_answer(gateway.client.post(path, json=body, headers=headers))
        assert (answer.status, answer.error["param"]) == (400, "Idempotency-Key"), path


# ── crashes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

# Each row: where the process dies, and what the same request gets from the next process.
DEATHS = [
    ("reserved", False, "executed"),
    ("reserved", True, "executed"),
    ("sent", False, "spent"),
    ("dispatched", True, "spent"),
    ("metered", False, "spent"),
    ("settled", False, "spent"),
    ("settled", True, "spent"),
]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_after_a_crash_nothing_is_charged_twice(found: Callable[..., Town], kind: str) -> None:
    """The first process is killed at a point; the same request then goes to another one, which serves the same ledger."""
    town = found(kind, lease_seconds=LEASE_SECONDS)
    keys = {}
    for point, stream, _ in DEATHS:
        victim = town.gateway(HAECHI_FAULT_POINT=point)
        keys[point, stream] = str(uuid4())
        body = asking("[[chunks:6]] 죽어도 한 번", stream=stream)
        wire = victim.wire()
        wire.ask(town.key, body, {"idempotency-key": keys[point, stream], "x-haechi-project": f"{point}-{stream}"})
        wire.read_to_end()
        victim.process.wait()
    survivor = town.gateway()
    for point, stream, expected in DEATHS:
        project = f"{point}-{stream}"

        def ask(point: str = point, stream: bool = stream, project: str = project) -> Answer | None:
            # The very bytes that were sent before: that is what a retry is.
            answer = survivor.post(
                json.dumps(asking("[[chunks:6]] 죽어도 한 번", stream=stream)).encode(),
                Idempotency_Key=keys[point, stream],
                x_haechi_project=project,
            )
            waiting = answer.status == 409 and answer.error["code"] == "idempotency_in_progress"
            return None if waiting else answer

        answer = eventually(ask, within=20, what=f"{project} is resolved")
        rows = town.rows("SELECT * FROM usage_event WHERE project = :project", project=project)
        assert len(rows) == 1, project
        if expected == "executed":
            assert answer.status == 200, (project, answer.body)
            assert rows[0]["outcome"] == "completed"
        else:
            assert answer.status == 409, (project, answer.body)
            assert answer.error["haechi"] == {"request_id": rows[0]["request_id"], "cost_krw": won(rows[0])}
    town.books_agree()


def test_what_is_remembered_survives_a_restart_and_is_not_legible(found: Callable[..., Town]) -> None:
    town = found("sqlite")
    key, words = f"key-{uuid4()}", "canary-question-5150"
    gateway = town.gateway()
    first = keyed(gateway, key, words)
    said = first.json["choices"][0]["message"]["content"]
    gateway.close()
    folder = Path(town.database_url.removeprefix("sqlite:///")).parent
    stored = b"".join(path.read_bytes() for path in folder.iterdir())
    for secret in (key, words, said, json.dumps(said)[1:-1]):
        assert secret.encode() not in stored
    again = keyed(town.gateway(), key, words)
    assert (again.headers["x-haechi-replayed"], again.body) == ("true", first.body)
    town.books_agree()
