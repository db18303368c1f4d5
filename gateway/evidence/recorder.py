"""Writes evidence before anything leaves: whoever waits for `record` goes on only when it is committed.

Records that come while a group is being written make the next group, so that a flood of refusals costs one transaction for
many of them and not one each. If the database does not take them, the request they belong to is refused: no evidence, no
dispatch. A request without findings never comes here.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from billing.book import LedgerUnavailable
from billing.writer import Writer
from gateway.errors import Unavailable
from gateway.evidence import store
from gateway.evidence.records import Evidence

_GROUP = 200

_AWAY = (
    "The record of what the filters decided cannot be written, so nothing was sent. Try again shortly. "
    "필터 판단 기록을 남길 수 없어 아무것도 보내지 않았습니다. 잠시 후 다시 시도하십시오."
)


class Recorder(Protocol):
    """Where decisions go."""

    async def record(self, evidence: Evidence) -> None:
        """Return when it is committed; raise Unavailable when it cannot be: then the request does not leave."""
        ...


class RememberedEvidence:
    """A Recorder that keeps what it is given in memory, or refuses: for tests, and for a check that leaves no record."""

    def __init__(self, *, away: bool = False) -> None:
        self.records: list[Evidence] = []
        self.away = away

    async def record(self, evidence: Evidence) -> None:
        if self.away:
            raise _unavailable()
        self.records.append(evidence)


class LedgerEvidence:
    """The Recorder of a server: through the ledger's writer, in groups."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._waiting: list[tuple[Evidence, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def record(self, evidence: Evidence) -> None:
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((evidence, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="evidence")
        await written

    async def _write(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
                await self._write_group(group)
        finally:
            self._writing = None

    async def _write_group(self, group: list[tuple[Evidence, asyncio.Future[None]]]) -> None:
        records = [record for record, _ in group]
        failed: BaseException | None = None
        try:
            await self._writer.transact(lambda tx: store.add(tx, records))
        except LedgerUnavailable:
            failed = _unavailable()
        except Exception as error:  # noqa: BLE001 – whoever waits is told
            if len(group) > 1:
                # One record that the database refuses must not take the others with it.
                for one in group:
                    await self._write_group([one])
                return
            failed = error
        for _, written in group:
            if written.done():
                continue  # whoever waited has left; what was decided stays on record
            if failed is None:
                written.set_result(None)
            else:
                written.set_exception(failed)


def _unavailable() -> Unavailable:
    return Unavailable(_AWAY, code="storage_unavailable")
