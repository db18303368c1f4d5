"""haechi models check [NAME …]"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gateway.cli.shell import Shell, command

if TYPE_CHECKING:
    from gateway.app import App
    from gateway.catalog import Model
    from gateway.providers.base import ProviderError

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
    log.setLevel(logging.CRITICAL)
    try:
        checked = asyncio.run(_check(app, asked))
    finally:
        log.setLevel(level)
    skipped = [
        {"model": m.name, "reason": None if m.reason is None else m.reason.model_dump()}
        for m in wanted
        if not m.available
    ]
    reached = {row["model"] for row in checked if row.pop("sent")}
    vendors = sorted(
        {place.provider for m in asked if m.name in reached for place in m.usable if _is_vendor(app, place.provider)}
    )
    told = {"checked": checked, "skipped": skipped, "vendors_called": vendors}
    failed = [row["model"] for row in checked if not row["ok"]]
    ledger.audit(shell, "models.check", "models", {"asked": len(asked), "failed": failed})
    shell.answer(told, *_lines(checked, skipped, vendors))
    return 1 if failed or not checked else 0


def _is_vendor(app: App, provider: str) -> bool:
    """Somebody outside. Practice models answer in this process, whatever they are treated as."""
    given = app.worlds.current.settings.providers[provider]
    return given.kind != "scripted" and given.destination != "inside"


def _lines(checked: list[dict[str, Any]], skipped: list[dict[str, Any]], vendors: list[str]) -> list[str]:
    lines: list[str] = []
    for row in checked:
        said = f"₩{row['cost_krw']} ({row['quality']})" if row["ok"] else row["detail"]
        lines.append(f"{'✓' if row['ok'] else '✗'} {row['model']:<24} {row['seconds']:>6.2f} s  {said}")
        if row["advice"] is not None:
            lines += [f"    {row['advice']['ko']}", f"    {row['advice']['en']}"]
    for row in skipped:
        reason = row["reason"] or {"ko": "", "en": ""}
        lines.append(f"– {row['model']:<24} {reason['ko']} · {reason['en']}")
    good = sum(row["ok"] for row in checked)
    lines.append(
        f"정상 {good} · 실패 {len(checked) - good} · 건너뜀 {len(skipped)} · "
        f"{good} answered, {len(checked) - good} failed, {len(skipped)} unavailable and not asked"
    )
    if vendors:
        lines.append(f"호출한 외부 공급자 · vendors called: {', '.join(vendors)}")
    else:
        lines.append("외부 공급자는 하나도 호출하지 않았습니다. · No request reached a vendor: no vendor was called.")
    return lines


def _advice(app: App, model: Model, error: ProviderError | None, quality: str | None) -> dict[str, str] | None:
    """What an operator can do about what came of it, where there is something to do."""
    if error is None:
        return _OF_QUALITY.get(quality or "")
    # Every place of the model may have been asked; the last one's failure is told, and what is advised holds for each.
    settings = app.worlds.current.settings
    places = [(place, settings.providers[place.provider]) for place in model.usable]
    names = ", ".join(dict.fromkeys(place.provider for place, _ in places))
    if error.status in (401, 403):
        keys = [env for _, given in places if (env := given.api_key_env or given.credentials_env) is not None]
        key = ", ".join(dict.fromkeys(keys)) or "api_key_env"
        return {
            "ko": f"{names}이(가) 인증을 거부했습니다. 환경변수 {key}의 키와 그 키의 권한을 확인하십시오.",
            "en": f"{names} refuses our credential: check the key in {key} and what it may be used for.",
        }
    if error.status == 404:
        wanted = ", ".join(dict.fromkeys(place.model for place, _ in places))
        return {
            "ko": f"{names}에 {wanted} 모델이 없습니다. 설정의 deployments.model과 base_url을 확인하십시오.",
            "en": f"{names} has no model {wanted}: check deployments.model and base_url in the configuration.",
        }
    ko, en = _OF_FAILURE[error.failure.value if error.status != 402 else "unpaid"]
    return {"ko": ko.format(names=names), "en": en.format(names=names)}


#: By the failure's word: what to look at, in Korean and English.
_OF_FAILURE = {
    "connect": (
        "{names}에 연결하지 못했습니다. base_url, 이름 해석, 방화벽과 프록시를 확인하십시오.",
        "No connection to {names}: check its base_url, name resolution, the firewall and the proxy.",
    ),
    "timeout": (
        "{names}이(가) 제때 답하지 않았습니다. 잠시 후 다시 하거나 limits의 대기 시간을 늘리십시오.",
        "{names} did not answer in time: try again later, or allow more seconds under limits.",
    ),
    "rate_limited": (
        "{names}의 호출 한도에 걸렸습니다. 잠시 후 다시 하거나 한도를 올려 달라고 하십시오.",
        "{names} limits how often we may ask: try again later, or have the limit raised.",
    ),
    "unavailable": (
        "{names}에 장애가 있습니다. 공급자의 상태 페이지를 확인하십시오.",
        "{names} is out of order: look at its status page.",
    ),
    "refused": (
        "{names}이(가) 요청을 받아들이지 않았습니다. 이 모델의 capabilities와 공급자의 kind를 확인하십시오.",
        "{names} does not accept the request: check the model's capabilities and the provider's kind.",
    ),
    "unpaid": (
        "{names} 계정의 잔액이나 결제 수단을 확인하십시오.",
        "{names} wants to be paid: check the account's balance and means of payment.",
    ),
    "broken": (
        "{names}의 답을 읽을 수 없습니다. base_url과 kind가 그 공급자의 것인지 확인하십시오.",
        "The answer of {names} cannot be read: check that base_url and kind are that provider's.",
    ),
}

_OF_QUALITY = {
    "estimated": {
        "ko": "공급자가 사용량을 알리지 않아 우리가 센 값으로 기록했습니다. family와 stream_usage를 확인하십시오.",
        "en": "The provider states no usage, so our own count was booked: check family and stream_usage.",
    },
    "suspense": {
        "ko": "공급자의 사용량이나 가격을 믿을 수 없어 미확정으로 기록했습니다. 대사 건이 열려 있습니다.",
        "en": "The usage or its price cannot be believed and waits in suspense: a reconciliation case is open.",
    },
}


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
    from gateway.providers.base import ProviderError  # noqa: PLC0415 – see gateway/cli/__init__.py

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
    row: dict[str, Any] = {"model": model.name, "ok": False, "request_id": submission.request_id, "sent": True}
    try:
        done = await app.exchange.complete(who, submission, _Nobody())
        quality = done.receipt.quality
        row |= {"ok": True, "cost_krw": done.receipt.cost_krw, "quality": quality}
        row["advice"] = _advice(app, model, None, quality)
    except Refusal as refusal:
        # What the provider's client says is for operators, and an operator is asking.
        failed = refusal.__cause__
        row["detail"] = str(failed) if failed is not None else refusal.message
        error = failed if isinstance(failed, ProviderError) else None
        row["sent"] = error is not None and error.sent
        row["advice"] = None if error is None else _advice(app, model, error, None)
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
