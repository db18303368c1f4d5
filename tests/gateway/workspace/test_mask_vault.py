"""Masked values are their owner's alone, sealed, for hours; two requests at once lose nothing and mix nothing up."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
import sqlalchemy as sa
from clock import Clock
from ledgers import open_ledger
from sqlalchemy import Engine

from gateway.errors import Unavailable
from gateway.workspace.mask_vault import MOST, MaskVaults
from gateway.workspace.store import forget_expired_vaults
from policies.masking import Restorer, Span, Vault, mask

SECRET = b"e" * 32
CANARY = "홍길동-카나리아-7741"


@pytest.fixture
def vaults(engine: Engine, clock: Clock) -> MaskVaults:
    return MaskVaults(engine, SECRET, clock)


def rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def on_disk(folder: Path) -> bytes:
    """Everything a SQLite ledger has written, its log included."""
    return b"".join(path.read_bytes() for path in folder.glob("ledger.db*"))


async def test_a_conversation_goes_on_where_it_was(vaults: MaskVaults, engine: Engine, clock: Clock) -> None:
    vault = await vaults.open("kim", "chat-1")
    masked = mask(f"{CANARY}님", [Span("PERSON", 0, len(CANARY))], vault).text
    await vaults.save("kim", "chat-1", vault)
    again = await MaskVaults(engine, SECRET, clock).open("kim", "chat-1")
    assert Restorer(again).restore(masked) == f"{CANARY}님"
    assert mask(f"{CANARY}님", [Span("PERSON", 0, len(CANARY))], again).text == masked
    again.token("PHONE", "010-1234-5678")
    await vaults.save("kim", "chat-1", again)
    assert set((await vaults.open("kim", "chat-1")).values.values()) == {CANARY, "010-1234-5678"}


async def test_nobody_else_opens_it(vaults: MaskVaults, engine: Engine, clock: Clock) -> None:
    vault = await vaults.open("kim", "chat-1")
    vault.token("PERSON", CANARY)
    await vaults.save("kim", "chat-1", vault)
    assert (await vaults.open("lee", "chat-1")).values == {}
    assert (await vaults.open("kim", "chat-2")).values == {}
    assert (await MaskVaults(engine, b"f" * 32, clock).open("kim", "chat-1")).values == {}
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE mask_vault SET user_id = 'lee'"))
    assert (await vaults.open("kim", "chat-1")).values == {}


async def test_a_row_moved_to_another_conversation_does_not_open(vaults: MaskVaults, engine: Engine) -> None:
    for user, conversation, value in (("kim", "chat-1", CANARY), ("kim", "chat-2", "다른 값")):
        vault = await vaults.open(user, conversation)
        vault.token("PERSON", value)
        await vaults.save(user, conversation, vault)
    ((sealed,),) = rows(engine, "SELECT sealed FROM mask_vault ORDER BY expires_at LIMIT 1")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE mask_vault SET sealed = :sealed"), {"sealed": sealed})
    assert set((await vaults.open("kim", "chat-1")).values.values()) == {CANARY}
    assert (await vaults.open("kim", "chat-2")).values == {}


async def test_nothing_readable_is_stored_or_logged(
    vaults: MaskVaults, engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    vault = await vaults.open("kim", "chat-with-a-name")
    token = vault.token("PERSON", CANARY)
    await vaults.save("kim", "chat-with-a-name", vault)
    with engine.begin() as connection:
        stored = repr(connection.execute(sa.text("SELECT * FROM mask_vault")).all())
        connection.execute(sa.text("UPDATE mask_vault SET sealed = :junk"), {"junk": b"x" * 40})
    assert (await vaults.open("kim", "chat-with-a-name")).values == {}
    files = on_disk(tmp_path)
    for said in (CANARY, token, "chat-with-a-name"):
        assert said not in stored
        assert said.encode() not in files
        assert said not in caplog.text
    assert "do not open" in caplog.text


async def test_what_expired_is_not_given_out_and_then_deleted(
    vaults: MaskVaults, engine: Engine, clock: Clock, database_url: str
) -> None:
    for conversation in ("old", "new"):
        vault = await vaults.open("kim", conversation)
        vault.token("PERSON", CANARY)
        await vaults.save("kim", conversation, vault)
        clock.advance(MaskVaults.KEEP_US // 2)
    clock.advance(1000)
    assert (await vaults.open("kim", "old")).values == {}
    assert len((await vaults.open("kim", "new")).values) == 1
    with open_ledger(database_url, clock=clock) as ledger:
        ledger.book.transact(lambda tx: forget_expired_vaults(tx, clock()))
    assert rows(engine, "SELECT count(*) FROM mask_vault") == [(1,)]
    await vaults.forget("kim", "new")
    await vaults.forget("kim", "never")
    assert rows(engine, "SELECT count(*) FROM mask_vault") == [(0,)]


async def test_requests_at_once_lose_nothing(vaults: MaskVaults) -> None:
    async def one(number: int) -> str:
        vault = await vaults.open("kim", "chat-1")
        token = vault.token("PHONE", f"010-0000-{number:04d}")
        await vaults.save("kim", "chat-1", vault)
        return token

    tokens = await asyncio.gather(*(one(n) for n in range(12)))
    kept = await vaults.open("kim", "chat-1")
    assert {token: kept.values.get(token) for token in tokens} == {
        token: f"010-0000-{n:04d}" for n, token in enumerate(tokens)
    }


async def test_a_token_of_two_values_means_neither(vaults: MaskVaults) -> None:
    """Two requests at once that gave one short token to two values: it stays as it is rather than become the wrong one."""
    key = vaults.key("kim", "chat-1")
    await vaults.save("kim", "chat-1", Vault(key, {"[[이름:aaaa]]": "가", "[[이름:bbbb]]": "나"}))
    await vaults.save("kim", "chat-1", Vault(key, {"[[이름:aaaa]]": "다", "[[이름:cccc]]": "라"}))
    assert (await vaults.open("kim", "chat-1")).values == {"[[이름:bbbb]]": "나", "[[이름:cccc]]": "라"}


async def test_a_conversation_keeps_its_newest_values(vaults: MaskVaults) -> None:
    key = vaults.key("kim", "chat-1")
    await vaults.save("kim", "chat-1", Vault(key, {f"[[이름:{n:05d}]]": "x" for n in range(MOST)}))
    await vaults.save("kim", "chat-1", Vault(key, {"[[이름:new]]": "y", "[[이름:00000]]": "x"}))
    kept = (await vaults.open("kim", "chat-1")).values
    assert len(kept) == MOST
    assert {"[[이름:new]]", "[[이름:00000]]", f"[[이름:{MOST - 1:05d}]]"} <= kept.keys()
    assert "[[이름:00001]]" not in kept


async def test_nothing_is_written_for_a_conversation_without_values(vaults: MaskVaults, engine: Engine) -> None:
    await vaults.save("kim", "chat-1", await vaults.open("kim", "chat-1"))
    assert rows(engine, "SELECT count(*) FROM mask_vault") == [(0,)]


async def test_without_a_database_that_is_said_and_nothing_else(vaults: MaskVaults, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE mask_vault RENAME TO elsewhere"))
    vault = Vault(vaults.key("kim", "chat-1"))
    vault.token("PERSON", CANARY)
    with pytest.raises(Unavailable) as told:
        await vaults.save("kim", "chat-1", vault)
    assert CANARY not in repr(told.value.__cause__) + repr(told.value.__context__) + told.value.message
    with pytest.raises(Unavailable):
        await vaults.open("kim", "chat-1")
