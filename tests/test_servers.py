"""The servers the tests stand on are real, private to this run, and durable in the way the gateway demands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
import servers


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit"])
def test_postgres_may_not_lose_a_commit(postgres_url: str, setting: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("SELECT current_setting(%s)", [setting]).fetchone()
    assert row == ("on",)


def test_every_database_is_its_own(new_postgres_database: Callable[..., str]) -> None:
    first = new_postgres_database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE mark (n integer)")
    with psycopg.connect(new_postgres_database()) as connection:
        assert connection.execute("SELECT to_regclass('mark')").fetchone() == (None,)


def test_redis_answers(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    client.set("mark", "1", px=1000)
    assert client.get("mark") == b"1"
    client.close()


def test_nothing_listens_where_a_system_server_would(postgres_url: str, redis_url: str) -> None:
    given = [os.environ.get(name) for name in ("HAECHI_TEST_POSTGRES_URL", "HAECHI_TEST_REDIS_URL")]
    ours = [
        url
        for url in (postgres_url, redis_url)
        if not any(its and url.startswith(its.removesuffix("/0")) for its in given)
    ]
    ports = {urlsplit(url).port for url in ours}
    assert not ports & {5432, 6379, None}


def test_a_server_ends_when_the_test_process_is_killed(tmp_path: Path) -> None:
    """Killed outright, a test process cannot clean up; the kernel stops its servers for it."""
    program = "import servers, time\nwith servers.redis_server() as url: print(url, flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(servers.__file__).parent,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        client = redis.Redis.from_url(process.stdout.readline().strip())
        assert client.ping()
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            client.ping()
        except redis.ConnectionError:
            return
        time.sleep(0.05)
    pytest.fail("the server outlived the process that started it")
