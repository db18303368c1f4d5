"""What somebody is told about themselves, and whose numbers they are told."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from clock import DAY, MORNING, Clock

from gateway.api.me import RememberedStanding, ScopeStanding
from gateway.audit import Actor
from gateway.directory.directory import Directory
from gateway.principal import Authenticator

KIM = "kim@city.example"
WON = 1_000_000


@pytest.fixture
def as_kim(city: Directory, by: Actor) -> dict[str, str]:
    return {"authorization": f"Bearer {city.create_key(KIM, by=by).key}"}


async def test_me(client: httpx.AsyncClient, as_kim: dict[str, str]) -> None:
    assert (await client.get("/api/me", headers=as_kim)).json() == {
        "email": KIM,
        "name": "kim",
        "department": "TAX",
        "roles": ["staff"],
        "pledge": {"required": False, "version": None, "signed_at": None},
        "scopes": [],
    }


async def test_the_pledge_is_shown_signed_and_shown_as_signed(
    client: httpx.AsyncClient,
    city: Directory,
    by: Actor,
    as_kim: dict[str, str],
    authenticator: Authenticator,
) -> None:
    assert (await client.get("/api/me/pledge", headers=as_kim)).status_code == 404
    city.publish_pledge("서약합니다", "I pledge", by=by)
    authenticator.invalidate()
    assert (await client.get("/api/me", headers=as_kim)).json()["pledge"] == {
        "required": True,
        "version": 1,
        "signed_at": None,
    }
    assert (await client.get("/api/me/pledge", headers=as_kim)).json()["ko"] == "서약합니다"
    stale = await client.post("/api/me/pledge", json={"version": 2}, headers=as_kim)
    assert (stale.status_code, stale.json()["error"]["code"]) == (400, "pledge_changed")
    signed = await client.post("/api/me/pledge", json={"version": 1}, headers=as_kim)
    assert signed.json()["signed_at"].startswith("2026-11-23T09:00:00+09:00")
    assert (await client.get("/api/me", headers=as_kim)).json()["pledge"]["signed_at"] == signed.json()["signed_at"]
    assert (await client.post("/api/me/pledge", json={"version": 1}, headers=as_kim)).json() == signed.json()


@pytest.mark.parametrize(
    ("role", "scope", "shown"),
    [
        ("staff", "user", True),
        ("staff", "TAX", True),
        ("staff", "FIN", False),
        ("staff", "organisation", False),
        ("manager", "FIN", False),
        ("finance", "FIN", True),
        ("it_admin", "organisation", True),
        ("auditor", "CITY", True),
    ],
)
async def test_numbers_are_one_s_own_and_one_s_department_s(
    *,
    client: httpx.AsyncClient,
    city: Directory,
    by: Actor,
    standing: RememberedStanding,
    role: str,
    scope: str,
    shown: bool,
) -> None:
    lee = city.add_user("lee@city.example", "TAX", [role], by=by, name="이세정")
    names = {"user": "이세정", "TAX": "세정과", "FIN": "재무국", "CITY": "데모시", "organisation": "데모시"}
    id_ = {"user": f"user:{lee.id}", "organisation": "organisation"}.get(scope) or (
        f"department:{city.department(scope).id}"
    )
    standing.scopes.append(ScopeStanding(id_, "month", 100_000 * WON, 1_234_500_000, 65_500_000, MORNING + DAY))
    headers = {"x-api-key": city.create_key(lee.email, by=by).key}
    (told,) = (await client.get("/api/me", headers=headers)).json()["scopes"]
    numbers: dict[str, Any] = {"limit": "100000", "used": "1234.5", "held": "65.5", "remaining": "98700"}
    assert told == {
        "scope": id_,
        "name": names[scope],
        "unit": "KRW",
        "period": "month",
        "hard": True,
        "resets_at": "2026-11-24T09:00:00+09:00",
        **(numbers if shown else dict.fromkeys(numbers)),
    }


@pytest.mark.parametrize(
    ("limit", "used", "remaining"), [(None, 5, None), (10, 4, 6), (10, 12, 0), (0, 0, 0)]
)  # soft budgets may be overspent: nothing is left then, not less than nothing
def test_what_remains(limit: int | None, used: int, remaining: int | None) -> None:
    assert ScopeStanding("organisation", "month", limit, used, 0, MORNING).remaining == remaining


async def test_usage_of_a_month(
    client: httpx.AsyncClient, as_kim: dict[str, str], standing: RememberedStanding, clock: Clock
) -> None:
    row = {"key": "practice-inside", "requests": 2, "tokens": 30, "krw": "0.126"}
    standing.months["2026-11"] = [row]
    standing.total_krw = "0.126"
    expected = {"month": "2026-11", "rows": [row], "total_krw": "0.126"}
    assert (await client.get("/api/me/usage?month=2026-11", headers=as_kim)).json() == expected
    assert (await client.get("/api/me/usage", headers=as_kim)).json() == expected
    # 2026-11-30 15:00 UTC is December in Seoul.
    clock.now = MORNING + 7 * DAY + 15 * 3_600_000_000
    assert (await client.get("/api/me/usage", headers=as_kim)).json()["month"] == "2026-12"


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "11-2026", "2026-11-01", "", "９"])
async def test_a_month_is_a_month(client: httpx.AsyncClient, as_kim: dict[str, str], month: str) -> None:
    answer = await client.get("/api/me/usage", params={"month": month}, headers=as_kim)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_month")


async def test_nobody_is_told_nothing(client: httpx.AsyncClient) -> None:
    for path in ("/api/me", "/api/me/usage", "/api/me/pledge"):
        assert (await client.get(path)).status_code == 401
