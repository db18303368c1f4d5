"""Builds the `World` requests run in, and replaces it whole: on SIGHUP, when a rate was imported, when a day begins.

A configuration that does not read, a price file that contradicts the ledger, a provider that cannot be built: the old world
stays and the reason is kept for the status page. Requests in flight keep the world they began in.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from typing import TypeAlias

from billing.book import Book
from billing.extract import FLAVORS, PROVIDERS, family_of
from billing.fx import FxTable, NoRate
from billing.fx import load as seed_rates
from billing.imports import ImportRefused, import_book, stored_rates
from billing.periods import Calendar, from_us
from billing.prices import PriceFileError
from billing.prices import load as load_prices
from billing.pricing import PriceBook
from billing.store import Tx
from gateway import tokens
from gateway.catalog import Catalog
from gateway.exchange import World
from gateway.filtering import Filters
from gateway.providers import registry
from gateway.providers.base import Provider
from gateway.providers.transport import Timeouts
from gateway.settings import NO_PACK, ConfigError, Settings, load_settings, whereabouts
from gateway.settings import Provider as ProviderSettings
from policies import site
from policies.chain import Chain
from policies.compiling import detectors_of
from policies.detector import Detector
from policies.engine import Scanner
from policies.pack import Pack, PackError, shipped
from policies.pack import load as load_pack
from policies.rules.actions import Actions, read_table
from policies.rules.data_grade import DataGrade
from policies.ruleset import Rules
from policies.subject import Exemption, Tightening

log = logging.getLogger("haechi.worlds")

#: What a provider was built from: while it is the same, so is the provider.
Built: TypeAlias = tuple[ProviderSettings, Timeouts]

#: Upstream connections of a replaced provider are closed once what it serves has surely ended.
_CLOSE_AFTER_SECONDS = 900.0

#: Texts that are too long for the event loop are read by so many threads at once.
_READERS = 4


class Worlds:
    """The current world and how the next one is made. `detectors` are a site's own, beside those that ship;
    `exemptions` and `tightenings` say who is treated otherwise just now."""

    def __init__(
        self,
        settings: Settings,
        book: Book,
        *,
        clock: Callable[[], int],
        ids: Callable[[], str],
        detectors: Sequence[Detector] = (),
        exemptions: Callable[[], tuple[Exemption, ...]] = tuple,
        tightenings: Callable[[], tuple[Tightening, ...]] = tuple,
    ) -> None:
        self._clock = clock
        self._exemptions = exemptions
        self._tightenings = tightenings
        self._detectors = tuple(detectors)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="filters")
        self._scanner: Scanner | None = None
        self._looking: tuple[Detector, ...] = ()
        self._ids = ids
        self._built: dict[str, tuple[Built, Provider]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.problem: str | None = None
        self._fx_version = -1
        self.current: World = book.transact(lambda tx: self._make(tx, settings))

    def world(self) -> World:
        return self.current

    def reload(self, tx: Tx) -> str | None:
        """Read the configuration again; returns what was wrong with it, and then the old world stays."""
        settings = self.current.settings
        try:
            fresh = load_settings(settings.config, settings.data, os.environ)
            self.current = self._make(tx, fresh)
        except (ConfigError, PriceFileError, ImportRefused, ValueError, OSError) as error:
            self.problem = str(error)
            log.error("the configuration was not reloaded, the old one stays: %s", error)
        else:
            self.problem = None
            log.info("configuration reloaded: %d models", len(self.current.catalog))
        return self.problem

    def refresh(self, tx: Tx) -> None:
        """Take in rates imported meanwhile and prices that begin today."""
        newest = tx.newest_fx()
        old = self.current
        fx = old.fx if newest == self._fx_version else self._rates(tx)
        catalog = Catalog.build(old.settings, old.book, from_us(self._clock()))
        self.current = replace(old, fx=fx, catalog=catalog)

    async def close(self) -> None:
        for task in self._closing:
            task.cancel()
        for _, provider in self._built.values():
            await provider.close()
        self._readers.shutdown(wait=False, cancel_futures=True)

    def _make(self, tx: Tx, settings: Settings) -> World:
        extra = [settings.prices] if settings.prices is not None else []
        imported = settings.data / "prices"
        if imported.is_dir():
            extra.append(imported)
        prices: PriceBook = load_prices(None, extra)
        start = settings.organisation.fiscal_year_starts
        calendar = Calendar(settings.zone, (int(start[:2]), int(start[3:])))
        fx = self._rates(tx)
        _refuse_without_rate(prices, fx, calendar.periods(self._clock()).day)
        catalog = Catalog.build(settings, prices, from_us(self._clock()))
        filters = self._filters(settings)
        _refuse_unreadable(settings)
        fresh = self._providers(settings)
        # Everything read: from here on nothing may refuse, for a price once stored and a connection once closed stay so.
        import_book(tx, prices, origin="price files", ids=self._ids, at=self._clock(), by="serve")
        return World(
            settings=settings,
            catalog=catalog,
            providers=self._take(fresh),
            book=prices,
            fx=fx,
            calendar=calendar,
            filters=filters,
        )

    def _filters(self, settings: Settings) -> Filters:
        """Compiled anew only where the rules are others: what was read under the same ones is remembered across a reload."""
        if settings.policies.pack == NO_PACK:
            log.warning("policies.pack is none: nothing that leaves is read, and only the declared grade decides")
        pack = _pack(settings)
        rules = pack.rules
        looking = (*detectors_of(pack), *self._detectors, *_of_site(settings))
        if self._scanner is None or self._scanner.rules != rules or self._looking != looking:
            self._scanner = Scanner(rules, looking)
            self._looking = looking
        grade = DataGrade(settings.policies.government_grade)
        return Filters(
            self._scanner,
            Chain((grade, actions_of(settings, rules)), settings.policies.on_error),
            self._readers,
            seconds=settings.policies.seconds,
            reads=settings.policies.pack != NO_PACK,
            secret=settings.secrets.encryption_key.get_secret_value(),
            restore=settings.policies.restore,
            output=settings.policies.output,
            exemptions=self._exemptions,
            tightenings=self._tightenings,
        )

    def _rates(self, tx: Tx) -> FxTable:
        self._fx_version = tx.newest_fx()
        return FxTable([*seed_rates(), *stored_rates(tx)])

    def _providers(self, settings: Settings) -> dict[str, tuple[Built, Provider]]:
        """Unchanged providers keep their connections; the others are built anew, all of them before any is used."""
        fresh: dict[str, tuple[Built, Provider]] = {}
        limits = settings.limits
        timeouts = Timeouts(first_byte=limits.first_byte_seconds, idle=limits.idle_seconds)
        for name, given in settings.providers.items():
            old = self._built.get(name)
            if old is not None and old[0] == (given, timeouts):
                fresh[name] = old
                continue
            try:
                built = registry.build(given, faults=settings.scripted_faults, timeouts=timeouts)
                fresh[name] = ((given, timeouts), built)
            except (ValueError, OSError) as error:
                where = whereabouts(settings.config, ("providers", name))
                raise ConfigError([f"{where}: {error} → correct this block / 이 공급자 설정을 고치십시오"]) from error
        return fresh

    def _take(self, fresh: dict[str, tuple[Built, Provider]]) -> dict[str, Provider]:
        for name, (_, provider) in self._built.items():
            if fresh.get(name, (None, None))[1] is not provider:
                self._close_later(provider)
        self._built = fresh
        return {name: provider for name, (_, provider) in fresh.items()}

    def _close_later(self, provider: Provider) -> None:
        async def close() -> None:
            await asyncio.sleep(_CLOSE_AFTER_SECONDS)
            await provider.close()

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        task = loop.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def actions_of(settings: Settings, rules: Rules | None = None) -> Actions:
    """What becomes of findings under this configuration; `rules` are its pack's, read where they are not given."""
    found = _pack(settings).rules if rules is None else rules
    policies = settings.policies
    return Actions(read_table(policies.actions), (), policies.government_grade, found.dictionaries)


def _pack(settings: Settings) -> Pack:
    """The shipped rules and what the folder `packs/NAME` beside config.yaml adds to them. A bad one is refused whole."""
    name = settings.policies.pack
    if name in ("default", NO_PACK):
        return shipped()
    folder = settings.config.parent / "packs" / name
    where = whereabouts(settings.config, ("policies", "pack"))
    try:
        return load_pack(folder)
    except PackError as error:
        raise ConfigError([f"{folder}/{error}"]) from error
    except OSError as error:
        raise ConfigError(
            [f"{where}: no folder {folder} → make it, or write `default` / 규칙 폴더가 없습니다"]
        ) from error


def _of_site(settings: Settings) -> tuple[Detector, ...]:
    try:
        return site.detectors(settings.policies.detectors)
    except site.DetectorRefused as error:
        raise ConfigError([f"{whereabouts(settings.config, ('policies', 'detectors'))}: {error}"]) from error


def _refuse_unreadable(settings: Settings) -> None:
    """What would start and then fail every request, or book all of it in suspense."""
    wrong: list[str] = []

    def tell(path: tuple[str | int, ...], what: str) -> None:
        wrong.append(f"{whereabouts(settings.config, path)}: {what}")

    for name, provider in settings.providers.items():
        if family_of(*provider.usage_family) is None:
            near = difflib.get_close_matches(provider.family, _FAMILIES, n=3) or _FAMILIES
            what = f"nobody here reads usage of {provider.family!r} → use {' or '.join(near)}"
            tell(("providers", name, "family"), what)
    for index, model in enumerate(settings.models):
        for position, deployment in enumerate(model.deployments):
            at = ("models", index, "deployments", position)
            provider = settings.providers[deployment.provider]
            if (refusal := registry.refusal_of(provider.kind, deployment.model, model.capabilities)) is not None:
                tell((*at, "model"), refusal)
            if deployment.tokenizer is not None and deployment.tokenizer not in tokens.NAMES:
                what = (
                    f"no tokenizer is called {deployment.tokenizer!r} → use {', '.join(tokens.NAMES)}, or leave it out"
                )
                tell((*at, "tokenizer"), what)
            if "embeddings" in model.capabilities and family_of(provider.usage_family[0], "embeddings") is None:
                what = f"nobody here reads usage of embeddings by {provider.usage_family[0]!r}"
                tell((*at, "provider"), f"{what} → take `embeddings` out of capabilities, or use another provider")
    if wrong:
        raise ConfigError(wrong)


_FAMILIES = sorted(
    f"{provider}/{flavor}" for provider in PROVIDERS for flavor in FLAVORS if family_of(provider, flavor)
)


def _refuse_without_rate(prices: PriceBook, fx: FxTable, day: str) -> None:
    """A price in a currency that nothing converts to won would be known only once it is spent."""
    for currency in sorted({price.currency for price in prices.prices} - {"KRW"}):
        try:
            fx.at(date.fromisoformat(day), base=currency)
        except NoRate:
            raise ImportRefused(
                f"there are prices in {currency} and no {currency}/KRW rate for {day}: import one with "
                "`haechi fx import FILE` / 환율이 없습니다. 환율을 먼저 등록하십시오."
            ) from None
