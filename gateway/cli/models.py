"""haechi models check [NAME …]"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gateway.cli.shell import Shell, command

if TYPE_CHECKING:
    from gateway.app import App
    from gateway.catalog import Model

#: On whose account a check is booked: nobody's budget but the organisation's, and a name of its own in every report.
WHO = "system:check"

#: Enough for a word, and little enough to ask every model.
_CAP = 16
_AT_ONCE = 8


def configure(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(required=True, metavar="ACTION")
    check_ = command(
        subparsers,
        "check",
        check,
        "쓸 수 있는 모델마다 아주 짧은 요청 하나, check 용도로 기록 · one tiny request to each available model, booked as check",
    )
    check_.add_argument(
        "names", nargs="*", metavar="NAME", help="이 모델만 · only these; default: all that are available"
    )


def check(shell: Shell, args: argparse.Namespace) -> int:
    """Ask, book, and say what came of it. What is unavailable is listed with the reason and not asked."""
    import asyncio  # noqa: PLC0415 – see gateway/cli/__init__.py
    import logging  # noqa: PLC0415 – see gateway/cli/__init__.py

    from gateway.app import build_app  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.cli import ledger  # noqa: PLC0415 – see gateway/cli/__init__.py

    app = build_app(shell.settings, engine=shell.engine)
    catalog = app.worlds.current.catalog
    wanted = [catalog.resolve(name) for name in args.names] or list(catalog)
    asked = [model for model in wanted if model.available]
    # What the log would say of a failure stands in the answer.
    log = logging.getLogger("haechi.exchange")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        checked = asyncio.run(_check(app, asked))
    finally:
        log.setLevel(level)
    skipped = [
        {"model": m.name, "reason": None if m.reason is None else m.reason.model_dump()}
        for m in wanted
        if not m.available
    ]
    vendors = sorted({place.provider for m in asked for place in m.usable if _is_vendor(app, place.provider)})
    told = {"checked": checked, "skipped": skipped, "vendors_called": vendors}
    failed = [row["model"] for row in checked if not row["ok"]]
    ledger.audit(shell, "models.check", "models", {"asked": len(asked), "failed": failed})
    shell.answer(told, *_lines(checked, skipped, vendors))
    return 1 if failed else 0


def _is_vendor(app: App, provider: str) -> bool:
    """Somebody outside. Practice models answer in this process, whatever they are treated as."""
    given = app.worlds.current.settings.providers[provider]
    return given.kind != "scripted" and given.destination != "inside"


def _lines(checked: list[dict[str, Any]], skipped: list[dict[str, Any]], vendors: list[str]) -> list[str]:
    lines = [
        f"{'✓' if row['ok'] else '✗'} {row['model']:<24} {row['seconds']:>6.2f} s  "
        + (f"₩{row['cost_krw']} ({row['quality']})" if row["ok"] else row["detail"])
        for row in checked
    ]
    lines += [f"– {row['model']:<24} {row['reason']['ko'] if row['reason'] else ''}" for row in skipped]
    if vendors:
        lines.append(f"호출한 외부 공급자 · vendors called: {', '.join(vendors)}")
    else:
        lines.append(
            "설정된 공급자 키가 없어 외부 공급자는 하나도 호출하지 않았습니다. · "
            "No available model is at a vendor: no vendor was called."
        )
    return lines


async def _check(app: App, models: list[Model]) -> list[dict[str, Any]]:
    """Through the same path as everybody's requests, so that what is proved is what people use."""
    import asyncio  # noqa: PLC0415 – see gateway/cli/__init__.py
    import contextlib  # noqa: PLC0415 – see gateway/cli/__init__.py
    from dataclasses import replace  # noqa: PLC0415 – see gateway/cli/__init__.py

    from gateway.catalog import Catalog  # noqa: PLC0415 – see gateway/cli/__init__.py

    world = app.worlds.current
    # A fallback that answers would hide the model that did not.
    alone = Catalog(tuple(replace(model, fallbacks=()) for model in world.catalog))
    app.worlds.current = replace(world, catalog=alone)
    app.writer.start()
    # A server beside us resolves holds whose owner is gone; ours is here as long as this runs.
    renewing = asyncio.create_task(_renew(app))
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(model: Model) -> dict[str, Any]:
        async with places:
            return await ask(app, model)

    try:
        found = list(await asyncio.gather(*(one(model) for model in models)))
        await app.exchange.idle()
        await app.upkeep.seal()
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing
        await app.worlds.close()
        await app.writer.stop()
    return found


async def _renew(app: App) -> None:
    import asyncio  # noqa: PLC0415 – see gateway/cli/__init__.py

    limits = app.worlds.current.settings.limits
    while True:
        await asyncio.sleep(limits.lease_seconds / 3)
        await app.writer.transact(lambda tx: tx.renew_leases(app.owner, app.clock() + limits.lease_us))


async def ask(app: App, model: Model) -> dict[str, Any]:
    """One request to one model, and what came of it."""
    import time  # noqa: PLC0415 – see gateway/cli/__init__.py

    from gateway.directory.ids import uuid7  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.errors import Refusal  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.exchange import Submission  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.principal import Principal  # noqa: PLC0415 – see gateway/cli/__init__.py

    embeds = "chat" not in model.capabilities
    body: dict[str, Any] = {"input": "OK"} if embeds else {"messages": [{"role": "user", "content": "Answer: OK"}]}
    submission = Submission(
        request_id=uuid7(),
        surface="embeddings" if embeds else "chat",
        model=model.name,
        body=body,
        stream=False,
        include_usage=False,
        output_cap=None if embeds else _CAP,
        choices=1,
        size=64,
        needs=frozenset({"embeddings" if embeds else "chat"}),
        grade="O",
        purpose="check",
        project=None,
        operation="embeddings" if embeds else "chat",
    )
    who = Principal(WHO, WHO, None, WHO, WHO, (), (), "session", ("organisation",), pledged=True)
    began = time.monotonic()
    row: dict[str, Any] = {"model": model.name, "ok": False, "request_id": submission.request_id}
    try:
        done = await app.exchange.complete(who, submission, _Nobody())
        row |= {"ok": True, "cost_krw": done.receipt.cost_krw, "quality": done.receipt.quality}
    except Refusal as refusal:
        # What the provider's client says is for operators, and an operator is asking.
        row["detail"] = str(refusal.__cause__) if refusal.__cause__ is not None else refusal.message
    return {**row, "seconds": round(time.monotonic() - began, 2)}


class _Nobody:
    """The way back to a client that only waits for the end."""

    left = False
    reason = None

    def when_left(self, callback: object) -> None:
        """Nobody leaves."""

    def tell(self, policy: str, found: str) -> None:
        """Nobody reads it."""

    async def send(self, frames: bytes) -> None:
        raise RuntimeError("a whole answer has no frames")

    async def finish(self, frames: bytes) -> None:
        raise RuntimeError("a whole answer has no frames")
