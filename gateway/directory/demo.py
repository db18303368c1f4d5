"""What a first start puts in, so that there is somebody to sign in as: department DEMO, one account per role, one API key.

Passwords and the key are known at that moment only. They are put into a private file before the transaction commits, and the
file goes when `first-run.json`, which tells them, exists: a start that is cut short anywhere can be finished by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypedDict

from sqlalchemy import Engine

from gateway.audit import Actor
from gateway.database import reading
from gateway.directory import passwords, store
from gateway.directory.directory import Clock, Directory, Ids
from gateway.directory.records import ROLES
from gateway.settings import Settings, write_private

DEPARTMENT = "DEMO"
FIRST_RUN = "first-run.json"
PENDING = "first-run.pending.json"

_BY = Actor("system:first-start", "cli")

_PLEDGE_KO = """생성형 AI 업무 활용 서약서

1. 주민등록번호 등 개인정보와 비공개 정보를 외부 모델에 입력하지 않겠습니다.
2. 답변을 그대로 믿지 않고 사실 여부와 출처를 확인한 뒤 사용하겠습니다.
3. 차별적이거나 편향된 내용을 만들거나 퍼뜨리지 않겠습니다.
4. 업무에만 사용하며, 사용량과 비용이 부서별로 기록됨을 알고 있습니다.
5. 계정과 API 키를 다른 사람과 함께 쓰지 않겠습니다."""

_PLEDGE_EN = """Pledge on using generative AI at work

1. I will not enter personal or non-public information into models outside the organisation.
2. I will check facts and sources before I use an answer.
3. I will not make or spread discriminatory or biased content.
4. I will use it for work only, and know that use and cost are recorded by department.
5. I will not share my account or API keys."""


class Account(TypedDict):
    """One person somebody can sign in as, as `first-run.json` has it."""

    email: str
    password: str
    role: str


@dataclass(frozen=True, slots=True)
class Seeded:
    """What a first start made. The key is the staff account's; `department_id` is DEMO's, for its budget."""

    department_id: str
    api_key: str = field(repr=False)
    accounts: tuple[Account, ...] = field(repr=False)


def seed(engine: Engine, settings: Settings, clock: Clock, ids: Ids) -> Seeded | None:
    """Make the demo's department, accounts and key where there is nobody yet; None where there is.

    Asked again before `first-run.json` exists (a start that was cut short), it answers again with what it made then.
    """
    pending = settings.data / PENDING
    if _anybody(engine):
        if (settings.data / FIRST_RUN).exists():
            pending.unlink(missing_ok=True)
        return _read(pending)
    chosen = {role: passwords.generate() for role in ROLES}
    hashes = {role: passwords.hash_password(password) for role, password in chosen.items()}
    with engine.begin() as connection:
        store.lock_directory(connection)
        if store.any_person(connection):  # another process was first
            return None
        directory = Directory(engine, settings.secrets.pepper.get_secret_value(), clock, ids).within(connection)
        department = store.department_by_code(connection, DEPARTMENT)
        if department is None:
            department = directory.add_department(DEPARTMENT, "데모부서", by=_BY)
        if store.newest_pledge(connection) is None:
            directory.publish_pledge(_PLEDGE_KO, _PLEDGE_EN, by=_BY)
        for role in ROLES:
            directory.add_user(
                _email(role), DEPARTMENT, [role], by=_BY, name=_NAMES[role], signed=True, password_hash=hashes[role]
            )
        key = directory.create_key(_email("staff"), by=_BY)
        accounts = tuple(Account(email=_email(role), password=chosen[role], role=role) for role in ROLES)
        seeded = Seeded(department.id, key.key, accounts)
        write_private(pending, json.dumps(asdict(seeded)), replace=True)
    return seeded


def _anybody(engine: Engine) -> bool:
    with reading(engine).connect() as connection:
        return store.any_person(connection)


def _read(pending: Path) -> Seeded | None:
    if not pending.exists():
        return None
    kept = json.loads(pending.read_text(encoding="utf-8"))
    return Seeded(kept["department_id"], kept["api_key"], tuple(kept["accounts"]))


def _email(role: str) -> str:
    return f"{role}@demo.example"


_NAMES: Mapping[str, str] = {
    "staff": "데모 직원",
    "manager": "데모 부서장",
    "finance": "데모 재무 담당",
    "it_admin": "데모 전산 담당",
    "auditor": "데모 감사 담당",
}
