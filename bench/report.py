"""From rounds to figures: medians with their spread, ratios within a round, and the verdict against the targets."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.rounds import failures

Round = dict[str, Any]  # phase → the load's report
Run = dict[str, Any]  # what __main__ collects for one target


@dataclass(frozen=True, slots=True)
class Figure:
    """One column. `of` takes this target's round and, of the same round, the upstream's and nginx's (None if not run)."""

    key: str
    title: str
    of: Callable[[Round, Round | None, Round | None], float | None]
    digits: int = 1


def _per_request_us(r: Round, _d: Round | None, _n: Round | None) -> float | None:
    return _cpu(r, "closed", 1e6)


def _cpu(r: Round | None, phase: str, scale: float, key: str = "cpu_s") -> float | None:
    if r is None or phase not in r or not r[phase]["completed"]:
        return None
    return float(r[phase][key] / r[phase]["completed"] * scale)


def _ratio(phase: str) -> Callable[[Round, Round | None, Round | None], float | None]:
    def of(r: Round, _d: Round | None, n: Round | None) -> float | None:
        own, nginx = _cpu(r, phase, 1), _cpu(n, phase, 1)
        return own / nginx if own is not None and nginx else None

    return of


def _added(phase: str, spread: str, rank: str) -> Callable[[Round, Round | None, Round | None], float | None]:
    def of(r: Round, d: Round | None, _n: Round | None) -> float | None:
        if d is None or phase not in r or not r[phase][spread] or not d[phase][spread]:
            return None
        return float(r[phase][spread][rank] - d[phase][spread][rank])

    return of


def _throughput(r: Round, _d: Round | None, _n: Round | None) -> float | None:
    return float(r["closed"]["per_s"]) if "closed" in r else None


def _aside(r: Round, _d: Round | None, _n: Round | None) -> float | None:
    return _cpu(r, "closed", 1e6, "aside_cpu_s") if r.get("closed", {}).get("aside_cpu_s") else None


FIGURES = (
    Figure("cpu_us", "CPU µs/request", _per_request_us, 0),
    Figure("cpu_ratio", "CPU ÷ nginx", _ratio("closed")),
    Figure("per_s", "requests/s, one core", _throughput, 0),
    Figure("add_p50_ms", "+p50 ms @200/s", _added("open", "latency_ms", "p50"), 2),
    Figure("add_p99_ms", "+p99 ms @200/s", _added("open", "latency_ms", "p99"), 2),
    Figure("burst_ms", "burst stream, CPU ms", lambda r, _d, _n: _cpu(r, "burst", 1e3), 2),
    Figure("paced_ms", "paced stream, CPU ms", lambda r, _d, _n: _cpu(r, "paced", 1e3), 2),
    Figure("paced_ratio", "paced ÷ nginx", _ratio("paced")),
    Figure("add_ttft_ms", "+TTFT p50 ms, 16 streams", _added("paced", "ttft_ms", "p50"), 2),
    Figure("aside_us", "database CPU µs/request", _aside, 0),
)


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the target table. Lower is better unless `higher`."""

    title: str
    key: str
    must: float
    goal: float
    moonshot: float
    higher: bool = False

    def verdict(self, value: float) -> str:
        for name, bound in (("moonshot", self.moonshot), ("goal", self.goal), ("must", self.must)):
            if math.isfinite(bound) and (value >= bound if self.higher else value <= bound):
                return f"{name} ✓"
        return "must ✗" if math.isfinite(self.must) else "moonshot ✗"


GOALS = (
    Goal("CPU per request ÷ nginx proxy_pass", "cpu_ratio", 25, 12, 8),
    Goal("CPU per request ÷ TensorZero", "vs_tensorzero", 2.5, 1.2, 0.75),
    Goal("requests per core ÷ LiteLLM proxy", "vs_litellm", 25, 50, 100, higher=True),
    Goal("CPU per paced stream ÷ nginx", "paced_ratio", 6, 4, 2.5),
    Goal("added p50 at 200 requests/s, ms", "add_p50_ms", 5, 2, 1),
    Goal("added time to first token p50, 16 streams, ms", "add_ttft_ms", 10, 5, 2),
    Goal("memory after the load, MiB (PSS)", "memory_mib", 150, 90, 60),
    Goal("memory growth over the load, MiB (PSS)", "growth_mib", math.inf, math.inf, 3),
    Goal("start to first answer, s", "start_s", 4, 2, 1),
)


@dataclass(frozen=True, slots=True)
class Spread:
    median: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        middle = f"{self.median:,.{digits}f}"
        if self.low == self.high:
            return middle
        return f"{middle} ({self.low:,.{digits}f}–{self.high:,.{digits}f})"


def spread(values: Sequence[float]) -> Spread | None:
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def figures(runs: dict[str, Run]) -> dict[str, dict[str, Spread]]:
    """target → figure → median and range over the rounds; ratios are taken inside each round, then their median."""
    found: dict[str, dict[str, Spread]] = {}
    for name, run in runs.items():
        mine: dict[str, Spread] = {}
        for figure in FIGURES:
            values = []
            for i, r in enumerate(run["rounds"]):
                value = figure.of(r, _round(runs, "direct", i), _round(runs, "nginx", i))
                if value is not None:
                    values.append(value)
            if got := spread(values):
                mine[figure.key] = got
        if got := spread(run["start_s"]):
            mine["start_s"] = got
        if run.get("memory_after"):
            after, before = run["memory_after"]["pss"], run["memory_before"]["pss"]
            mine["memory_mib"] = Spread(after, after, after)
            mine["growth_mib"] = Spread(after - before, after - before, after - before)
        found[name] = mine
    for name, mine in found.items():
        if runs[name]["haechi"]:
            for key, peer in (("vs_tensorzero", "tensorzero"), ("vs_litellm", "litellm")):
                ratios = _ratios(runs, name, peer)
                if got := spread([1 / r for r in ratios] if key == "vs_litellm" else ratios):
                    mine[key] = got
    return found


def _ratios(runs: dict[str, Run], name: str, peer: str) -> list[float]:
    """CPU per request over the peer's, round by round. Its inverse is how many more requests a core carries: by CPU, because
    wall time would count what the load's core could not send."""
    ratios = []
    for i, mine in enumerate(runs[name]["rounds"]):
        own, other = _cpu(mine, "closed", 1), _cpu(_round(runs, peer, i), "closed", 1)
        if own and other:
            ratios.append(own / other)
    return ratios


def _round(runs: dict[str, Run], name: str, i: int) -> Round | None:
    rounds = runs.get(name, {}).get("rounds", ())
    return rounds[i] if i < len(rounds) else None


def markdown(runs: dict[str, Run], facts: dict[str, Any]) -> str:
    found = figures(runs)
    names = [name for name in runs if name != "direct" and runs[name]["rounds"]]
    rows = [["figure", *(runs[name]["title"] for name in names)]]
    for figure in FIGURES:
        cells = [found[name].get(figure.key) for name in names]
        if any(cells):
            rows.append([figure.title, *(c.text(figure.digits) if c else "–" for c in cells)])
    rows.append(["start to first answer, s", *(_cell(found[n].get("start_s"), 2) for n in names)])
    rows.append(["MiB at start → after the load (PSS)", *(_memory(runs[n]) for n in names)])
    rows.append(["requests answered · failed", *(_counted(runs[n]) for n in names)])
    parts = [_facts(facts), "", _table(rows)]
    parts += [line for name in names if runs[name]["haechi"] for line in ("", *_verdicts(runs[name], found[name]))]
    skipped = [f"- {name}: {run['skipped']}" for name, run in runs.items() if run.get("skipped")]
    if skipped:
        parts += ["", "Not run:", *skipped]
    return "\n".join(parts) + "\n"


def _verdicts(run: Run, mine: dict[str, Spread]) -> list[str]:
    rows = [["figure", "measured", "must", "goal", "moonshot", "verdict"]]
    for goal in GOALS:
        value = mine.get(goal.key)
        sign = "≥" if goal.higher else "≤"
        bounds = [
            f"{sign} {bound:g}" if math.isfinite(bound) else "–" for bound in (goal.must, goal.goal, goal.moonshot)
        ]
        measured = value.text(2) if value else "not run"
        rows.append([goal.title, measured, *bounds, goal.verdict(value.median) if value else "–"])
    lines = [f"**{run['title']}** against the targets:", "", _table(rows)]
    if run.get("booked") is not None:
        lines += ["", f"Ledger: {run['booked']:,} requests booked, {run['answered']:,} answered by the gateway."]
    return lines


def _facts(facts: dict[str, Any]) -> str:
    pinned = (
        "target pinned to one core, everything else on the others" if facts["apart"] else "**one core for everything**"
    )
    ahead = " (but went first)" if facts["ahead"] else ""
    return (
        f"{facts['date']}, commit {facts['commit']}, Python {facts['python']}, Linux {facts['kernel']}, {facts['cpu']}, "
        f"{facts['cores']} cores; {pinned}; medians of {facts['rounds']} rounds (min–max); "
        f"{facts['requests']:,} requests a round, a fifth of them 30 KB. "
        f"Other work took {statistics.mean(facts['disturbed']):.0%} of the target's core meanwhile{ahead}; "
        f"making 4 KB durable took {statistics.median(facts['fsync_ms']):.2f} ms "
        f"({min(facts['fsync_ms']):.2f}–{max(facts['fsync_ms']):.2f}): "
        "wall times carry both, CPU figures hardly do."
    )


def _cell(value: Spread | None, digits: int) -> str:
    return value.text(digits) if value else "–"


def _memory(run: Run) -> str:
    if not run.get("memory_after"):
        return "–"
    return f"{run['memory_before']['pss']:.0f} → {run['memory_after']['pss']:.0f}"


def _counted(run: Run) -> str:
    return f"{run['answered']:,} · {sum(failures(phase) for r in run['rounds'] for phase in r.values()):,}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rest))
