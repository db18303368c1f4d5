"""The price files: what ships is sound, and a faulty file says where and what to do."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from billing.prices import SHIPPED, PriceFileError, load
from billing.pricing import PriceBook
from billing.usage import TOKEN_METERS, Usage

AT = datetime(2026, 11, 2, 12, tzinfo=UTC)
BOOK = load()
KEYS = BOOK.keys()


def test_two_practice_models_cost_one_and_four_dollars_per_million() -> None:
    for key in ("practice/inside", "practice/foreign"):
        card = BOOK.card(key, AT)
        assert card.confirmed
        # 1,000,000 × 1e-6 + 1,000,000 × 4e-6 = 5 USD
        assert card.charge(Usage({"input": 10**6, "output": 10**6}, "test/1")).ticks == 50_000_000_000
        assert (card.input_unit_pico(), card.output_unit_pico()) == (1_000_000, 4_000_000)


def test_local_models_cost_nothing_and_that_is_confirmed() -> None:
    local = [key for key in KEYS if key.startswith("local/")]
    assert local
    for key in local:
        card = BOOK.card(key, AT)
        assert card.confirmed
        assert card.charge(Usage({"input": 10**6, "output": 10**6, "cache_read": 5}, "test/1")).ticks == 0


# Two sources agree on these, or a vendor's page and a price map: USD per million tokens in and out.
AGREED = {
    "openai/gpt-5": ("1.25", "10"),
    "openai/gpt-5-mini": ("0.25", "2"),
    "openai/gpt-4o": ("2.5", "10"),
    "anthropic/claude-sonnet-4-5": ("3", "15"),
    "anthropic/claude-sonnet-5-5": ("2", "10"),
    "anthropic/claude-opus-5-5": ("4", "20"),
    "anthropic/claude-haiku-5-5": ("0.1", "0.5"),
    "google/gemini-2.5-flash": ("0.3", "2.5"),
    "google/gemini-2.5-pro": ("1.25", "10"),
    "perplexity/sonar": ("1", "1"),
    "openai/gpt-5-nano": ("0.05", "0.4"),
    "openai/gpt-6-sol": ("2", "10"),
    "openai/gpt-6-luna": ("0.1", "0.5"),
    "openai/text-embedding-3-small": ("0.02", None),
    "google/gemini-3.8-flash": ("0.75", "3.75"),
    "perplexity/perplexity/sonar": ("0.25", "2.5"),
    "xai/grok-4.7": ("2", "6"),
    "xai/grok-4.3": ("1.25", "2.5"),
    "mistral/mistral-large-2512": ("0.5", "1.5"),
    "mistral/mistral-small-2603": ("0.15", "0.6"),
}


@pytest.mark.parametrize("key", sorted(AGREED))
def test_what_two_sources_agree_on(key: str) -> None:
    """A thousand tokens at a price for a million: a thousandth of it, in ticks of 1e-10 USD."""
    for meter, price in zip(("input", "output"), AGREED[key], strict=True):
        if price is not None:
            used = BOOK.card(key, AT).charge(Usage({meter: 1000}, "test/1", prompt_tokens=1))
            assert used.ticks == Decimal(price) * 10**7


def test_only_what_two_sources_agree_on_is_confirmed() -> None:
    confirmed = {key for key in KEYS if BOOK.card(key, AT).confirmed}
    own = {key for key in confirmed if key.startswith(("local/", "practice/"))}
    assert confirmed - own == set(AGREED)


def test_every_price_has_a_source_and_a_name_of_its_own() -> None:
    assert all(price.source for price in BOOK.prices)
    assert len({price.id for price in BOOK.prices}) == len(BOOK.prices)
    assert all(price.key.startswith(price.provider + "/") for price in BOOK.prices)


def test_a_tier_prices_every_token_the_plain_list_prices() -> None:
    lists: dict[tuple[object, ...], dict[int, set[str]]] = {}
    for price in BOOK.prices:
        if price.meter in TOKEN_METERS:
            identity = (price.key, price.valid_from, *sorted((price.conditions or {}).items()))
            lists.setdefault(identity, {}).setdefault(price.threshold, set()).add(price.meter)
    for identity, tiers in lists.items():
        for threshold, meters in tiers.items():
            assert meters >= tiers[0], (identity, threshold)


def test_a_higher_tier_is_no_cheaper_and_a_batch_no_dearer() -> None:
    for key in KEYS:
        card = BOOK.card(key, AT)
        for tier in (50, 200_000, 272_001):
            assert card._dearest(tuple(card.meters), 1) <= card._dearest(tuple(card.meters), tier)
    assert BOOK.card("openai/gpt-5-mini", AT, batch=True).output_unit_pico() == 1_000_000  # half of 2 USD per million


def test_xai_tiers_begin_at_their_number_and_others_above_it() -> None:
    for price in BOOK.prices:
        if price.threshold:
            assert (price.tier_ge is not None) is (price.provider == "xai")


def test_deepseek_costs_double_in_the_peak() -> None:
    peak, off = datetime(2026, 11, 2, 2, tzinfo=UTC), datetime(2026, 11, 2, 5, tzinfo=UTC)
    holiday = datetime(2026, 10, 1, 2, tzinfo=UTC)
    usage = Usage({"input": 1000, "cache_read": 1000, "output": 1000}, "test/1")
    dear, cheap, free = (BOOK.card("deepseek/deepseek-v4-pro", at).charge(usage).ticks for at in (peak, off, holiday))
    assert dear is not None
    assert cheap is not None
    assert dear == 2 * cheap
    assert free == cheap


def test_an_answer_that_names_a_dated_snapshot_finds_its_price() -> None:
    assert BOOK.card("openai/gpt-5-2025-08-07", AT).key == "openai/gpt-5"
    assert BOOK.card("openai/gpt-4o-2024-05-13", AT).key == "openai/gpt-4o-2024-05-13"  # dearer: a key of its own


def test_the_version_follows_the_content(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(PLAIN, "utf-8")
    first = load(tmp_path)
    assert load(tmp_path).version == first.version
    file.write_text(PLAIN.replace('"1"', '"2"'), "utf-8")
    assert load(tmp_path).version != first.version


PLAIN = """\
provider: acme
currency: USD
valid_from: 2026-01-01
source: test
confirmed: true
prices:
  - key: acme/model
    per_million: {input: "1", output: "4"}
"""


def book(tmp_path: Path, text: str) -> PriceBook:
    (tmp_path / "acme.yaml").write_text(text, "utf-8")
    return load(tmp_path)


def test_a_further_folder_adds_a_later_list(tmp_path: Path) -> None:
    later = tmp_path / "later.yaml"
    later.write_text(
        PLAIN.replace("acme", "practice").replace("model", "inside").replace("2026-01-01", "2026-11-01T09:00:00+09:00"),
        "utf-8",
    )
    extended = load(extra_folders=[tmp_path])
    before, after = datetime(2026, 10, 31, 23, 59, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    assert "cache_read" in extended.card("practice/inside", before).meters
    assert "cache_read" not in extended.card("practice/inside", after).meters  # the later list is whole
    assert extended.version != BOOK.version


def test_a_variant_multiplies_tokens_and_leaves_fees(tmp_path: Path) -> None:
    text = PLAIN + (
        '    per_thousand: {web_search: "10"}\n'
        "    same_as: {input_image: input}\n"
        '    tiers: [{above: 100, per_million: {input: "2", output: "8"}}]\n'
        "    when:\n"
        '      - {if: {service_tier: batch}, times: "0.5"}\n'
        '      - {if: {service_tier: flex}, per_million: {input: "0.6", output: "2"}}\n'
        '      - {if: {region: eu}, times: "1.1"}\n'
    )
    found = book(tmp_path, text)
    usage = Usage({"input": 10, "input_image": 10, "output": 10, "web_search": 1}, "test/1")
    fee = 100_000_000  # 0.01 USD
    # plain: 10 × 1e-6 + 10 × 1e-6 + 10 × 4e-6 = 6e-5 USD
    assert found.card("acme/model", AT).charge(usage).ticks == 600_000 + fee
    assert found.card("acme/model", AT, batch=True).charge(usage).ticks == 300_000 + fee
    assert found.card("acme/model", AT, batch=True, region="eu").charge(usage).ticks == 330_000 + fee
    # flex: 10 × 0.6e-6 + 10 × 0.6e-6 + 10 × 2e-6 = 3.2e-5
    assert found.card("acme/model", AT, service_tier="flex").charge(usage).ticks == 320_000 + fee
    long = Usage({"input": 101}, "test/1")
    assert found.card("acme/model", AT, batch=True).charge(long).ticks == 1_010_000  # 101 × 2e-6 × 0.5
    # flex says nothing about prompts above 100: no price, and not the plain one
    assert found.card("acme/model", AT, service_tier="flex").charge(long).quality == "suspense"


def test_a_list_of_confirmed_meters_speaks_of_plain_prices_only(tmp_path: Path) -> None:
    text = PLAIN.replace("confirmed: true", "confirmed: [input, output]\nreason: the rest is not").replace(
        '"4"}', '"4", cache_read: "0.1"}\n    when: [{if: {service_tier: batch}, times: "0.5"}]'
    )
    found = book(tmp_path, text)
    card = found.card("acme/model", AT)
    assert card.confirmed
    assert card.charge(Usage({"input": 1}, "test/1")).confirmed
    assert not card.charge(Usage({"cache_read": 1}, "test/1")).confirmed
    assert not found.card("acme/model", AT, batch=True).confirmed


@pytest.mark.parametrize(
    ("change", "line", "problem", "remedy"),
    [
        (('"1"', '"-1"'), 8, "negative", "0 or more"),
        (('"1"', '"cheap"'), 8, "not a decimal number", "plain decimal"),
        (('"1"', '"0.0000001"'), 8, "finer than 1e-12", "rounder"),
        (('"1"', "[]"), 8, "no number", "plain decimal"),
        (("{input:", "{inputs:"), 8, "unknown meter inputs", "use one of input,"),
        (("USD", "EUR"), 2, "unknown currency EUR", "USD"),
        (("2026-01-01", "yesterday"), 3, "valid_from is yesterday", "2026-01-01T00:00:00Z"),
        (("valid_from: 2026-01-01\n", ""), 6, "no valid_from", "valid_from: 2026-01-01"),
        (("source: test\n", ""), 6, "no source", "where"),
        (("confirmed: true", "confirmed: perhaps\nreason: so"), 5, "confirmed is perhaps", "true, false"),
        (("confirmed: true", "confirmed: false"), 5, "does not say why", "add `reason:`"),
        (("confirmed: true", "confirmed: [taste]\nreason: so"), 5, "unknown meter taste", "use one of"),
        (("provider: acme\n", ""), 1, "no provider", "provider: openai"),
        (("per_million:", "per_milion:"), 8, "unknown key per_milion", "use one of"),
        (("key: acme/model", "name: acme/model"), 7, "unknown key name", "use one of"),
        (("  - key: acme/model\n    per", "  - per"), 7, "no key", "name the key"),
        (
            ('    per_million: {input: "1", output: "4"}\n', "    aliases: [acme/other]\n"),
            7,
            "has no prices",
            "per_million",
        ),
        (('{input: "1", output: "4"}', "cheap"), 8, "per_million is no mapping", "{name: value}"),
        (('"4"}', '"4"}\n    tiers: 7'), 9, "tiers is no list", "[...]"),
        (('"4"}', '"4"}\n    tiers: [7]'), 9, "a tier that is no mapping", "above: 200000"),
        (('"4"}', '"4"}\n    tiers: [{per_million: {input: "1"}}]'), 9, "without one beginning", "above"),
        (('"4"}', '"4"}\n    tiers: [{above: "-1", per_million: {input: "1"}}]'), 9, "beginning at -1", "whole number"),
        (('"4"}', '"4"}\n    same_as: {input_image: input_audio}'), 9, "no price here", "price it first"),
        (('"4"}', '"4"}\n    when: [{times: "0.5"}]'), 9, "without conditions", "service_tier: batch"),
        (('"4"}', '"4"}\n    when: [{if: {service_tier: batch}}]'), 9, "variant without prices", "times"),
        (('"4"}', '"4"}\n    when: [{if: {service_tier: batch}, times: half}]'), 9, "times half", "plain decimal"),
        (('"4"}', '"4"}\n    when: [{if: {a: b}, times: "0.0000001"}]'), 9, "finer", "write the prices out"),
        (('"4"}', '"4"}\n    when: [{if: {a: b}, times: "1", confirmed: so}]'), 9, "confirmed is so", "true or false"),
        (('"4"}', '"4"}\n    aliases: [[]]'), 9, "an alias that is no text", "whole keys"),
        (('"4"}', '"4", input: "2"}'), 8, "input stands twice", "keep one"),
        (('"4"}', '"4"}\n  - key: acme/model\n    per_unit: {page: "1"}'), 9, "on line 7", "keep one"),
        (('"4"}', '"4"}\n  - 7'), 6, "no mapping", "- key:"),
        (("prices:", "calendars: {moon: 7}\nprices:"), 6, "calendar moon is no mapping", "hours_utc"),
        (("prices:", "calendars: {moon: {weekdays: [x]}}\nprices:"), 6, "calendar moon is not readable", "hours_utc"),
        (('"4"}', '"4"}\n    when: [{if: {calendar: moon}, times: "2"}]'), 7, "no known calendar moon", "declare it"),
        (('"4"}', '"4"}\n    aliases: [acme/model]'), 7, "means something else", "drop the alias"),
        ((PLAIN[PLAIN.index("prices:") :], "prices: none\n"), 6, "no prices", "a list"),
        (("currency: USD", "currency: {"), 4, "not YAML", "syntax"),
    ],
)
def test_a_faulty_file_names_the_line_and_the_remedy(
    tmp_path: Path, change: tuple[str, str], line: int, problem: str, remedy: str
) -> None:
    text = PLAIN.replace(*change, 1)
    assert text != PLAIN
    with pytest.raises(PriceFileError) as caught:
        book(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"acme.yaml:{line}: "), message
    assert problem in message
    assert remedy in message


def test_two_files_that_price_one_key_from_one_instant_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(PLAIN, "utf-8")
    (tmp_path / "b.yaml").write_text(PLAIN, "utf-8")
    with pytest.raises(
        PriceFileError, match=re.escape("b.yaml:7: acme/model has a list from 2026-01-01T00:00Z in a.yaml:7")
    ):
        load(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "just words", "- 1"])
def test_a_file_that_is_no_price_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(PriceFileError, match=r"acme\.yaml:1: not a price file"):
        book(tmp_path, text)


def test_bytes_that_are_no_text_and_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(PriceFileError, match="no such folder"):
        load(extra_folders=[tmp_path / "missing"])
    (tmp_path / "acme.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PriceFileError, match="save it as UTF-8"):
        load(tmp_path)


def test_every_shipped_file_names_its_provider() -> None:
    for path in SHIPPED.glob("*.yaml"):
        assert f"provider: {path.stem}\n" in path.read_text("utf-8")
