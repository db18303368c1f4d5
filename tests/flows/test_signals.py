"""SIGTERM and SIGHUP while answers are on their way."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from flows.harness import CHAT, Gateway, Town, asking, eventually

#: About a second of it.
WHILE = "[[pace:25]] [[chunks:40]] 천천히"


def in_flight(town: Town, count: int) -> None:
    """Wait until so many answers are on their way at once."""
    eventually(
        lambda: sum(1 for arrival in town.arrivals().values() if arrival["ended"] == "open") >= count,
        what=f"{count} answers on their way",
    )


def test_a_stop_lets_answers_finish_and_takes_no_new_work(found: Callable[..., Town]) -> None:
    town = found("sqlite")
    gateway = town.gateway()
    wire = gateway.wire()  # connected before the stop, asking after it
    balancer = httpx.Client(base_url=gateway.base_url, timeout=5)
    assert balancer.get("/readyz").status_code == 200
    with ThreadPoolExecutor(8) as pool:
        streams = [pool.submit(gateway.chat, f"{WHILE} {n}", stream=True) for n in range(4)]
        wholes = [pool.submit(gateway.chat, f"[[slow:0.8]] {n}") for n in range(4)]
        in_flight(town, 8)
        gateway.process.signal(signal.SIGTERM)
        not_ready = eventually(lambda: unready(balancer), within=2, what="not ready any more")
        wire.ask(town.key, asking("아직 되나"))
        refused = wire.read_to_end()
        for answer in [job.result() for job in streams]:
            assert answer.status == 200
            assert answer.done
            assert len(answer.text) > 40
        assert all(job.result().status == 200 for job in wholes)
    assert not_ready["draining"] is True
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"server_shutting_down"' in refused
    assert gateway.process.wait() == 0
    assert [(row["quality"], row["outcome"]) for row in town.events()] == [("exact", "completed")] * 8
    town.books_agree()


def unready(balancer: httpx.Client) -> dict[str, object] | None:
    answer = balancer.get("/readyz")
    return dict(answer.json()) if answer.status_code == 503 else None


def test_an_answer_longer_than_the_drain_ends_with_an_error_and_is_billed(found: Callable[..., Town]) -> None:
    town = found("sqlite", drain_seconds=0.5)
    gateway = town.gateway()
    with ThreadPoolExecutor() as pool:
        jobs = {
            model: pool.submit(gateway.chat, "[[pace:50]] [[chunks:400]] 끝없이", stream=True, model=model)
            for model in ("inside", "drained")
        }
        in_flight(town, 2)
        gateway.process.signal(signal.SIGTERM)
        answers = {model: job.result() for model, job in jobs.items()}
    assert gateway.process.wait() == 0
    for answer in answers.values():
        last = answer.chunks[-1]
        assert (last["error"]["code"], last["request_id"]) == ("server_shutting_down", answer.request_id)
        assert not answer.done
        (row,) = town.events(answer.request_id)
        assert (row["outcome"], row["quality"], row["reason"]) == ("aborted", "estimated", "shutdown")
        received = sum(
            1 for chunk in answer.chunks if chunk.get("choices") and chunk["choices"][0]["delta"].get("content")
        )
        sent = town.arrivals()[row["id"]]["completion_tokens_sent"]
        assert 0 < received <= town.output_tokens(row) <= sent < 400
    town.books_agree()


def test_a_whole_answer_longer_than_the_drain_is_booked_once(found: Callable[..., Town]) -> None:
    """Nothing can be said to its client any more, but what the upstream generates is paid for."""
    town = found("sqlite", drain_seconds=0.3)
    gateway = town.gateway()
    wire = gateway.wire()
    wire.ask(town.key, asking("[[slow:1.5]] [[chunks:20]] 한 번에"))
    in_flight(town, 1)
    gateway.process.signal(signal.SIGTERM)
    heard = wire.read_to_end()
    assert gateway.process.wait() == 0
    assert b"chat.completion" not in heard or heard.startswith(b"HTTP/1.1 200 ")
    (row,) = town.events()
    assert (row["quality"], town.output_tokens(row)) == ("exact", 20)
    town.books_agree()


def test_a_second_signal_does_not_lose_what_was_generated(found: Callable[..., Town]) -> None:
    town = found("sqlite")
    gateway = town.gateway()
    wire = gateway.wire()
    wire.ask(town.key, asking("[[pace:50]] [[chunks:400]] 끝없이", stream=True))
    wire.read_until(lambda seen: seen.count(b"data: ") > 5)
    gateway.process.signal(signal.SIGTERM)
    eventually(lambda: "draining" in gateway.process.err.read_text(), what="draining")
    gateway.process.signal(signal.SIGTERM)
    wire.read_to_end()
    assert gateway.process.wait(10) == 0, "a second signal does not wait for the upstream"
    (row,) = town.events()
    assert (row["outcome"], row["quality"], row["reason"]) == ("aborted", "estimated", "shutdown")
    assert town.output_tokens(row) >= 5
    town.books_agree()


# ── a reload ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("good", [False, True], ids=["bad", "good"])
def test_a_reload_leaves_answers_that_are_on_their_way_alone(place: Town, gateway: Gateway, good: bool) -> None:
    """Even the provider they come from may be replaced: they keep the one they began with."""
    written = place.config.read_text()
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(gateway.chat, f"{WHILE} {n}", stream=True) for n in range(4)]
        in_flight(place, 4)
        changed = json.loads(json.dumps(place.settings))
        changed["providers"]["near"]["on_disconnect"] = "drain"
        changed["models"] = [model for model in changed["models"] if model["name"] != "free"]
        if not good:
            changed["models"][0]["grade"] = "C"
        place.config.write_text(json.dumps(changed, ensure_ascii=False))
        gateway.process.signal(signal.SIGHUP)
        problem = eventually(lambda: reloaded(gateway, good), what="the reload is done")
        answers = [job.result() for job in jobs]
        place.config.write_text(written)
        gateway.process.signal(signal.SIGHUP)
        eventually(lambda: gateway.chat("안녕", model="free").status == 200, what="the old configuration is back")
    assert all(answer.status == 200 and answer.done for answer in answers)
    assert gateway.ready == 200
    assert problem
    eventually(lambda: httpx.get(f"{gateway.base_url}/readyz").json()["config_problem"] is False)
    place.books_agree()


def reloaded(gateway: Gateway, good: bool) -> bool:
    state = httpx.get(f"{gateway.base_url}/readyz")
    assert state.status_code == 200, "a bad configuration is no reason to stop serving"
    if not good:
        return bool(state.json()["config_problem"])
    return gateway.chat("안녕", model="free").status == 404


def test_nothing_is_served_before_the_socket_is_and_a_second_server_waits_outside(
    place: Town, gateway: Gateway
) -> None:
    """One embedded ledger has one server; the first one does not notice."""
    with pytest.raises(AssertionError, match="another server uses"):
        place.gateway()
    assert gateway.client.post(CHAT, json=asking(), headers={"authorization": f"Bearer {place.key}"}).status_code == 200
