"""The one thread that writes the book for the request path.

Requests hand their operations over and wait; the thread takes whatever is waiting, writes it as one group and answers all
of it. While one group commits the next one gathers: that is the whole batching policy, and it adds no wait to an idle server.

    submit(Reserve | MarkSent) ── fails at once when the database cannot take it (new work is refused)
    submit(Settle | Void | …)  ── is tried again until it is booked (money that was spent is never dropped)
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from billing.book import Book, LedgerUnavailable
from billing.holds import MarkSent, Op, Reserve, SetQuota, Settle, Void
from billing.store import Tx

log = logging.getLogger("haechi.ledger")

#: A group as large as this already costs next to nothing per operation; larger ones only delay their first member.
GROUP = 128

_RETRY_SECONDS = 0.5

Work = Callable[[Tx], Any]


class _Item:
    __slots__ = ("answer", "future", "loop", "op")

    def __init__(self, op: Op | Work, future: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> None:
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
        self._freed: asyncio.Event | None = None
        self.healthy = True
        #: Groups and operations written, for metrics.
        self.groups = 0
        self.operations = 0

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        self._stopping = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._book.close()

    def submit(self, op: Op) -> asyncio.Future[Any]:
        """The operation's answer, after its commit. Raises what the book raised; LedgerUnavailable for new work only."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.put(_Item(op, future, loop))
        return future

    def transact(self, work: Work) -> asyncio.Future[Any]:
        """Run a short piece of other work in the writer's thread, in a transaction of its own."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.put(_Item(work, future, loop))
        return future

    async def freed(self, seconds: float) -> None:
        """Return when some hold was released, or after so many seconds."""
        if self._freed is None:
            self._freed = asyncio.Event()
        try:
            await asyncio.wait_for(self._freed.wait(), seconds)
        except TimeoutError:
            return

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        waiting: list[_Item] = []
        while True:
            group, last = self._gather(waiting)
            waiting = self._write(group) if group else []
            if last and not waiting:
                return
            if waiting:
                time.sleep(_RETRY_SECONDS)

    def _gather(self, waiting: list[_Item]) -> tuple[list[_Item], bool]:
        group = waiting
        last = False
        try:
            while len(group) < GROUP:
                item = self._queue.get(block=not group and not self._stopping)
                if item is None:
                    last = True
                    continue
                group.append(item)
        except queue.Empty:
            last = self._stopping
        return group, last

    def _write(self, group: list[_Item]) -> list[_Item]:
        """Write the group and answer it. Returns what must be tried again."""
        works = [item for item in group if callable(item.op)]
        items = [item for item in group if not callable(item.op)]
        again: list[_Item] = []
        if items:
            try:
                answers = self._book.apply([item.op for item in items])  # type: ignore[misc]  # the works are apart
            except LedgerUnavailable as error:
                self._unavailable(error)
                again = [item for item in items if not isinstance(item.op, Reserve | MarkSent | SetQuota)]
                items = [item for item in items if isinstance(item.op, Reserve | MarkSent | SetQuota)]
                answers = [error] * len(items)
            else:
                self.healthy = True
                self.groups += 1
                self.operations += len(items)
            for item, answer in zip(items, answers, strict=True):
                item.answer = answer
        for item in works:
            try:
                item.answer = self._book.transact(item.op)  # type: ignore[arg-type]  # a callable, as sorted above
            except Exception as error:  # noqa: BLE001 – whoever asked for the work is told
                item.answer = error
        self._answer(items + works)
        return again

    def _unavailable(self, error: LedgerUnavailable) -> None:
        if self.healthy:
            log.error("the ledger's database does not take writes (%s); new work is refused until it does", error)
        self.healthy = False

    def _answer(self, items: list[_Item]) -> None:
        if not items:
            return
        loop = items[0].loop
        freed = any(isinstance(item.op, Settle | Void) for item in items)
        try:
            loop.call_soon_threadsafe(self._deliver, items, freed)
        except RuntimeError:
            # The loop is gone: the process is ending and nobody waits for the answer. What was booked is booked.
            log.debug("%d answers had nobody waiting", len(items))

    def _deliver(self, items: list[_Item], freed: bool) -> None:
        for item in items:
            if item.future.done():
                continue  # whoever waited was cancelled; the operation stands
            if isinstance(item.answer, BaseException):
                item.future.set_exception(item.answer)
            else:
                item.future.set_result(item.answer)
        if freed and self._freed is not None:
            self._freed.set()
            self._freed = None
