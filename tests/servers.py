"""Real PostgreSQL, Redis and gateway processes for the tests, each private to one test process.

Every server is a direct child of the test process, listens on loopback on a free port, keeps its files in a
temporary folder, and ends with the test process: asked to stop by its process id at the end, and told by the kernel
if the test process is killed before it can ask.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import redis

START_SECONDS = 60.0
ATTEMPTS = 3
ROOM = 2 * 1024**3

# Quick to start and small. fsync and synchronous_commit stay on: the gateway refuses a server that may lose a commit.
POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}


class NoServer(Exception):
    """A server the tests need cannot be started here; the message says what to do."""


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A new, empty PostgreSQL cluster; yields the address of its `postgres` database."""
    programs = _postgres_programs()
    # PostgreSQL refuses to run as root, so root hands it to the account Debian's package made.
    account = _unprivileged_account("postgres") if os.geteuid() == 0 else None
    _remove_abandoned(_in_memory())
    with _folder("haechi-postgres-", account, _in_memory()) as folder:
        data = folder / "data"
        subprocess.run(
            [
                *_as(account),
                *(str(programs / "initdb"), "--pgdata", str(data), "--username", "haechi", "--auth", "trust"),
                *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        settings = [part for name, value in POSTGRES_SETTINGS.items() for part in ("-c", f"{name}={value}")]

        def command(port: int) -> list[str]:
            server = [str(programs / "postgres"), "-D", str(data), "-k", str(folder), "-p", str(port), *settings]
            return [*_as(account, dies_with_us=signal.SIGINT), *server]

        def answers(port: int) -> bool:
            try:
                psycopg.connect(_postgres_url(port), connect_timeout=2).close()
            except psycopg.OperationalError:
                return False
            return True

        # SIGINT is PostgreSQL's fast shutdown: it does not wait for connections a test forgot.
        with _running("PostgreSQL", command, answers, stop=signal.SIGINT, log=folder / "log") as port:
            yield _postgres_url(port)


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """An empty Redis that writes nothing to disk; yields its address."""
    program = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if program is None:
        raise NoServer("Redis is not installed; run `make test`, which installs it, or give HAECHI_TEST_REDIS_URL")
    with _folder("haechi-redis-", None) as folder:

        def command(port: int) -> list[str]:
            options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            return [*_as(None, dies_with_us=signal.SIGTERM), str(server), *options, "--dir", str(folder)]

        # One binary, whose name decides what it is; Debian's redis-tools has it under another of its names.
        server = folder / "redis-server"
        server.symlink_to(program)

        def answers(port: int) -> bool:
            client = redis.Redis(host="127.0.0.1", port=port, socket_timeout=2)
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False
            finally:
                client.close()

        with _running("Redis", command, answers, stop=signal.SIGTERM, log=folder / "log") as port:
            yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def gateway(config: Path, data: Path, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """`python -m gateway serve` as an operator runs it; yields its address once it is ready (no /v1 at the end).

    It inherits nothing of ours that begins with HAECHI_, so that a developer's settings cannot change a result.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HAECHI_")} | dict(env or {})
    data.mkdir(parents=True, exist_ok=True)

    def command(port: int) -> list[str]:
        serve = ["serve", "--config", str(config), "--port", str(port), "--data", str(data)]
        return [*_as(None, dies_with_us=signal.SIGTERM), sys.executable, "-m", "gateway", *serve]

    def answers(port: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    with _running("the gateway", command, answers, stop=signal.SIGTERM, log=data / "serve.log", env=clean) as port:
        yield f"http://127.0.0.1:{port}"


def _postgres_programs() -> Path:
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda folder: int(folder.parent.name))
    on_path = shutil.which("initdb")
    if on_path is None:
        raise NoServer(
            "PostgreSQL is not installed; run `make test`, which installs it, or give HAECHI_TEST_POSTGRES_URL"
        )
    return Path(on_path).resolve().parent


def _postgres_url(port: int) -> str:
    return f"postgresql://haechi@127.0.0.1:{port}/postgres"


def _unprivileged_account(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise NoServer(f"PostgreSQL refuses to run as root and there is no account {name!r}; run `make test`") from None


def _as(account: pwd.struct_passwd | None, *, dies_with_us: signal.Signals | None = None) -> list[str]:
    """The words before a command that run it as `account`, and that end it when this process ends."""
    words = ["setpriv"]
    if account is not None:
        words += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    if dies_with_us is not None:
        words += ["--pdeathsig", dies_with_us.name.removeprefix("SIG")]
    return [*words, "--"] if len(words) > 1 else []


def _in_memory() -> Path | None:
    """A file system in memory with room for the tests' databases, else None. Survives killed processes, which is what tests
    kill, and makes waiting for a disk free: hundreds of databases come and go."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM:
        return memory
    return None


def _remove_abandoned(parent: Path | None) -> None:
    """Memory that a test process killed outright could not give back: an hour old, and no server in it."""
    for folder in parent.glob("haechi-postgres-*") if parent else ():
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > 3600 and not (folder / "data" / "postmaster.pid").exists():
                shutil.rmtree(folder)


@contextlib.contextmanager
def _folder(prefix: str, account: pwd.struct_passwd | None, parent: Path | None = None) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        if account is not None:
            os.chown(path, account.pw_uid, account.pw_gid)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _running(
    name: str,
    command: Callable[[int], list[str]],
    answers: Callable[[int], bool],
    *,
    stop: signal.Signals,
    log: Path,
    env: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Start `command(port)` and wait until `answers(port)`. Another program may take the port first, so try again."""
    for _ in range(ATTEMPTS):
        port = free_port()
        with log.open("ab") as output:
            process = subprocess.Popen(
                command(port), env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=log.parent
            )
        try:
            deadline = time.monotonic() + START_SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                if answers(port):
                    yield port
                    return
                time.sleep(0.05)
        finally:
            if process.poll() is None:
                process.send_signal(stop)
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
    raise NoServer(f"{name} did not start; its log ends:\n{log.read_text(errors='replace')[-2000:]}")
