"""Where the gateway's CPU goes: `python -m bench.profile [--target sqlite|postgres|filtered] [--stream] [--perf]`.

threads     µs per request of every thread, from the kernel, undisturbed
functions   the event loop's functions by own and by cumulative time, from cProfile; profiling itself costs, most for small
            functions, so the columns are scaled to what the thread needed without it
libraries   with --perf and Debian's linux-perf: samples by shared object, to tell the interpreter from the kernel and SQLite
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.machine import ROOT, WORK, BenchError, alone, split_cores, thread_cpu
from bench.rounds import Load, Size, Upstream, warm_up
from bench.targets import Haechi, make


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description="Where the gateway's CPU goes.")
    parser.add_argument("--target", choices=("sqlite", "postgres", "filtered"), default="sqlite")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--stream", action="store_true", help="burst streams instead of whole answers")
    parser.add_argument("--perf", action="store_true", help="sample shared objects with perf")
    parser.add_argument("--top", type=int, default=40)
    options = parser.parse_args()
    cores, size = split_cores(), Size()
    os.sched_setaffinity(0, cores.others)
    with ExitStack() as stack:
        stack.enter_context(alone())
        upstream = Upstream(cores, size)
        stack.callback(upstream.close)
        target = make(options.target, upstream.port, cores, users=4)
        assert isinstance(target, Haechi)
        stack.callback(target.close)
        target.prepare()
        target.start()
        load = Load(cores, str(time.time_ns()))
        warm_up(load, target)
        threads = _threads(load, target, options)
        if options.perf:
            _libraries(load, target, options)
        target.end()
        out = WORK / "profile.json"
        out.unlink(missing_ok=True)
        target.wrapper = ("-m", "bench.profiled", str(out), "gateway")
        target.start()
        warm_up(load, target)
        _functions(load, target, options, out, threads)
    return 0


def _run(load: Load, target: Haechi, options: argparse.Namespace, name: str) -> dict[str, Any]:
    report = load.run(target, name, options.requests, connections=32, stream=options.stream)
    if report["completed"] == 0:
        raise BenchError(f"nothing was answered: {report['statuses']}")
    return report


def _threads(load: Load, target: Haechi, options: argparse.Namespace) -> list[float]:
    """Prints µs per request by thread; returns them, the main thread's first, then the busiest."""
    before = thread_cpu(target.pid)
    report = _run(load, target, options, "threads")
    spent = {n: (s - before.get(n, 0)) / report["completed"] * 1e6 for n, s in thread_cpu(target.pid).items()}
    whole = report["cpu_s"] / report["completed"] * 1e6
    print(f"{report['completed']} requests, {whole:.0f} µs of CPU each, {report['per_s']:.0f} requests/s\n")
    print("| thread | µs/request |\n| --- | --- |")
    ordered = sorted(spent.items(), key=lambda item: (not item[0].startswith("main"), -item[1]))
    for name, micros in ordered:
        if micros >= 0.5:
            print(f"| {name.rsplit(' ', 1)[0]} | {micros:.0f} |")
    return [micros for _, micros in ordered]


def _functions(load: Load, target: Haechi, options: argparse.Namespace, out: Path, threads: list[float]) -> None:
    os.kill(target.pid, signal.SIGUSR1)
    report = _run(load, target, options, "functions")
    os.kill(target.pid, signal.SIGUSR2)
    for _ in range(100):
        if out.exists():
            break
        time.sleep(0.05)
    else:
        raise BenchError("the gateway wrote no profile: does it run its event loop in the main thread?")
    profile = json.loads(out.read_text())
    for (thread, rows), undisturbed in zip(profile.items(), threads, strict=False):
        _thread_functions(thread, rows, report["completed"], undisturbed, options.top)


def _thread_functions(thread: str, rows: list[list[Any]], done: int, undisturbed: float, top: int) -> None:
    seen = sum(row[4] for row in rows) / done * 1e6
    scale = undisturbed / seen
    print(f"\n## {thread}\n\ncProfile saw {seen:.0f} µs a request; scaled to the undisturbed {undisturbed:.0f} µs.")
    owners: dict[str, float] = defaultdict(float)
    for file, _, name, _, own, _ in rows:
        owners[_owner(file, name)] += own / done * 1e6 * scale
    print("\n| own time by | µs/request |\n| --- | --- |")
    for name, micros in sorted(owners.items(), key=lambda item: -item[1])[: top // 2]:
        print(f"| {name} | {micros:.1f} |")
    for title, column in (("own", 4), ("cumulative", 5)):
        print(f"\n| function, by {title} time | calls/request | own µs | cumulative µs |\n| --- | --- | --- | --- |")
        for file, line, name, calls, own, total in sorted(rows, key=lambda row: -row[column])[:top]:
            where = _owner(file, name) if file == "~" else f"{_owner(file, name)}:{line} {name}"
            print(
                f"| {where} | {calls / done:.2f} | {own / done * 1e6 * scale:.1f} | {total / done * 1e6 * scale:.1f} |"
            )


def _owner(file: str, name: str) -> str:
    """Whose code it is: a file of ours, a package, or a C function by its own name."""
    if file == "~":
        return f"C: {name.strip('<>')[:60]}"
    path = Path(file)
    if path.is_relative_to(ROOT) and ".venv" not in path.parts:
        return str(path.relative_to(ROOT))
    parts = path.parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    return f"python: {path.stem}"


def _libraries(load: Load, target: Haechi, options: argparse.Namespace) -> None:
    if shutil.which("perf") is None:
        raise BenchError("no perf (Debian: linux-perf)")
    data = WORK / "perf.data"
    record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-p", str(target.pid), "-o", str(data)]
    recorder = subprocess.Popen(record, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    report = _run(load, target, options, "libraries")
    recorder.send_signal(signal.SIGINT)
    recorder.wait(20)
    whole = report["cpu_s"] / report["completed"] * 1e6
    for title, keys in (("shared object", "dso"), ("symbol", "dso,symbol")):
        done = subprocess.run(
            ["perf", "report", "-i", str(data), "--stdio", "--sort", keys, "--percent-limit", "0.7"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(f"\n| {title} | µs/request |\n| --- | --- |")
        for line in done.stdout.splitlines():
            share, _, rest = line.strip().partition("%")
            if rest and share.replace(".", "", 1).isdigit():
                print(f"| {' '.join(rest.split())} | {float(share) / 100 * whole:.1f} |")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
