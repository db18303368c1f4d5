"""A gateway in this process, with one person and one upstream: for tests that ask many things of many configurations."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
import yaml

from gateway.app import App, build_app
from gateway.audit import Actor
from gateway.database import open_engine, reading
from gateway.directory.directory import Directory
from gateway.directory.ids import now_us, uuid7
from gateway.settings import load_settings
from policies.detector import Detector

KIM = "kim@inside.example"
BY = Actor("os:tester", "cli")


class Inside:
    """The app, a client that carries Kim's key, and the ledger."""

    def __init__(self, app: App, client: httpx.AsyncClient, data: Path) -> None:
        self.app = app
        self.client = client
        self.data = data

    async def post(self, path: str, **body: Any) -> httpx.Response:
        return await self.client.post(path, json=body)

    async def chat(self, model: str, prompt: str = "Hello", **more: Any) -> httpx.Response:
        return await self.post(
            "/v1/chat/completions", model=model, messages=[{"role": "user", "content": prompt}], **more
        )

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        with reading(self.app.engine).connect() as connection:
            return [dict(row) for row in connection.execute(sa.text(query), values).mappings()]

    def event(self, answer: httpx.Response) -> dict[str, Any]:
        """The one booking of a request."""
        (row,) = self.rows("SELECT * FROM usage_event WHERE request_id = :id", id=answer.headers["x-request-id"])
        return row

    def meters(self, event: Mapping[str, Any]) -> dict[str, int]:
        found = self.rows("SELECT meter, quantity FROM usage_meter WHERE event_id = :id", id=event["id"])
        return {row["meter"]: int(row["quantity"]) for row in found}

    def ticks(self, event: Mapping[str, Any]) -> int:
        """What an event cost in 1e-10 of the price's currency."""
        found = self.rows("SELECT amount_ticks FROM usage_meter WHERE event_id = :id", id=event["id"])
        return sum(int(row["amount_ticks"]) for row in found)


def frames(answer: httpx.Response) -> list[dict[str, Any]]:
    """The data lines of an event stream, without the last `[DONE]`."""
    lines = [line[6:] for line in answer.text.split("\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]", lines[-1]
    return [json.loads(line) for line in lines[:-1]]


@contextlib.asynccontextmanager
async def opened(
    folder: Path,
    migrated: Path,
    config: Mapping[str, Any],
    *,
    prices: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    detectors: Sequence[Detector] = (),
) -> AsyncIterator[Inside]:
    """A gateway over `config` in `folder`, which is made; `migrated` is an empty SQLite ledger to copy.

    `prices`: file name → text of a further price file. `detectors`: a site's own, beside those that ship.
    """
    app, key = _founded(folder, migrated, config, prices or {}, env or {}, detectors=detectors)
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url="http://haechi.test",
        headers={"authorization": f"Bearer {key}"},
        timeout=60,
    )
    async with app.pages.router.lifespan_context(app.pages), client:
        yield Inside(app, client, folder / "data")


def _founded(
    folder: Path,
    migrated: Path,
    config: Mapping[str, Any],
    prices: Mapping[str, str],
    env: Mapping[str, str],
    *,
    detectors: Sequence[Detector],
) -> tuple[App, str]:
    (folder / "prices").mkdir(parents=True, exist_ok=True)
    shutil.copy(migrated, folder / "ledger.db")
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(dict(config), allow_unicode=True, sort_keys=False), "utf-8")
    for name, text in prices.items():
        (folder / "prices" / name).write_text(text, "utf-8")
    given = {"HAECHI_DATABASE_URL": f"sqlite:///{folder / 'ledger.db'}", "HAECHI_PRICES": str(folder / "prices"), **env}
    settings = load_settings(path, folder / "data", given)
    engine = open_engine(settings.database_url.get_secret_value())
    directory = Directory(engine, settings.secrets.pepper.get_secret_value(), now_us, uuid7)
    directory.add_department("CITY", "데모시", by=BY)
    directory.add_user(KIM, "CITY", ["staff"], by=BY)
    return build_app(settings, engine=engine, detectors=detectors), directory.create_key(KIM, by=BY).key
