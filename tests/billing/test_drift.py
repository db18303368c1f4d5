"""What other people's price tables say is shown beside ours, as a file somebody may import, and changes nothing by itself."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import metadata
from pathlib import Path

import genai_prices
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


LIBRARY = GenaiPrices(genai_prices, f"genai-prices {metadata.version('genai-prices')}", AT)

#: Where the library and our price files state different prices, and which of the two we keep, and why.
KNOWN = {
    # it takes the price in one region's endpoint, 10 % more, for the price
    "aws/anthropic.claude-sonnet-4-5-20250929-v1:0",
    "aws/anthropic.claude-haiku-4-5-20251001-v1:0",
    # the two libraries say different things: ours is litellm's, and unconfirmed
    "together/meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "xai/grok-code-fast-1",
}


def test_the_library_itself_is_asked_and_says_what_we_say() -> None:
    book = load()
    assert {difference.key for difference in differences(book, AT, [LIBRARY])} == KNOWN
    assert len([key for key in book.keys() if LIBRARY.prices(key)]) > 100  # noqa: SIM118 – a book is no mapping


def test_what_is_confirmed_by_two_lists_stands_in_both() -> None:
    """Every price whose source names both: the two installed libraries state it, to the digit."""
    spec = importlib.util.find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "model_prices_and_context_window_backup.json"
    both = (LitellmMap(json.loads(file.read_text("utf-8"), parse_float=Decimal), "litellm"), LIBRARY)
    checked = set()
    for price in load().prices:
        if not price.confirmed or "genai-prices 0.2.3" not in price.source or price.meter not in COMPARED:
            continue
        ours = Decimal(price.unit_price_pico).scaleb(-12)
        assert {table.prices(price.key).get(price.meter) for table in both} == {ours}, price.id
        checked.add(price.key)
    assert len(checked) == 10


COMPARED = ("input", "output", "cache_read")


def test_at_noon_nobody_has_dear_hours() -> None:
    """DeepSeek's are before ten in the morning: a comparison made in them is the same as one made outside them."""
    for hour in (2, 12, 23):
        table = GenaiPrices(genai_prices, "a library", datetime(2026, 11, 24, hour, tzinfo=UTC))
        assert table.prices("deepseek/deepseek-v4-pro")["input"] * 1_000_000 == Decimal("0.66")


def test_both_libraries_are_asked_and_named(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "openai.yaml").write_text(OURS.replace("openai/model", "openai/gpt-5").replace("openai/steady", "openai/x"))
    table = json.loads(MAP.replace('"model"', '"gpt-5"'), parse_float=Decimal)
    found = differences(load(ours), AT, [LitellmMap(table, "a map"), LIBRARY])
    assert [(d.meter, d.ours, d.theirs, d.source) for d in found] == [
        ("input", "1", "1.25", "a map"),
        ("input", "1", "1.25", LIBRARY.source),
        ("cache_read", "0.1", "0.125", LIBRARY.source),
        ("output", "4", "10", LIBRARY.source),
    ]


def test_the_command_shows_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "map.json"
    file.write_text('{"gpt-5-mini": {"input_cost_per_token": 3e-07, "output_cost_per_token": 2e-06}}')
    before = {path: path.read_bytes() for path in (ROOT / "billing/prices").glob("*.yaml")}
    words = ["price", "drift", "--json", "--config", str(ROOT / "config.yaml"), "--data", str(tmp_path / "data")]
    assert main(["migrate", *words[3:]], {}) == 0
    capsys.readouterr()
    assert main([*words, "--map", str(file)], {}) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["applied"] is False
    assert [row for row in told["differences"] if row["source"] == str(file)] == [
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
    assert main(["migrate", *words[3:]], {}) == 0
    script = (
        f"import sys; from gateway.__main__ import main; sys.exit(main({words!r}, {{}}) or 'litellm' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert [source.partition(" ")[0] for source in told["compared"]] == ["litellm", "genai-prices"]
    by_map = [row for row in told["differences"] if row["source"].startswith("litellm ")]
    assert {row["key"].partition("/")[0] for row in by_map} == {"deepseek"}
    assert main([*words, "--map", str(tmp_path / "none.json")], {}) == 1
    assert "no price table" in capsys.readouterr().err
