"""Who may upload and how many at once; the routes beside the real sessions, with a reader that waits to be told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from clock import Clock
from fastapi import FastAPI
from sqlalchemy import Engine

from gateway.api import files as files_api
from gateway.attachments.configured import Readers
from gateway.attachments.extracted import Extracted
from gateway.attachments.inspector import Nobody
from gateway.audit import Actor
from gateway.directory.directory import Directory
from gateway.directory.ids import uuid7
from gateway.principal import Authenticator
from gateway.settings import Settings
from gateway.workspace.files import Files

KIM = "kim@city.example"
FILE = {"file": ("a.txt", b"text")}


class PatientExtractor:
    """Reads nothing before the door is opened."""

    def __init__(self) -> None:
        self.door = asyncio.Event()
        self.arrived = asyncio.Semaphore(0)

    async def extract(self, data: bytes, name: str) -> Extracted:
        self.arrived.release()
        await self.door.wait()
        return Extracted("text", data.decode())


@pytest.fixture
async def reader(
    *, pages: FastAPI, engine: Engine, settings: Settings, clock: Clock, authenticator: Authenticator
) -> AsyncIterator[PatientExtractor]:
    made = PatientExtractor()
    files = Files(engine, lambda _: Readers(Nobody(), made), b"k" * 32, lambda: settings, clock=clock, ids=uuid7)
    pages.include_router(files_api.router(authenticator, files, settings.attachments, settings.zone))
    yield made
    await files.stop()


async def test_a_cookie_needs_its_csrf_value_and_a_bearer_none(
    client: httpx.AsyncClient, password: str, reader: PatientExtractor
) -> None:
    reader.door.set()
    opened = await client.post("/api/session", json={"email": KIM, "password": password})
    cookie = {"cookie": opened.headers["set-cookie"].partition(";")[0]}
    bare = await client.post("/api/files", files=FILE, headers=cookie)
    assert (bare.status_code, bare.json()["error"]["code"]) == (403, "csrf_failed")
    written = await client.post("/api/files", files=FILE, headers={**cookie, "x-haechi-csrf": opened.json()["csrf"]})
    assert written.status_code == 201
    assert (await client.delete(f"/api/files/{written.json()['id']}", headers=cookie)).status_code == 403
    bearer = (await client.post("/api/session", json={"email": KIM, "password": password, "token": True})).json()[
        "token"
    ]
    answer = await client.get("/api/files", headers={"authorization": f"Bearer {bearer}"})
    assert [stored["id"] for stored in answer.json()["files"]] == [written.json()["id"]]


async def test_one_person_cannot_take_every_place(
    client: httpx.AsyncClient, city: Directory, by: Actor, reader: PatientExtractor
) -> None:
    """Kim's fifth is told to come back while others are still taken; the ninth of all is told so too; then all go on."""
    city.add_user("lee@city.example", "TAX", ["staff"], by=by)
    city.add_user("han@city.example", "TAX", ["staff"], by=by)
    keys = {name: city.create_key(f"{name}@city.example", by=by).key for name in ("kim", "lee", "han")}

    async def upload(name: str) -> int:
        headers = {"authorization": f"Bearer {keys[name]}"}
        return (await client.post("/api/files", files=FILE, headers=headers)).status_code

    waiting = [asyncio.create_task(upload("kim")) for _ in range(files_api.UPLOADS_EACH)]
    for _ in waiting:
        await reader.arrived.acquire()
    assert await upload("kim") == 503
    others = [asyncio.create_task(upload("lee")) for _ in range(files_api.UPLOADS - files_api.UPLOADS_EACH)]
    for _ in others:
        await reader.arrived.acquire()
    assert await upload("han") == 503
    reader.door.set()
    assert await asyncio.gather(*waiting, *others) == [201] * files_api.UPLOADS
    assert await upload("han") == 201
    assert await upload("kim") == 201
