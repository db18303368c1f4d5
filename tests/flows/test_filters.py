"""What arrives at the upstream's socket, and what does not: every kind on every surface, every grade to every destination.

The upstream keeps the bytes it was sent. A test that says "did not leave" has looked there, not at an answer of ours.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from flows.inside import Inside, opened

from gateway import tokens
from gateway.providers.scripted import Script, ScriptedEngine
from gateway.providers.scripted_server import ScriptedServer, serve
from policies.detectors import DETECTORS
from policies.engine import Scanner

PRICES = """\
provider: acme
currency: USD
valid_from: 2026-01-01
source: written for this test
confirmed: true
prices:
  - key: acme/model
    per_million: {input: "1", output: "4"}
"""

#: Made up, with check digits that are right.
RRN = "850312-2345677"
PHONE = "010-9876-5432"

CHAT = "/v1/chat/completions"
EMBED = "/v1/embeddings"

#: What becomes of each kind on its way outside.
BLOCKED = {"RRN", "FRN", "PASSPORT", "DRIVER_LICENSE", "SECRET", "CLASSMARK"}
MASKED = {"PHONE", "EMAIL", "ADDRESS", "ACCOUNT", "CARD", "NHIS", "PLATE", "BIRTHDATE", "PERSON"}


class Wire:
    """The scripted upstream, and every body it was sent, by the path's first word: the account it came to."""

    def __init__(self) -> None:
        self._engine = ScriptedEngine(faults=True, pace=0)
        self.bodies: list[dict[str, Any]] = []
        self.raw: list[bytes] = []

    def answer(self, path: str, body: bytes) -> Script:
        self.raw.append(body)
        self.bodies.append(json.loads(body))
        return self._engine.answer(path, body)

    def clear(self) -> None:
        self.bodies.clear()
        self.raw.clear()

    @property
    def models(self) -> list[str]:
        return [body["model"] for body in self.bodies]

    def saw(self, text: str) -> bool:
        """Whether a text arrived, spelled in any way JSON allows."""
        return any(text in one for body in self.bodies for one in tokens.strings(body))


def configuration(base_url: str, **policies: Any) -> dict[str, Any]:
    """One account and one model for each destination; `careful` falls back inside, `open` does not."""

    def account(destination: str, **more: Any) -> dict[str, Any]:
        given = {"kind": "openai_compatible", "base_url": base_url, "destination": destination, "family": "openai/chat"}
        return {**given, **more}

    def model(name: str, provider: str, grade: str, **more: Any) -> dict[str, Any]:
        place = {"provider": provider, "model": f"at-{name}", "price": "acme/model"}
        return {
            "name": name,
            "title": {"ko": name, "en": name},
            "grade": grade,
            "capabilities": ["chat", "tools", "json", "vision", "audio", "documents", "search", "embeddings"],
            "context": 100_000,
            "max_output": 200,
            "deployments": [{**place, **more.pop("place", {})}],
            **more,
        }

    return {
        "organisation": {"name": "데모시"},
        "providers": {
            "inside": account("inside"),
            "government": account("government"),
            "domestic": account("domestic"),
            "foreign": account("foreign"),
            "dead": account("foreign", base_url="http://127.0.0.1:9/v1"),
        },
        "models": [
            model("inside", "inside", "S"),
            model("plain-inside", "inside", "O"),
            model("government", "government", "S" if policies.get("government_grade") == "S" else "O"),
            model("domestic", "domestic", "O"),
            model("foreign", "foreign", "O"),
            model("careful", "foreign", "O", fallbacks=["inside"]),
            model("careless", "dead", "O", fallbacks=["domestic"]),
            model("counted", "foreign", "O", place={"tokenizer": "cl100k_base"}),
        ],
        "policies": policies,
    }


@pytest.fixture(scope="module")
async def wire() -> AsyncIterator[tuple[Wire, ScriptedServer]]:
    made = Wire()
    async with serve(made) as server:
        yield made, server


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Wire, ScriptedServer]]:
    made = Wire()
    async with serve(made) as server:
        yield made, server


@pytest.fixture
def seen(upstream: tuple[Wire, ScriptedServer]) -> Wire:
    return upstream[0]


@pytest.fixture
async def inside(upstream: tuple[Wire, ScriptedServer], tmp_path: Path, migrated_sqlite: Path) -> AsyncIterator[Inside]:
    given = configuration(upstream[1].base_url)
    async with opened(tmp_path / "gateway", migrated_sqlite, given, prices={"acme.yaml": PRICES}) as gateway:
        yield gateway


async def ask(inside: Inside, surface: str, model: str, text: str) -> httpx.Response:
    if surface == "embeddings":
        return await inside.post(EMBED, model=model, input=[text, "안녕하세요"])
    return await inside.chat(model, text, stream=surface == "stream")


SURFACES = ("whole", "stream", "embeddings")


# ── every kind ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def surest() -> Iterator[tuple[str, str, str]]:
    """(kind, text, value): of each kind the example that is seen most surely."""
    scanner = Scanner()
    for detector in DETECTORS:
        module = importlib.import_module(type(detector).__module__)
        examples = [
            (text, one) for text, found in module.EXAMPLES for one in ([found] if isinstance(found, str) else found)
        ]
        scored = [
            (match.score, text, value)
            for text, value in examples
            for match in scanner.scan(text)
            if match.kind == detector.kind and text[match.start : match.end] == value
        ]
        _, text, value = max(scored, key=lambda one: one[0])
        yield detector.kind, text, value


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(("kind", "text", "value"), list(surest()), ids=lambda value: value if value.isupper() else "")
async def test_every_kind_is_stopped_masked_or_told_on_every_surface(  # noqa: PLR0917 – the table's columns
    inside: Inside, seen: Wire, surface: str, kind: str, text: str, value: str
) -> None:
    answer = await ask(inside, surface, "foreign", text)
    if kind in BLOCKED:
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert (error["code"], error["type"]) == ("policy_blocked", "invalid_request_error")
        (finding,) = [f for f in error["haechi"]["findings"] if f["kind"] == kind]
        assert text[finding["start"] : finding["end"]] == value
        assert finding["part"] == ("/input/0" if surface == "embeddings" else "/messages/0/content")
        assert value not in answer.text
        assert seen.bodies == []
        assert inside.rows("SELECT * FROM hold") == []
        assert inside.rows("SELECT * FROM usage_event") == []
    elif kind in MASKED:
        assert answer.status_code == 200, answer.text
        assert len(seen.bodies) == 1
        assert not seen.saw(value)
        assert answer.headers["x-haechi-policy"] == "masked"
        assert f"{kind}=1" in answer.headers["x-haechi-policy-findings"]
    else:
        assert answer.status_code == 200, answer.text
        assert seen.saw(value)
        assert answer.headers["x-haechi-policy"] == "warned"


@pytest.mark.parametrize("surface", SURFACES)
async def test_clean_text_leaves_byte_for_byte(inside: Inside, seen: Wire, surface: str) -> None:
    text = "주간 업무 보고서의 목차를 써 주세요. 회의는 2026-11-24 14:00, 예산은 1,250,000원입니다. \u200b😀"
    answer = await ask(inside, surface, "foreign", text)
    assert answer.status_code == 200, answer.text
    assert seen.saw(text)
    assert not [name for name in answer.headers if name.startswith("x-haechi-policy")]
    assert inside.rows("SELECT * FROM evidence") == []
