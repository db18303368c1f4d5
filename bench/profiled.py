"""Runs a module under cProfile, switched by signals: `python -m bench.profiled OUT gateway serve …`.

SIGUSR1 begins, SIGUSR2 ends and writes OUT: a JSON object, thread → [[file, line, function, calls, own s, cumulative s], …].
The main thread, which runs the event loop, and the ledger's writer are profiled, each by its own CPU clock: with wall time every
call that lets go of the interpreter lock would be charged for what the other thread did meanwhile.
"""

from __future__ import annotations

import cProfile
import json
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

Rows = dict[tuple[str, int, str], list[float]]

WRITER = "ledger-writer"


class Watched:
    """One thread's profile. Only its own thread can switch it on, so the writer's always runs and differences are taken."""

    def __init__(self) -> None:
        self._profile = cProfile.Profile(time.thread_time)
        self._before: Rows = {}

    def enable(self) -> None:
        self._profile.enable()

    def mark(self) -> None:
        self._before = self._rows()

    def since(self) -> list[list[Any]]:
        rows = []
        for place, now in self._rows().items():
            before = self._before.get(place, [0, 0, 0])
            rows.append([*place, *(a - b for a, b in zip(now, before, strict=True))])
        return [row for row in rows if row[3]]

    def _rows(self) -> Rows:
        rows: Rows = {}
        for entry in self._profile.getstats():
            code = entry.code
            place = ("~", 0, code) if isinstance(code, str) else (code.co_filename, code.co_firstlineno, code.co_name)
            kept = rows.setdefault(place, [0, 0, 0])
            for i, value in enumerate((entry.callcount, entry.inlinetime, entry.totaltime)):
                kept[i] += value
        return rows


def main() -> None:
    out, module, *argv = sys.argv[1:]
    watched = {"main": Watched(), WRITER: Watched()}

    def begin(*_: object) -> None:
        for one in watched.values():
            one.mark()
        watched["main"].enable()

    def end(*_: object) -> None:
        text = json.dumps({name: one.since() for name, one in watched.items()})
        scratch = Path(f"{out}.new")
        scratch.write_text(text)
        scratch.rename(out)

    plain_run = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        if thread.name == WRITER:
            watched[WRITER].enable()
        plain_run(thread)

    threading.Thread.run = run  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    sys.argv = [module, *argv]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
