"""`python -m bench`: what the gateway costs, beside nginx and the bare upstream in the same run.

    python -m bench                                   five rounds, nginx and both ledgers: about eight minutes
    python -m bench --quick                           one short round: under a minute
    python -m bench --targets nginx,sqlite,tensorzero,litellm
    python -m bench killed --targets sqlite           billed = delivered after kill -9 under load
    python -m bench.profile                           where the gateway's CPU goes
    python -m bench.simulate                          hard budgets over a month of a city's use

Everything is on 127.0.0.1, bounded in count and time, and stops by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import killed, report
from bench.machine import HERE, WORK, BenchError, alone, describe, fsync_ms, split_cores
from bench.rounds import Load, Size, Upstream, failures, measure, soak, warm_up
from bench.targets import TARGETS, Haechi, Target, make

RESULTS = HERE / "results"


def main() -> int:
    options = _options()
    size = Size(requests=options.requests, seconds=options.seconds)
    if options.quick:
        size = replace(size, requests=min(size.requests, 1000), seconds=1, bursts=50, paced=16)
    cores = split_cores()
    os.sched_setaffinity(0, cores.others)
    if options.ahead:
        os.setpriority(os.PRIO_PROCESS, 0, -15)  # inherited by everything that is started
    with contextlib.ExitStack() as stack:
        stack.enter_context(alone())
        upstream = Upstream(cores, size)
        stack.callback(upstream.close)
        targets = [make(name, upstream.port, cores, users=options.users) for name in ["direct", *options.targets]]
        for target in targets:
            stack.callback(target.close)
        if options.what == "killed":
            return killed.check(targets[1:], upstream, cores)
        return _measure(targets, upstream, size, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("what", nargs="?", choices=("load", "killed"), default="load")
    parser.add_argument(
        "--targets", default="nginx,sqlite,postgres", help=f"of: {', '.join(n for n in TARGETS if n != 'direct')}"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4000, help="closed-loop requests of a round")
    parser.add_argument("--seconds", type=float, default=5, help="of the 200 requests/s phase")
    parser.add_argument("--starts", type=int, default=3, help="how often a start is timed")
    parser.add_argument("--soak", type=int, default=20_000, help="requests after which memory is read")
    parser.add_argument("--users", type=int, default=8, help="people, each with a key and a quota")
    parser.add_argument("--ahead", action="store_true", help="go before other work on a shared machine (needs root)")
    parser.add_argument("--quick", action="store_true", help="one short round, nothing saved")
    parser.add_argument("--save", metavar="NAME", help="name of the result files (default: latest, none for --quick)")
    options = parser.parse_args()
    options.targets = [name for name in options.targets.split(",") if name and name != "direct"]
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"unknown targets: {', '.join(sorted(unknown))}")
    if options.quick:
        options.rounds, options.starts, options.soak, options.users = 1, 1, 0, 2
    elif options.save is None:
        options.save = "latest"
    return options


def _measure(targets: list[Target], upstream: Upstream, size: Size, options: argparse.Namespace) -> int:
    run_id = str(time.time_ns())
    load = Load(targets[0].cores, run_id)
    runs: dict[str, dict[str, Any]] = {}
    alive: list[Target] = []
    for target in targets:
        run = runs[target.name] = {
            "title": target.title, "haechi": isinstance(target, Haechi), "rounds": [], "start_s": [], "answered": 0,
        }  # fmt: skip
        try:
            _bring_up(target, load, size, run, options.starts)
        except BenchError as error:
            _say(f"{target.name}: not run: {error}")
            run["skipped"] = str(error)
            target.close()
        else:
            alive.append(target)
    fsyncs: list[float] = []
    for number in range(options.rounds):
        fsyncs.append(fsync_ms(WORK))
        # Each round begins with another target, so that a slow minute of the machine does not always meet the same one.
        for target in alive[number % len(alive) :] + alive[: number % len(alive)]:
            phases = measure(load, target, size, number)
            runs[target.name]["rounds"].append(phases)
            _say(f"round {number + 1}: {_line(target, phases)}")
    for target in alive:
        _wind_up(target, load, size, runs[target.name], options.soak)
    facts = describe() | {
        "date": time.strftime("%Y-%m-%d"),
        "rounds": options.rounds,
        "requests": size.requests,
        "apart": targets[0].cores.apart,
        "ahead": options.ahead,
        "fsync_ms": fsyncs,
        "disturbed": [phase["disturbed"] for run in runs.values() for r in run["rounds"] for phase in r.values()],
    }
    text = report.markdown(runs, facts)
    print(f"\n{text}")
    if options.save:
        _save(options.save, text, runs, facts)
    bad = [name for name, run in runs.items() if run.get("skipped") or _failed(run)]
    if bad:
        print(f"not every request was answered, or not every target ran: {', '.join(bad)}", file=sys.stderr)
    return 1 if bad else 0


def _bring_up(target: Target, load: Load, size: Size, run: dict[str, Any], starts: int) -> None:
    target.prepare()
    for _ in range(max(1, starts) - 1 if target.share == 1 else 0):
        run["start_s"].append(target.start())
        run["answered"] += 1
        target.end()
    seconds = target.start()
    run["answered"] += 1
    if target.process is not None:
        run["start_s"].append(seconds)
    run["memory_before"] = target.memory()
    run["answered"] += warm_up(load, target)
    _say(f"{target.name}: up in {seconds:.2f} s")


def _wind_up(target: Target, load: Load, size: Size, run: dict[str, Any], total: int) -> None:
    run["answered"] += sum(phase["completed"] for r in run["rounds"] for phase in r.values())
    if target.process is None:
        return
    missing = int(total * target.share) - run["answered"]
    if missing > 0:
        run["answered"] += soak(load, target, size, missing)
    run["memory_after"] = target.memory()
    run["booked"] = target.booked()


def _failed(run: dict[str, Any]) -> int:
    return sum(failures(phase) for r in run["rounds"] for phase in r.values())


def _line(target: Target, phases: dict[str, Any]) -> str:
    words = [target.name]
    for name, phase in phases.items():
        done = phase["completed"]
        cost = f", {phase['cpu_s'] / done * 1e6:,.0f} µs CPU each" if done and target.process else ""
        words.append(
            f"{name} {done} in {phase['wall_s']:.1f} s{cost}{f', {failures(phase)} failed' if failures(phase) else ''}"
        )
    return " · ".join(words)


def _save(name: str, text: str, runs: dict[str, dict[str, Any]], facts: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    summary = {
        target: {key: {"median": s.median, "min": s.low, "max": s.high} for key, s in mine.items()}
        for target, mine in report.figures(runs).items()
    }
    document = {"facts": facts, "summary": summary, "runs": runs}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    _say(f"saved {Path('bench/results') / name}.md and .json")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
