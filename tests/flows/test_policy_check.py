"""What the filters would say, asked before anything is sent: the same reading, the same decision, no charge, no record."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from flows.inside import Inside, opened
from flows.test_filters import (
    CHAT,
    MARKED,
    PHONE,
    PIXEL,
    PRICES,
    RRN,
    Wire,
    called,
    configuration,
    said,
    surest,
    text_part,
)

from gateway.providers.scripted_server import ScriptedServer, serve

CHECK = "/api/policies/check"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listening() -> AsyncIterator[tuple[Wire, ScriptedServer]]:
    made = Wire()
    async with serve(made) as server:
        yield made, server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    listening: tuple[Wire, ScriptedServer], tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path
) -> AsyncIterator[Inside]:
    folder = tmp_path_factory.mktemp("check")
    given = configuration(listening[1].base_url)
    async with opened(folder, migrated_sqlite, given, prices={"acme.yaml": PRICES}) as gateway:
        yield gateway


@pytest.fixture
def upstream(listening: tuple[Wire, ScriptedServer]) -> tuple[Wire, ScriptedServer]:
    listening[0].clear()
    return listening


@pytest.fixture
def inside(shared: Inside) -> Inside:
    shared.client.headers.pop("x-haechi-grade", None)
    return shared


async def check(inside: Inside, **given: Any) -> dict[str, Any]:
    answer = await inside.post(CHECK, **given)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    told: dict[str, Any] = answer.json()
    return told


async def test_offsets_are_code_points_of_the_text_that_was_given(inside: Inside) -> None:
    """Letters outside the basic plane, decomposed Hangul and zero-width characters in front count one each."""
    ahead = "😀 \u1112\u1161\u11ab\u200b글 주민번호 "
    told = await check(inside, text=f"{ahead}{RRN}, 끝")
    assert told["action"] == "block"
    (finding,) = told["findings"]
    assert set(finding) == {"kind", "part", "start", "end", "score", "action"}
    assert (finding["kind"], finding["part"], finding["action"]) == ("RRN", "", "block")
    assert (finding["start"], finding["end"]) == (len(ahead), len(ahead) + len(RRN))
    assert finding["score"] >= 0.8


# What is asked, the action, the kinds, and what could be sent instead (None: nothing is told).
@pytest.mark.parametrize(
    ("given", "action", "kinds", "masked"),
    [
        ({"text": "보고서 목차"}, "allow", [], None),
        ({"text": f"연락처 {PHONE} 입니다"}, "mask", ["PHONE"], "연락처 [[전화:*]] 입니다"),
        ({"text": f"주민번호 {RRN}, 연락처 {PHONE}"}, "block", ["RRN", "PHONE"], "주민번호 [[주민번호:*]], 연락처 [[전화:*]]"),
        ({"text": "비밀번호: Tr0ub4dor&3x"}, "block", ["SECRET"], "비밀번호: [[비밀제거]]"),
        ({"text": MARKED["C"]}, "block", ["CLASSMARK"], None),
        ({"text": MARKED["S"]}, "route_local", ["CLASSMARK"], None),
        ({"text": f"주민번호 {RRN}", "model": "inside"}, "allow", ["RRN"], None),
        ({"text": f"주민번호 {RRN}", "model": "domestic"}, "block", ["RRN"], "주민번호 [[주민번호:*]]"),
        ({"text": MARKED["S"], "model": "inside"}, "allow", ["CLASSMARK"], None),
        ({"text": ""}, "allow", [], None),
    ],
    ids=str,
)  # fmt: skip
async def test_the_answer(
    inside: Inside, given: dict[str, Any], action: str, kinds: list[str], masked: str | None
) -> None:
    told = await check(inside, **given)
    assert (told["action"], [finding["kind"] for finding in told["findings"]]) == (action, kinds)
    if masked is None:
        assert "masked" not in told
    else:
        assert _without_ids(told["masked"]) == masked


def _without_ids(text: str) -> str:
    return re.sub(r":[a-z2-7]{4,}\]\]", ":*]]", text)


async def test_messages_are_mirrored_with_pointers_into_them(inside: Inside) -> None:
    messages = [
        *said(("user", f"전에 말한 {RRN}"), ("assistant", "네")),
        *called(json.dumps({"phone": PHONE})),
        {"role": "user", "content": [text_part("아니면"), text_part(f"연락처 {PHONE}")]},
    ]
    told = await check(inside, messages=messages)
    places = {(f["part"], f["kind"], f["action"]) for f in told["findings"]}
    assert ("/messages/0/content", "RRN", "mask") in places
    assert ("/messages/3/tool_calls/0/function/arguments", "PHONE", "mask") in places
    assert ("/messages/5/content/1/text", "PHONE", "mask") in places
    assert told["action"] == "mask"
    assert [message["role"] for message in told["masked"]] == [message["role"] for message in messages]
    assert RRN not in json.dumps(told["masked"])
    assert PHONE not in json.dumps(told["masked"])


async def test_an_image_is_told_to_be_unreadable(inside: Inside) -> None:
    told = await check(inside, messages=said(("user", [text_part("보이나요"), PIXEL])))
    assert (told["action"], told["findings"][0]["kind"], told["findings"][0]["part"]) == (
        "route_local",
        "UNREADABLE",
        "/messages/0/content/1",
    )
    assert "masked" not in told


@pytest.mark.parametrize("text", [pytest.param(text, id=kind) for kind, text, _ in surest()])
@pytest.mark.parametrize("model", ["foreign", "inside", "government"])
async def test_it_says_what_a_request_would_meet(
    inside: Inside, upstream: tuple[Wire, ScriptedServer], text: str, model: str
) -> None:
    told = await check(inside, text=text, model=model)
    answer = await inside.chat(model, text)
    stopped = answer.status_code == 400
    assert stopped == (told["action"] in {"block", "route_local"})
    if stopped:
        met = [(f["kind"], f["start"], f["end"], f["action"]) for f in answer.json()["error"]["haechi"]["findings"]]
        assert met == [(f["kind"], f["start"], f["end"], f["action"]) for f in told["findings"]]
    else:
        assert (
            answer.headers.get("x-haechi-policy") == {"allow": None, "warn": "warned", "mask": "masked"}[told["action"]]
        )
        if told["action"] == "mask":
            assert upstream[0].bodies[-1]["messages"][-1]["content"] == told["masked"]


TABLES = ("hold", "usage_event", "evidence", "audit")


def counted(inside: Inside, table: str) -> int:
    return int(inside.rows(f"SELECT COUNT(*) AS n FROM {table}")[0]["n"])


async def test_nothing_is_sent_charged_or_recorded(inside: Inside, upstream: tuple[Wire, ScriptedServer]) -> None:
    before = [counted(inside, table) for table in TABLES]
    for text in ("보고서", f"주민번호 {RRN}", f"연락처 {PHONE}"):
        await check(inside, text=text)
    assert upstream[0].bodies == []
    assert [counted(inside, table) for table in TABLES] == before


async def test_the_declared_grade_counts_here_too(inside: Inside) -> None:
    inside.client.headers["x-haechi-grade"] = "S"
    assert (await check(inside, text="보고서 목차"))["action"] == "route_local"
    assert (await check(inside, text="보고서 목차", model="inside"))["action"] == "allow"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, (400, "invalid_value", "text")),
        ({"text": "a", "messages": []}, (400, "invalid_value", "text")),
        ({"text": 5}, (400, "invalid_value", "text")),
        ({"text": "a", "model": 5}, (400, "invalid_type", "model")),
        ({"text": "a", "model": "nobody"}, (404, "model_not_found", "model")),
        ({"text": "a", "stream": True}, (400, "unknown_parameter", "stream")),
        ({"messages": [{"role": "king", "content": "a"}]}, (400, "invalid_type", "messages[0].role")),
        ({"messages": "a"}, (400, "invalid_type", "messages")),
    ],
    ids=str,
)
async def test_what_is_not_understood(inside: Inside, given: dict[str, Any], says: tuple[int, str, str]) -> None:
    answer = await inside.post(CHECK, **given)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == says


async def test_a_body_that_is_too_large_or_no_json(inside: Inside) -> None:
    large = await inside.client.post(CHECK, content=b'{"text": "' + b"a" * (11 << 20) + b'"}')
    assert (large.status_code, large.json()["error"]["code"]) == (413, "request_too_large")
    broken = await inside.client.post(CHECK, content=b"{")
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_json")


async def test_a_stranger_is_not_told(inside: Inside) -> None:
    answer = await inside.client.post(CHECK, json={"text": RRN}, headers={"authorization": "Bearer hc_live_no"})
    assert answer.status_code == 401


async def test_one_person_cannot_keep_every_reader_busy(inside: Inside) -> None:
    """Large texts are read in threads of their own; a person who sends more of them at once is asked to wait."""
    text = "다음 문단입니다. 회의는 오후 2시입니다. " * 40_000
    answers: list[httpx.Response] = await asyncio.gather(*(inside.post(CHECK, text=f"{n}{text}") for n in range(12)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 4
    assert (await inside.post(CHECK, text="보고서")).status_code == 200


async def test_it_is_read_by_the_path_too(inside: Inside) -> None:
    """The same number in two pieces, as the chat surface joins them."""
    answer = await inside.post(CHAT, model="foreign", messages=said(("user", "주민번호 850312-"), ("user", "2345677")))
    told = await check(inside, messages=said(("user", "주민번호 850312-"), ("user", "2345677")))
    assert (answer.status_code, told["action"]) == (400, "block")
    assert {finding["part"] for finding in told["findings"]} == {"/messages/0/content", "/messages/1/content"}
