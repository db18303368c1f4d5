"""A request that comes again under the same `Idempotency-Key` is not executed again.

    claim ──▶ first of its key ─────────▶ execute ──▶ keep (a whole answer) · close (anything that cost) · free (nothing did)
      │
      └─────▶ seen before: another body    422  idempotency_key_reused
                           still running   409  idempotency_in_progress     retry-after
                           answered        the same answer again, sealed until then
                           cost something  409  idempotency_key_spent       the first request's id and cost
                           cost nothing    as if it were the first

Whose key: the person's, on one surface, for a day. What a claim says about money it does not know itself: whether the first
request still runs, and what it cost, is read from the ledger, so that a crash at any byte leaves nothing to put right here. A
claim whose process died before it held anything is taken over under the same request id: the ledger takes each (request id,
attempt) once, so even a process that was only stopped, and wakes up, cannot dispatch it a second time.

Neither key nor question is stored, only keyed hashes of them. An answer is sealed with AES-256-GCM under a key made of the
installation's secret and of the caller's own `Idempotency-Key`, which is stored nowhere: only who repeats the request can
open it, not who has the database, nor who has the database and the secrets.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import orjson

from billing.book import LedgerUnavailable
from billing.money import format_krw
from billing.store import Tx
from billing.writer import Writer
from gateway.errors import BadRequest, KeyReused, Repeated, Unavailable
from gateway.exchange import Completed, Receipt
from gateway.idempotency import store
from gateway.refusals import NO_LEDGER
from gateway.settings import Limits

log = logging.getLogger("haechi.idempotency")

KEPT_US = 24 * 3_600_000_000

#: Printable ASCII, as long as Stripe's: what programs that send such keys are used to.
_KEY = re.compile(rb"[\x21-\x7e]{1,255}")

#: No request makes more attempts: `limits.attempts` goes to 10, and a lone place is offered twice.
_MOST_ATTEMPTS = 10

#: A whole request takes seconds; whoever repeats it sooner only asks more often.
_RETRY_AFTER = "2"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to execute a request under its key, by this `request_id`. `answer`: there is one already, to be given again."""

    digest: bytes
    request_id: str
    secret: bytes
    answer: Completed | None = None


@dataclass(frozen=True, slots=True)
class _SoFar:
    """What the ledger says of a request: how many holds it made, whether one is still open, whether it was answered, and what
    it cost in micro-won (None: that is not known yet)."""

    holds: int
    running: bool
    answered: bool
    spent: int | None

    @property
    def free(self) -> bool:
        return not self.running and not self.answered and self.spent == 0


class Repeats:
    """`secret` is the installation's encryption key; `owner` names this process; `alone`: no other serves this ledger."""

    def __init__(
        self,
        writer: Writer,
        secret: bytes,
        *,
        clock: Callable[[], int],
        owner: str,
        alone: bool,
        limits: Callable[[], Limits],
    ) -> None:
        self._writer = writer
        self._secret = secret
        self._clock = clock
        self._owner = owner
        self._alone = alone
        self._limits = limits
        #: What this process is executing: digest → the row it claimed. Entered by the transaction that claims it, so that
        #: whoever repeats the request in the next one already finds it.
        self._running: dict[bytes, store.Row] = {}

    async def claim(self, user_id: str, surface: str, key: bytes, asked: Sequence[bytes], request_id: str) -> Claim:
        """Claim the key for this request. Raises Repeated, KeyReused, or BadRequest for a key that is none."""
        if not _KEY.fullmatch(key):
            raise BadRequest(
                "Idempotency-Key is 1 to 255 printable ASCII characters without spaces, such as a UUID. "
                "Idempotency-Key는 공백 없는 ASCII 1~255자입니다(예: UUID).",
                code="invalid_value",
                param="Idempotency-Key",
            )
        whose = [user_id.encode(), surface.encode(), key]
        digest = self._keyed(b"key", whose)
        now = self._clock()
        row = store.Row(
            digest, self._keyed(b"asked", asked), user_id, request_id, self._owner, now, now + KEPT_US, None, None
        )
        so_far: _SoFar | None = None
        ours = False
        try:
            found, so_far = await self._writer.transact(lambda tx: self._claim(tx, row))
            ours = so_far is None
        except LedgerUnavailable:
            raise Unavailable(NO_LEDGER, code="storage_unavailable") from None
        finally:
            if not ours and self._running.get(digest) is row:
                del self._running[digest]
        secret = self._keyed(b"seal", whose)
        if so_far is None:
            return Claim(digest, found.request_id, secret)
        if found.fingerprint != row.fingerprint:
            raise _reused(found.request_id)
        answer = None if found.answer is None else _opened(secret, found)
        if answer is not None:
            return Claim(digest, found.request_id, secret, answer)
        raise _in_progress(found.request_id) if found.ended_at is None else _spent(found.request_id, so_far)

    async def keep(self, claim: Claim, done: Completed | None) -> None:
        """It was answered. A whole answer is remembered, so that it can be given again; of a stream, or of one that is too
        large, only that there was one."""
        most = self._limits().idempotency_answer_kb * 1024
        answer = _sealed(claim, done) if done is not None and len(done.body) <= most else None
        await self._finish(claim, lambda tx: store.end(tx, claim.digest, claim.request_id, self._clock(), answer))

    async def close(self, claim: Claim) -> None:
        """It was refused, or it failed. A key under which nothing was spent may be used again; another one may not."""
        await self._finish(claim, lambda tx: self._close(tx, claim))

    def abandon(self, claim: Claim) -> None:
        """Nobody here follows it any more; from now on the ledger alone says what came of it."""
        self._running.pop(claim.digest, None)

    def forget_expired(self, tx: Tx) -> None:
        store.remove_expired(tx, self._clock())

    # -- one transaction each ---------------------------------------------------------------------------------------

    def _claim(self, tx: Tx, row: store.Row) -> tuple[store.Row, _SoFar | None]:
        """The row in force, and what the ledger says of the request in it; None where it is ours to execute."""
        now = row.claimed_at
        found: store.Row | None = None
        while found is None:
            if store.insert(tx, row):
                self._running[row.digest] = row
                return row, None
            found = store.find(tx, row.digest)
            if found is not None and found.expires_at <= now:
                store.remove_expired(tx, now)
                found = None
        so_far = _so_far(tx, found.request_id)
        over = found.ended_at is not None or so_far.running or self._alive(found, now)
        if over or found.fingerprint != row.fingerprint:
            return found, so_far
        if not so_far.free:
            # Its process died, and recovery has booked what it may have cost.
            store.end(tx, found.digest, found.request_id, now, None)
            return found._replace(ended_at=now), so_far
        ours = row._replace(request_id=row.request_id if so_far.holds else found.request_id)
        store.take_over(tx, row.digest, ours.request_id, self._owner, now)
        self._running[row.digest] = row
        return ours, None

    def _alive(self, found: store.Row, now: int) -> bool:
        """Whether somebody may still be executing it without a hold: before the first one, or after the last."""
        if found.owner == self._owner:
            return found.digest in self._running
        limits = self._limits()
        grace = limits.lease_us + int(limits.quota_wait_seconds * 1_000_000)
        return not self._alone and now - found.claimed_at < grace

    def _close(self, tx: Tx, claim: Claim) -> None:
        so_far = _so_far(tx, claim.request_id)
        if so_far.running:
            return  # a booking that waits for its database; whoever asks again finds out
        if so_far.free:
            store.remove(tx, claim.digest, claim.request_id)
        else:
            store.end(tx, claim.digest, claim.request_id, self._clock(), None)

    async def _finish(self, claim: Claim, work: Callable[[Tx], None]) -> None:
        try:
            await self._writer.transact(work)
        except LedgerUnavailable:
            log.warning("what came of %s was not noted under its key; the ledger knows", claim.request_id)
        finally:
            self.abandon(claim)

    def _keyed(self, what: bytes, parts: Sequence[bytes]) -> bytes:
        """A hash nobody can make without our secret; each part with its length, so that no two lists are one text."""
        text = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self._secret, b"haechi idempotency " + what + b"\0" + text, hashlib.sha256)


def _so_far(tx: Tx, request_id: str) -> _SoFar:
    ids = [f"{request_id}:{attempt}" for attempt in range(1, _MOST_ATTEMPTS + 1)]
    states = tx.hold_states(ids)
    booked = tx.outcomes(ids)
    amounts = [amount for _, amount in booked]
    return _SoFar(
        len(states),
        running=any(state in ("open", "sent") for state, _, _ in states.values()),
        answered=any(outcome == "completed" for outcome, _ in booked),
        spent=None if None in amounts else sum(amount or 0 for amount in amounts),
    )


# -- answers at rest ---------------------------------------------------------------------------------------------------


def _sealed(claim: Claim, done: Completed) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 – only keyed requests pay for it

    said = {"body": base64.b64encode(done.body).decode(), "receipt": asdict(done.receipt)}
    nonce = os.urandom(12)
    return nonce + AESGCM(claim.secret).encrypt(nonce, orjson.dumps(said), claim.request_id.encode())


def _opened(secret: bytes, row: store.Row) -> Completed | None:
    """The answer; None where it cannot be read any more: the installation's secrets, or its version, are not those of then."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 – see _sealed
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 – see _sealed

    assert row.answer is not None
    try:
        said = orjson.loads(AESGCM(secret).decrypt(row.answer[:12], row.answer[12:], row.request_id.encode()))
        return Completed(base64.b64decode(said["body"]), Receipt(**said["receipt"]))
    except (InvalidTag, TypeError, KeyError):
        return None


# -- what is told ------------------------------------------------------------------------------------------------------


def _reused(request_id: str) -> KeyReused:
    return KeyReused(
        "This Idempotency-Key was used for another request within the last 24 hours. Use a new key for a new request. "
        "이 Idempotency-Key는 24시간 안에 다른 내용의 요청에 쓰였습니다. 새 요청에는 새 키를 쓰십시오.",
        details={"request_id": request_id},
    )


def _in_progress(request_id: str) -> Repeated:
    return Repeated(
        f"The first request with this Idempotency-Key ({request_id}) is still running. Ask again shortly; it is charged once. "
        f"같은 Idempotency-Key의 첫 요청({request_id})이 아직 처리 중입니다. 잠시 후 다시 물으십시오. 과금은 한 번뿐입니다.",
        code="idempotency_in_progress",
        details={"request_id": request_id},
        headers={"retry-after": _RETRY_AFTER},
    )


def _spent(request_id: str, so_far: _SoFar) -> Repeated:
    cost = None if so_far.spent is None else format_krw(so_far.spent)
    english = f"cost ₩{cost}" if cost is not None else "has a cost that is not known yet"
    korean = f"비용은 {cost}원입니다" if cost is not None else "비용은 아직 확인되지 않았습니다"
    return Repeated(
        f"The first request with this Idempotency-Key ({request_id}) has ended and {english}; its answer is not kept and it was "
        "not executed again. Use a new key to ask again. "
        f"같은 Idempotency-Key의 첫 요청({request_id})은 이미 끝났고 {korean}. 답은 보관하지 않으며 다시 실행하지 않았습니다. "
        "다시 물으려면 새 키를 쓰십시오.",
        code="idempotency_key_spent",
        details={"request_id": request_id, "cost_krw": cost},
        headers={"x-should-retry": "false"},
    )
