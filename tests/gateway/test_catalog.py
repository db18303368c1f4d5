"""A model that cannot be used now is listed all the same, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from billing.pricing import NoPrice
from gateway.catalog import Catalog, Seen
from gateway.errors import UnknownModel
from gateway.settings import Settings, load_settings

NOW = datetime(2026, 11, 23, tzinfo=UTC)

CONFIG = """\
organisation: {name: 데모시}
providers:
  far: {kind: openai_compatible, base_url: https://api.example/v1, api_key_env: FAR_KEY, destination: foreign,
        family: mistral/chat, on_disconnect: drain, tax: {treatment: provider_charged, rate_bp: 1000}}
  near: {kind: openai_compatible, base_url: https://kr.example/v1, enabled_env: NEAR, destination: domestic}
  here: {kind: scripted, destination: inside}
models:
  - name: two-places
    title: {ko: 둘, en: Two}
    grade: O
    context: 1000
    max_output: 100
    deployments:
      - {provider: far, model: m, price: far/m, weight: 3}
      - {provider: near, model: m2, price: near/m2}
  - {name: inside, title: {ko: 안, en: In}, grade: S, context: 9, max_output: 9, capabilities: [chat, tools],
     deployments: [{provider: here, model: m, price: here/m}]}
  - name: half-known
    title: {ko: 절반, en: Half}
    grade: S
    context: 9
    max_output: 9
    confirmed: {window: false, source: hearsay, reason: {ko: 창 크기를 재지 않았습니다., en: Nobody measured its window.}}
    deployments: [{provider: here, model: m, price: here/m}]
  - {name: doubtful, title: {ko: 미확인, en: Doubtful}, grade: S, context: 9, max_output: 9, confirmed: false,
     deployments: [{provider: here, model: m, price: here/m}]}
"""


@dataclass(frozen=True)
class Card:
    confirmed: bool


@dataclass(frozen=True)
class Book:
    """Prices by key: confirmed or not. What is not in it has no price."""

    confirmed: dict[str, bool]

    def card(self, key: str, at: datetime) -> Card:
        assert at == NOW
        if key not in self.confirmed:
            raise NoPrice(key)
        return Card(self.confirmed[key])


ALL = {"far/m": True, "near/m2": True, "here/m": True}


@pytest.fixture
def load(tmp_path: Path) -> Callable[[dict[str, str]], Settings]:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    return lambda env: load_settings(config, tmp_path, env)


@pytest.mark.parametrize(
    ("env", "prices", "usable", "reason"),
    [
        ({"FAR_KEY": "k", "NEAR": "1"}, ALL, ["far/m", "near/m2"], None),
        ({"NEAR": "1"}, ALL, ["near/m2"], None),
        ({"FAR_KEY": "k", "NEAR": "0"}, ALL, ["far/m"], None),
        ({}, ALL, [], "API key has not been set"),
        ({"FAR_KEY": "k"}, ALL | {"far/m": False}, [], "price has not been confirmed"),
        ({"FAR_KEY": "k"}, {}, [], "no price in force"),
    ],
)
def test_a_model_is_available_while_one_of_its_places_is(
    *,
    load: Callable[[dict[str, str]], Settings],
    env: dict[str, str],
    prices: dict[str, bool],
    usable: list[str],
    reason: str | None,
) -> None:
    model = Catalog.build(load(env), Book(prices), NOW).resolve("two-places")
    assert [deployment.id for deployment in model.usable] == usable
    assert model.available == bool(usable)
    assert len(model.deployments) == 2
    if reason is None:
        assert model.reason is None
    else:
        assert model.reason is not None
        assert reason in model.reason.en
        assert model.reason.ko


def test_what_a_deployment_carries(load: Callable[[dict[str, str]], Settings]) -> None:
    model = Catalog.build(load({"FAR_KEY": "k"}), Book(ALL), NOW).resolve("two-places")
    far = model.deployments[0]
    assert (far.provider, far.model, far.price_key, far.weight, far.destination) == ("far", "m", "far/m", 3, "foreign")
    assert (far.family, far.on_disconnect, far.tax_treatment, far.tax_rate_bp) == (
        ("mistral", "chat"),
        "drain",
        "provider_charged",
        1000,
    )
    assert model.destination == "foreign"  # the most exposed of its places decides what text may go there


def test_a_name_or_window_nobody_confirmed_keeps_a_model_back(load: Callable[[dict[str, str]], Settings]) -> None:
    catalog = Catalog.build(load({}), Book(ALL), NOW)
    assert catalog.resolve("inside").available
    doubtful = catalog.resolve("doubtful")
    assert not doubtful.available
    assert doubtful.reason is not None
    assert "confirmed" in doubtful.reason.en
    assert doubtful.confirmed == Seen(name=False, window=False)
    half = catalog.resolve("half-known")
    assert not half.available
    assert half.confirmed == Seen(window=False)
    assert half.reason is not None
    assert half.reason.en == "Nobody measured its window."


def test_models_are_listed_in_the_order_of_the_file(load: Callable[[dict[str, str]], Settings]) -> None:
    catalog = Catalog.build(load({}), Book({}), NOW)
    assert [model.name for model in catalog] == ["two-places", "inside", "half-known", "doubtful"]
    assert len(catalog) == 4


@pytest.mark.parametrize(("asked", "hint"), [("insde", "Did you mean 'inside'?"), ("claude", "GET /v1/models")])
def test_an_unknown_name_is_told_what_there_is(
    load: Callable[[dict[str, str]], Settings], asked: str, hint: str
) -> None:
    with pytest.raises(UnknownModel, match="No model is called") as caught:
        Catalog.build(load({}), Book(ALL), NOW).resolve(asked)
    assert hint in caught.value.message
    assert caught.value.param == "model"
