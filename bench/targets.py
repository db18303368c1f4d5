"""What can be put under load: each target knows how to set itself up, start, and say which key, model and path to use.

    direct      the upstream itself: what a figure would be with nothing in between
    nginx       proxy_pass with keep-alive: the least a proxy can cost on this machine
    sqlite      Haechi with everything on, its ledger in SQLite
    postgres    Haechi with everything on, its ledger in a private PostgreSQL
    filtered    as sqlite, and every prompt is read by the shipped filters
    tensorzero  TensorZero's own HTTP gateway out of its wheel, observability off      (optional: .venv-tensorzero)
    litellm     LiteLLM's proxy without a database                                       (optional: .venv-litellm)

Everything listens on 127.0.0.1 with a port the kernel picked, keeps its files under .cache/bench, and is ended by the bench.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench import bodies
from bench.machine import (
    HERE,
    ROOT,
    WORK,
    BenchError,
    Cores,
    apt_install,
    free_port,
    memory_mib,
    post,
    quietly,
    start,
    stop,
)

FIRST_ANSWER_SECONDS = 90
DEPARTMENTS = 2


@dataclass
class Target(ABC):
    """One thing under load. `models` are the names its callers use for a prompt answered at once and for a paced stream."""

    upstream_port: int
    cores: Cores
    folder: Path
    port: int = 0
    path: str = "/v1/chat/completions"
    models: tuple[str, str] = (bodies.MODEL, bodies.PACED)
    keys: list[str] = field(default_factory=lambda: ["bench"])
    process: subprocess.Popen[bytes] | None = None
    #: The slowest peers would take minutes for a full round: they are given this share of its requests.
    share: float = 1.0

    name = ""
    title = ""

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def prepare(self) -> None:
        """Configuration, and whatever the target needs before it can start. Not measured."""
        self.folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def launch(self) -> None:
        """Start the process; it may take its time to listen."""

    def start(self) -> float:
        """Seconds from the start of the process to its first answered request."""
        self.port = free_port()
        began = time.monotonic()
        self.launch()
        probe = bodies.body(random.Random(began), 200, model=self.models[0], stream=False)
        last = "it never listened"
        while time.monotonic() - began < FIRST_ANSWER_SECONDS:
            if self.process is not None and self.process.poll() is not None:
                last = f"it ended with status {self.process.returncode}"
                break
            with suppress(OSError):
                status, answer = post(self.port, self.path, probe, self.keys[0])
                if status == 200:
                    return time.monotonic() - began
                last = f"{status} {answer[:300]!r}"
                if 400 <= status <= 500 and status != 429:
                    break  # it is up and says no, or is broken: waiting will not help
            time.sleep(0.01)
        self.end()
        raise BenchError(f"{self.name} gave no answer: {last}\n{self._last_words()}")

    def end(self) -> None:
        if self.process is not None:
            stop(self.process)
            self.process = None

    def close(self) -> None:
        """End it and whatever was started beside it."""
        self.end()

    def memory(self) -> dict[str, float]:
        return memory_mib(self.pid)

    def aside(self) -> int | None:
        """The process whose CPU is shown apart: a database server."""
        return None

    def booked(self) -> int | None:
        """How many requests the target says it served, if it keeps books."""
        return None

    def _last_words(self) -> str:
        with suppress(OSError):
            return self.log.read_text(errors="replace")[-1500:]
        return ""


class Direct(Target):
    name = "direct"
    title = "upstream, nothing in between"

    def launch(self) -> None:
        self.port = self.upstream_port

    def memory(self) -> dict[str, float]:
        return {}


class Nginx(Target):
    name = "nginx"
    title = "nginx proxy_pass"

    def prepare(self) -> None:
        super().prepare()
        if _nginx() is None:
            apt_install("nginx-light")

    def launch(self) -> None:
        config = self.folder / "nginx.conf"
        # Bodies up to 128 KB stay in memory and access logs are off: the yardstick should be as fast as nginx goes.
        # Buffering is off because a stream must arrive as it is made.
        config.write_text(f"""
daemon off;
worker_processes 1;
pid {self.folder}/nginx.pid;
error_log {self.folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {self.folder}/body;
  proxy_temp_path {self.folder}/proxy;
  fastcgi_temp_path {self.folder}/fastcgi;
  uwsgi_temp_path {self.folder}/uwsgi;
  scgi_temp_path {self.folder}/scgi;
  client_body_buffer_size 128k;
  keepalive_requests 1000000000;
  upstream backend {{ server 127.0.0.1:{self.upstream_port}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{self.port};
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
""")
        program = _nginx()
        assert program is not None
        self.process = start([program, "-p", self.folder, "-c", config], cores=self.cores.target, log=self.log)


def _nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


# ---- Haechi ---------------------------------------------------------------------------------------------------------


@dataclass
class Haechi(Target):
    """The gateway as an operator runs it: own data folder, people, departments, hard quotas, keys.

    `pack`: the rules the filters read with. Peers have no filters, so the rows compared with them read nothing.
    """

    users: int = 8
    pack: str = "none"
    database_url: str | None = None
    wrapper: tuple[str, ...] = ("-m", "gateway")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        added = {
            "HAECHI_CONFIG": str(self.config),
            "HAECHI_DATA": str(self.data),
            "HAECHI_PRICES": str(self.folder / "prices"),
        }
        if self.database_url:
            added["HAECHI_DATABASE_URL"] = self.database_url
        return kept | added

    def prepare(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        super().prepare()
        (self.folder / "prices").mkdir()
        self.config.write_text(yaml.safe_dump(self._config(), allow_unicode=True, sort_keys=False))
        self._people()

    def _config(self) -> dict[str, Any]:
        def model(name: str) -> dict[str, Any]:
            return {
                "name": name,
                "title": {"ko": name, "en": name},
                "tasks": ["draft"],
                "grade": "O",
                "capabilities": ["chat", "json"],
                "context": 128_000,
                "max_output": 4096,
                "deployments": [{"provider": "bench", "model": name, "price": "practice/inside"}],
            }

        return {
            "organisation": {"name": "성능 시험", "timezone": "Asia/Seoul", "currency": "KRW"},
            "providers": {
                "bench": {
                    "kind": "openai_compatible",
                    "base_url": f"http://127.0.0.1:{self.upstream_port}/v1",
                    "destination": "inside",
                }
            },
            "models": [model(name) for name in self.models],
            "policies": {"pack": self.pack, "on_error": "block"},
        }

    def _people(self) -> None:
        """Departments and people under hard quotas that the load cannot use up: every request is checked against three."""
        self.run("migrate")
        self.run("quota", "set", "--organisation", "--won", "5000000000", "--period", "year")
        for i in range(DEPARTMENTS):
            self.run("department", "add", "--code", f"BENCH{i}", "--name", f"시험{i}과")
            self.run("quota", "set", "--department", f"BENCH{i}", "--won", "1000000000", "--period", "month")
        self.keys = []
        for i in range(self.users):
            email = f"bench{i}@example.org"
            belongs = ("--department", f"BENCH{i % DEPARTMENTS}", "--role", "staff", "--signed")
            self.run("user", "add", "--email", email, *belongs)
            self.run("quota", "set", "--user", email, "--won", "500000000", "--period", "month")
            self.keys.append(self.run("key", "create", "--user", email)["key"])

    def run(self, *command: str) -> Any:
        """One `haechi` command with --json, away from the measured core."""
        done = subprocess.run(
            [_python(), "-m", "gateway", *command, "--json"],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            raise BenchError(
                f"haechi {' '.join(command)}: exit {done.returncode}\n{(done.stderr or done.stdout)[-1500:]}"
            )
        text = done.stdout.strip()
        return json.loads(text.splitlines()[-1] if text.startswith("{") and "\n{" in text else text) if text else None

    def launch(self) -> None:
        serve = ["serve", "--config", self.config, "--port", str(self.port), "--data", self.data]
        argv = [_python(), *self.wrapper, *serve]
        self.process = start(argv, cores=self.cores.target, log=self.log, env=self.environment(), cwd=ROOT)

    def booked(self) -> int | None:
        """Requests in the month's usage, all outcomes: what the ledger says, to be compared with what the load saw."""
        now = time.strftime("%Y-%m", time.gmtime(time.time() + 9 * 3600))  # the organisation's month, Seoul
        return sum(row["requests"] for row in self.run("usage", "--month", now)["rows"])


class HaechiSqlite(Haechi):
    name = "sqlite"
    title = "Haechi, SQLite"


class HaechiFiltered(Haechi):
    name = "filtered"
    title = "Haechi, SQLite, filters on"

    def prepare(self) -> None:
        self.pack = "default"
        super().prepare()


class HaechiPostgres(Haechi):
    name = "postgres"
    title = "Haechi, PostgreSQL"

    server: subprocess.Popen[bytes] | None = None
    cluster: Path | None = None

    def prepare(self) -> None:
        self._start_server()
        super().prepare()

    def aside(self) -> int | None:
        return self.server.pid if self.server else None

    def close(self) -> None:
        super().close()
        if self.server is not None:
            # A fast shutdown, told to the server itself: whoever changed to its user may not pass the signal on.
            with suppress(OSError, ValueError, IndexError):
                assert self.cluster is not None
                os.kill(int((self.cluster / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
                self.server.wait(10)
            stop(self.server)
            self.server = None
        if self.cluster is not None:
            shutil.rmtree(self.cluster, ignore_errors=True)

    def _start_server(self) -> None:
        """A cluster of its own with the shipped settings: fsync and synchronous commit on, trusting loopback."""
        programs = _postgres_programs()
        if programs is None:
            # Debian's package would create and start a cluster on 5432 otherwise.
            settings = Path("/etc/postgresql-common/createcluster.conf")
            if not settings.exists() and os.geteuid() == 0:
                settings.parent.mkdir(parents=True, exist_ok=True)
                settings.write_text("create_main_cluster = false\n")
            apt_install("postgresql")
            programs = _postgres_programs()
        if programs is None:
            raise BenchError("no PostgreSQL server programs found (Debian: postgresql)")
        # Not under the checkout: the server refuses to run as root, and its own user may not be able to read there.
        self.cluster = Path(tempfile.mkdtemp(prefix="haechi-bench-", dir="/var/tmp"))
        as_postgres: list[str | Path] = []
        if os.geteuid() == 0:
            shutil.chown(self.cluster, "postgres")
            as_postgres = ["runuser", "-u", "postgres", "--"]
        port = free_port()
        initdb = [*as_postgres, programs / "initdb", "-D", self.cluster / "data"]
        quietly([*initdb, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8"], cwd=Path("/"))
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        serve = [*as_postgres, programs / "postgres", "-D", self.cluster / "data"]
        serve += ["-h", "127.0.0.1", "-p", str(port), "-k", self.cluster]
        log = self.folder.parent / "postgres-server.log"
        self.server = start(serve, cores=self.cores.others, log=log, cwd=Path("/"))
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        for _ in range(300):
            if subprocess.run(ready, check=False).returncode == 0:
                break
            time.sleep(0.05)
        else:
            raise BenchError(f"PostgreSQL did not start; see {log}")
        quietly([programs / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "haechi"])
        self.database_url = f"postgresql://postgres@127.0.0.1:{port}/haechi"


def _postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[4]))
    if found:
        return found[-1].parent
    program = shutil.which("postgres")
    return Path(program).resolve().parent if program else None


def _python() -> str:
    """The checkout's environment, whichever Python runs the bench."""
    own = ROOT / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


# ---- peers ----------------------------------------------------------------------------------------------------------


class TensorZero(Target):
    name = "tensorzero"
    title = "TensorZero (Rust), metering off"

    def prepare(self) -> None:
        super().prepare()
        self.path = "/openai/v1/chat/completions"
        self.models = (f"tensorzero::model_name::{bodies.MODEL}", f"tensorzero::model_name::{bodies.PACED}")
        config = "[gateway]\nobservability.enabled = false\n"
        for name in (bodies.MODEL, bodies.PACED):
            config += f"""
[models.{name}]
routing = ["bench"]

[models.{name}.providers.bench]
type = "openai"
api_base = "http://127.0.0.1:{self.upstream_port}/v1"
model_name = "{name}"
api_key_location = "env::BENCH_KEY"
"""
        (self.folder / "tensorzero.toml").write_text(config)

    def launch(self) -> None:
        # The wheel's gateway picks its own port and tells it in a file.
        told = self.folder / "port"
        told.unlink(missing_ok=True)
        python = _peer("tensorzero", "tensorzero")
        env = {**os.environ, "BENCH_KEY": "bench", "RUST_LOG": "error"}
        self.process = start(
            [python, HERE / "peers" / "tensorzero_host.py", self.folder / "tensorzero.toml", told],
            cores=self.cores.target, log=self.log, env=env, cwd=self.folder,
        )  # fmt: skip
        while self.process.poll() is None and not (told.exists() and told.read_text()):
            time.sleep(0.01)
        if told.exists():
            self.port = int(told.read_text())


class LiteLLM(Target):
    name = "litellm"
    title = "LiteLLM proxy, no database"

    def prepare(self) -> None:
        super().prepare()
        self.share = 0.05
        upstream = {"api_base": f"http://127.0.0.1:{self.upstream_port}/v1", "api_key": "bench"}
        config = {
            "model_list": [
                {"model_name": name, "litellm_params": {"model": f"openai/{name}", **upstream}}
                for name in (bodies.MODEL, bodies.PACED)
            ],
            "general_settings": {"master_key": "sk-bench"},
        }
        self.keys = ["sk-bench"]
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))

    def launch(self) -> None:
        program = _peer("litellm", "litellm").parent / "litellm"
        env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "127.0.0.1"}
        serve = ["--config", self.folder / "config.yaml", "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = start([program, *serve], cores=self.cores.target, log=self.log, env=env, cwd=self.folder)


def _peer(environment: str, package: str) -> Path:
    python = ROOT / f".venv-{environment}" / "bin" / "python"
    if not python.exists():
        raise BenchError(
            f"{environment}: python3 -m venv .venv-{environment} && .venv-{environment}/bin/pip install '{package}'"
        )
    return python


TARGETS: dict[str, type[Target]] = {
    t.name: t for t in (Direct, Nginx, HaechiSqlite, HaechiPostgres, HaechiFiltered, TensorZero, LiteLLM)
}


def make(name: str, upstream_port: int, cores: Cores, **options: Any) -> Target:
    kind = TARGETS[name]
    if not issubclass(kind, Haechi):
        options = {}
    return kind(upstream_port, cores, WORK / name, **options)
