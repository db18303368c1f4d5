"""What the server does between requests: keep leases alive, resolve what a crash left behind, seal the books.

    every 10 s   renew our holds' leases; resolve holds whose lease ran out (another process died); a third of a lease
                 forget what is remembered of requests under an Idempotency-Key, when its day is over, and masked values
    every  2 s   seal journals, decisions of the filters and audit records that are committed and not yet in their chain
    at start     SQLite has one server, so every unresolved hold is a dead one's: resolve it now

All of it runs in the writer's thread between two groups, in short transactions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from billing.book import LedgerUnavailable
from billing.periods import from_us
from billing.pricing import NoPrice
from billing.recovery import resolve
from billing.sealing import GENESIS, canonical, seal
from billing.store import Tx
from billing.writer import Writer
from gateway.directory import store as directory
from gateway.evidence import store as evidence
from gateway.exchange import World
from gateway.idempotency.repeats import Repeats
from gateway.metrics import Metrics
from gateway.workspace.store import forget_expired_vaults

log = logging.getLogger("haechi.upkeep")

_SEAL_SECONDS = 2.0
_BATCH = 500

#: Commits of several PostgreSQL processes may become visible out of the order of their numbers, by this many at most.
_STRAGGLERS = 10_000


class Upkeep:
    """The background tasks of one server process. `alone`: nobody else can own a hold (SQLite)."""

    def __init__(
        self,
        writer: Writer,
        world: Callable[[], World],
        metrics: Metrics,
        *,
        clock: Callable[[], int],
        owner: str,
        alone: bool,
        repeats: Repeats,
    ) -> None:
        self._writer = writer
        self._world = world
        self._metrics = metrics
        self._clock = clock
        self._owner = owner
        self._alone = alone
        self._repeats = repeats
        #: Whether this process has looked for unsealed audit records of any age.
        self._whole = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Resolve what a crash of this ledger's only server left, before new work comes; then keep watch."""
        if self._alone:
            while await self._resolve(all_of=self._owner) == _BATCH:
                pass
        self._tasks = [
            asyncio.create_task(self._every(self._renewal_seconds, self._leases)),
            asyncio.create_task(self._every(lambda: _SEAL_SECONDS, self.seal)),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        with contextlib.suppress(LedgerUnavailable):
            await self.seal()

    def _renewal_seconds(self) -> float:
        return self._world().settings.limits.lease_seconds / 3

    async def _every(self, interval: Callable[[], float], work: Callable[[], Awaitable[None]]) -> None:
        while True:
            seconds = interval()
            await asyncio.sleep(seconds)
            try:
                await work()
            except LedgerUnavailable:
                continue  # the writer has said so; there is a next time
            except Exception:
                log.exception("upkeep failed; it is tried again in %s s", seconds)

    async def _leases(self) -> None:
        self._metrics.healthy.set(self._writer.healthy)
        until = self._clock() + self._world().settings.limits.lease_us
        await self._writer.transact(lambda tx: tx.renew_leases(self._owner, until))
        await self._resolve(all_of=None)
        await self._writer.transact(self._repeats.forget_expired)
        await self._writer.transact(lambda tx: forget_expired_vaults(tx, self._clock()))

    async def _resolve(self, *, all_of: str | None) -> int:
        now = self._clock()
        rows = await self._writer.transact(lambda tx: tx.lapsed_holds(now, all_of=all_of, limit=_BATCH))
        world = self._world()
        for row in rows:
            try:
                card = world.book.card(row["price_key"], from_us(row["created_at"]))
            except NoPrice:
                card = None
            op = resolve(row, card, now)
            answer = await self._writer.submit(op)
            log.warning("hold %s of a dead process resolved: %s (%s)", row["id"], type(op).__name__.lower(), answer)
        return len(rows)

    async def seal(self) -> None:
        """Seal everything that is committed."""
        while _BATCH in await self._writer.transact(self._seal_some):
            pass
        self._whole = True
        self._metrics.unsealed.set(0)

    def _seal_some(self, tx: Tx) -> tuple[int, int, int]:
        """Of the journals, the filters' decisions and the audit records at most a batch each; how many it was."""
        now = self._clock()
        return (
            self._seal_journals(tx),
            evidence.seal_some(tx, now, _BATCH),
            directory.seal_audit(tx, now, _BATCH, all_of_it=not self._whole),
        )

    def _seal_journals(self, tx: Tx) -> int:
        tx.lock_chain("books")
        head = tx.chain_head("books")
        after = 0 if head is None else max(0, tx.journal_seq(head[2]) - _STRAGGLERS)
        found = tx.unsealed_journals(after, _BATCH)
        whole = tx.whole_journals([id_ for _, id_ in found])
        now = self._clock()
        rows = [(id_, canonical(whole[id_])) for _, id_ in found]
        links = seal("books", (0, GENESIS) if head is None else head[:2], rows)
        tx.run(tx.sql.insert_seals, [(s.chain, s.seq, s.row_id, s.prev_hash, s.hash, now) for s in links])
        return len(found)
