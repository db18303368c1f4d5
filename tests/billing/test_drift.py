"""What other people's price tables say is shown beside ours, as a file somebody may import, and changes nothing by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from billing.drift import Difference, GenaiPrices, LitellmMap, differences, proposals
from billing.prices import load
from billing.usage import Usage
from gateway.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 11, 24, tzinfo=UTC)

OURS = """\
provider: openai
currency: USD
valid_from: 2026-01-01
source: contract
confirmed: true
prices:
  - key: openai/model
    aliases: [openai/model-2026-01-01]
    per_million: {input: "1", cache_read: "0.1", output: "4"}
    per_thousand: {web_search: "10"}
    tiers: [{above: 100000, per_million: {input: "2", cache_read: "0.2", output: "8"}}]
    when: [{if: {service_tier: batch}, times: "0.5"}]
  - key: openai/steady
    per_million: {input: "1", output: "4"}
"""
MAP = """{
  "model": {"input_cost_per_token": 1.25e-06, "output_cost_per_token": 4e-06, "cache_read_input_token_cost": 1e-07},
  "steady": {"input_cost_per_token": 1e-06, "output_cost_per_token": 4e-06},
  "elsewhere": {"input_cost_per_token": 9e-06, "output_cost_per_token": 9e-06},
  "openai/model": {"input_cost_per_token": 7e-06},
  "sample_spec": {"input_cost_per_token": "a number"}
}"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "ours"
    made.mkdir()
    (made / "openai.yaml").write_text(OURS, "utf-8")
    return made


def test_only_what_differs_is_told(folder: Path) -> None:
    table = LitellmMap(json.loads(MAP, parse_float=Decimal), "a map")
    assert differences(load(folder), AT, [table]) == [Difference("openai/model", "input", "1", "1.25", "a map")]


def test_a_model_at_nothing_is_a_gap_and_not_a_price(folder: Path) -> None:
    table = LitellmMap({"model": {"input_cost_per_token": 0, "output_cost_per_token": 0}}, "a map")
    assert differences(load(folder), AT, [table]) == []


def test_the_proposal_is_a_whole_list_that_can_be_imported_as_it_is(folder: Path, tmp_path: Path) -> None:
    found = [Difference("openai/model", "input", "1", "1.25", "a map")]
    proposed = proposals(found, [folder], date(2026, 11, 25), AT)
    assert list(proposed) == ["openai"]
    further = tmp_path / "further"
    further.mkdir()
    (further / "openai-2026-11-25.yaml").write_text(proposed["openai"], "utf-8")
    book = load(folder, [further])
    usage = Usage({"input": 1_000_000, "output": 1_000_000, "web_search": 1}, "test/1", prompt_tokens=1)
    day = datetime(2026, 11, 25, tzinfo=UTC)
    # before: 1 + 4 + 0.01 USD; after: 1.25 + 4 + 0.01 USD; a batch: (1.25 + 4) / 2 + 0.01 USD
    assert book.card("openai/model", AT).charge(usage).ticks == 50_100_000_000
    assert book.card("openai/model", day).charge(usage).ticks == 52_600_000_000
    assert book.card("openai/model-2026-01-01", day, batch=True).charge(usage).ticks == 26_350_000_000
    assert not book.card("openai/model", day).confirmed
    assert book.card("openai/steady", day).confirmed


@dataclass
class _Asked:
    input_tokens: int = 0
    output_tokens: int = 0


def library(prices: dict[tuple[str, str], tuple[str, str]]) -> types.SimpleNamespace:
    """A stand-in with the two names of genai-prices that are used; prices are USD per million."""

    def calc_price(usage: _Asked, *, model_ref: str, provider_id: str) -> types.SimpleNamespace:
        try:
            sent, answered = prices[provider_id, model_ref]
        except KeyError:
            raise LookupError(model_ref) from None
        return types.SimpleNamespace(
            input_price=Decimal(sent) * usage.input_tokens / 1_000_000,
            output_price=Decimal(answered) * usage.output_tokens / 1_000_000,
        )

    return types.SimpleNamespace(Usage=_Asked, calc_price=calc_price)


def test_both_libraries_are_asked_and_named(folder: Path) -> None:
    first = LitellmMap(json.loads(MAP, parse_float=Decimal), "a map")
    second = GenaiPrices(library({("openai", "model"): ("1.5", "4"), ("openai", "steady"): ("1", "4")}), "a library")
    assert [(d.meter, d.theirs, d.source) for d in differences(load(folder), AT, [first, second])] == [
        ("input", "1.25", "a map"),
        ("input", "1.5", "a library"),
    ]


def test_the_command_shows_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "map.json"
    file.write_text('{"gpt-5-mini": {"input_cost_per_token": 3e-07, "output_cost_per_token": 2e-06}}')
    before = {path: path.read_bytes() for path in (ROOT / "billing/prices").glob("*.yaml")}
    words = ["price", "drift", "--json", "--config", str(ROOT / "config.yaml"), "--data", str(tmp_path / "data")]
    assert main([*words, "--map", str(file)], {}) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["applied"] is False
    assert told["differences"] == [
        {
            "key": "openai/gpt-5-mini",
            "meter": "input",
            "ours": "0.25",
            "theirs": "0.3",
            "source": str(file),
            "per": 1_000_000,
        }
    ]
    assert "openai/gpt-5-mini" in told["proposed"]["openai"]
    assert {path: path.read_bytes() for path in (ROOT / "billing/prices").glob("*.yaml")} == before
    assert not (tmp_path / "data" / "prices").exists()


def test_what_litellm_ships_is_read_without_importing_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DeepSeek's map prices are those of its peak hours; everything else it and we both price, we price the same."""
    words = ["price", "drift", "--json", "--config", str(ROOT / "config.yaml"), "--data", str(tmp_path / "data")]
    script = (
        f"import sys; from gateway.__main__ import main; sys.exit(main({words!r}, {{}}) or 'litellm' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["compared"][0].startswith("litellm ")
    assert {row["key"].partition("/")[0] for row in told["differences"]} <= {"deepseek"}
    assert main([*words, "--map", str(tmp_path / "none.json")], {}) == 1
    assert "no price table" in capsys.readouterr().err
