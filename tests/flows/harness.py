"""A town with real processes: scripted upstreams, one or two gateways, people with keys; and what must be true of its books.

    client ──▶ gateway process(es) ──▶ upstream process(es)
                    │                        │
                 the ledger  ◀── books_agree ── the upstream's own log

The upstream writes down what it saw and what it sent. `Town.books_agree` holds that account against the ledger: one row per
request it saw, tokens equal or flagged as not exact, nothing doubled, no money left reserved, every sum right.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
import sqlalchemy as sa
import yaml

from gateway.__main__ import main
from gateway.database import open_engine, reading

T = TypeVar("T")

START_SECONDS = 60.0

#: What the upstream is given as a credential; nobody else may ever see it.
PROVIDER_KEY = "sk-provider-canary-7Qw2Zx9Lp4"

CHAT = "/v1/chat/completions"


def eventually(probe: Callable[[], T], *, within: float = 10.0, what: str = "") -> T:
    """The first true answer of `probe`, asked again and again until the deadline."""
    deadline = time.monotonic() + within
    while True:
        answer = probe()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within} s: {what or probe}"
        time.sleep(0.02)


class Process:
    """A child of ours, ended by its own process id and never by name. It dies with the thread that started it."""

    def __init__(self, words: list[str], *, out: Path, err: Path, env: Mapping[str, str]) -> None:
        self.err = err
        with out.open("wb") as stdout, err.open("ab") as stderr:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, *words],
                stdout=stdout,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                env=dict(env),
                cwd=out.parent,
            )
        self._out = out
        self.pid = self._process.pid

    def said(self, pattern: str) -> re.Match[str]:
        """The first match of `pattern` in what it printed: waits for it, as long as the process lives."""

        def look() -> re.Match[str] | None:
            found = re.search(pattern, self._out.read_text())
            assert found or self.alive, f"it ended while starting:\n{self.err.read_text(errors='replace')[-3000:]}"
            return found

        return eventually(look, within=START_SECONDS, what=f"{pattern!r} on stdout")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 20.0) -> int:
        return self._process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL: nothing of it runs any more when this returns."""
        if self.alive:
            self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM, and SIGKILL for one that does not listen."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()


def _clean_environment(**more: str) -> dict[str, str]:
    """Ours without anything that begins with HAECHI_, so that a developer's settings cannot change a result."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HAECHI_")} | more


# ── upstreams ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Upstream:
    """A scripted upstream in a process of its own. `arrivals` is its own account of every request it saw."""

    def __init__(self, folder: Path, name: str, *, faults: bool = True, pace: float = 2.0) -> None:
        self.log = folder / f"{name}.log"
        words = ["-m", "gateway.providers.scripted_server", "--port", "0", "--log", str(self.log), "--pace", str(pace)]
        out = folder / f"{name}.out"
        env = _clean_environment()
        self.process = Process(
            [*words, *(["--faults"] if faults else [])], out=out, err=folder / f"{name}.err", env=env
        )
        self.base_url = self.process.said(r"listening on (\S+)\n")[1]

    def arrivals(self) -> dict[str, dict[str, Any]]:
        """`request id:attempt` → the last thing the log says about it. An attempt seen twice fails here."""
        found: dict[int, dict[str, Any]] = {}
        if self.log.exists():
            for line in self.log.read_text().splitlines():
                entry = json.loads(line)
                found[entry["id"]] = entry
        seen = Counter(entry["client_request_id"] for entry in found.values())
        assert all(count == 1 for count in seen.values()), f"an attempt was sent twice: {seen.most_common(3)}"
        return {entry["client_request_id"]: entry for entry in found.values()}


# ── what a client gets ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Answer:
    """A whole answer. `frames` are the data lines of an event stream, without the last `[DONE]`."""

    status: int
    headers: httpx.Headers
    body: bytes
    frames: list[bytes] = field(default_factory=list)
    done: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["error"]
        return found

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in self.frames]

    @property
    def text(self) -> str:
        if not self.frames:
            return str(self.json["choices"][0]["message"]["content"])
        return "".join(c["delta"].get("content") or "" for chunk in self.chunks for c in chunk.get("choices", ()))


def read_answer(response: httpx.Response) -> Answer:
    body = response.content
    answer = Answer(response.status_code, response.headers, body)
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
        answer.done = b"[DONE]" in lines
        answer.frames = [line for line in lines if line != b"[DONE]"]
    return answer


def asking(prompt: str = "안녕하세요", *, model: str = "inside", stream: bool = False, **more: Any) -> dict[str, Any]:
    """The body of a request. More fields may be given, `messages` included."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}], **more}
    if stream:
        body["stream"] = True
    return body


class Wire:
    """A client on a bare socket, to leave at exactly one place. `read_until` returns all that came so far."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.seen = b""

    def ask(self, key: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        raw = json.dumps(body).encode()
        given = {"host": "haechi", "authorization": f"Bearer {key}", "content-type": "application/json"}
        lines = [f"{n}: {v}" for n, v in {**given, "content-length": str(len(raw)), **(headers or {})}.items()]
        self.socket.sendall("\r\n".join([f"POST {CHAT} HTTP/1.1", *lines, "", ""]).encode() + raw)

    def read_until(self, enough: Callable[[bytes], bool]) -> bytes:
        while not enough(self.seen):
            part = self.socket.recv(65536)
            assert part, f"the server closed first, after {self.seen[-300:]!r}"
            self.seen += part
        return self.seen

    def read_to_end(self) -> bytes:
        """Until the connection ends, however it ends."""
        with contextlib.suppress(ConnectionError):
            while part := self.socket.recv(65536):
                self.seen += part
        return self.seen

    def leave(self, how: str) -> None:
        """`fin`: an ordinary close; `rst`: a reset, as when a laptop's lid is shut on a proxy."""
        if how == "rst":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


# ── a gateway ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Gateway:
    """A gateway process as an operator runs it, and an HTTP client for it."""

    def __init__(self, town: Town, name: str, env: Mapping[str, str]) -> None:
        words = ["-m", "gateway", "serve", "--config", str(town.config), "--port", "0", "--data", str(town.data)]
        self.process = Process(
            words, out=town.folder / f"{name}.out", err=town.folder / f"{name}.err", env={**town.env, **env}
        )
        self.port = int(self.process.said(r"http://127\.0\.0\.1:(\d+)")[1])
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.base_url, timeout=60, limits=httpx.Limits(max_connections=None))
        self._key = town.key

    def post(self, body: Mapping[str, Any] | bytes, *, key: str | None = None, **headers: str) -> Answer:
        """POST to chat completions. Header names are written with underscores; an empty key sends none."""
        given = {"content-type": "application/json", **{n.replace("_", "-"): v for n, v in headers.items()}}
        if key != "":
            given.setdefault("authorization", f"Bearer {key or self._key}")
        raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        return read_answer(self.client.post(CHAT, content=raw, headers=given))

    def chat(self, prompt: str = "안녕하세요", *, key: str | None = None, **body: Any) -> Answer:
        return self.post(asking(prompt, **body), key=key)

    def get(self, path: str, *, key: str | None = None) -> Answer:
        headers = {} if key == "" else {"authorization": f"Bearer {key or self._key}"}
        return read_answer(self.client.get(path, headers=headers))

    def wire(self) -> Wire:
        return Wire(self.port)

    @property
    def ready(self) -> int:
        return httpx.get(f"{self.base_url}/readyz", timeout=5).status_code

    def close(self) -> None:
        self.client.close()
        self.process.stop()


# ── the town ────────────────────────────────────────────────────────────────────────────────────────────────────────────

KIM = "kim@town.example"
LEE = "lee@town.example"


class Person(NamedTuple):
    """Somebody new, with a key of their own."""

    id: str
    email: str
    key: str


class Town:
    """An installation: its folder, its database, its upstreams, its gateways and its people.

    CITY ▸ FIN ▸ TAX, with Kim in TAX; and LAW, with Lee. Both have signed. `key` is Kim's.
    """

    def __init__(self, folder: Path, database_url: str, **limits: Any) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "config.yaml"
        self.database_url = database_url
        self.env = _clean_environment(
            HAECHI_DEMO="0", HAECHI_DATABASE_URL=database_url, UPSTREAM_KEY=PROVIDER_KEY, HAECHI_DATA=str(self.data)
        )
        self._open = contextlib.ExitStack()
        self._gateways = 0
        self.upstream = self._upstream("upstream", faults=True)
        #: Obeys nothing: where a fallback goes when the first place was told to fail.
        self.steady = self._upstream("steady", faults=False)
        self.settings = configuration(self.upstream.base_url, self.steady.base_url, limits)
        self.write_config()
        self.engine = open_engine(database_url)
        self._open.callback(self.engine.dispose)
        for line in (
            "department add --code CITY --name 데모시",
            "department add --code FIN --name 재무국 --parent CITY",
            "department add --code TAX --name 세정과 --parent FIN",
            "department add --code LAW --name 법무과 --parent CITY",
            f"user add --email {KIM} --department TAX --role staff --signed",
            f"user add --email {LEE} --department LAW --role staff --signed",
        ):
            self.cli(line)
        self.key = self.new_key(KIM)

    def _upstream(self, name: str, *, faults: bool) -> Upstream:
        made = Upstream(self.folder, name, faults=faults)
        self._open.callback(made.process.stop)
        return made

    def write_config(self) -> None:
        self.config.write_text(yaml.safe_dump(self.settings, allow_unicode=True, sort_keys=False))

    def gateway(self, **env: str) -> Gateway:
        """Start another gateway; it is stopped with the town."""
        self._gateways += 1
        started = Gateway(self, f"gateway-{self._gateways}", env)
        self._open.callback(started.close)
        return started

    def close(self) -> None:
        self._open.close()

    # -- the operator's commands ----------------------------------------------------------------------------------------

    def cli(self, line: str) -> dict[str, Any]:
        """`haechi … --json`, beside the running servers."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*shlex.split(line), "--json", "--config", str(self.config)], self.env)
        assert code == 0, f"haechi {line}: {code}\n{out.getvalue()}{err.getvalue()}"
        answer: dict[str, Any] = json.loads(out.getvalue())
        return answer

    def new_key(self, email: str, *, expires: str | None = None) -> str:
        made = self.cli(f"key create --user {email}" + (f" --expires {expires}" if expires else ""))
        return str(made["key"])

    def new_person(self, name: str, department: str = "TAX", *, signed: bool = True) -> Person:
        email = f"{name}@town.example"
        sign = "--signed" if signed else ""
        added = self.cli(f"user add --email {email} --department {department} --role staff {sign}")
        return Person(added["id"], email, self.new_key(email))

    # -- the ledger -----------------------------------------------------------------------------------------------------

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        with reading(self.engine).connect() as connection:
            return [dict(row) for row in connection.execute(sa.text(query), values).mappings()]

    def events(self, request_id: str | None = None) -> list[dict[str, Any]]:
        """Usage rows, oldest first; of one request, if it is named."""
        query = "SELECT * FROM usage_event ORDER BY started_at, id"
        return [row for row in self.rows(query) if request_id in (None, row["request_id"])]

    def event(self, request_id: str) -> dict[str, Any]:
        """The one row of a request, once it is there."""
        eventually(lambda: self.events(request_id), what=f"a row for {request_id}")
        (row,) = self.events(request_id)
        return row

    def event_of_project(self, project: str) -> dict[str, Any]:
        """The one row of a request whose id its client never learned."""

        def look() -> list[dict[str, Any]]:
            return self.rows("SELECT * FROM usage_event WHERE project = :project", project=project)

        eventually(look, what=f"a row for project {project}")
        (row,) = look()
        return row

    def output_tokens(self, event: Mapping[str, Any]) -> int:
        rows = self.rows("SELECT meter, quantity FROM usage_meter WHERE event_id = :id", id=event["id"])
        return sum(int(row["quantity"]) for row in rows if row["meter"].startswith("output"))

    def open_holds(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM hold WHERE state IN ('open', 'sent')")

    def cases(self, kind: str) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM recon_case WHERE kind = :kind", kind=kind)

    def counter(self, scope: str, period: str) -> tuple[int, int]:
        """(posted, held) micro-won."""
        found = self.rows("SELECT posted, held FROM counter WHERE scope = :s AND period = :p", s=scope, p=period)
        return (int(found[0]["posted"]), int(found[0]["held"])) if found else (0, 0)

    def arrivals(self) -> dict[str, dict[str, Any]]:
        seen = [self.upstream.arrivals(), self.steady.arrivals()]
        both = seen[0].keys() & seen[1].keys()
        assert not both, f"one attempt went to two places: {both}"
        return {**seen[0], **seen[1]}

    def books_agree(self, *, within: float = 10.0) -> None:
        """What the upstreams say they saw is what the ledger says, and the ledger agrees with itself."""
        eventually(lambda: not self.open_holds(), within=within, what=f"holds resolved: {self.open_holds()[:2]}")
        eventually(lambda: not self._unfinished(), within=within, what="the upstream has ended what it began")
        seen, booked = self.arrivals(), {row["id"]: row for row in self.events()}
        assert len(booked) == len(self.events()), "a request is booked twice"
        missing, unseen = sorted(seen.keys() - booked.keys()), booked.keys() - seen.keys()
        assert not missing, f"the upstream saw {missing[:3]} and nothing is booked"
        # A process that died between writing "about to leave" and leaving: nobody knows, so a person is told.
        doubtful = {case["subject"] for case in self.cases("crash_unknown")}
        assert unseen <= doubtful, f"booked, never sent, and nobody is told: {sorted(unseen - doubtful)[:3]}"
        for id_, arrival in seen.items():
            self._row_agrees(arrival, booked[id_])
        held = self.rows("SELECT scope, period, held FROM counter WHERE held <> 0")
        assert held == [], "money is still set aside"
        spent = sum((row["won"] or 0) + (row["vat"] or 0) for row in booked.values())
        years = self.rows("SELECT posted FROM counter WHERE scope = 'organisation' AND length(period) = 4")
        assert sum(int(row["posted"]) for row in years) == spent, "the year's counter is not the sum of the rows"
        verdict = self.cli("verify")
        assert verdict["ok"], [check for check in verdict["checks"] if not check["ok"]]

    def _unfinished(self) -> bool:
        return any(arrival["ended"] == "open" for arrival in self.arrivals().values())

    @staticmethod
    def _row_agrees(arrival: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        said = arrival["usage_sent"]
        if row["quality"] == "exact" and arrival["status"] == 200:
            assert said is not None, f"{row['id']} is called exact and the upstream stated no usage"
            assert row["tokens"] == said["prompt_tokens"] + said["completion_tokens"], (row, arrival)
        elif row["quality"] == "exact":
            assert not row["tokens"], f"{row['id']} was refused and is charged"
        else:
            assert row["quality"] in {"estimated", "suspense"}
            assert row["reason"], f"{row['id']} is not exact and does not say why"


def configuration(upstream: str, steady: str, limits: Mapping[str, Any]) -> dict[str, Any]:
    """A config.yaml over the scripted upstreams: one account per way of being configured, one model per question."""

    def account(base_url: str, **more: Any) -> dict[str, Any]:
        given = {"kind": "openai_compatible", "base_url": base_url, "destination": "inside"}
        return {**given, "api_key_env": "UPSTREAM_KEY", **more}

    def model(name: str, provider: str, **more: Any) -> dict[str, Any]:
        place = {"provider": provider, "model": f"served-{name}", "price": "practice/inside", "tokenizer": "practice"}
        return {
            "name": name,
            "title": {"ko": name, "en": name},
            "grade": "S",
            "capabilities": ["chat", "tools", "json", "vision"],
            "context": 128000,
            "max_output": 2048,
            "deployments": [{**place, **more.pop("place", {})}],
            **more,
        }

    nowhere = "http://127.0.0.1:9/v1"  # the discard port: nobody listens
    return {
        "organisation": {"name": "데모시", "timezone": "Asia/Seoul"},
        "providers": {
            "near": account(upstream),
            "drained": account(upstream, on_disconnect="drain"),
            "abroad": account(upstream, destination="foreign"),
            "steady": account(steady),
            "nowhere": account(nowhere),
            "unset": account(upstream, api_key_env="NOBODY_SET_THIS_KEY"),
        },
        "models": [
            model("inside", "near"),
            model("drained", "drained"),
            model("abroad", "abroad", grade="O", place={"price": "practice/foreign"}),
            model("free", "near", place={"price": "local/default"}),
            model("guarded", "near", fallbacks=["reserve"]),
            model("reserve", "steady"),
            model("unreachable", "nowhere"),
            model("plain", "near", capabilities=["chat"]),
            model("locked", "unset"),
        ],
        "limits": {"quota_wait_seconds": 1, **limits},
    }


@contextlib.contextmanager
def town(folder: Path, database_url: str, **limits: Any) -> Iterator[Town]:
    """A town for as long as the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    founded = Town(folder, database_url, **limits)
    try:
        yield founded
    finally:
        founded.close()
