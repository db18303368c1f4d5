"""What was masked in a conversation, kept for its owner only, sealed, and for hours.

    vault = await vaults.open(user_id, conversation)     empty where nothing is kept, it expired, or it does not open
    masked = policies.masking.mask(text, spans, vault)   … the same value is the same token, whichever turn it stands in
    await vaults.save(user_id, conversation, vault)      before the dispatch; what another request added meanwhile stays
    policies.masking.Restorer(vault)                     … one for the answer's text, one for each tool call's arguments

`conversation` is whatever names it for as long as it lasts: what a program says in `x-haechi-conversation`. A caller that names
none sends all of the history each time, so that nothing needs to be kept at all; where nothing is put back into answers,
`Vault(vaults.key(user_id, conversation))` is enough for one request.

A row is found by a keyed hash of owner and conversation and sealed with AES-256-GCM, bound to both: moved to another person it
opens for nobody. The tokens' own key is derived, not stored. Values are in no log, no error and no representation. Rows expire
after KEEP_US without use and are deleted by upkeep; `forget` deletes one at once, when its chat is.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from collections.abc import Callable
from typing import Final, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine, delete, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.exc import SQLAlchemyError

from gateway.database import DatabaseError, reading
from gateway.errors import Unavailable
from gateway.workspace.tables import mask_vault
from policies.masking import Vault, conversation_key

log = logging.getLogger("haechi.mask_vault")

T = TypeVar("T")

_HOUR_US: Final = 3_600_000_000
_NONCE: Final = 12

#: Values of one conversation; of more the oldest are forgotten. A spreadsheet of addresses has some thousands.
MOST: Final = 5_000


class MaskVaults:
    """`secret` is the installation's encryption key, `clock` gives UTC microseconds."""

    KEEP_US = 24 * _HOUR_US

    def __init__(self, engine: Engine, secret: bytes, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._reading = reading(engine)
        self._clock = clock
        self._tokens = hmac.digest(secret, b"haechi mask tokens 1", "sha256")
        self._names = hmac.digest(secret, b"haechi mask vault names 1", "sha256")
        self._cipher = AESGCM(hmac.digest(secret, b"haechi mask vault 1", "sha256"))

    def key(self, user_id: str, conversation: str) -> bytes:
        """What the tokens of one conversation of one person are made with."""
        return conversation_key(self._tokens, user_id, conversation)

    async def open(self, user_id: str, conversation: str) -> Vault:
        """What is kept of a conversation. Raises Unavailable when the database cannot be read."""
        return await self._in_thread(self.opened, user_id, conversation)

    async def save(self, user_id: str, conversation: str, vault: Vault) -> None:
        """Keep a vault, beside what is kept already, for KEEP_US from now. Raises Unavailable."""
        if vault.values:
            await self._in_thread(self.saved, user_id, conversation, vault)

    async def forget(self, user_id: str, conversation: str) -> None:
        """Delete what is kept of a conversation. Raises Unavailable."""
        await self._in_thread(self.forgotten, user_id, conversation)

    async def _in_thread(self, work: Callable[..., T], *given: object) -> T:
        try:
            return await asyncio.to_thread(work, *given)
        except (SQLAlchemyError, DatabaseError) as error:
            log.warning("masked values cannot be kept or found: %s", type(error).__name__)
            raise Unavailable(
                "The database cannot be reached; try again. / 잠시 후 다시 시도하십시오.", code="storage_unavailable"
            ) from None

    # -- blocking -----------------------------------------------------------------------------------------------------

    def opened(self, user_id: str, conversation: str) -> Vault:
        """As `open`; blocks."""
        with self._reading.connect() as connection:
            return self._read(connection, user_id, conversation, lock=False)

    def saved(self, user_id: str, conversation: str, vault: Vault) -> None:
        """As `save`; blocks."""
        name = self._name(user_id, conversation)
        insert = insert_postgresql if self._engine.dialect.name == "postgresql" else insert_sqlite
        with self._engine.begin() as connection:
            connection.execute(
                insert(mask_vault)
                .values(user_id=user_id, conversation=name, sealed=b"", version=0, expires_at=0)
                .on_conflict_do_nothing()
            )
            kept = self._read(connection, user_id, conversation, lock=True)
            values = _merged(kept.values, vault.values)
            connection.execute(
                update(mask_vault)
                .where(mask_vault.c.user_id == user_id, mask_vault.c.conversation == name)
                .values(
                    sealed=self._sealed(Vault(vault.key, values), user_id, name),
                    version=mask_vault.c.version + 1,
                    expires_at=self._clock() + self.KEEP_US,
                )
            )

    def forgotten(self, user_id: str, conversation: str) -> None:
        """As `forget`; blocks."""
        name = self._name(user_id, conversation)
        with self._engine.begin() as connection:
            connection.execute(
                delete(mask_vault).where(mask_vault.c.user_id == user_id, mask_vault.c.conversation == name)
            )

    def _read(self, connection: Connection, user_id: str, conversation: str, *, lock: bool) -> Vault:
        name = self._name(user_id, conversation)
        key = self.key(user_id, conversation)
        statement = select(mask_vault.c.sealed, mask_vault.c.expires_at).where(
            mask_vault.c.user_id == user_id, mask_vault.c.conversation == name
        )
        row = connection.execute(statement.with_for_update() if lock else statement).one_or_none()
        if row is None or not row.sealed or row.expires_at <= self._clock():
            return Vault(key)
        try:
            plain = self._cipher.decrypt(row.sealed[:_NONCE], row.sealed[_NONCE:], _bound(user_id, name))
            return Vault.load(key, plain)
        except (InvalidTag, ValueError):
            # Another installation's row, or one that somebody moved: nothing of it is worth anything to anybody.
            log.warning("masked values of a conversation do not open and are given up")
            return Vault(key)

    def _sealed(self, vault: Vault, user_id: str, name: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, vault.dump(), _bound(user_id, name))

    def _name(self, user_id: str, conversation: str) -> str:
        said = f"{user_id}\0{conversation}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._names, said, "sha256").hex()


def _bound(user_id: str, name: str) -> bytes:
    return f"{user_id}\0{name}".encode("utf-8", "surrogatepass")


def _merged(kept: dict[str, str], added: dict[str, str]) -> dict[str, str]:
    """Both, the newest last. A token that came to mean two values in two requests at once means neither from now on."""
    values = {token: value for token, value in kept.items() if token not in added}
    values |= {token: value for token, value in added.items() if kept.get(token, value) == value}
    return dict(list(values.items())[-MOST:])
