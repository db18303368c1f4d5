"""Who may watch the filters, who may change what they do, and what everybody else is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from clock import Clock
from decisions import decision, item
from fastapi import FastAPI
from ledgers import Ledger, open_ledger
from sqlalchemy import Engine

from gateway.api import oversight
from gateway.api.pages import add_refusals
from gateway.audit import Actor
from gateway.directory import passwords
from gateway.directory.directory import Directory
from gateway.directory.ids import uuid7
from gateway.directory.sessions import Sessions
from gateway.evidence import store as evidence_store
from gateway.oversight.oversight import Overrides, Oversight
from gateway.principal import Authenticator
from gateway.settings import Settings
from policies.rules.actions import Actions

ROLES = ("staff", "manager", "finance", "it_admin", "auditor")
REASON = "지방세 징수 업무 위탁에 따른 처리"


@pytest.fixture
def pages(
    *, engine: Engine, settings: Settings, clock: Clock, city: Directory, authenticator: Authenticator
) -> FastAPI:
    app = FastAPI()
    add_refusals(app)
    watch, overrides = Oversight(engine, clock, uuid7), Overrides(engine, clock)
    app.include_router(
        oversight.router(
            authenticator,
            watch,
            engine,
            lambda: settings,
            clock=clock,
            configured=Actions,
            tightenings=overrides.tightenings,
            changed=overrides.look,
        )
    )
    return app


@pytest.fixture
def keys(city: Directory, by: Actor) -> dict[str, dict[str, str]]:
    """A person of TAX in each role: role → headers."""
    made = {}
    for role in ROLES:
        city.add_user(f"{role}@city.example", "TAX", [role], by=by)
        made[role] = {"x-api-key": city.create_key(f"{role}@city.example", by=by).key}
    return made


@pytest.fixture
def ledger(database_url: str, clock: Clock) -> Iterator[Ledger]:
    with open_ledger(database_url, clock=clock) as opened:
        yield opened


@pytest.fixture
def stopped(ledger: Ledger, city: Directory, keys: dict[str, Any], clock: Clock) -> str:
    """The id of a decision that stopped the staff member of TAX; and one about somebody of FIN."""
    staff = city.person("staff@city.example").id
    tax, fin = city.department("TAX").id, city.department("FIN").id
    mine = decision(item(), item("PHONE", "mask", 2), at=clock.now, user_id=staff, department_id=tax)
    other = decision(item("PHONE", "mask"), at=clock.now, user_id="x", department_id=fin, action="mask")
    ledger.book.transact(lambda tx: evidence_store.add(tx, [mine, other]))
    return mine.id


EXCEPTION = {"kind": "PHONE", "action": "warn", "reason": REASON, "ends": "2026-12-31", "department": "TAX"}
TIGHTENING = {"department": "TAX", "kind": "*", "action": "block", "reason": REASON}
OUTCOME = {"outcome": "correct"}

#: method, path, body → who may: everybody else is told that it is not for them.
MATRIX: list[tuple[str, str, Any, set[str]]] = [
    ("GET", "/api/policies/overview?month=2026-11", None, {"manager", "it_admin", "auditor"}),
    ("GET", "/api/policies/rules?month=2026-11", None, {"it_admin", "auditor"}),
    ("POST", "/api/policies/dry-run", {"month": "2026-11"}, {"it_admin", "auditor"}),
    ("GET", "/api/policies/alarms", None, set(ROLES)),
    ("POST", "/api/policies/alarms/x", OUTCOME, {"it_admin"}),
    ("GET", "/api/policies/exceptions", None, {"it_admin", "auditor"}),
    ("POST", "/api/policies/exceptions", EXCEPTION, {"it_admin"}),
    ("DELETE", "/api/policies/exceptions/x", None, {"it_admin"}),
    ("GET", "/api/policies/tightenings", None, {"it_admin", "auditor"}),
    ("POST", "/api/policies/tightenings", TIGHTENING, {"it_admin"}),
    ("DELETE", "/api/policies/tightenings/x", None, {"it_admin"}),
]


@pytest.mark.parametrize(("method", "path", "body", "allowed"), MATRIX)
async def test_who_may_do_what(
    *, client: httpx.AsyncClient, keys: dict[str, dict[str, str]], method: str, path: str, body: Any, allowed: set[str]
) -> None:
    answers = {role: await client.request(method, path, json=body, headers=keys[role]) for role in ROLES}
    refused = {role for role, answer in answers.items() if answer.status_code == 403}
    assert refused == set(ROLES) - allowed
    assert {answers[role].json()["error"]["code"] for role in refused} <= {"role_required"}
    assert {answers[role].status_code for role in allowed} <= {200, 201, 204, 404}
    assert (await client.request(method, path, json=body)).status_code == 401


async def test_the_overview_of_all_and_of_one_s_own_department(
    client: httpx.AsyncClient, keys: dict[str, dict[str, str]], stopped: str
) -> None:
    everything = (await client.get("/api/policies/overview?month=2026-11&months=2", headers=keys["auditor"])).json()
    assert everything["months"] == ["2026-10", "2026-11"]
    assert [(r["month"], r["department"], r["stopped"]) for r in everything["rows"]] == [
        ("2026-11", "FIN", 0),
        ("2026-11", "TAX", 1),
    ]
    assert everything["rows"][1]["findings"] == {"PHONE": 2, "RRN": 1}
    own = (await client.get("/api/policies/overview", headers=keys["manager"])).json()
    assert [r["department"] for r in own["rows"]] == ["TAX"], "and the month is the present one"


async def test_months_go_over_the_year(client: httpx.AsyncClient, keys: dict[str, dict[str, str]]) -> None:
    told = await client.get("/api/policies/overview?month=2026-02&months=4", headers=keys["it_admin"])
    assert told.json()["months"] == ["2025-11", "2025-12", "2026-01", "2026-02"]
    for bad in ("month=2026-13", "month=2026-02&months=0", "month=2026-02&months=25"):
        assert (await client.get(f"/api/policies/overview?{bad}", headers=keys["it_admin"])).status_code in (400, 400)


async def test_a_report_goes_its_way(client: httpx.AsyncClient, keys: dict[str, dict[str, str]], stopped: str) -> None:
    """Staff reports, IT sees who and which rule, decides, the reporter sees the outcome, the rule's statistics count it."""
    nobody_s = await client.post("/api/policies/alarms", json={"decision": stopped}, headers=keys["manager"])
    assert nobody_s.status_code == 404
    made = await client.post(
        "/api/policies/alarms", json={"decision": stopped, "reason": "example"}, headers=keys["staff"]
    )
    assert made.status_code == 201
    assert made.json() == {"id": made.json()["id"], "decision": stopped, "outcome": None}
    free = {"decision": stopped, "reason": "제 번호 010-1234-5678은 공개입니다"}
    assert (await client.post("/api/policies/alarms", json=free, headers=keys["staff"])).status_code == 400
    (seen,) = (await client.get("/api/policies/alarms", headers=keys["it_admin"])).json()["alarms"]
    assert (seen["by"], seen["department"], seen["action"], seen["reason"]) == (
        "staff@city.example",
        "TAX",
        "block",
        "example",
    )
    assert [(k["kind"], k["count"], k["rule"]) for k in seen["kinds"]] == [
        ("RRN", 1, "rrn.shape"),
        ("PHONE", 2, "phone.shape"),
    ]
    assert "digests" not in str(seen)
    decided = await client.post(
        f"/api/policies/alarms/{seen['id']}", json={"outcome": "false_alarm"}, headers=keys["it_admin"]
    )
    assert decided.json()["outcome"] == "false_alarm"
    assert (await client.get("/api/policies/alarms", headers=keys["auditor"])).json() == {"alarms": []}
    (mine,) = (await client.get("/api/policies/alarms?state=all", headers=keys["staff"])).json()["alarms"]
    assert mine["outcome"] == "false_alarm"
    assert "by" not in mine
    assert all("rule" not in kind for kind in mine["kinds"]), "who was stopped cannot tune a rule"
    assert (await client.get("/api/policies/alarms?state=all", headers=keys["manager"])).json() == {"alarms": []}
    rows = (await client.get("/api/policies/rules?month=2026-11", headers=keys["auditor"])).json()["rows"]
    assert {r["rule"]: (r["reports"], r["false_alarms"]) for r in rows} == {"rrn.shape": (1, 1), "phone.shape": (1, 1)}


async def test_an_exception_is_granted_seen_and_revoked(
    client: httpx.AsyncClient, keys: dict[str, dict[str, str]], clock: Clock
) -> None:
    made = (await client.post("/api/policies/exceptions", json=EXCEPTION, headers=keys["it_admin"])).json()
    assert made == {
        "id": made["id"],
        "kind": "PHONE",
        "rule": None,
        "action": "warn",
        "department": "TAX",
        "destinations": [],
        "reason": REASON,
        "by": "it_admin@city.example",
        "begins": "2026-11-23T09:00:00+09:00",
        "ends": "2027-01-01T00:00:00+09:00",  # the last day it holds is the 31st
        "state": "in_force",
        "revoked_by": None,
    }
    listed = await client.get("/api/policies/exceptions", headers=keys["auditor"])
    assert listed.json() == {"exceptions": [made]}
    gone = await client.delete(f"/api/policies/exceptions/{made['id']}", headers=keys["it_admin"])
    assert gone.status_code == 204
    assert (await client.get("/api/policies/exceptions", headers=keys["auditor"])).json() == {"exceptions": []}
    past = await client.get("/api/policies/exceptions?over=true", headers=keys["auditor"])
    assert [(e["state"], e["revoked_by"]) for e in past.json()["exceptions"]] == [("revoked", "it_admin@city.example")]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"ends": "2026-11-22"}, 400),
        ({"ends": "2028-01-01"}, 400),
        ({"ends": "soon"}, 400),
        ({"ends": "2026-12-31T18:00:00"}, 400),
        ({"ends": "2026-12-31T18:00:00+09:00"}, 201),
        ({"begins": "2026-12-01", "ends": "2026-12-01"}, 201),
        ({"reason": ""}, 400),
        ({"action": "block"}, 400),
        ({"action": "ignore"}, 400),
        ({"kind": "SECRET", "action": "allow"}, 400),
        ({"department": "NONE"}, 404),
        ({"destinations": ["mars"]}, 400),
        ({"by": "somebody.else@city.example"}, 400),
    ],
)
async def test_an_exception_needs_what_it_needs(
    client: httpx.AsyncClient, keys: dict[str, dict[str, str]], change: dict[str, Any], status: int
) -> None:
    made = await client.post("/api/policies/exceptions", json=EXCEPTION | change, headers=keys["it_admin"])
    assert made.status_code == status


async def test_a_department_is_made_stricter_and_a_trial_knows_it(
    client: httpx.AsyncClient, keys: dict[str, dict[str, str]], stopped: str
) -> None:
    it = keys["it_admin"]
    made = (await client.post("/api/policies/tightenings", json=TIGHTENING | {"department": "FIN"}, headers=it)).json()
    assert (made["department"], made["kind"], made["action"], made["ended"]) == ("FIN", "*", "block", None)
    trial = {"month": "2026-11"}
    now = (await client.post("/api/policies/dry-run", json=trial, headers=keys["auditor"])).json()
    assert (now["was"]["mask"], now["would_be"]["mask"], now["newly_stopped"]) == (1, 0, 1)
    other = trial | {"actions": {"RRN": "warn"}, "tightenings": []}
    would = (await client.post("/api/policies/dry-run", json=other, headers=it)).json()
    assert (would["would_be"]["mask"], would["newly_passed"], would["newly_stopped"]) == (2, 1, 0)
    assert {d["department"]: (d["stopped"], d["would_be_stopped"]) for d in would["departments"]} == {
        "TAX": (1, 0),
        "FIN": (0, 0),
    }
    assert (await client.delete(f"/api/policies/tightenings/{made['id']}", headers=it)).status_code == 204
    assert (await client.get("/api/policies/tightenings", headers=it)).json() == {"tightenings": []}
    assert len((await client.get("/api/policies/tightenings?over=true", headers=it)).json()["tightenings"]) == 1


@pytest.mark.parametrize(
    ("trial", "says"),
    [
        ({"actions": {"PHONES": "warn"}}, "PHONES"),
        ({"actions": {"PHONE": "stop"}}, "PHONE"),
        ({"tightenings": [{"department": "NONE", "kind": "PHONE", "action": "block"}]}, "NONE"),
        ({"tightenings": [{"department": "TAX", "kind": "IRIS", "action": "block"}]}, "IRIS"),
        ({"tightenings": [{"department": "TAX", "kind": "PHONE"}]}, "needs department"),
        ({"tightenings": ["x"]}, "needs department"),
        (
            {"tightenings": [{"department": "TAX", "kind": "*", "action": "block", "destinations": ["mars"]}]},
            "destinations",
        ),
    ],
)
async def test_bad_rules_are_refused_whole(
    client: httpx.AsyncClient, keys: dict[str, dict[str, str]], trial: dict[str, Any], says: str
) -> None:
    refused = await client.post("/api/policies/dry-run", json={"month": "2026-11"} | trial, headers=keys["it_admin"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_rules")
    assert says in refused.json()["error"]["message"]


async def test_a_page_needs_its_csrf_value(
    *,
    client: httpx.AsyncClient,
    city: Directory,
    by: Actor,
    keys: dict[str, dict[str, str]],
    engine: Engine,
    settings: Settings,
    clock: Clock,
) -> None:
    city.set_password_hash("it_admin@city.example", passwords.hash_password("correct horse battery"), by=by)
    sessions = Sessions(engine, settings.secrets.session_key.get_secret_value(), clock, uuid7)
    opened = sessions.open("it_admin@city.example", "correct horse battery", "cookie", origin="10.0.0.1")
    assert opened.csrf is not None
    cookie = {"cookie": f"__Host-haechi={opened.token}"}
    bare = await client.post("/api/policies/exceptions", json=EXCEPTION, headers=cookie)
    assert (bare.status_code, bare.json()["error"]["code"]) == (403, "csrf_failed")
    written = await client.post(
        "/api/policies/exceptions", json=EXCEPTION, headers={**cookie, "x-haechi-csrf": opened.csrf}
    )
    assert written.status_code == 201
