"""What the ledger keeps of a usage is enough to rate it again, to the last tick, whatever the vendor said.

An upstream that states random usages, good and bad, in every way the vendors have: by itself a usage is not enough, so service
tiers, sizes of searches, calls of tools, grounding and who answered are stated beside it. Then `rate --recorded` is asked for the
month, and every line has to be what was booked.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flows.inside import Inside, opened

from gateway.__main__ import main
from gateway.providers.scripted import Script, Step
from gateway.providers.scripted_server import serve

#: Provider → (kind, family, upstream model, price, whether its stated charge counts).
VENDORS: dict[str, tuple[str, str, str, str, bool]] = {
    "openai": ("openai_compatible", "openai/chat", "gpt-5-mini", "openai/gpt-5-mini", False),
    "azure": ("openai_compatible", "azure/chat", "my-deployment", "azure/gpt-4o", False),
    "xai": ("openai_compatible", "xai/chat", "grok-4.3", "xai/grok-4.3", True),
    "deepseek": ("openai_compatible", "deepseek/chat", "deepseek-v4-pro", "deepseek/deepseek-v4-pro", False),
    "perplexity": ("openai_compatible", "perplexity/chat", "sonar", "perplexity/sonar", True),
    "google": ("gemini", "google/generateContent", "gemini-2.5-pro", "google/gemini-2.5-pro", False),
    "google-3": ("gemini", "google/generateContent", "gemini-3.8-flash", "google/gemini-3.8-flash", False),
    "anthropic": ("anthropic", "anthropic/messages", "claude-sonnet-5-5", "anthropic/claude-sonnet-5-5", False),
    "openai-responses": ("openai_responses", "openai/responses", "gpt-5", "openai/gpt-5", False),
}


def config(port: int) -> dict[str, Any]:
    return {
        "organisation": {"name": "데모시", "timezone": "Asia/Seoul"},
        "providers": {
            name: {
                "kind": kind,
                "base_url": f"http://127.0.0.1:{port}/{name}",
                "destination": "foreign",
                "family": family,
                "trust_reported_cost": trusted,
            }
            for name, (kind, family, _, _, trusted) in VENDORS.items()
        },
        "models": [
            {
                "name": name,
                "title": {"ko": name, "en": name},
                "grade": "O",
                "capabilities": ["chat", "search"] if name == "perplexity" else ["chat"],
                "context": 1_000_000,
                "max_output": 4096,
                "deployments": [{"provider": name, "model": model, "price": price}],
            }
            for name, (_, _, model, price, _) in VENDORS.items()
        ],
    }


class Vendors:
    """Answers each vendor's path in its format, with a usage thrown by `dice`."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def answer(self, path: str, body: bytes) -> Script:
        vendor = path.split("/")[1]
        said = json.dumps(self._said(vendor, json.loads(body)), ensure_ascii=False).encode()
        return Script(200, {"content-type": "application/json"}, [Step(said)], length=len(said))

    def _count(self, most: int = 300_000) -> Any:
        """Mostly a number; now and then what no vendor should send."""
        if self.dice.random() < 0.02:
            return self.dice.choice([-1, "7", 1.5, 10**15, True, None])
        return self.dice.choice([0, 1, self.dice.randrange(1000), self.dice.randrange(most)])

    def _said(self, vendor: str, request: dict[str, Any]) -> dict[str, Any]:
        if vendor.startswith("google"):
            return self._gemini(vendor)
        if vendor == "anthropic":
            return self._anthropic()
        if vendor == "openai-responses":
            return self._responses()
        sent, got, cached, reasoned = self._count(), self._count(4000), self._count(5), self._count(5)
        total = sent + got if type(sent) is type(got) is int else 3
        usage: dict[str, Any] = {"prompt_tokens": sent, "completion_tokens": got, "total_tokens": total}
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoned}
        if vendor == "xai":
            usage["cost_in_usd_ticks"] = self._count(10**9)
            usage["server_side_tool_usage_details"] = {"web_search_calls": self._count(3)}
        if vendor == "perplexity":
            usage["search_context_size"] = self.dice.choice(["low", "medium", "high", None])
            usage["cost"] = {"total_cost": self.dice.choice([0.006, 0.0123, 0])}
        if vendor == "deepseek":
            del usage["prompt_tokens_details"]
            usage["prompt_cache_hit_tokens"], usage["prompt_cache_miss_tokens"] = 0, sent
        served = {
            "openai": ["gpt-5-mini-2025-08-07", "gpt-5-mini", "gpt-5-nano", "gpt-5", "gpt-99"],
            "azure": ["gpt-4o-2024-11-20"],
        }.get(vendor, [request["model"]])
        message = {"role": "assistant", "content": "예"}
        return {
            "id": "a",
            "object": "chat.completion",
            "created": 1,
            "model": self.dice.choice(served),
            "service_tier": self.dice.choice(["default", "default", "flex", "priority", "unheard-of"]),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }

    def _gemini(self, vendor: str) -> dict[str, Any]:
        queries = [f"{self.dice.choice('가나다')} 조례" for _ in range(self.dice.randrange(4))]
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": "예"}]}, "finishReason": "STOP"}
        if self.dice.random() < 0.5:
            chunk = {"web": {"uri": "https://city.example", "title": "세금"}}
            candidate["groundingMetadata"] = {
                "webSearchQueries": queries,
                "groundingChunks": [chunk] if queries else [],
            }
        sent, got = self._count(), self._count(4000)
        usage = {"promptTokenCount": sent, "candidatesTokenCount": got, "thoughtsTokenCount": self._count(9)}
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": VENDORS[vendor][2],
            "responseId": "r",
        }

    def _anthropic(self) -> dict[str, Any]:
        short, long = self._count(50), self._count(50)
        both = short + long if type(short) is type(long) is int else 0
        return {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": self.dice.choice(["claude-sonnet-5-5", "claude-haiku-5-5"]),
            "content": [{"type": "text", "text": "예"}],
            "stop_reason": "end_turn",
            "usage": {
                "input_tokens": self._count(),
                "cache_read_input_tokens": self._count(100),
                "cache_creation_input_tokens": both,
                "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
                "output_tokens": self._count(4000),
                "server_tool_use": {"web_search_requests": self._count(4)},
                "service_tier": self.dice.choice(["standard", "batch", "priority"]),
            },
        }

    def _responses(self) -> dict[str, Any]:
        calls = [
            {"type": "web_search_call", "id": f"s{n}", "status": "completed"} for n in range(self.dice.randrange(3))
        ]
        text = {"type": "output_text", "text": "예", "annotations": []}
        sent, got = self._count(), self._count(4000)
        total = sent + got if type(sent) is type(got) is int else 3
        return {
            "id": "r",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": self.dice.choice(["gpt-5", "gpt-5-2025-08-07"]),
            "service_tier": self.dice.choice(["default", "flex", "priority"]),
            "output": [
                *calls,
                {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [text]},
            ],
            "usage": {"input_tokens": sent, "output_tokens": got, "total_tokens": total},
        }


@pytest.fixture(params=[1, 2])
async def inside(request: pytest.FixtureRequest, tmp_path: Path, migrated_sqlite: Path) -> AsyncIterator[Inside]:
    folder = tmp_path / "gateway"
    async with serve(Vendors(request.param)) as server:
        # What these prices wait for is a confirmation; here they are taken as they are.
        prices = {"confirmed.yaml": confirmed(folder)}
        async with opened(folder, migrated_sqlite, config(server.port), prices=prices) as gateway:
            yield gateway


def confirmed(folder: Path) -> str:
    """The shipped lists of these models with a later date, every line of them confirmed."""
    import yaml

    root = Path(__file__).resolve().parents[2] / "billing/prices"
    keys = {price for *_, price, _ in VENDORS.values()}
    lists = []
    for path in sorted(root.glob("*.yaml")):
        file = yaml.load(path.read_text("utf-8"), Loader=yaml.BaseLoader)
        for one in file["prices"]:
            if one["key"] in keys:
                plain = {name: value for name, value in one.items() if name not in ("aliases", "confirmed", "reason")}
                lists.append({"currency": file["currency"], **plain, "source": "this test", "confirmed": "true"})
    since = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return yaml.safe_dump({"provider": "any", "prices": [{**one, "valid_from": since} for one in lists]})


def rated(inside: Inside, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    folder = inside.data.parent
    env = {"HAECHI_DATABASE_URL": f"sqlite:///{folder / 'ledger.db'}", "HAECHI_PRICES": str(folder / "prices")}
    where = ["--config", str(folder / "config.yaml"), "--data", str(inside.data)]
    now = datetime.now(ZoneInfo("Asia/Seoul"))
    capsys.readouterr()
    found: dict[str, dict[str, Any]] = {}
    for month in {f"{now - timedelta(days=1):%Y-%m}", f"{now:%Y-%m}"}:
        assert main(["rate", "--recorded", "--month", month, *where], env) == 0
        for line in capsys.readouterr().out.splitlines():
            answer = json.loads(line)
            found[answer["id"]] = answer
    return found


async def test_every_recorded_usage_rates_to_what_was_booked(
    inside: Inside, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = 0
    for _ in range(25):
        for name in VENDORS:
            more = {"web_search_options": {"search_context_size": "high"}} if name == "perplexity" else {}
            answer = await inside.chat(name, "안녕", **more)
            asked += answer.status_code == 200
    events = {row["id"]: row for row in inside.rows("SELECT * FROM usage_event WHERE raw_usage IS NOT NULL")}
    assert len(events) == asked > 200
    again = rated(inside, capsys)
    assert again.keys() == events.keys()
    exact = 0
    for id_, event in events.items():
        answer = again[id_]
        assert answer["booked"]["quality"] == event["quality"]
        if event["quality"] == "exact":
            assert (answer["quality"], answer["ticks"]) == ("exact", event["amount_ticks"]), (event, answer)
            assert {line["meter"]: line["quantity"] for line in answer["lines"]} == inside.meters(event)
            exact += 1
        elif not event["reason"].startswith("absurd"):
            assert (answer["quality"], answer["ticks"]) == ("suspense", None), (event, answer)
    assert exact > 75
    kept = " ".join(event["usage_context"] or "" for event in events.values())
    assert "webSearchQueries" in kept
    assert "조례" not in kept, "what was searched for is not kept"
