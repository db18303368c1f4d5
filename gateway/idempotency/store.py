"""The rows behind repeated requests. Every function is one statement in the caller's transaction; nothing here decides."""

from __future__ import annotations

from typing import NamedTuple

from billing.store import Tx


class Row(NamedTuple):
    """One request under a key, as stored; times in UTC microseconds."""

    digest: bytes
    fingerprint: bytes
    user_id: str
    request_id: str
    owner: str
    claimed_at: int
    expires_at: int
    ended_at: int | None
    answer: bytes | None


_INSERT = (
    "INSERT INTO idempotency "
    "(digest, fingerprint, user_id, request_id, owner, claimed_at, expires_at, ended_at, answer) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING request_id"
)
_FIND = (
    "SELECT digest, fingerprint, user_id, request_id, owner, claimed_at, expires_at, ended_at, answer "
    "FROM idempotency WHERE digest = ?"
)


def insert(tx: Tx, row: Row) -> bool:
    """Whether it was the first: two processes that insert one digest at once wait for each other, and one of them is not."""
    return bool(tx.query(_INSERT, row))


def find(tx: Tx, digest: bytes) -> Row | None:
    """The row, nobody else's to change until we commit."""
    rows = tx.query(_FIND + (" FOR UPDATE" if tx.sql.postgresql else ""), (digest,))
    return Row(*rows[0]) if rows else None


def take_over(tx: Tx, digest: bytes, request_id: str, owner: str, now: int) -> None:
    tx.query(
        "UPDATE idempotency SET request_id = ?, owner = ?, claimed_at = ? WHERE digest = ?",
        (request_id, owner, now, digest),
    )


def end(tx: Tx, digest: bytes, request_id: str, now: int, answer: bytes | None) -> None:
    tx.query(
        "UPDATE idempotency SET ended_at = ?, answer = ? WHERE digest = ? AND request_id = ? AND ended_at IS NULL",
        (now, answer, digest, request_id),
    )


def remove(tx: Tx, digest: bytes, request_id: str) -> None:
    tx.query("DELETE FROM idempotency WHERE digest = ? AND request_id = ? AND ended_at IS NULL", (digest, request_id))


def remove_expired(tx: Tx, now: int) -> None:
    tx.query("DELETE FROM idempotency WHERE expires_at <= ?", (now,))
