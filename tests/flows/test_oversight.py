"""From a refusal to its evidence and back: what those who watch the filters change holds for the very next requests, and
everything that happened stands in the chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flows.inside import BY, KIM, Inside, opened

from gateway.database import reading
from gateway.directory.directory import Directory
from gateway.directory.ids import now_us, uuid7
from gateway.evidence.reports.verification import verify
from gateway.oversight.oversight import DAY_US, Oversight

RRN = "850312-2345677"
PHONE = "010-9876-5432"
REASON = "지방세 징수 업무 위탁에 따른 처리"

PRICES = """\
provider: practice
currency: USD
valid_from: 2026-01-01
source: written for this test
confirmed: true
prices:
  - key: practice/model
    per_million: {input: "1", output: "4"}
"""


def configuration() -> dict[str, Any]:
    def model(name: str, grade: str) -> dict[str, Any]:
        return {
            "name": name,
            "title": {"ko": name, "en": name},
            "grade": grade,
            "context": 100_000,
            "max_output": 200,
            "deployments": [{"provider": name, "model": "scripted", "price": "practice/model"}],
        }

    return {
        "organisation": {"name": "데모시"},
        "providers": {name: {"kind": "scripted", "destination": name} for name in ("inside", "foreign")},
        "models": [model("inside", "S"), model("foreign", "O")],
    }


@pytest.fixture
async def inside(tmp_path: Path, migrated_sqlite: Path) -> AsyncIterator[Inside]:
    async with opened(
        tmp_path / "gateway", migrated_sqlite, configuration(), prices={"practice.yaml": PRICES}
    ) as gateway:
        yield gateway


@pytest.fixture
def watch(inside: Inside) -> Oversight:
    return Oversight(inside.app.engine, now_us, uuid7)


def department(inside: Inside) -> str:
    """The code of Kim's."""
    (row,) = inside.rows(
        "SELECT d.code FROM department d JOIN membership m ON m.department_id = d.id JOIN person p ON p.id = m.user_id "
        "WHERE p.email = :kim",
        kim=KIM,
    )
    return str(row["code"])


async def test_an_exception_holds_for_the_next_requests_until_it_is_taken_back(
    inside: Inside, watch: Oversight
) -> None:
    refused = await inside.chat("foreign", f"주민번호 {RRN}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "policy_blocked")
    granted = watch.grant("RRN", "warn", reason=REASON, ends_at=now_us() + DAY_US, by=BY, department=department(inside))
    await inside.app.overrides.look()
    assert (await inside.chat("foreign", f"주민번호 {RRN}")).status_code == 200
    watch.revoke(granted.id, by=BY)
    await inside.app.overrides.look()
    assert (await inside.chat("foreign", f"주민번호 {RRN}")).status_code == 400


async def test_what_an_administrator_changes_on_a_page_holds_from_the_next_request_on(inside: Inside) -> None:
    Directory(inside.app.engine, b"p" * 32, now_us, uuid7).set_role(KIM, "it_admin", held=True, by=BY)
    inside.app.authenticator.invalidate()
    code, path = department(inside), "/api/policies/tightenings"
    given = {"department": code, "kind": "PHONE", "action": "block", "reason": REASON}
    assert (await inside.chat("foreign", f"연락처 {PHONE}")).status_code == 200
    made = await inside.post(path, **given)
    assert (await inside.chat("foreign", f"연락처 {PHONE}")).status_code == 400
    assert (await inside.client.delete(f"{path}/{made.json()['id']}")).status_code == 204
    assert (await inside.chat("foreign", f"연락처 {PHONE}")).status_code == 200


async def test_an_exception_of_another_department_helps_nobody(inside: Inside, watch: Oversight) -> None:
    directory = Directory(inside.app.engine, b"p" * 32, now_us, uuid7)
    directory.add_department("OTHER", "다른 과", by=BY)
    watch.grant("RRN", "warn", reason=REASON, ends_at=now_us() + DAY_US, by=BY, department="OTHER")
    await inside.app.overrides.look()
    assert (await inside.chat("foreign", f"주민번호 {RRN}")).status_code == 400


async def test_a_department_is_stricter_from_the_next_look_on(inside: Inside, watch: Oversight) -> None:
    assert (await inside.chat("foreign", f"연락처 {PHONE}")).status_code == 200
    set_ = watch.tighten(department(inside), "PHONE", "block", reason=REASON, by=BY)
    await inside.app.overrides.look()
    assert (await inside.chat("foreign", f"연락처 {PHONE}")).status_code == 400
    watch.relax(set_.id, by=BY)
    await inside.app.overrides.look()
    assert (await inside.chat("foreign", f"연락처 {PHONE}")).status_code == 200


async def test_a_refusal_is_on_record_reported_by_its_request_and_sealed(inside: Inside, watch: Oversight) -> None:
    clean = await inside.chat("foreign", "오늘 회의록을 요약해 줘")
    logged = await inside.chat("inside", f"연락처 {PHONE}")
    refused = await inside.chat("foreign", f"주민번호 {RRN}, 연락처 {PHONE}")
    assert [answer.status_code for answer in (clean, logged, refused)] == [200, 200, 400]
    kept = inside.rows("SELECT * FROM evidence ORDER BY seq")
    assert [(row["request_id"], row["action"], row["destination"]) for row in kept] == [
        (logged.headers["x-request-id"], "allow", "inside"),
        (refused.headers["x-request-id"], "block", "foreign"),
    ], "what was clean left nothing"
    items = inside.rows("SELECT kind, count, digests FROM evidence_item ORDER BY evidence_id, kind")
    assert [(row["kind"], row["count"]) for row in items] == [("PHONE", 1), ("PHONE", 1), ("RRN", 1)]
    assert items[0]["digests"] == items[1]["digests"], "the same number, known again without being kept"
    sent = await inside.client.post(
        "/api/policies/alarms", json={"decision": refused.headers["x-request-id"], "reason": "example"}
    )
    assert (sent.status_code, sent.json()["decision"]) == (201, kept[1]["id"])
    ((alarm, about),) = watch.alarms()
    assert (alarm.reason, about["action"]) == ("example", "block")
    await inside.app.upkeep.seal()
    assert [row["row_id"] for row in inside.rows("SELECT row_id FROM seal WHERE chain = 'evidence' ORDER BY seq")] == [
        row["id"] for row in kept
    ]
    with reading(inside.app.engine).connect() as connection:
        assert [check.name for check in verify(connection) if not check.ok] == []


async def test_nothing_leaves_that_cannot_be_put_on_record(inside: Inside) -> None:
    """Masked, refused or only to be logged: without its record a request goes nowhere, and costs nothing. A clean one goes."""
    with inside.app.engine.begin() as connection:
        connection.execute(
            sa.text("CREATE TRIGGER full BEFORE INSERT ON evidence BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        )
    for model, text in (("foreign", PHONE), ("foreign", RRN), ("inside", PHONE)):
        answer = await inside.chat(model, f"연락처 {text}")
        assert answer.status_code >= 500, (model, text)
    assert inside.rows("SELECT * FROM hold WHERE state <> 'voided'") == []
    assert (await inside.chat("foreign", "오늘 회의록을 요약해 줘")).status_code == 200
