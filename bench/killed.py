"""Billed = delivered: kill -9 the gateway under load, start it again, and compare its ledger with what callers got.

    answered (the load's log, written line by line)  ≤  booked (the ledger, a minute later)  ≤  begun (the upstream's) + 32

Every answer a caller received whole must be in the ledger exactly once. What was under way at the kill may be there too, as an
estimate: 32 at most, one for each connection, because a request marked as sent may have died on its way to the upstream.
More than that would be a request booked twice.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from bench.machine import WORK, BenchError, Cores, kill_tree
from bench.rounds import Load, Upstream
from bench.targets import Haechi, Target

#: Crashed holds are resolved within a minute of the restart; a little more, because a loaded machine is slow.
RESOLVED_WITHIN = 75
LOAD_SECONDS = 4
REQUESTS = 40_000
CONNECTIONS = 32


def check(targets: Sequence[Target], upstream: Upstream, cores: Cores) -> int:
    wrong = 0
    for target in targets:
        if isinstance(target, Haechi):
            wrong += not _survives(target, upstream, cores)
            target.close()
    return 1 if wrong else 0


def _survives(target: Haechi, upstream: Upstream, cores: Cores) -> bool:
    target.prepare()
    target.start()
    before_booked = _booked(target)
    before_begun = upstream.stats()["answers"]
    log = WORK / f"{target.name}-answered.log"
    load = Load(cores, str(time.time_ns()))
    argv = [
        *load.command(target, "killed", REQUESTS),
        "--connections",
        str(CONNECTIONS),
        "--seconds",
        str(LOAD_SECONDS * 3),
    ]
    sender = subprocess.Popen([*argv, "--done-log", str(log)], stdout=subprocess.DEVNULL)
    try:
        time.sleep(LOAD_SECONDS)
        assert target.process is not None
        kill_tree(target.process)
        sender.wait(LOAD_SECONDS * 3 + 10)
    finally:
        if sender.poll() is None:
            sender.kill()
    answered = len(log.read_text().split())
    begun = upstream.stats()["answers"] - before_begun
    if answered == 0:
        raise BenchError(f"{target.name} answered nothing before the kill")
    target.start()  # one more answered request
    began = time.monotonic()
    booked = -1
    while time.monotonic() - began < RESOLVED_WITHIN:
        # Until every hold is resolved: the count stops moving and nothing is held any more.
        now = _booked(target) - before_booked - 1
        if now == booked and now >= answered and time.monotonic() - began > RESOLVED_WITHIN - 10:
            break
        booked = now
        time.sleep(5)
    verified = target.run("verify")
    good = answered <= booked <= begun + CONNECTIONS and verified["ok"]
    print(
        f"{target.title}: {answered:,} answered, {booked:,} booked, {begun:,} begun by the upstream; "
        f"books {'verify' if verified['ok'] else 'DO NOT VERIFY'}: {'exact' if good else 'WRONG'}"
    )
    if not good:
        print([c for c in verified["checks"] if not c["ok"]], file=sys.stderr)
    return good


def _booked(target: Haechi) -> int:
    booked = target.booked()
    assert booked is not None
    return booked
