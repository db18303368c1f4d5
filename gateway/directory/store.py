"""The directory's SQL: named statements on an open connection, the same on both databases. Whoever opened it commits.

A `change` row is appended by every write that may alter what a credential is worth. Its numbers are taken one after the
other under a lock and become visible in that order, so a process that has seen number n has missed nothing up to n; an
ordinary sequence would let 6 commit before 5, and whoever had read 6 would never look for 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, delete, func, insert, or_, select, update

from billing.sealing import GENESIS, canonical, seal
from gateway.audit import Record
from gateway.directory.records import Department, Identity, Key, Person, Pledge, PledgeText, Session, Signature
from gateway.directory.tables import (
    api_key,
    audit,
    change,
    department,
    department_parent,
    membership,
    person,
    pledge_signature,
    pledge_text,
    role_grant,
    session,
)

if TYPE_CHECKING:  # sqlmodel behind it is more than all a command needs
    from billing.store import Tx
from policies.decision import stricter

#: Advisory lock of the directory's writers (any constant of our own).
_LOCK = 0x6861_6563_6964


def holds(table: Table, at: int) -> ColumnElement[bool]:
    """Rows of a dated table that hold at the instant; the end is exclusive."""
    return and_(table.c.valid_from <= at, or_(table.c.valid_to.is_(None), table.c.valid_to > at))


# ── change and audit ─────────────────────────────────────────────────────────────────────────────────────────────────


def lock_directory(connection: Connection) -> None:
    """From here to the commit nobody else writes: on SQLite the transaction itself has seen to that."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def append_change(connection: Connection, at: int, kind: str) -> None:
    """Tell every process that something access depends on is different now."""
    lock_directory(connection)
    connection.execute(insert(change).values(seq=newest_change(connection) + 1, at=at, kind=kind))


def newest_change(connection: Connection) -> int:
    """The highest committed number; 0 before the first."""
    return int(connection.scalar(select(func.coalesce(func.max(change.c.seq), 0))) or 0)


def append_audit(connection: Connection, record: Record) -> None:
    connection.execute(
        insert(audit).values(
            id=record.id,
            at=record.at,
            actor=record.actor.name,
            origin=record.actor.origin,
            action=record.action,
            object=record.object,
            detail=record.detail_json(),
        )
    )


# ── the chain of the audit record, in the ledger writer's transactions ───────────────────────────────────────────────

AUDIT_CHAIN: Final = "audit"

#: What is sealed of a record: all of it.
AUDIT_COLUMNS: Final = tuple(column.name for column in audit.columns)

#: Records carry no number, so the sealer looks this far (microseconds) behind the newest sealed one for what was committed
#: out of the order of its time: by another process, whose clock differs, or after waiting for the database.
LATE_US: Final = 600_000_000

# Names of our own columns.
_UNSEALED = (
    f"SELECT {', '.join(AUDIT_COLUMNS)} FROM audit WHERE at > ? AND NOT EXISTS "  # noqa: S608 – no value is in it
    "(SELECT 1 FROM seal WHERE seal.chain = ? AND seal.row_id = audit.id) ORDER BY at, id LIMIT ?"
)
_NEWEST = "SELECT max(a.at) FROM audit a JOIN seal s ON s.row_id = a.id WHERE s.chain = ? AND s.seq > ?"
_THERE = "SELECT 1 FROM audit WHERE id = ?"

#: The newest of so many links is about the newest record that is sealed.
_LOOK_BACK: Final = 1_000


def seal_audit(tx: Tx, now: int, limit: int, *, all_of_it: bool = False) -> int:
    """Chain audit records that are committed and not sealed yet, at most so many; returns how many.

    `all_of_it`: however old they are, as at a start, when a clock may have been put right meanwhile.
    """
    tx.lock_chain(f"seal:{AUDIT_CHAIN}")
    head = tx.chain_head(AUDIT_CHAIN)
    after = -(2**63)
    if head is not None:
        if not tx.query(_THERE, (head[2],)):
            return 0  # somebody removed the newest sealed record; `verify` says so, and nothing is sealed over the gap
        if not all_of_it:
            after = int(tx.query(_NEWEST, (AUDIT_CHAIN, head[0] - _LOOK_BACK))[0][0]) - LATE_US
    found = [list(row) for row in tx.query(_UNSEALED, (after, AUDIT_CHAIN, limit))]
    links = seal(AUDIT_CHAIN, (0, GENESIS) if head is None else head[:2], [(row[0], canonical(row)) for row in found])
    tx.run(tx.sql.insert_seals, [(s.chain, s.seq, s.row_id, s.prev_hash, s.hash, now) for s in links])
    return len(found)


# ── departments ──────────────────────────────────────────────────────────────────────────────────────────────────────


def department_by_code(connection: Connection, code: str) -> Department | None:
    row = connection.execute(select(department).where(department.c.code == code)).one_or_none()
    return Department(**row._mapping) if row else None


def departments_by_id(connection: Connection, ids: Iterable[str]) -> dict[str, Department]:
    rows = connection.execute(select(department).where(department.c.id.in_(list(ids))))
    return {row.id: Department(**row._mapping) for row in rows}


def insert_department(connection: Connection, added: Department) -> None:
    connection.execute(insert(department).values(asdict(added)))


def close_department(connection: Connection, department_id: str, at: int) -> None:
    connection.execute(update(department).where(department.c.id == department_id).values(closed_at=at))


def set_department_grade(connection: Connection, department_id: str, grade: str | None) -> None:
    connection.execute(update(department).where(department.c.id == department_id).values(grade=grade))


def set_parent(connection: Connection, department_id: str, parent_id: str | None, at: int) -> None:
    """From `at` on the department hangs under `parent_id`, or is a root."""
    _end(connection, department_parent, at, department_id=department_id)
    if parent_id is not None:
        connection.execute(
            insert(department_parent).values(department_id=department_id, parent_id=parent_id, valid_from=at)
        )


def path_to_root(connection: Connection, department_id: str, at: int) -> tuple[str, ...]:
    """Department ids from this one to its root at the instant."""
    start = select(
        department_parent.c.department_id, department_parent.c.parent_id, department_parent.c.valid_from
    ).where(department_parent.c.department_id == department_id, holds(department_parent, at))
    edges = start.cte("edges", recursive=True)
    edges = edges.union(
        select(department_parent.c.department_id, department_parent.c.parent_id, department_parent.c.valid_from).where(
            department_parent.c.department_id == edges.c.parent_id, holds(department_parent, at)
        )
    )
    parents = {row.department_id: row.parent_id for row in connection.execute(select(edges))}
    path = [department_id]
    while (parent := parents.get(path[-1])) is not None and parent not in path:
        path.append(parent)
    return tuple(path)


def has_open_members_or_children(connection: Connection, department_id: str, at: int) -> bool:
    members = select(membership.c.user_id).where(membership.c.department_id == department_id, holds(membership, at))
    children = (
        select(department_parent.c.department_id)
        .join(department, department.c.id == department_parent.c.department_id)
        .where(
            department_parent.c.parent_id == department_id,
            holds(department_parent, at),
            department.c.closed_at.is_(None),
        )
    )
    return bool(connection.scalar(select(or_(members.exists(), children.exists()))))


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def person_by_email(connection: Connection, email: str) -> Person | None:
    row = connection.execute(select(person).where(person.c.email == email)).one_or_none()
    return Person(**row._mapping) if row else None


def person_by_id(connection: Connection, user_id: str) -> Person | None:
    row = connection.execute(select(person).where(person.c.id == user_id)).one_or_none()
    return Person(**row._mapping) if row else None


def any_person(connection: Connection) -> bool:
    return connection.scalar(select(person.c.id).limit(1)) is not None


def insert_person(connection: Connection, added: Person) -> None:
    connection.execute(insert(person).values(asdict(added)))


def set_status(connection: Connection, user_id: str, status: str) -> None:
    connection.execute(update(person).where(person.c.id == user_id).values(status=status))


def set_password_hash(connection: Connection, user_id: str, password_hash: str) -> None:
    connection.execute(update(person).where(person.c.id == user_id).values(password_hash=password_hash))


def set_membership(connection: Connection, user_id: str, department_id: str, at: int) -> None:
    """From `at` on the person belongs to this department and to no other."""
    _end(connection, membership, at, user_id=user_id)
    connection.execute(insert(membership).values(user_id=user_id, department_id=department_id, valid_from=at))


def department_of(connection: Connection, user_id: str, at: int) -> Department | None:
    row = connection.execute(
        select(department)
        .join(membership, membership.c.department_id == department.c.id)
        .where(membership.c.user_id == user_id, holds(membership, at))
    ).one_or_none()
    return Department(**row._mapping) if row else None


def roles_of(connection: Connection, user_id: str, at: int) -> tuple[str, ...]:
    """Sorted."""
    rows = connection.scalars(
        select(role_grant.c.role).where(role_grant.c.user_id == user_id, holds(role_grant, at)).distinct()
    )
    return tuple(sorted(rows))


def grant_role(connection: Connection, user_id: str, role: str, at: int, granted_by: str) -> None:
    connection.execute(insert(role_grant).values(user_id=user_id, role=role, valid_from=at, granted_by=granted_by))


def end_role(connection: Connection, user_id: str, role: str, at: int) -> None:
    _end(connection, role_grant, at, user_id=user_id, role=role)


def _end(connection: Connection, table: Table, at: int, **subject: str) -> None:
    """Give the open row of a dated table its end. A row that began at the very same instant ends empty."""
    conditions = [table.c[name] == value for name, value in subject.items()]
    connection.execute(update(table).where(*conditions, table.c.valid_to.is_(None)).values(valid_to=at))


def identity(connection: Connection, user_id: str, at: int) -> Identity | None:
    """Everything a principal is made of, as it holds at the instant."""
    found = person_by_id(connection, user_id)
    if found is None:
        return None
    own = department_of(connection, user_id, at)
    path = path_to_root(connection, own.id, at) if own else ()
    above = departments_by_id(connection, path)
    grades = [one.grade for one in above.values() if one.grade is not None]
    return Identity(
        person=found,
        department=own,
        path=path,
        roles=roles_of(connection, user_id, at),
        pledge=pledge_of(connection, user_id),
        grade=stricter(*grades),
        codes=tuple(above[id_].code for id_ in path),
    )


# ── pledges ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def newest_pledge(connection: Connection) -> int | None:
    newest: int | None = connection.scalar(select(func.max(pledge_text.c.version)))
    return newest


def pledge_text_of(connection: Connection, version: int) -> PledgeText | None:
    row = connection.execute(select(pledge_text).where(pledge_text.c.version == version)).one_or_none()
    return PledgeText(**row._mapping) if row else None


def insert_pledge(connection: Connection, text: PledgeText) -> None:
    connection.execute(insert(pledge_text).values(asdict(text)))


def pledge_of(connection: Connection, user_id: str) -> Pledge:
    """The newest text and when this person signed it."""
    version = newest_pledge(connection)
    if version is None:
        return Pledge(None, None)
    return Pledge(version, signed_at(connection, user_id, version))


def signed_at(connection: Connection, user_id: str, version: int) -> int | None:
    return connection.scalar(
        select(pledge_signature.c.signed_at).where(
            pledge_signature.c.user_id == user_id, pledge_signature.c.version == version
        )
    )


def insert_signature(connection: Connection, signature: Signature) -> None:
    connection.execute(insert(pledge_signature).values(asdict(signature)))


# ── keys and sessions ────────────────────────────────────────────────────────────────────────────────────────────────


def _key(row: Row[Any]) -> Key:
    return Key(**{name: value for name, value in row._mapping.items() if name not in {"digest", "created_by"}})


def key_by_digest(connection: Connection, digest: bytes) -> Key | None:
    row = connection.execute(select(api_key).where(api_key.c.digest == digest)).one_or_none()
    return _key(row) if row else None


def keys_by_prefix(connection: Connection, prefix: str) -> list[Key]:
    rows = connection.execute(select(api_key).where(api_key.c.prefix == prefix).order_by(api_key.c.created_at))
    return [_key(row) for row in rows]


def insert_key(connection: Connection, added: Key, digest: bytes, created_by: str) -> None:
    connection.execute(insert(api_key).values(digest=digest, created_by=created_by, **asdict(added)))


def revoke_key(connection: Connection, key_id: str, at: int) -> None:
    connection.execute(update(api_key).where(api_key.c.id == key_id).values(revoked_at=at))


def session_by_digest(connection: Connection, digest: bytes) -> Session | None:
    row = connection.execute(select(session).where(session.c.digest == digest)).one_or_none()
    return Session(**{name: value for name, value in row._mapping.items() if name != "digest"}) if row else None


def insert_session(connection: Connection, digest: bytes, opened: Session) -> None:
    connection.execute(insert(session).values(digest=digest, **asdict(opened)))


def touch_session(connection: Connection, digest: bytes, at: int) -> None:
    """Seen at `at`, unless another process has seen it later."""
    connection.execute(update(session).where(session.c.digest == digest, session.c.last_seen < at).values(last_seen=at))


def end_session(connection: Connection, digest: bytes, at: int) -> bool:
    """Whether it was still open."""
    ended = connection.execute(
        update(session).where(session.c.digest == digest, session.c.ended_at.is_(None)).values(ended_at=at)
    )
    return ended.rowcount > 0


def end_sessions_of(connection: Connection, user_id: str, at: int) -> int:
    ended = connection.execute(
        update(session)
        .where(session.c.user_id == user_id, session.c.ended_at.is_(None), session.c.expires_at > at)
        .values(ended_at=at)
    )
    return int(ended.rowcount)


def remove_sessions_before(connection: Connection, at: int) -> None:
    """Forget sessions that could not be used any more at `at`; who signed in when stays in the audit record."""
    connection.execute(delete(session).where(session.c.expires_at < at))
