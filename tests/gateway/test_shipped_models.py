"""What the shipped config.yaml and price files promise together: twenty-nine models, each with its price or why it has none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from billing.prices import load as load_prices
from billing.usage import Usage
from gateway.catalog import Catalog, Model
from gateway.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "config.yaml"
TODAY = datetime(2026, 11, 24, tzinfo=UTC)
BOOK = load_prices()

#: Practice, the small example and embeddings stand beside the models people talk to.
BESIDE = {"practice-inside", "practice-foreign", "local-gemma", "text-embedding-3-small"}

#: Their vendors publish a price where it could not be read; it is entered by hand, with its date and source.
WITHOUT_PRICE = {"sonar-pro", "hyperclova-x", "solar-pro2"}

#: What is offered as soon as its credential is there, or its server is switched on.
CONFIRMED = {
    "gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-4o", "gpt-6-sol", "gpt-6-luna",
    "claude-sonnet-4-5", "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5",
    "gemini-2.5-pro", "gemini-2.5-flash", "gemini-3.8-flash", "grok-4.7", "grok-4.3", "mistral-large", "mistral-small",
    "exaone-4-32b", "qwen3-32b", "llama-3.3-70b", "gemma-3-27b", "gpt-oss-20b",
}  # fmt: skip

FAMILIES = {
    "ChatGPT": "gpt-", "Claude": "claude-", "Gemini": "gemini-", "Perplexity": "sonar", "Grok": "grok-",
    "Llama": "llama-", "Mistral": "mistral-", "DeepSeek": "deepseek-", "Cohere": "command-",
    "HyperCLOVA X": "hyperclova-", "Solar": "solar-", "EXAONE": "exaone-", "Qwen": "qwen", "gpt-oss": "gpt-oss",
    "Gemma": "gemma-",
}  # fmt: skip


def everything_set(settings: Settings) -> dict[str, str]:
    """An environment with every credential in it and every local server switched on."""
    given = settings.providers.values()
    return {name: "set-for-the-test" for p in given for name in (p.api_key_env, p.enabled_env) if name}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The shipped file in an environment that sets nothing."""
    return load_settings(SHIPPED, tmp_path_factory.mktemp("data"), {})


@pytest.fixture(scope="module")
def catalog(bare: Settings) -> Catalog:
    """The shipped file with everything set: what is still unavailable is so for want of a confirmation or a price."""
    return Catalog.build(load_settings(SHIPPED, bare.data, everything_set(bare)), BOOK, TODAY)


def the_29(catalog: Catalog) -> list[Model]:
    return [model for model in catalog if model.name not in BESIDE]


def test_there_are_twenty_nine_of_every_family_people_named(catalog: Catalog) -> None:
    names = [model.name for model in the_29(catalog)]
    assert len(names) == 29
    assert {family for family, start in FAMILIES.items() if not any(n.startswith(start) for n in names)} == set()


def test_every_model_says_what_a_person_needs_to_choose(catalog: Catalog) -> None:
    for model in catalog:
        assert model.title.ko, model.name
        assert model.title.en, model.name
        assert model.use is not None, model.name
        assert model.tasks, model.name
        assert model.max_output <= 4096 < model.context, model.name


def test_every_model_has_a_price_today_a_grade_and_a_location(catalog: Catalog) -> None:
    priced = {model.name for model in catalog if all(BOOK.has(place.price_key) for place in model.deployments)}
    assert {model.name for model in catalog} - priced == WITHOUT_PRICE
    for model in catalog:
        assert model.grade in {"O", "S"}
        assert (model.destination == "inside") == (model.grade == "S") or model.name == "practice-inside"
        for place in model.deployments:
            if model.name in priced:
                assert BOOK.card(place.price_key, TODAY).meters >= {"input"}
        if model.name in WITHOUT_PRICE:
            assert not model.available
            assert model.reason is not None


def test_only_what_is_confirmed_is_offered_and_the_rest_says_why(catalog: Catalog) -> None:
    assert {model.name for model in the_29(catalog) if model.available} == CONFIRMED
    for model in the_29(catalog):
        seen = model.confirmed
        assert model.available == (seen.name and seen.window and seen.price), model.name
        if not model.available:
            assert model.reason is not None
            assert model.reason.ko
            assert model.reason.en


def test_a_confirmation_names_its_source_and_day(bare: Settings) -> None:
    """A vendor outside is believed only where somebody wrote down what was read; a server of ours is what we start it as."""
    for model in bare.models:
        outside = any(bare.providers[d.provider].destination in {"domestic", "foreign"} for d in model.deployments)
        if outside and model.name not in BESIDE and model.confirmed.name and model.confirmed.window:
            assert model.confirmed.source is not None, model.name
            assert "2026-" in model.confirmed.source, model.name


def test_without_a_credential_a_model_is_listed_with_that_reason(bare: Settings) -> None:
    catalog = Catalog.build(bare, BOOK, TODAY)
    assert {model.name for model in catalog if model.available} == {"practice-inside", "practice-foreign"}
    missing = catalog.resolve("gpt-5-mini").reason
    assert missing is not None
    assert "API key has not been set" in missing.en
    off = catalog.resolve("qwen3-32b").reason
    assert off is not None
    assert "switched off" in off.en


# Adding a model: this block at the end of `models:`, and this line in a folder of dated prices. Nothing else.
BLOCK = """\
  - name: mistral-medium
    title: {ko: 미스트랄 미디엄, en: Mistral Medium}
    use: {ko: 긴 글, en: Long texts}
    tasks: [draft]
    grade: O
    capabilities: [chat]
    context: 262144
    max_output: 4096
    deployments: [{provider: mistral, model: mistral-medium-2999, price: mistral/mistral-medium-2999}]
"""
LINE = """\
provider: mistral
prices: [{key: mistral/mistral-medium-2999, currency: USD, valid_from: 2026-11-01, source: contract 7/2026, confirmed: true,
          per_million: {input: "1.5", output: "7.5"}}]
"""


def test_a_model_is_added_by_one_block_and_one_dated_line(tmp_path: Path) -> None:
    shipped = SHIPPED.read_text("utf-8")
    end = shipped.index("# ── 입력 필터")
    (tmp_path / "config.yaml").write_text(f"{shipped[:end]}{BLOCK}\n{shipped[end:]}", "utf-8")
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "contract.yaml").write_text(LINE, "utf-8")
    env = {"MISTRAL_API_KEY": "k", "HAECHI_PRICES": str(tmp_path / "prices")}
    settings = load_settings(tmp_path / "config.yaml", tmp_path / "data", env)
    assert settings.prices is not None
    book = load_prices(None, [settings.prices])
    added = Catalog.build(settings, book, TODAY).resolve("mistral-medium")
    assert added.available
    # 1,000 × 1.5 USD / 1,000,000 + 100 × 7.5 USD / 1,000,000 = 0.00225 USD
    charge = book.card(added.usable[0].price_key, TODAY).charge(Usage({"input": 1000, "output": 100}, "test/1"))
    assert charge.ticks == 22_500_000
