"""Who answered is whose price counts: a vendor that hands a request to another of its models bills that one.

The price book of this test knows a dear model, a cheap one and an old build of the dear one that costs more still. The upstream
says in its answer which of them it was; seven tokens were sent and five answered. A millionth of a dollar is 10,000 ticks.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from flows.inside import Inside, frames, opened

from gateway.providers.scripted import Script, ScriptedEngine, Step
from gateway.providers.scripted_server import serve

PRICES = """\
provider: acme
currency: USD
valid_from: 2026-01-01
source: written for this test
confirmed: true
prices:
  - key: acme/dear
    aliases: [acme/dear-2026-01-01]
    per_million: {input: "10", output: "40"}
  - key: acme/dear-2025-05-13
    per_million: {input: "20", output: "80"}
  - key: acme/cheap
    per_million: {input: "1", output: "4"}
  - key: acme/contract
    per_million: {input: "5", output: "20"}
"""

DEAR, OLD, CHEAP, CONTRACT = 2_700_000, 5_400_000, 270_000, 1_350_000


class Upstream:
    """The scripted upstream, whose answers name whoever `says` is."""

    def __init__(self) -> None:
        self._engine = ScriptedEngine(pace=0)
        self.says = ""

    def answer(self, path: str, body: bytes) -> Script:
        script = self._engine.answer(path, body)
        called = json.dumps(json.loads(body)["model"]).encode()
        steps = [
            Step(
                step.data.replace(b'"model":' + called, b'"model":' + json.dumps(self.says).encode()),
                tokens=step.tokens,
                usage=step.usage,
            )
            for step in script.steps
        ]
        length = None if script.length is None else sum(len(step.data) for step in steps)
        return Script(script.status, script.headers, steps, length=length, model=script.model, stream=script.stream)


def config(base_url: str) -> dict[str, Any]:
    def model(name: str, price: str, provider: str = "acme", upstream: str = "dear") -> dict[str, Any]:
        return {
            "name": name,
            "title": {"ko": name, "en": name},
            "grade": "O",
            "context": 128000,
            "max_output": 100,
            "deployments": [{"provider": provider, "model": upstream, "price": price}],
        }

    place = {"kind": "openai_compatible", "base_url": base_url, "family": "openai/chat"}
    return {
        "organisation": {"name": "데모시", "timezone": "Asia/Seoul"},
        "providers": {"acme": {**place, "destination": "foreign"}, "near": {**place, "destination": "inside"}},
        "models": [
            model("dear", "acme/dear"),
            model("ours", "acme/contract"),
            model("roofed", "acme/dear", upstream="acme/dear"),
            model("near", "acme/dear", provider="near"),
        ],
    }


@pytest.fixture
async def both(tmp_path: Path, migrated_sqlite: Path) -> AsyncIterator[tuple[Upstream, Inside]]:
    upstream = Upstream()
    async with (
        serve(upstream) as server,
        opened(tmp_path / "g", migrated_sqlite, config(server.base_url), prices={"acme.yaml": PRICES}) as inside,
    ):
        yield upstream, inside


# 7 × 10 + 5 × 40 = 270 millionths of a dollar for the dear one; half of that by contract, double for the old build.
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("model", "says", "ticks"),
    [
        ("dear", "dear", DEAR),
        ("dear", "dear-2026-01-01", DEAR),
        ("dear", "dear-20260315", DEAR),  # a build nobody has heard of is still this model
        ("dear", "models/dear", DEAR),
        ("dear", "cheap", CHEAP),
        ("dear", "dear-2025-05-13", OLD),
        ("ours", "dear-2026-01-01", CONTRACT),
        ("ours", "cheap", CHEAP),
        ("roofed", "dear", DEAR),
        ("near", "/models/weights.gguf", DEAR),  # a server of one's own may call its model what it likes
    ],
)
async def test_the_one_that_answered_is_the_one_that_is_paid(
    both: tuple[Upstream, Inside], *, model: str, says: str, ticks: int, stream: bool
) -> None:
    upstream, inside = both
    upstream.says = says
    answer = await inside.chat(model, max_tokens=5, **({"stream": True} if stream else {}))
    assert answer.status_code == 200, answer.text
    event = inside.event(answer)
    assert (event["quality"], event["model_served"], event["upstream_model"]) == ("exact", model, says)
    assert inside.ticks(event) == ticks


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_one_nobody_has_a_price_for_waits_for_a_person(both: tuple[Upstream, Inside], *, stream: bool) -> None:
    """The answer is delivered, the budget carries our own count at the price that was agreed, and nobody is owed it yet."""
    upstream, inside = both
    upstream.says = "newer"
    answer = await inside.chat("dear", max_tokens=5, **({"stream": True} if stream else {}))
    assert answer.status_code == 200, answer.text
    if stream:
        assert frames(answer)
    event = inside.event(answer)
    assert event["quality"] == "suspense"
    assert "newer" in event["reason"]
    assert event["won"] > 0
    (case,) = inside.rows("SELECT kind, subject FROM recon_case")
    assert (case["kind"], case["subject"]) == ("suspense_usage", event["id"])
