"""Ask a real model through the gateway and directly, and prove that what it answered, counted and cost agrees.

    tools/environment.sh local && .venv/bin/python deploy/local/prove.py > docs/evidence.md

Starts `make run-local`'s own launcher twice on free ports with an empty data folder each: with the shipped price of a local
model (0), and with the internal rate in deploy/local/prices. The page goes to stdout, progress to stderr. Exits 1 when anything
does not agree; the page then says what.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai

ROOT = Path(__file__).resolve().parents[2]
HAECHI = ROOT / ".venv/bin/haechi"
MODEL = "local-gemma"
UPSTREAM = "gemma-3-270m"
JSON = {"content-type": "application/json"}
START_SECONDS = 180.0


@dataclass
class Verdict:
    """Every comparison that was made, in order."""

    made: int = 0
    wrong: list[str] = field(default_factory=list)

    def agree(self, what: str, *values: object) -> str:
        self.made += 1
        if all(value == values[0] for value in values):
            return f"✓ {what}: {values[0]}"
        told = f"✗ {what}: {' ≠ '.join(map(str, values))}"
        self.wrong.append(told)
        return told

    def holds(self, what: str, *, so: bool) -> str:
        self.made += 1
        if not so:
            self.wrong.append(f"✗ {what}")
        return f"{'✓' if so else '✗'} {what}"


@dataclass(frozen=True)
class Place:
    """A running gateway, the model behind it, and the books."""

    gateway: str
    model: str
    data: Path
    env: dict[str, str]

    def haechi(self, *words: str, ok: bool = True) -> str:
        done = subprocess.run([HAECHI, *words], env=self.env, cwd=ROOT, capture_output=True, text=True, check=False)
        if ok and done.returncode:
            raise SystemExit(f"haechi {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.data}/ledger.db?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]

    def upstream(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The model server itself, without the gateway."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.model + path, data, JSON)  # noqa: S310 – loopback
        with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310 – loopback
            return json.load(answer)

    def tokens(self, text: str, *, start: bool) -> int:
        """How many tokens the model's own tokeniser makes of a text; `start` counts the mark every prompt begins with."""
        return len(self.upstream("/tokenize", {"content": text, "add_special": start, "parse_special": True})["tokens"])

    def prompt_tokens(self, messages: list[dict[str, str]]) -> int:
        return self.tokens(self.upstream("/apply-template", {"messages": messages})["prompt"], start=True)


@contextlib.contextmanager
def running(prices: Path | None) -> Iterator[Place]:
    """What `make run-local` runs, on a free port over an empty data folder."""
    with socket.socket() as probe, tempfile.TemporaryDirectory(prefix="haechi-proof-") as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HAECHI_")}
        data = Path(folder, "data")
        env = {**clean, "HAECHI_PORT": str(port), "HAECHI_DATA": str(data)}
        if prices is not None:
            env["HAECHI_PRICES"] = str(prices)
        log = Path(folder, "log")
        with log.open("wb") as output:
            launcher = subprocess.Popen(
                [sys.executable, str(ROOT / "deploy/local/run.py")], env=env, cwd=ROOT, stdout=output, stderr=output
            )
        try:
            base = f"http://127.0.0.1:{port}"
            until(lambda: ready(base) or launcher.poll() is not None, START_SECONDS, "the gateway was not ready")
            found = re.search(r"answers on (http://\S+)", log.read_text(errors="replace"))
            if found is None or launcher.poll() is not None:
                raise SystemExit(f"the launcher did not start:\n{log.read_text(errors='replace')[-2000:]}")
            yield Place(base, found[1], data, env)
        finally:
            launcher.send_signal(signal.SIGTERM)
            launcher.wait(timeout=120)


def ready(base: str) -> bool:
    try:
        with urllib.request.urlopen(base + "/readyz", timeout=2) as answer:  # noqa: S310 – loopback
            return bool(answer.status == 200)
    except OSError:
        return False


def until(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit(otherwise)
        time.sleep(0.1)


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Person:
    email: str
    department: str
    client: openai.OpenAI


def person(place: Place, email: str, department: str, name: str) -> Person:
    """A new department, somebody in it, their pledge and their key: four commands beside the running server."""
    place.haechi("department", "add", "--code", department, "--name", name)
    place.haechi("user", "add", "--email", email, "--department", department, "--role", "staff", "--signed")
    key = json.loads(place.haechi("key", "create", "--user", email, "--json"))["key"]
    # No retries: each question is to be seen once in the books.
    client = openai.OpenAI(base_url=place.gateway + "/v1", api_key=key, max_retries=0, timeout=300)
    return Person(email, department, client)


# ── questions ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Case:
    title: str
    prompt: str
    stream: bool = False
    include_usage: bool = False
    leave_after: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case("A whole answer, English", "The capital of Korea is", options={"max_tokens": 24}),
    Case(
        "A stream that asks for its usage, Korean",
        "대한민국의 수도는 어디입니까? 한 문장으로 답하십시오.",
        stream=True,
        include_usage=True,
        options={"max_tokens": 32},
    ),
    Case(
        "A stream that does not ask for its usage, English",
        "Write one sentence about rivers.",
        stream=True,
        options={"max_tokens": 24},
    ),
    Case("A cap of five tokens, Korean", "봄에 대한 짧은 시를 써 주십시오.", options={"max_tokens": 5}),
    # This base model writes its template's own marks as text; one of them is as good a stop word as any.
    Case(
        "A stop word",
        "Count from one to ten: one, two, three, four,",
        options={"max_tokens": 40, "stop": ["<|im_start|>"]},
    ),
    Case(
        "A client that leaves in the middle of a stream",
        "Tell a long story about a lighthouse.",
        stream=True,
        include_usage=True,
        leave_after=8,
        options={"max_tokens": 400},
    ),
)


@dataclass(frozen=True)
class Answer:
    """What the client saw."""

    request_id: str
    text: str
    usage: dict[str, Any] | None
    cost: str | None
    chunks: int
    first: float
    whole: float
    finish: str | None


def ask(who: Person, case: Case) -> Answer:
    """The official SDK over a socket."""
    messages: Any = [{"role": "user", "content": case.prompt}]
    options: dict[str, Any] = {"model": MODEL, "messages": messages, "temperature": 0, "seed": 1, **case.options}
    began = time.monotonic()
    if not case.stream:
        raw = who.client.chat.completions.with_raw_response.create(**options)
        whole = time.monotonic() - began
        said = raw.parse()
        usage = said.usage.model_dump(exclude_none=True) if said.usage else None
        choice = said.choices[0]
        cost = raw.headers["x-haechi-cost-krw"]
        return Answer(
            raw.headers["x-request-id"],
            choice.message.content or "",
            usage,
            cost,
            1,
            whole,
            whole,
            choice.finish_reason,
        )
    if case.include_usage:
        options["stream_options"] = {"include_usage": True}
    parts: list[str] = []
    usage, first, chunks, finish = None, 0.0, 0, None
    with who.client.chat.completions.create(stream=True, **options) as stream:
        request_id = stream.response.headers["x-request-id"]
        for chunk in stream:
            chunks += 1
            if chunk.usage is not None:
                usage = chunk.usage.model_dump(exclude_none=True)
            if chunk.choices:
                finish = chunk.choices[0].finish_reason or finish
                if chunk.choices[0].delta.content:
                    first = first or time.monotonic() - began
                    parts.append(chunk.choices[0].delta.content)
            if case.leave_after is not None and len(parts) >= case.leave_after:
                break
    cost = None if usage is None else str(usage["cost_krw"])
    return Answer(request_id, "".join(parts), usage, cost, chunks, first, time.monotonic() - began, finish)


# ── books ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Booked:
    event: dict[str, Any]
    meters: list[dict[str, Any]]
    journal: dict[str, Any]
    entries: list[dict[str, Any]]
    seal: dict[str, Any]

    def count(self, *meters: str) -> int:
        return sum(line["quantity"] for line in self.meters if line["meter"] in meters)


def booked(place: Place, request_id: str) -> Booked:
    """Everything the ledger says about a request, once it is booked and sealed."""

    def seals() -> list[dict[str, Any]]:
        return place.rows("SELECT * FROM seal WHERE chain = 'books' AND row_id = ?", f"{request_id}:1")

    until(lambda: bool(seals()), 30, f"{request_id} was not sealed within 30 seconds")
    (event,) = place.rows("SELECT * FROM usage_event WHERE request_id = ?", request_id)
    meters = place.rows(
        "SELECT m.*, p.unit_price_pico FROM usage_meter m LEFT JOIN price p ON p.id = m.price_id"
        " WHERE m.event_id = ? ORDER BY m.seq",
        event["id"],
    )
    (journal,) = place.rows("SELECT * FROM journal WHERE id = ?", event["id"])
    entries = place.rows("SELECT * FROM entry WHERE journal_seq = ? ORDER BY n", journal["seq"])
    return Booked(event, meters, journal, entries, seals()[0])


def won(micro: int) -> str:
    return f"{Decimal(micro).scaleb(-6).normalize():f}"


def unit(pico: int) -> Decimal:
    """Currency per single unit; stored in 1e-12."""
    return Decimal(pico).scaleb(-12)


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "| " + " | ".join("---" for _ in head) + " |",
        *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows),
        "",
    ]


def excerpt(text: str, length: int = 60) -> str:
    flat = " ".join(text.split()).replace("`", "'")
    return f"`{flat[:length]}{'…' if len(flat) > length else ''}`" if flat else "(nothing)"


# ── the proof ────────────────────────────────────────────────────────────────────────────────────────────────────────


def prove_case(place: Place, who: Person, case: Case, verdict: Verdict) -> list[str]:
    print(f"· {case.title}", file=sys.stderr, flush=True)
    answer = ask(who, case)
    books = booked(place, answer.request_id)
    messages = [{"role": "user", "content": case.prompt}]
    prompt_tokens = place.prompt_tokens(messages)
    sent, cached, got = books.count("input", "cache_read"), books.count("cache_read"), books.count("output")
    page = [f"### {case.title}", ""]
    shown = ", ".join(f"`{name}={value!r}`" for name, value in case.options.items())
    how = "stream" if case.stream else "whole answer"
    if case.stream:
        how += ", `include_usage`" if case.include_usage else ", no `include_usage`"
    page += [
        f"- asked by `{who.email}` of `{who.department}`: {excerpt(case.prompt)} ({how}, {shown})",
        f"- answered: {excerpt(answer.text)}, `finish_reason` {answer.finish or 'none: the client had left'}",
    ]
    if case.stream:
        page.append(f"- {answer.chunks} chunks; first text after {answer.first:.2f} s, last after {answer.whole:.2f} s")
    page.append("")
    checks: list[str] = []
    if case.leave_after is None:
        body = {
            "model": UPSTREAM,
            "messages": messages,
            "temperature": 0,
            "seed": 1,
            "cache_prompt": False,
            **case.options,
        }
        direct = place.upstream("/v1/chat/completions", body)
        said = direct["usage"]
        raw = json.loads(books.event["raw_usage"])
        page += table(
            ("counted by", "prompt", "of it cached", "answer"),
            [
                ("the model's tokeniser, on the templated prompt", prompt_tokens, "", ""),
                ("the model server, asked directly", said["prompt_tokens"], "0 (cache off)", said["completion_tokens"]),
                ("the model server, to the gateway", raw["prompt_tokens"], cached, raw["completion_tokens"]),
                ("the gateway's meters", sent, cached, got),
            ],
        )
        checks += [
            verdict.agree("prompt tokens", prompt_tokens, said["prompt_tokens"], raw["prompt_tokens"], sent),
            verdict.agree("answer tokens", said["completion_tokens"], raw["completion_tokens"], got),
            verdict.holds(
                "the same text as asked directly (temperature 0)",
                so=direct["choices"][0]["message"]["content"] == answer.text,
            ),
            verdict.agree("`finish_reason`", "stop" if "stop" in case.options else "length", answer.finish),
            verdict.agree(
                "outcome, quality", "completed, exact", f"{books.event['outcome']}, {books.event['quality']}"
            ),
        ]
    else:
        until(
            lambda: not any(slot["is_processing"] for slot in place.upstream("/slots")), 10, "the model went on writing"
        )
        delivered = place.tokens(answer.text, start=False)
        page += table(
            ("counted by", "prompt", "answer"),
            [
                ("the model's tokeniser, on what was sent and what the client received", prompt_tokens, delivered),
                ("the gateway's meters (its own estimate: no usage came)", sent, got),
            ],
        )
        page += [
            "Nobody was left to tell the usage, so the gateway counted what it had sent and delivered with a tokeniser that is",
            "not this model's, and the ledger says `estimated`.",
            "",
        ]
        checks += [
            verdict.agree(
                "outcome, quality", "aborted, estimated", f"{books.event['outcome']}, {books.event['quality']}"
            ),
            verdict.holds("the model stopped writing when the client left", so=True),
            verdict.holds(f"charged for far less than the {case.options['max_tokens']} allowed", so=0 < got < 100),
            verdict.holds("an estimate above nothing and within what was held", so=0 < total(books) <= held(books)),
        ]
    checks += agree_with_client(case, answer, books, verdict)
    page += money(books, verdict, checks)
    return [*page, *(f"- {line}" for line in checks), ""]


def total(books: Booked) -> int:
    return int(books.event["won"]) + int(books.event["vat"])


def held(books: Booked) -> int:
    return int(books.event["hold_amount"])


def agree_with_client(case: Case, answer: Answer, books: Booked, verdict: Verdict) -> list[str]:
    """What the client was told is what was booked."""
    if case.leave_after is not None:
        return []
    if case.stream and not case.include_usage:
        return [
            verdict.holds(
                "no usage was shown to a client that did not ask, and it was metered", so=answer.usage is None
            )
        ]
    assert answer.usage is not None
    told = f"{answer.usage['prompt_tokens']} + {answer.usage['completion_tokens']}"
    return [
        verdict.agree(
            "usage told to the client", told, f"{books.count('input', 'cache_read')} + {books.count('output')}"
        ),
        verdict.agree("won told to the client", answer.cost, won(total(books))),
    ]


def money(books: Booked, verdict: Verdict, checks: list[str]) -> list[str]:
    """From quantities to journal lines, each step computed here again."""
    event = books.event
    lines: list[tuple[object, ...]] = []
    exact = Decimal(0)
    for line in books.meters:
        price = unit(line["unit_price_pico"])
        exact += line["quantity"] * price
        lines.append((line["meter"], line["quantity"], f"₩{price.normalize():f}", line["amount_ticks"]))
    page = table(("meter", "quantity", "price of one", "ticks (₩0.000001)"), lines)
    entries = [(entry["n"], f"`{entry['account']}`", won(entry["amount"])) for entry in books.entries]
    page += (
        table(("journal line", "account", "won"), entries) if entries else ["No journal lines: nothing is owed.", ""]
    )
    page += [
        f"booked ₩{won(total(books))} (held before it left: ₩{won(held(books))}), price list `{event['price_version'][:12]}`",
        f"seal {books.seal['seq']} `{books.seal['hash'][:16]}…` over `{books.seal['prev_hash'][:16]}…`",
        "",
    ]
    checks += [
        verdict.agree("ticks = Σ quantity × price", int(exact.scaleb(6)), event["amount_ticks"]),
        verdict.agree("ticks of the lines", sum(line["amount_ticks"] for line in books.meters), event["amount_ticks"]),
        verdict.agree("the journal's lines sum to", 0, sum(entry["amount"] for entry in books.entries)),
        verdict.agree("won of the journal", total(books), books.journal["won"]),
    ]
    return page


def prove_refusal(place: Place, who: Person, verdict: Verdict) -> list[str]:
    """A request beyond the budget never reaches the model."""
    print("· an exhausted budget", file=sys.stderr, flush=True)
    before = [slot.get("id_task") for slot in place.upstream("/slots")]
    events = len(place.rows("SELECT id FROM usage_event"))
    place.haechi("quota", "set", "--user", who.email, "--won", "1", "--period", "month")
    try:
        ask(who, CASES[0])
    except openai.RateLimitError as refused:
        error: Any = refused.body
        headers = refused.response.headers
        status = refused.status_code
    else:
        return [verdict.holds("the request was refused", so=False)]
    details = error["haechi"]
    checks = [
        verdict.agree("status and code", (429, "insufficient_quota"), (status, error["code"])),
        verdict.agree("`x-should-retry`", "false", headers["x-should-retry"]),
        verdict.agree("limit told", Decimal(1), Decimal(details["limit_krw"])),
        verdict.agree("tasks the model server has seen", before, [s.get("id_task") for s in place.upstream("/slots")]),
        verdict.agree("rows in the books", events, len(place.rows("SELECT id FROM usage_event"))),
        verdict.agree("unresolved holds", 0, len(place.rows("SELECT id FROM hold WHERE state IN ('open', 'sent')"))),
    ]
    return [
        "### A request that an exhausted budget refuses",
        "",
        f"- `haechi quota set --user {who.email} --won 1 --period month`, then the first question again",
        f"- refused: {excerpt(error['message'], 160)}",
        f"- with it: limit ₩{details['limit_krw']}, used ₩{details['used_krw']}, held ₩{details['held_krw']}",
        f"- the budget comes back at {details['resets_at']}",
        "",
        *(f"- {line}" for line in checks),
        "",
    ]


def prove_books(place: Place, people: list[Person], verdict: Verdict) -> list[str]:
    """The commands somebody in finance would type."""
    month = place.rows("SELECT DISTINCT service_month AS month FROM usage_event")[0]["month"]
    page = ["### The books, as finance reads them", ""]
    for by in ("department", "user", "model"):
        page += ["```console", f"$ haechi usage --month {month} --by {by}"]
        page += [place.haechi("usage", "--month", month, "--by", by), "```", ""]
    by_user = json.loads(place.haechi("usage", "--month", month, "--by", "user", "--json"))
    checks: list[str] = []
    for who in people:
        (row,) = (row for row in by_user["rows"] if row["key"] == who.email)
        (sums,) = place.rows(
            "SELECT count(DISTINCT e.request_id) AS requests, sum(e.won + e.vat) AS won,"
            " (SELECT sum(quantity) FROM usage_meter m JOIN usage_event u ON u.id = m.event_id WHERE u.user_id = e.user_id)"
            " AS tokens FROM usage_event e WHERE e.user_id = (SELECT id FROM person WHERE email = ?)",
            who.email,
        )
        checks += [
            verdict.agree(f"requests of `{who.email}`", sums["requests"], row["requests"]),
            verdict.agree(f"tokens of `{who.email}`", sums["tokens"], row["tokens"]),
            verdict.agree(f"won of `{who.email}`", won(sums["won"]), row["krw"]),
        ]
    page += ["```console", "$ haechi verify", place.haechi("verify", ok=False), "```", ""]
    whole = json.loads(place.haechi("verify", "--json", ok=False))
    checks.append(verdict.holds(f"`haechi verify`: {len(whole['checks'])} checks pass", so=whole["ok"]))
    return [*page, *(f"- {line}" for line in checks), ""]


HEAD = """# Evidence: a real model, metered and booked

The gateway's main job on something that is not a stand-in: the official `openai` SDK, over sockets, through the gateway, to a
llama.cpp server with Gemma 3 270M on the same machine. For every request this page compares what the model server counted, what
the gateway metered and what the ledger booked; each ✓ is a comparison a program made while it wrote this page.

The model is a tiny **base** model, so its answers are poor. It proves streaming and metering, not quality. Its weights are under
the Gemma Terms of Use ([NOTICE](../deploy/local/NOTICE)).

Write this page again, which fails when anything does not agree:

```sh
tools/environment.sh local
.venv/bin/python deploy/local/prove.py > docs/evidence.md
```
"""


def main() -> int:
    verdict = Verdict()
    sections: list[str] = []
    with running(ROOT / "deploy/local/prices") as place:
        kim = person(place, "kim@tax.example", "TAX", "세무과")
        lee = person(place, "lee@water.example", "WATER", "수도과")
        sections += [
            "## With an internal rate",
            "",
            "[deploy/local/prices/local.yaml](../deploy/local/prices/local.yaml): per 1,000 tokens ₩5 for the prompt,",
            "₩1 where the server had it cached, ₩20 for the answer. Two people of two departments ask in turn.",
            "",
        ]
        for index, case in enumerate(CASES):
            sections += prove_case(place, (kim, lee)[index % 2], case, verdict)
        sections += prove_refusal(place, kim, verdict)
        sections += prove_books(place, [kim, lee], verdict)
    with running(None) as place:
        kim = person(place, "kim@tax.example", "TAX", "세무과")
        sections += [
            "## At the shipped rate, which is 0",
            "",
            "A model on the organisation's own machine costs no vendor anything. Its tokens are metered all the same.",
            "",
        ]
        sections += prove_case(place, kim, CASES[1], verdict)
        sections += prove_books(place, [kim], verdict)
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    agreed = f"{verdict.made - len(verdict.wrong)} of {verdict.made} comparisons agree"
    server = re.search(r"^xllamacpp==(\S+)", (ROOT / "requirements-local.lock").read_text(), re.M)
    assert server is not None
    summary = [f"Written {day} with openai {openai.__version__} and xllamacpp {server[1]}: **{agreed}**.", ""]
    summary += [f"- {line}" for line in verdict.wrong]
    print(HEAD, *summary, *sections, sep="\n", end="")
    print(f"· {agreed}", *verdict.wrong, sep="\n", file=sys.stderr)
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
