"""The start page is served to anybody, with a policy that lets it load only its own files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from gateway.api import start

FILES = ["/", "/start/app.js", "/start/style.css"]


@pytest.fixture
async def visitor() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(start.router())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://haechi.test") as client:
        yield client


@pytest.mark.parametrize("path", FILES)
async def test_every_file_is_served_with_the_policy(visitor: httpx.AsyncClient, path: str) -> None:
    answer = await visitor.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == (
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "font-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_each_file_has_its_type(visitor: httpx.AsyncClient) -> None:
    types = [(await visitor.get(path)).headers["content-type"].partition(";")[0] for path in FILES]
    assert types == ["text/html", "text/javascript", "text/css"]


async def test_a_file_that_has_not_changed_is_not_sent_again(visitor: httpx.AsyncClient) -> None:
    first = await visitor.get("/start/app.js")
    again = await visitor.get("/start/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "content-security-policy" in again.headers


def test_a_portal_that_may_embed_the_page_is_named() -> None:
    assert start.policy(["https://portal.example"]).endswith("frame-ancestors https://portal.example")


async def test_the_page_needs_nothing_the_policy_forbids(visitor: httpx.AsyncClient) -> None:
    """No inline script or handler, nothing from elsewhere; every file it names is served."""
    page = (await visitor.get("/")).text
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", page)
    assert not re.search(r"\son\w+\s*=", page)
    assert "//" not in re.sub(r"<!doctype html>", "", page)
    named = re.findall(r'(?:src|href)="(start/[^"]+)"', page)
    assert {(await visitor.get(f"/{name}")).status_code for name in named} == {200}


async def test_what_comes_from_the_server_is_written_as_text(visitor: httpx.AsyncClient) -> None:
    script = (await visitor.get("/start/app.js")).text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", script)


async def test_both_languages_say_the_same_things(visitor: httpx.AsyncClient) -> None:
    script = (await visitor.get("/start/app.js")).text
    korean, english = (
        set(re.findall(r"(\w+): '", block)) for block in re.findall(r"^  (?:ko|en): \{(.*?)^  \},", script, re.M | re.S)
    )
    assert korean == english
    page = (await visitor.get("/")).text
    assert set(re.findall(r'data-say="(\w+)"', page)) <= korean


async def test_every_field_has_a_label(visitor: httpx.AsyncClient) -> None:
    page = (await visitor.get("/")).text
    fields = re.findall(r'<(?:input|select|textarea)[^>]*\bid="(\w+)"', page)
    assert fields
    assert set(fields) <= set(re.findall(r'<label for="(\w+)"', page))
