"""`serve`: from nothing to a running gateway, in the order that can fail cheapest first.

    configuration ─▶ database lock ─▶ migrations ─▶ demo organisation, once ─▶ app ─▶ listening socket ─▶ first-run.json

The demo organisation is only made in a directory that is empty, and not at all with HAECHI_DEMO=0.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Engine

from billing.book import Book
from billing.holds import SetQuota
from gateway import logs
from gateway.api import files
from gateway.app import build_app
from gateway.database import lock_sqlite, migrate, open_engine
from gateway.directory import demo
from gateway.directory.ids import now_us, uuid7
from gateway.server import ServerLimits, serve
from gateway.settings import Settings, write_private

log = logging.getLogger("haechi.serve")

#: What the demo department may spend a month: ₩100,000, hard.
DEMO_BUDGET = 100_000 * 1_000_000


def run(settings: Settings, host: str = "127.0.0.1") -> int:
    """Serve until told to stop; the exit code."""
    logs.configure(_secrets(settings))
    engine = open_engine(settings.database_url.get_secret_value())
    alone = lock_sqlite(settings.data) if engine.dialect.name == "sqlite" else contextlib.nullcontext()
    with alone:
        migrate(engine)
        seeded = _seed(engine, settings)
        app = build_app(settings, engine=engine)

        # What exists now lives as long as the process; the collector need not walk it again for every few requests.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)

        def ready(_host: str, port: int) -> None:
            _tell(settings, port, seeded)

        return serve(
            app, host=host, port=settings.port, limits=server_limits(settings), on_reload=app.reload, ready=ready
        )


def server_limits(settings: Settings) -> ServerLimits:
    limits = settings.limits
    uploads = files.body_limit(settings.attachments)
    return ServerLimits(
        header_seconds=limits.header_seconds,
        body_bytes=limits.body_bytes,
        body_limit=lambda path: uploads if path == "/api/files" else limits.body_bytes,
        body_seconds=limits.body_seconds,
        body_bytes_per_second=limits.body_min_bytes_per_second,
        drain_seconds=limits.drain_seconds,
        trusted_proxies=settings.web.trusted_proxies,
    )


def _secrets(settings: Settings) -> dict[str, str]:
    named = {f"key of {name}": provider.api_key or "" for name, provider in settings.providers.items()}
    for name, provider in settings.providers.items():
        if provider.proxy and (password := urlsplit(provider.proxy).password):
            named[f"proxy password of {name}"] = unquote(password)
    url = settings.database_url.get_secret_value()
    return {**named, "database url": url} if "@" in url else named


def _seed(engine: Engine, settings: Settings) -> dict[str, Any] | None:
    """The demo organisation's accounts and key, if this start made it."""
    if os.environ.get("HAECHI_DEMO") == "0":
        return None
    seeded = demo.seed(engine, settings, now_us, uuid7)
    if seeded is None:
        return None
    book = Book(engine, uuid7)
    scope = f"department:{seeded.department_id}"
    book.apply([SetQuota(scope, "month", DEMO_BUDGET, hard=True, set_by="demo", at=now_us())])
    book.close()
    return {"api_key": seeded.api_key, "accounts": list(seeded.accounts)}


def _tell(settings: Settings, port: int, seeded: dict[str, Any] | None) -> None:
    """Write first-run.json and say where to click. Passwords and the key are known only at the start that made them."""
    base_url = f"http://127.0.0.1:{port}"
    path = settings.data / demo.FIRST_RUN
    known: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if seeded is not None:
        known = {"model": "practice-inside", "model_foreign": "practice-foreign", **seeded}
    if known:
        told = {"base_url": base_url, **{key: value for key, value in known.items() if key != "base_url"}}
        write_private(path, json.dumps(told, ensure_ascii=False, indent=2) + "\n", replace=True)
    lines = ["", f"  해치 Haechi   {base_url}", ""]
    if known:
        lines.append("  데모 계정 / demo sign-ins")
        lines += [f"    {a['role']:<9} {a['email']:<28} {a['password']}" for a in known["accounts"]]
        lines += ["", f"  API 키 / API key   {known['api_key']}", f"  ({path})", ""]
        lines += [
            "  해 보기 / try",
            f"    curl {base_url}/v1/chat/completions -H 'authorization: Bearer {known['api_key']}' \\",
            f"""      -d '{{"model": "{known["model"]}", "messages": [{{"role": "user", "content": "안녕하세요"}}]}}'""",
            f"    {_place(settings)}.venv/bin/haechi usage --month {_month(settings)}",
            f"    {_place(settings)}.venv/bin/haechi verify",
            "",
        ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _place(settings: Settings) -> str:
    """What a command needs in front of it to find this server's data, where that is not the usual folder."""
    usual = Path("data").absolute()
    return "" if settings.data == usual else f"HAECHI_DATA={shlex.quote(str(settings.data))} "


def _month(settings: Settings) -> str:
    return datetime.now(settings.zone).strftime("%Y-%m")
