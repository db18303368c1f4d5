"""Each of the twenty-nine answers, whole and as a stream, and costs what a clerk works out from the table below.

The shipped config.yaml is used as it is, but for two things: every provider is called at the scripted upstream instead of at its
vendor, which speaks that vendor's wire format there, and the names, windows and prices that wait for a confirmation are taken as
confirmed, at the prices this table states. No vendor is called.

"Hello" is one token, a message adds three and an answer three: 7 tokens sent. `max_tokens` is 5 and the scripted answer longer:
5 tokens answered. What a vendor states beside them (caches, reasoning, searches, its own charge) stands in VENDORS.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
import yaml
from flows.inside import Inside, frames, opened

from billing.prices import load as load_prices
from gateway.providers.scripted import Script, ScriptedEngine, Step
from gateway.providers.scripted.anthropic import Messages
from gateway.providers.scripted.chat import chat_completions
from gateway.providers.scripted.cohere import ChatV2
from gateway.providers.scripted.gemini import GenerateContent
from gateway.providers.scripted.responses import Responses
from gateway.providers.scripted.script import Dialect, Engine
from gateway.providers.scripted_server import serve

ROOT = Path(__file__).resolve().parents[2]
SENT, ANSWERED = 7, 5
BESIDE = {"practice-inside", "practice-foreign", "local-gemma", "text-embedding-3-small"}

# ── what each vendor says beside the tokens ─────────────────────────────────────────────────────────────────────────────

Written = Callable[[dict[str, Any]], dict[str, Any]]


def openai(usage: dict[str, Any]) -> dict[str, Any]:
    """2 of the 7 came from the cache; 4 of the 5 were reasoning, which is inside them."""
    details = {"cached_tokens": 2}, {"reasoning_tokens": 4}
    return {**usage, "prompt_tokens_details": details[0], "completion_tokens_details": details[1]}


#: xAI's charge in 1e-10 USD, as its answers state it: what the table below computes.
XAI_CHARGE = {"grok-4.7": 590_000, "grok-4.3": 266_500}


def xai(usage: dict[str, Any], model: str = "") -> dict[str, Any]:
    """2 of the 7 cached, and 3 more of reasoning, outside the 5 but inside the total."""
    return {
        "prompt_tokens": SENT,
        "completion_tokens": ANSWERED,
        "total_tokens": SENT + ANSWERED + 3,
        "prompt_tokens_details": {"text_tokens": SENT, "cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3},
        "num_sources_used": 0,
    }


def deepseek(usage: dict[str, Any]) -> dict[str, Any]:
    return {**plain(usage), "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 3}


def plain(usage: dict[str, Any]) -> dict[str, Any]:
    """Three numbers and nothing beside them."""
    return {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def vllm(usage: dict[str, Any]) -> dict[str, Any]:
    return {**plain(usage), "prompt_tokens_details": None}


def spoken(write: Written) -> Dialect:
    """Chat completions with a vendor's own usage object in them, wherever the answer carries one."""

    def rewritten(data: bytes) -> bytes:
        event = data.startswith(b"data: ")
        text = data[6:].strip() if event else data
        if text == b"[DONE]" or b'"usage":{' not in text:
            return data
        said = json.loads(text)
        said["usage"] = write(said["usage"])
        if said["model"] in XAI_CHARGE:
            said["usage"]["cost_in_usd_ticks"] = XAI_CHARGE[said["model"]]
        body = json.dumps(said).encode()
        return b"data: " + body + b"\n\n" if event else body

    def speak(engine: Engine, request: dict[str, Any]) -> Script:
        script = chat_completions(engine, request)
        steps = [Step(rewritten(step.data), tokens=step.tokens, usage=step.usage) for step in script.steps]
        length = None if script.length is None else sum(len(step.data) for step in steps)
        return Script(script.status, script.headers, steps, length=length, model=script.model, stream=script.stream)

    return speak


class Claude(Messages):
    """4 more tokens were read from the cache and 2 written to it for five minutes, all outside `input_tokens`."""

    def usage(self, sent: int, answered: int) -> dict[str, Any]:
        return {
            "input_tokens": sent,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 2,
            "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 0},
            "output_tokens": answered,
            "service_tier": "standard",
        }


class Gemini(GenerateContent):
    """3 tokens of thoughts, outside the candidates; 1 of the 7 from the cache."""

    def usage(self, sent: int, answered: int) -> dict[str, Any]:
        return {
            "promptTokenCount": sent,
            "cachedContentTokenCount": 1,
            "candidatesTokenCount": answered,
            "thoughtsTokenCount": 3,
            "totalTokenCount": sent + answered + 3,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": sent}],
            "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 1}],
        }


class Cohere(ChatV2):
    """The model saw a hundred tokens more; what is billed are the seven and the five."""

    def usage(self, sent: int, answered: int) -> dict[str, Any]:
        return {
            "billed_units": {"input_tokens": float(sent), "output_tokens": float(answered)},
            "tokens": {"input_tokens": sent + 100, "output_tokens": answered},
        }


class Sonar(Responses):
    """Two searches, counted in the usage and billed by the call; the charge is stated, rounded to the thousandth.

    The scripted upstream names its sources where the model's plain name begins with `sonar`.
    """

    def read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().read(request), "model": request["model"].removeprefix("perplexity/")}

    def usage(self, sent: int, answered: int) -> dict[str, Any]:
        return {
            **super().usage(sent, answered),
            "tool_calls_details": {"search_web": {"invocation": 2}},
            "cost": {"currency": "USD", "total_cost": 0.005},
        }


#: What is said at each provider's own address.
VENDORS: Mapping[str, Mapping[str, Dialect]] = {
    "openai": {"/chat/completions": spoken(openai)},
    "anthropic": {"/messages": Claude()},
    "google": {":generateContent": Gemini(streams=False), ":streamGenerateContent": Gemini(streams=True)},
    "perplexity": {"/responses": Sonar()},
    "xai": {"/chat/completions": spoken(xai)},
    "mistral": {"/chat/completions": spoken(plain)},
    "deepseek": {"/chat/completions": spoken(deepseek)},
    "cohere": {"/chat": Cohere()},
    "naver": {"/chat/completions": spoken(plain)},
    "upstage": {"/chat/completions": spoken(plain)},
    "vllm-exaone": {"/chat/completions": spoken(vllm)},
    "vllm-qwen": {"/chat/completions": spoken(vllm)},
    "vllm-llama": {"/chat/completions": spoken(vllm)},
    "ollama": {"/chat/completions": spoken(plain)},
    "llamacpp": {"/chat/completions": spoken(plain)},
}


class Vendors:
    """All of them behind one address, each in a folder of its own name. Only the paths it knows are answered."""

    def __init__(self) -> None:
        self._engines = {name: ScriptedEngine(pace=0, dialects=dialects) for name, dialects in VENDORS.items()}
        self.seen: list[tuple[str, str]] = []

    def answer(self, path: str, body: bytes) -> Script:
        name = path.split("/")[1]
        self.seen.append((name, path))
        return self._engines[name].answer(path, body)


# ── what each model costs ───────────────────────────────────────────────────────────────────────────────────────────────


class Row(NamedTuple):
    """`prices`: meter → per million tokens (searches: per thousand). `amount`: the sum, in millionths of the currency.

    `shipped`: the price files that come with the project say the same today; otherwise the price is this test's own.
    """

    model: str
    prices: Mapping[str, str]
    meters: Mapping[str, int]
    amount: str
    currency: str = "USD"
    shipped: bool = True


CHAT = {"input": 7, "output": 5}
CACHED = {"input": 5, "cache_read": 2, "output": 5}
CLAUDE = {"input": 7, "cache_read": 4, "cache_write_5m": 2, "output": 5}
THOUGHT = {"input": 6, "cache_read": 1, "output": 8}  # 5 candidates + 3 thoughts
SEARCHED = {"input": 7, "output": 5, "web_search": 2}
HITS = {"input": 3, "cache_read": 4, "output": 5}
XAI = {"input": 5, "cache_read": 2, "output": 8}  # 5 + 3 of reasoning

ROWS = (
    # 5 × 1.25 + 2 × 0.125 + 5 × 10 = 6.25 + 0.25 + 50
    Row("gpt-5", {"input": "1.25", "cache_read": "0.125", "output": "10"}, CACHED, "56.5"),
    # 5 × 0.25 + 2 × 0.025 + 5 × 2 = 1.25 + 0.05 + 10
    Row("gpt-5-mini", {"input": "0.25", "cache_read": "0.025", "output": "2"}, CACHED, "11.3"),
    # 5 × 0.05 + 2 × 0.005 + 5 × 0.4 = 0.25 + 0.01 + 2
    Row("gpt-5-nano", {"input": "0.05", "cache_read": "0.005", "output": "0.4"}, CACHED, "2.26"),
    # 5 × 2.5 + 2 × 1.25 + 5 × 10 = 12.5 + 2.5 + 50
    Row("gpt-4o", {"input": "2.5", "cache_read": "1.25", "output": "10"}, CACHED, "65"),
    # 5 × 2 + 2 × 0.2 + 5 × 10 = 10 + 0.4 + 50
    Row("gpt-6-sol", {"input": "2", "cache_read": "0.2", "output": "10"}, CACHED, "60.4"),
    # 5 × 0.1 + 2 × 0.01 + 5 × 0.5 = 0.5 + 0.02 + 2.5
    Row("gpt-6-luna", {"input": "0.1", "cache_read": "0.01", "output": "0.5"}, CACHED, "3.02"),
    # 7 × 3 + 4 × 0.3 + 2 × 3.75 + 5 × 15 = 21 + 1.2 + 7.5 + 75
    Row(
        "claude-sonnet-4-5",
        {"input": "3", "cache_read": "0.3", "cache_write_5m": "3.75", "output": "15"},
        CLAUDE,
        "104.7",
    ),
    # 7 × 4 + 4 × 0.2 + 2 × 5 + 5 × 20 = 28 + 0.8 + 10 + 100
    Row("claude-opus-5-5", {"input": "4", "cache_read": "0.2", "cache_write_5m": "5", "output": "20"}, CLAUDE, "138.8"),
    # 7 × 2 + 4 × 0.1 + 2 × 2.5 + 5 × 10 = 14 + 0.4 + 5 + 50
    Row(
        "claude-sonnet-5-5",
        {"input": "2", "cache_read": "0.1", "cache_write_5m": "2.5", "output": "10"},
        CLAUDE,
        "69.4",
    ),
    # 7 × 0.1 + 4 × 0.01 + 2 × 0.125 + 5 × 0.5 = 0.7 + 0.04 + 0.25 + 2.5
    Row(
        "claude-haiku-5-5",
        {"input": "0.1", "cache_read": "0.01", "cache_write_5m": "0.125", "output": "0.5"},
        CLAUDE,
        "3.49",
    ),
    # 6 × 1.25 + 1 × 0.125 + 8 × 10 = 7.5 + 0.125 + 80
    Row("gemini-2.5-pro", {"input": "1.25", "cache_read": "0.125", "output": "10"}, THOUGHT, "87.625"),
    # 6 × 0.3 + 1 × 0.03 + 8 × 2.5 = 1.8 + 0.03 + 20
    Row("gemini-2.5-flash", {"input": "0.3", "cache_read": "0.03", "output": "2.5"}, THOUGHT, "21.83"),
    # 6 × 0.75 + 1 × 0.075 + 8 × 3.75 = 4.5 + 0.075 + 30
    Row("gemini-3.8-flash", {"input": "0.75", "cache_read": "0.075", "output": "3.75"}, THOUGHT, "34.575"),
    # 7 × 0.25 + 5 × 2.5 + 2 searches × 2,500 = 1.75 + 12.5 + 5000: more than the 0.005 USD the answer states
    Row("sonar", {"input": "0.25", "output": "2.5", "web_search": "2.5"}, SEARCHED, "5014.25"),
    # 7 × 3 + 5 × 15 + 2 searches × 2,500 = 21 + 75 + 5000
    Row("sonar-pro", {"input": "3", "output": "15", "web_search": "2.5"}, SEARCHED, "5096", shipped=False),
    # 5 × 2 + 2 × 0.5 + 8 × 6 = 10 + 1 + 48
    Row("grok-4.7", {"input": "2", "cache_read": "0.5", "output": "6"}, XAI, "59"),
    # 5 × 1.25 + 2 × 0.2 + 8 × 2.5 = 6.25 + 0.4 + 20
    Row("grok-4.3", {"input": "1.25", "cache_read": "0.2", "output": "2.5"}, XAI, "26.65"),
    # 7 × 0.5 + 5 × 1.5 = 3.5 + 7.5
    Row("mistral-large", {"input": "0.5", "output": "1.5"}, CHAT, "11"),
    # 7 × 0.15 + 5 × 0.6 = 1.05 + 3
    Row("mistral-small", {"input": "0.15", "output": "0.6"}, CHAT, "4.05"),
    # off-peak: 3 × 0.66 + 4 × 0.022 + 5 × 1.98 = 1.98 + 0.088 + 9.9
    Row("deepseek-v4-pro", {"input": "0.66", "cache_read": "0.022", "output": "1.98"}, HITS, "11.968"),
    # off-peak: 3 × 0.15 + 4 × 0.003 + 5 × 0.6 = 0.45 + 0.012 + 3
    Row("deepseek-v4-flash", {"input": "0.15", "cache_read": "0.003", "output": "0.6"}, HITS, "3.462"),
    # 7 × 2.5 + 5 × 10 = 17.5 + 50
    Row("command-a", {"input": "2.5", "output": "10"}, CHAT, "67.5"),
    # 7 × 1,250 + 5 × 5,000 = 8,750 + 25,000 millionths of a won
    Row("hyperclova-x", {"input": "1250", "output": "5000"}, CHAT, "33750", "KRW", shipped=False),
    # 7 × 0.2 + 5 × 0.8 = 1.4 + 4
    Row("solar-pro2", {"input": "0.2", "output": "0.8"}, CHAT, "5.4", shipped=False),
    # An internal rate in won, as finance may set one: 7 × 100 + 5 × 400 = 700 + 2,000
    Row("exaone-4-32b", {"input": "100", "output": "400"}, CHAT, "2700", "KRW", shipped=False),
    # 7 × 0.1 + 5 × 0.4 = 0.7 + 2
    Row("qwen3-32b", {"input": "0.1", "output": "0.4"}, CHAT, "2.7", shipped=False),
    # 7 × 0.2 + 5 × 0.6 = 1.4 + 3
    Row("llama-3.3-70b", {"input": "0.2", "output": "0.6"}, CHAT, "4.4", shipped=False),
    # 7 × 0.05 + 5 × 0.1 = 0.35 + 0.5
    Row("gemma-3-27b", {"input": "0.05", "output": "0.1"}, CHAT, "0.85", shipped=False),
    # the rate the project ships for servers of one's own: nothing
    Row("gpt-oss-20b", {"input": "0", "output": "0"}, CHAT, "0"),
)

SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text("utf-8"))
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def price_key(name: str) -> str:
    found = next(model for model in SHIPPED["models"] if model["name"] == name)
    return str(found["deployments"][0]["price"])


def per(prices: Mapping[str, str]) -> dict[str, dict[str, str]]:
    searches = {meter: price for meter, price in prices.items() if meter == "web_search"}
    tokens = {meter: price for meter, price in prices.items() if meter != "web_search"}
    return {"per_million": tokens, **({"per_thousand": searches} if searches else {})}


def price_files() -> dict[str, str]:
    """One dated list for every row, from yesterday on, confirmed by this test."""
    files: dict[str, Any] = {}
    for row in ROWS:
        key = price_key(row.model)
        provider = key.partition("/")[0]
        file = files.setdefault(f"{provider}.yaml", {"provider": provider, "prices": []})
        sure = {"currency": row.currency, "valid_from": YESTERDAY, "source": "this test", "confirmed": "true"}
        file["prices"].append({"key": key, **sure, **per(row.prices)})
    return {name: yaml.safe_dump(file) for name, file in files.items()}


def at_the_scripted_upstream(port: int) -> dict[str, Any]:
    """The shipped configuration with every provider's address replaced and every confirmation given."""
    config = json.loads(json.dumps(SHIPPED))
    for name, provider in config["providers"].items():
        if provider["kind"] != "scripted":
            provider["base_url"] = f"http://127.0.0.1:{port}/{name}/v1"
    for model in config["models"]:
        model["confirmed"] = True
    return config


def everything_set() -> dict[str, str]:
    names = {p[key] for p in SHIPPED["providers"].values() for key in ("api_key_env", "enabled_env") if key in p}
    return dict.fromkeys(names, "sk-for-the-test")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vendors(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path
) -> AsyncIterator[tuple[Vendors, Inside]]:
    upstream = Vendors()
    folder = tmp_path_factory.mktemp("every-model")
    async with (
        serve(upstream) as server,
        opened(
            folder / "gateway",
            migrated_sqlite,
            at_the_scripted_upstream(server.port),
            prices=price_files(),
            env=everything_set(),
        ) as inside,
    ):
        yield upstream, inside


def test_the_table_has_every_model_and_every_provider() -> None:
    assert [row.model for row in ROWS] == [m["name"] for m in SHIPPED["models"] if m["name"] not in BESIDE]
    used = {d["provider"] for m in SHIPPED["models"] if m["name"] not in BESIDE for d in m["deployments"]}
    assert used == set(VENDORS)


@pytest.mark.parametrize("row", [row for row in ROWS if row.shipped], ids=lambda row: row.model)
def test_the_table_states_the_shipped_prices(row: Row) -> None:
    """On a Sunday of the month this was written in: no peak hours, no later list."""
    card = load_prices().card(price_key(row.model), datetime(2026, 11, 22, 12, tzinfo=UTC))
    for meter, price in row.prices.items():
        (rate,) = [rates[meter].pico for rates in card._rates[:1]]
        assert rate == Decimal(price) * (10**9 if meter == "web_search" else 10**6), meter


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.model)
@pytest.mark.asyncio(loop_scope="module")
async def test_it_answers_and_costs_what_the_table_says(
    vendors: tuple[Vendors, Inside], row: Row, *, stream: bool
) -> None:
    upstream, inside = vendors
    more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    before = len(upstream.seen)
    answer = await inside.chat(row.model, max_tokens=ANSWERED, **more)
    assert answer.status_code == 200, answer.text
    if stream:
        chunks = frames(answer)
        text = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
        reason = [c["finish_reason"] for chunk in chunks for c in chunk["choices"]][-1]
        cost = chunks[-1]["usage"]["cost_krw"]
    else:
        (choice,) = answer.json()["choices"]
        text, reason = choice["message"]["content"], choice["finish_reason"]
        cost = answer.headers["x-haechi-cost-krw"]
    assert text
    assert reason == "length"
    event = inside.event(answer)
    assert (event["quality"], event["outcome"], event["model_served"]) == ("exact", "completed", row.model)
    assert inside.meters(event) == row.meters
    # millionths of a dollar are 10,000 ticks of 1e-10 each; millionths of a won are ticks themselves
    assert inside.ticks(event) == Decimal(row.amount) * (10_000 if row.currency == "USD" else 1)
    assert Decimal(cost) == Decimal(event["won"] + event["vat"]) / 1_000_000
    (sent,) = upstream.seen[before:]
    assert sent[0] == event["provider"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.asyncio(loop_scope="module")
async def test_the_sources_a_search_model_names_reach_the_client(
    vendors: tuple[Vendors, Inside], *, stream: bool
) -> None:
    answer = await vendors[1].chat("sonar", **({"stream": True} if stream else {}))
    if stream:
        said = [c["delta"] for chunk in frames(answer) for c in chunk["choices"]]
        notes = [note for delta in said for note in delta.get("annotations") or ()]
    else:
        notes = answer.json()["choices"][0]["message"].get("annotations") or []
    assert notes
    assert all(note["url_citation"]["url"].startswith("https://") for note in notes)
