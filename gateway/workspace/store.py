"""The workspace's SQL for the ledger writer's transactions."""

from __future__ import annotations

from billing.store import Tx

_EXPIRED = "DELETE FROM mask_vault WHERE expires_at <= ?"


def forget_expired_vaults(tx: Tx, now: int) -> None:
    """Masked values whose time is over. `now` is UTC microseconds."""
    tx.query(_EXPIRED, (now,))
