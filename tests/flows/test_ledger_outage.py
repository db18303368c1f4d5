"""A database that does not take writes: new work is refused with a reason, what was spent is booked when it answers again."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from flows.harness import Answer, Gateway, Town, eventually

#: Longer than a writer waits for the one before it.
LOCKED_SECONDS = 6.5


def asking_on(gateway: Gateway, stop: threading.Event) -> list[Answer]:
    answers: list[Answer] = []
    while not stop.is_set():
        answers.append(gateway.chat("[[pace:1]] [[chunks:5]] 계속", stream=len(answers) % 2 == 0))
    return answers


def test_a_locked_ledger_refuses_new_work_and_loses_nothing(found: Callable[..., Town]) -> None:
    town = found("sqlite")
    gateway = town.gateway()
    assert gateway.chat("먼저").status == 200
    stop = threading.Event()
    with ThreadPoolExecutor(13) as pool:
        on_its_way = pool.submit(gateway.chat, "[[slow:2]] [[chunks:7]] 벌써 나감")
        eventually(lambda: any(a["ended"] == "open" for a in town.arrivals().values()), what="one is on its way")
        workers = [pool.submit(asking_on, gateway, stop) for _ in range(12)]
        other = sqlite3.connect(town.database_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        not_ready = eventually(lambda: gateway.ready == 503, within=LOCKED_SECONDS, what="not ready any more")
        assert gateway.get("/healthz", key="").status == 200, "the process answers all the while"
        time.sleep(max(0.0, LOCKED_SECONDS - (time.monotonic() - began)))
        other.execute("ROLLBACK")
        other.close()
        eventually(lambda: gateway.ready == 200, what="ready again")
        stop.set()
        answers = [answer for worker in workers for answer in worker.result()]
        first = on_its_way.result()
    assert not_ready
    assert Counter(answer.status for answer in answers).keys() == {200, 503}
    refused = [answer for answer in answers if answer.status == 503]
    assert {answer.error["code"] for answer in refused} == {"storage_unavailable"}
    assert {answer.headers["retry-after"] for answer in refused} == {"2"}
    assert first.status == 200
    town.books_agree(within=20)
    booked = {row["request_id"]: row["quality"] for row in town.events()}
    whole = [answer.request_id for answer in [first, *answers] if answer.status == 200]
    assert {booked[request_id] for request_id in whole} == {"exact"}
    assert not {answer.request_id for answer in refused} & booked.keys(), "what was refused was not sent"
    assert "traceback" not in gateway.process.err.read_text()
