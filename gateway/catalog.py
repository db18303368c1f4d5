"""Public model name → where it runs, what text it may take, what it can do, what it costs.

    config.yaml + environment ─┐
                               ├─▶ Catalog ── resolve("gpt-5-mini") ─▶ Model ─▶ Deployment, Deployment, …
    price book at this moment ─┘

A model that cannot be used now (no credential, switched off, no confirmed price) stays listed with the reason, so that
people see what to ask for. A model is available as long as one of its deployments is. Building is pure: a reload or a new
price version builds another catalog and the old one is dropped whole.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from billing.pricing import NoPrice
from gateway.errors import UnknownModel
from gateway.settings import DESTINATIONS, DeploymentConfig, Destination, Grade, Label, ModelConfig, Settings


class Card(Protocol):
    """What the catalog asks of a price: whether finance, or two sources that agree, stand behind it."""

    @property
    def confirmed(self) -> bool: ...


class Prices(Protocol):
    """The price book, as far as the catalog needs it; `at` is aware. Raises NoPrice."""

    def card(self, key: str, at: datetime) -> Card: ...


@dataclass(frozen=True, slots=True)
class Deployment:
    """One place a model runs. `id` is provider/upstream-name: health is kept per place, whichever models share it.

    `family` is (provider, flavour) for the usage extractor. `tokenizer` names an exact one where we ship it.
    """

    id: str
    provider: str
    model: str
    price_key: str
    weight: int
    destination: Destination
    tokenizer: str | None
    family: tuple[str, str]
    on_disconnect: Literal["cancel", "drain"]
    output_cap_field: str
    trust_reported_cost: bool
    tax_treatment: str
    tax_rate_bp: int
    available: bool
    reason: Label | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What of a model somebody has confirmed: the upstream's name for it, its window, the price in force now."""

    name: bool = True
    window: bool = True
    price: bool = True


@dataclass(frozen=True, slots=True)
class Model:
    """What staff pick. `destination` is the most exposed place its text may go; `usable` the deployments to try now."""

    name: str
    title: Label
    use: Label | None
    tasks: tuple[str, ...]
    grade: Grade
    capabilities: frozenset[str]
    context: int
    max_output: int
    deployments: tuple[Deployment, ...]
    usable: tuple[Deployment, ...]
    fallbacks: tuple[str, ...]
    destination: Destination
    available: bool
    reason: Label | None
    confirmed: Seen = Seen()


_UNCONFIRMED_MODEL = Label(
    ko="이름이나 창 크기가 아직 확인되지 않았습니다. 관리자에게 문의하십시오.",
    en="Its name or context window has not been confirmed yet. Ask your administrator.",
)
_SWITCHED_OFF = Label(ko="이 설치에서 꺼져 있습니다.", en="It is switched off in this installation.")
_NO_CREDENTIAL = Label(ko="공급자 API 키가 설정되지 않았습니다.", en="The provider's API key has not been set.")
_NO_ACCOUNT = Label(
    ko="공급자의 서비스 계정 키가 설정되지 않았습니다.", en="The provider's service account key has not been set."
)
_NO_PROXY = Label(
    ko="프록시의 사용자와 비밀번호가 설정되지 않았습니다.", en="The proxy's user and password have not been set."
)
_NO_PRICE = Label(ko="오늘 적용되는 가격이 없습니다.", en="It has no price in force today.")
_UNCONFIRMED_PRICE = Label(ko="가격이 아직 확정되지 않았습니다.", en="Its price has not been confirmed yet.")


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,95}")


class Catalog:
    """Every configured model by name, in the order of config.yaml."""

    def __init__(self, models: tuple[Model, ...]) -> None:
        self._models = {model.name: model for model in models}

    @classmethod
    def build(cls, settings: Settings, book: Prices, at: datetime) -> Catalog:
        """The catalog as of `at` (aware): a price that starts or is confirmed later needs another build."""
        return cls(tuple(_model(settings, book, at, given) for given in settings.models))

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    def resolve(self, name: str) -> Model:
        """The model of this name, available or not; raises UnknownModel."""
        model = self._models.get(name)
        if model is None:
            raise UnknownModel(self._unknown(name), param="model")
        return model

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name[:96], self._models, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        # What landed here by mistake may be text of a prompt; only what could be a name is repeated.
        called = f"'{name}'" if _NAME.fullmatch(name) else "that"
        return (
            f"No model is called {called}.{hint} GET /v1/models lists what you may use. / "
            "그런 이름의 모델이 없습니다. 모델 목록을 확인하십시오."
        )


def _model(settings: Settings, book: Prices, at: datetime, given: ModelConfig) -> Model:
    deployments = tuple(_deployment(settings, book, at, deployment) for deployment in given.deployments)
    known = given.confirmed.name and given.confirmed.window
    usable = tuple(deployment for deployment in deployments if deployment.available) if known else ()
    unknown = given.confirmed.reason or _UNCONFIRMED_MODEL
    reason = None if usable else deployments[0].reason if known else unknown
    priced = any(_price_reason(book, deployment.price_key, at) is None for deployment in deployments)
    return Model(
        name=given.name,
        title=given.title,
        use=given.use,
        tasks=given.tasks,
        grade=given.grade,
        capabilities=frozenset(given.capabilities),
        context=given.context,
        max_output=given.max_output,
        deployments=deployments,
        usable=usable,
        fallbacks=given.fallbacks,
        destination=max((d.destination for d in deployments), key=DESTINATIONS.index),
        available=bool(usable),
        reason=reason,
        confirmed=Seen(given.confirmed.name, given.confirmed.window, priced),
    )


def _deployment(settings: Settings, book: Prices, at: datetime, given: DeploymentConfig) -> Deployment:
    provider = settings.providers[given.provider]
    if not provider.enabled:
        reason: Label | None = _SWITCHED_OFF
    elif not provider.credential:
        reason = _NO_CREDENTIAL if provider.credentials_env is None else _NO_ACCOUNT
    elif not provider.proxy_known:
        reason = _NO_PROXY
    else:
        reason = _price_reason(book, given.price, at)
    return Deployment(
        id=f"{given.provider}/{given.model}",
        provider=given.provider,
        model=given.model,
        price_key=given.price,
        weight=given.weight,
        destination=provider.destination,
        tokenizer=given.tokenizer,
        family=provider.usage_family,
        on_disconnect=provider.on_disconnect,
        output_cap_field=provider.output_cap_field,
        trust_reported_cost=provider.trust_reported_cost,
        tax_treatment=provider.tax.treatment,
        tax_rate_bp=provider.tax.rate_bp,
        available=reason is None,
        reason=reason,
    )


def _price_reason(book: Prices, key: str, at: datetime) -> Label | None:
    try:
        card = book.card(key, at)
    except NoPrice:
        return _NO_PRICE
    return None if card.confirmed else _UNCONFIRMED_PRICE
