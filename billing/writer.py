"""The one thread that writes the book for the request path.

Requests hand their operations over and wait; the thread takes whatever is waiting, writes it as one group and answers all
of it. While one group commits the next one gathers: that is the whole batching policy, and it adds no wait to an idle server.

    submit(Reserve | MarkSent | SetQuota) ── fails at once when the database cannot take it (new work is refused)
    submit(Settle | Void | Reverse)       ── is tried again until it is booked (money that was spent is never dropped)
    submit(Checkpoint)                    ── is dropped when the database cannot take it (the next one says more)

Whoever is told that a hold does not stand may be wrong: the connection can break after the commit was sent. And whoever asked
for a hold may be gone when it is granted. Such a hold has no owner, so the writer itself gives it back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from billing.book import Book, LedgerUnavailable
from billing.holds import Checkpoint, Hold, MarkSent, Op, Reserve, Reverse, SetQuota, Settle, Void
from billing.recovery import hold_from
from billing.store import Tx

log = logging.getLogger("haechi.ledger")

#: A group as large as this already costs next to nothing per operation; larger ones only delay their first member.
GROUP = 128

#: A group of so many says that several requests are at work; the next one then gathers for this long, which makes one
#: transaction of two. Measured in turns: a tenth less CPU per request. An idle server never waits.
BUSY = 3
LINGER_SECONDS = 0.001

_RETRY_SECONDS = 0.5

#: A commit whose answer was lost may still be on its way in the database; it has arrived by then.
_DOUBT_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 5.0

#: What was spent, or is given back: never dropped.
_MONEY = (Settle, Void, Reverse)
#: After these a budget may have room again.
_FREEING = (*_MONEY, SetQuota)

Work = Callable[[Tx], Any]


class _Item:
    """An operation, who waits for its answer (nobody, where the writer itself handed it over), and the answer."""

    __slots__ = ("answer", "future", "loop", "op")

    def __init__(
        self, op: Op | Work, future: asyncio.Future[Any] | None = None, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.op = op
        self.future = future
        self.loop = loop
        self.answer: Any = None


class Writer:
    """Owns a Book and its thread. Start it once, stop it last: stopping writes everything that was handed over."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._stopping = False
        self._stop_by = 0.0
        self._freed: asyncio.Event | None = None
        #: Holds nobody owns: id → (when they were asked for, until when to look for them).
        self._orphans: dict[str, tuple[int, float]] = {}
        self._look_at = 0.0
        self.healthy = True
        #: Groups and operations written, for metrics.
        self.groups = 0
        self.operations = 0

    def start(self) -> None:
        self._thread.start()

    async def stop(self, patience: float = 60.0) -> None:
        """Write everything that was handed over, and end.

        A database that stays away for `patience` seconds more is not waited for: what it did not take is named in the log, and
        the holds it would have resolved lapse like those of a crash.
        """
        self._stop_by = time.monotonic() + patience
        self._stopping = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._book.close()

    def submit(self, op: Op) -> asyncio.Future[Any]:
        """The operation's answer, after its commit. Raises what the book raised; LedgerUnavailable for new work only."""
        return self._hand_over(op)

    def transact(self, work: Work) -> asyncio.Future[Any]:
        """Run a short piece of other work in the writer's thread, in a transaction of its own."""
        return self._hand_over(work)

    def _hand_over(self, op: Op | Work) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.put(_Item(op, future, loop))
        return future

    async def freed(self, seconds: float) -> None:
        """Return when some budget may have room again, or after so many seconds."""
        if self._freed is None:
            self._freed = asyncio.Event()
        try:
            await asyncio.wait_for(self._freed.wait(), seconds)
        except TimeoutError:
            return

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        backlog: list[_Item] = []
        busy = False
        while True:
            if busy and not self._stopping:
                time.sleep(LINGER_SECONDS)
            items = backlog + self._gather(GROUP, wait=not backlog)
            busy = len(items) >= BUSY
            backlog = self._write(items)
            if self._orphans and (self.healthy or not items):
                self._give_back()
            last = self._stopping and self._queue.empty()
            if last and not backlog:
                return
            if last and time.monotonic() >= self._stop_by:
                self._give_up(backlog)
                return
            if backlog:
                time.sleep(_RETRY_SECONDS)

    def _gather(self, most: int | None, *, wait: bool) -> list[_Item]:
        """What has been handed over. `wait` for it, unless there is something else to do."""
        items: list[_Item] = []
        with contextlib.suppress(queue.Empty):
            while most is None or len(items) < most:
                block = wait and not items and not self._stopping
                item = self._queue.get(block, _LOOK_EVERY_SECONDS if self._orphans else None)
                if item is None:
                    break  # nothing to write, but something to see to
                items.append(item)
        return items

    def _write(self, items: list[_Item]) -> list[_Item]:
        """Write the items in groups and answer them. Returns what must be tried again."""
        operations = [item for item in items if not callable(item.op)]
        away: LedgerUnavailable | None = None
        for start in range(0, len(operations), GROUP):
            away = self._apply(operations[start : start + GROUP], away)
        for item in items:
            if callable(item.op):
                item.answer = away or self._work(item.op)
        if away is not None:
            if self.healthy:
                log.error("the ledger's database does not take writes (%s); new work is refused until it does", away)
            # Whatever was handed over while the database did not answer has waited for it long enough.
            late = self._gather(None, wait=False)
            for item in late:
                item.answer = away
            items = items + late
        if operations or away is not None:
            self.healthy = away is None
        return self._sort_out(items)

    def _apply(self, group: list[_Item], away: LedgerUnavailable | None) -> LedgerUnavailable | None:
        answers: list[Any]
        if away is not None:
            answers = [away] * len(group)
        else:
            try:
                answers = self._book.apply([item.op for item in group])  # type: ignore[misc]  # callables are apart
            except LedgerUnavailable as error:
                answers = [error] * len(group)
            except Exception as error:  # a fault of ours must not end the thread that all requests wait for
                log.exception("a group of %d operations was not written", len(group))
                answers = [error] * len(group)
            else:
                self.groups += 1
                self.operations += len(group)
        for item, answer in zip(group, answers, strict=True):
            item.answer = answer
            if isinstance(answer, LedgerUnavailable):
                away = answer
        return away

    def _work(self, work: Work) -> Any:
        try:
            return self._book.transact(work)
        except Exception as error:  # noqa: BLE001 – whoever asked for the work is told
            return error

    def _sort_out(self, items: list[_Item]) -> list[_Item]:
        """Answer what can be answered; returns what must be tried again."""
        again: list[_Item] = []
        answered: list[_Item] = []
        for item in items:
            op, answer = item.op, item.answer
            if isinstance(answer, BaseException):
                away = isinstance(answer, LedgerUnavailable)
                if away and isinstance(op, _MONEY):
                    again.append(item)
                    continue
                if away and isinstance(op, Checkpoint):
                    item.answer = False
                if isinstance(op, Reserve):
                    if op.instead_of is not None:
                        again.append(_Item(op.instead_of))  # what the attempt before has cost is booked all the same
                    if isinstance(answer, LedgerUnavailable) and answer.in_doubt:
                        self._orphan(f"{op.request_id}:{op.attempt}", op.at)
                if away and isinstance(op, MarkSent):
                    self._orphan(op.hold_id, op.at)
                if item.future is None:
                    log.error("%s was not booked", op, exc_info=answer)
            if item.future is not None:
                answered.append(item)
        self._answer(answered)
        return again

    def _give_up(self, backlog: list[_Item]) -> None:
        for item in backlog:
            item.answer = LedgerUnavailable("the server ends and the database is still away")
            log.error("not booked, because the database is away and the server ends: %s", item.op)
        self._answer([item for item in backlog if item.future is not None])

    # -- holds without an owner -------------------------------------------------------------------------------------

    def _orphan(self, hold_id: str, at: int) -> None:
        self._orphans[hold_id] = (at, time.monotonic() + _DOUBT_SECONDS)
        self._look_at = 0.0
        self._queue.put(None)

    def _give_back(self) -> None:
        """Void the orphans that exist. One that does not may only not be there yet, so it is looked for a while."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_SECONDS
        for hold_id, (at, until) in list(self._orphans.items()):
            try:
                row = self._book.transact(lambda tx, hold_id=hold_id: tx.live_hold(hold_id))  # type: ignore[misc]
                if row is not None:
                    self._book.apply([Void(hold_from(row), "failed", at)])
            except LedgerUnavailable:
                return
            self.healthy = True
            if row is not None or now >= until:
                del self._orphans[hold_id]

    # -- answers, in the loop of whoever waits ----------------------------------------------------------------------

    def _answer(self, items: list[_Item]) -> None:
        if not items:
            return
        loop = items[0].loop
        assert loop is not None
        try:
            loop.call_soon_threadsafe(self._deliver, items)
        except RuntimeError:
            # The loop is gone: the process is ending and nobody waits for the answer. What was booked is booked.
            log.debug("%d answers had nobody waiting", len(items))

    def _deliver(self, items: list[_Item]) -> None:
        freed = False
        for item in items:
            op, future = item.op, item.future
            assert future is not None
            freed = freed or isinstance(op, _FREEING) or _frees(op)
            if future.done():
                # Whoever waited was cancelled. The operation stands, but a hold that was granted has no owner.
                if isinstance(item.answer, Hold):
                    self._orphan(item.answer.id, item.answer.created_at)
                elif isinstance(op, MarkSent) and item.answer is True:
                    self._orphan(op.hold_id, op.at)
            elif isinstance(item.answer, BaseException):
                future.set_exception(item.answer)
            else:
                future.set_result(item.answer)
        if freed and self._freed is not None:
            self._freed.set()
            self._freed = None


def _frees(op: Any) -> bool:
    return isinstance(op, Reserve) and op.instead_of is not None
