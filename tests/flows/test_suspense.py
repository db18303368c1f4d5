"""A usage nobody can believe is never booked as 0 and never in silence: a case, a counted alert, an error in the log, suspense.

The upstream answers as it always does and states, in place of its usage, exactly the bytes of the table. What the department
carries meanwhile is our own count at the price of this test: 1 $ a million in, 4 $ a million out.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from flows.inside import Inside, opened

from gateway.providers.scripted import Script, ScriptedEngine, Step
from gateway.providers.scripted_server import serve

PRICES = """\
provider: acme
currency: USD
valid_from: 2026-01-01
source: written for this test
confirmed: true
prices:
  - key: acme/chat
    per_million: {input: "1", output: "4"}
"""

_USAGE = re.compile(rb'"usage":\{(?:[^{}]|\{[^{}]*\})*\}')


class Upstream:
    """The scripted upstream, stating `usage` in place of its own."""

    def __init__(self) -> None:
        self._engine = ScriptedEngine(faults=True, pace=0)
        self.usage = b""

    def answer(self, path: str, body: bytes) -> Script:
        script = self._engine.answer(path, body)
        steps = []
        for step in script.steps:
            data = _USAGE.sub(lambda _: b'"usage":' + self.usage, step.data) if self.usage else step.data
            steps.append(Step(data, tokens=step.tokens, usage=step.usage))
        length = None if script.length is None else sum(len(step.data) for step in steps)
        return Script(script.status, script.headers, steps, length=length, model=script.model, stream=script.stream)


def config(base_url: str) -> dict[str, Any]:
    return {
        "organisation": {"name": "데모시"},
        "providers": {
            "acme": {
                "kind": "openai_compatible",
                "base_url": base_url,
                "destination": "foreign",
                "family": "openai/chat",
            }
        },
        "models": [
            {
                "name": "chat",
                "title": {"ko": "대화", "en": "Chat"},
                "grade": "O",
                "context": 128000,
                "max_output": 100,
                "deployments": [{"provider": "acme", "model": "chat", "price": "acme/chat"}],
            }
        ],
    }


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def gateway(tmp_path: Path, migrated_sqlite: Path, upstream: Upstream) -> AsyncIterator[Inside]:
    async with (
        serve(upstream) as server,
        opened(tmp_path / "gateway", migrated_sqlite, config(server.base_url), prices={"a.yaml": PRICES}) as inside,
    ):
        yield inside


async def opened_cases(gateway: Inside) -> float:
    """What the monitoring of an office sees, and raises its alert by."""
    text = (await gateway.client.get("/metrics")).text
    found = re.search(r'^haechi_cases_opened_total\{kind="suspense_usage"\} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


#: What is stated, or a directive of the scripted upstream; and what the suspense account is named after.
UNBELIEVABLE: dict[str, tuple[str, str]] = {
    "absurd, by directive": ("[[usage-absurd]]", "inconsistent"),
    "absurd": ('{"prompt_tokens":7,"completion_tokens":1e300,"total_tokens":1e300}', "malformed"),
    "more than the ceiling": (
        '{"prompt_tokens":7,"completion_tokens":900000000,"total_tokens":900000007}',
        "absurd",
    ),
    "negative": ('{"prompt_tokens":7,"completion_tokens":-5,"total_tokens":2}', "inconsistent"),
    "negative in": ('{"prompt_tokens":-7,"completion_tokens":5,"total_tokens":-2}', "inconsistent"),
    "NaN in words": ('{"prompt_tokens":7,"completion_tokens":"NaN","total_tokens":7}', "malformed"),
    "NaN": ('{"prompt_tokens":7,"completion_tokens":NaN,"total_tokens":7}', "malformed"),
    "infinite": ('{"prompt_tokens":7,"completion_tokens":Infinity,"total_tokens":7}', "malformed"),
    "beyond any double": ('{"prompt_tokens":7,"completion_tokens":1e400,"total_tokens":7}', "malformed"),
    "four hundred digits": (f'{{"prompt_tokens":7,"completion_tokens":{"9" * 400},"total_tokens":7}}', "malformed"),
    "half a token": ('{"prompt_tokens":7,"completion_tokens":2.5,"total_tokens":9.5}', "malformed"),
    "no number": ('{"prompt_tokens":7,"completion_tokens":true,"total_tokens":8}', "malformed"),
    "no object": ("[7,5]", "malformed"),
    "a total that is none": ('{"prompt_tokens":7,"completion_tokens":5,"total_tokens":1000}', "inconsistent"),
    "more cached than sent": (
        '{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":8}}',
        "inconsistent",
    ),
    "half of it": ('{"prompt_tokens":7}', "missing"),
    "unknown tokens": (
        '{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12,"prompt_tokens_details":{"scent_tokens":3}}',
        "unknown",
    ),
    "tokens without a price": (
        '{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12,"completion_tokens_details":{"audio_tokens":3}}',
        "unpriced",
    ),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", UNBELIEVABLE)
async def test_it_alerts_and_waits_in_suspense(
    gateway: Inside, upstream: Upstream, caplog: pytest.LogCaptureFixture, case: str, *, stream: bool
) -> None:
    stated, account = UNBELIEVABLE[case]
    directive = stated if stated.startswith("[[") else ""
    upstream.usage = b"" if directive else stated.encode()
    before = await opened_cases(gateway)
    with caplog.at_level(logging.ERROR):
        answer = await gateway.chat("chat", f"{directive}[[chunks:5]] 얼마", max_tokens=20, stream=stream)
    assert answer.status_code == 200, "whoever asked has the answer"
    event = gateway.event(answer)
    assert (event["quality"], event["outcome"]) == ("suspense", "completed")
    # Our own count, at this test's prices: something was sent and a few tokens came back; never 0, never their number.
    meters = gateway.meters(event)
    assert 5 <= meters["output"] <= 20
    assert gateway.ticks(event) == meters["input"] * 10_000 + meters["output"] * 40_000 > 0
    assert 0 < event["won"] < 1_000_000
    credited = gateway.rows(
        "SELECT account FROM entry JOIN journal ON journal.seq = entry.journal_seq WHERE journal.id = :id",
        id=event["id"],
    )
    assert f"suspense:{account}:USD" in {row["account"] for row in credited}
    # One case, one more on the counter an alert stands on, one line of error that names it.
    subject = f"{answer.headers['x-request-id']}:1"
    (opened_case,) = gateway.rows("SELECT * FROM recon_case WHERE kind = 'suspense_usage' AND subject = :s", s=subject)
    assert opened_case["state"] == "open"
    assert await opened_cases(gateway) == before + 1
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert errors == [f"case suspense_usage: {subject}"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_usage_that_adds_up_alerts_nobody(
    gateway: Inside, upstream: Upstream, caplog: pytest.LogCaptureFixture, *, stream: bool
) -> None:
    """The same way round, with numbers that fit: what the vendor states is what is booked."""
    upstream.usage = json.dumps({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}).encode()
    with caplog.at_level(logging.ERROR):
        answer = await gateway.chat("chat", "[[chunks:5]] 얼마", max_tokens=20, stream=stream)
    event = gateway.event(answer)
    assert event["quality"] == "exact"
    assert gateway.ticks(event) == 7 * 10_000 + 5 * 40_000
    assert await opened_cases(gateway) == 0
    assert caplog.records == []
