"""What is measured on one target in one round, and how it is counted.

    closed   32 connections, each sending as soon as it is answered   ─▶ CPU µs per request, requests/s on one core
    open     200 requests/s, timed from when each was due             ─▶ what it adds to p50 and p99
    burst    streams of 100 chunks that the upstream writes at once   ─▶ CPU ms per stream
    paced    streams of 100 chunks 20 ms apart, 16 at a time          ─▶ CPU ms per stream, added time to first token

CPU is the user and system time of the target's whole process tree over the phase, divided by what was answered whole.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import bodies
from bench.machine import (
    HERE,
    WORK,
    BenchError,
    Cores,
    busy_seconds,
    compiled,
    cpu_seconds,
    free_port,
    get,
    on,
    start,
    stop,
)
from bench.targets import Target

#: What the ledger still writes after the last answer belongs to the phase.
SETTLE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Size:
    """How much is sent. The defaults are those of `make bench`."""

    requests: int = 4000
    connections: int = 32
    rate: int = 200
    seconds: float = 5
    bursts: int = 200
    paced: int = 32
    streams: int = 16
    chunks: int = 100
    pace_ms: int = 20

    @property
    def open_requests(self) -> int:
        return max(1, int(self.rate * self.seconds))

    @property
    def stream_seconds(self) -> float:
        return self.chunks * self.pace_ms / 1000


class Upstream:
    """The C upstream, beside the load on the other core."""

    def __init__(self, cores: Cores, size: Size) -> None:
        self.port = free_port()
        self._log = WORK / "upstream.log"
        WORK.mkdir(parents=True, exist_ok=True)
        argv: Sequence[str | Path] = [
            compiled(HERE / "upstream.c"),
            str(self.port),
            str(size.chunks),
            str(size.pace_ms),
        ]
        self._process = start(argv, cores=cores.others, log=self._log)
        for _ in range(200):
            try:
                get(self.port, "/stats")
                return
            except OSError:
                time.sleep(0.01)
        raise BenchError(f"the upstream did not start: {self._log.read_text()[-500:]}")

    def stats(self) -> dict[str, int]:
        stats: dict[str, int] = json.loads(get(self.port, "/stats")[1])
        return stats

    def close(self) -> None:
        stop(self._process)


@dataclass(frozen=True, slots=True)
class Load:
    """Runs the load generator against a target. `seed` names the run, so that no two runs send the same prompt."""

    cores: Cores
    seed: str

    def run(
        self,
        target: Target,
        phase: str,
        count: int,
        *,
        connections: int,
        rate: float = 0,
        seconds: float = 60,
        stream: bool = False,
        paced: bool = False,
        done_log: Path | None = None,
        keep_bodies: bool = False,
    ) -> dict[str, Any]:
        """One phase; the load's own report with the CPU seconds of the target (and of what stands aside) added."""
        argv = [*self.command(target, phase, count, stream=stream, paced=paced), "--connections", str(connections)]
        argv += ["--seconds", str(seconds)]
        if rate:
            argv += ["--rate", str(rate)]
        if done_log:
            argv += ["--done-log", str(done_log)]
        own, aside = target.process, target.aside()
        before = (cpu_seconds(own.pid) if own else 0.0, cpu_seconds(aside) if aside else 0.0)
        busy, began = busy_seconds(self.cores.target), time.monotonic()
        with on(self.cores.others):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60, check=False)
        if done.returncode != 0:
            raise BenchError(f"the load ended with {done.returncode}: {done.stderr[-500:]}")
        time.sleep(SETTLE_SECONDS)
        report: dict[str, Any] = json.loads(done.stdout)
        report["cpu_s"] = (cpu_seconds(own.pid) if own else 0.0) - before[0]
        elsewhere = busy_seconds(self.cores.target) - busy - report["cpu_s"]
        #: Share of the target's core that something else took meanwhile: on a shared machine the first thing to look at.
        report["disturbed"] = max(0.0, elsewhere / (time.monotonic() - began))
        report["aside_cpu_s"] = (cpu_seconds(aside) if aside else 0.0) - before[1]
        if not keep_bodies:
            Path(argv[argv.index("--bodies") + 1]).unlink(missing_ok=True)
        return report

    def command(
        self, target: Target, phase: str, count: int, *, stream: bool = False, paced: bool = False
    ) -> list[str]:
        """The load's command line for `count` fresh prompts; every target gets the same ones in the same phase."""
        folder = WORK / "load"
        folder.mkdir(parents=True, exist_ok=True)
        file = bodies.write(
            folder / f"{target.name}-{phase}.bodies",
            count,
            seed=f"{self.seed}-{phase}",
            model=target.models[1 if paced else 0],
            stream=stream,
            # Streams carry short prompts: their cost is asked per chunk, and a long prompt's cost is in `closed` already.
            large_share=0 if stream else bodies.LARGE_SHARE,
        )
        keys = folder / f"{target.name}.keys"
        keys.write_text("\n".join(target.keys) + "\n")
        keys.chmod(0o600)
        where = ["--port", str(target.port), "--path", target.path]
        return [
            str(compiled(HERE / "load.c")),
            *where,
            "--bodies",
            str(file),
            "--keys",
            str(keys),
            "--count",
            str(count),
        ]


def warm_up(load: Load, target: Target) -> int:
    """Pools filled, code paths taken, before anything is counted. Returns how many requests were answered."""
    few = max(20, int(300 * target.share))
    whole = load.run(target, "warm", few, connections=16)
    streams = load.run(target, "warm-stream", 16, connections=8, stream=True)
    return int(whole["completed"] + streams["completed"])


def measure(load: Load, target: Target, size: Size, number: int) -> dict[str, Any]:
    """The four phases of round `number`. The upstream itself is asked only for what others are compared with."""
    found: dict[str, Any] = {}
    if target.process is not None:
        count = max(50, int(size.requests * target.share))
        found["closed"] = load.run(target, f"closed{number}", count, connections=size.connections)
    due = max(100, int(size.open_requests * max(target.share, 0.2)))
    found["open"] = load.run(target, f"open{number}", due, connections=64, rate=size.rate, seconds=60)
    if target.process is not None:
        count = max(16, int(size.bursts * target.share))
        found["burst"] = load.run(target, f"burst{number}", count, connections=size.streams, stream=True)
    # One stream begins whenever another ends: `streams` are under way at a time, never all at the same step.
    rate = size.streams / size.stream_seconds
    found["paced"] = load.run(
        target, f"paced{number}", size.paced, connections=size.streams * 2, rate=rate, stream=True, paced=True
    )
    return found


def soak(load: Load, target: Target, size: Size, total: int) -> int:
    """Further requests, so that memory is read after the same number on every target. Returns how many were answered."""
    answered = 0
    part = 0
    while answered < total and part < 100:
        count = min(size.requests, total - answered)
        report = load.run(target, f"soak{part}", count, connections=size.connections)
        answered += report["completed"]
        part += 1
        if report["completed"] == 0:
            break
    return answered


def failures(report: dict[str, Any]) -> int:
    """Requests of a phase that did not get a whole answer with status 200."""
    return int(sum(report[name] for name in ("non_200", "malformed", "broken", "unfinished", "not_sent")))
