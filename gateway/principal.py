"""Credential → Principal: who is asking, on which departments' money, in which roles.

    Authorization: Bearer … ┐                  hit: the digest's answer, ≤ 8 µs, no I/O
    x-api-key: …            ├─▶ HMAC digest ─▶
    cookie __Host-haechi    ┘                  miss: one look in the database, in a thread

An answer is kept for at most a minute and dropped at once when `change` has grown: a task looks every second, so a revoked key
is refused within about a second in every process. When nobody has been able to look for four seconds nothing kept is believed
any more: without the database the gateway cannot book money either, so it refuses rather than trusts.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Literal

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from gateway.database import DatabaseError, reading
from gateway.directory import keys, store
from gateway.directory.records import Identity, Key, Session
from gateway.directory.sessions import IDLE_US, SECOND
from gateway.errors import BadRequest, NotAllowed, Refusal, Unauthenticated, Unavailable
from gateway.settings import Grade, Settings
from policies.decision import stricter

log = logging.getLogger("haechi.principal")

COOKIE: Final = b"__Host-haechi"
CSRF_HEADER: Final = b"x-haechi-csrf"

_COOKIE = keys.COOKIE_PREFIX.encode()
_SESSIONS = (_COOKIE, keys.BEARER_PREFIX.encode())

Via = Literal["api_key", "session", "bearer"]
Headers = Iterable[tuple[bytes, bytes]]


#: Whoever looks after the organisation's money or systems may see the money of every scope.
_OVERSEERS = frozenset({"finance", "it_admin", "auditor"})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. `department_path` holds ids from the own department to the root, `department_codes` the same departments'
    codes; `scopes` whose money is spent, sorted.

    `pledged` is false while a pledge text is published that this person has not signed. `grade` is the least data grade of
    what they send: the stricter of their departments' defaults and their key's own.
    """

    user_id: str
    email: str
    key_id: str | None
    department_id: str
    department_code: str
    department_path: tuple[str, ...]
    roles: tuple[str, ...]
    via: Via
    scopes: tuple[str, ...]
    pledged: bool
    grade: Grade = "O"
    department_codes: tuple[str, ...] = ()

    def answers_for(self, scope: str) -> bool:
        """Whether the money of this scope is this person's business anywhere: their own budget, that of the department they
        manage, and every one for whoever looks after the organisation's money or systems."""
        if not _OVERSEERS.isdisjoint(self.roles):
            return True
        managed = "manager" in self.roles and scope == f"department:{self.department_id}"
        return managed or scope == f"user:{self.user_id}"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a credential is worth until an instant: a principal, or a refusal (made anew each time it is raised)."""

    principal: Principal | None
    refusal: Callable[[], Refusal]
    until: int


class Authenticator:
    """One per process; `start` and `stop` it with the app."""

    KEPT = 20_000
    LOOK_AGAIN_US = 60 * SECOND
    REFUSED_US = SECOND  # long enough to calm a client that hammers, short enough for a key that was just imported
    CHECK_SECONDS = 1.0
    BELIEVED_US = 4 * SECOND

    def __init__(self, engine: Engine, settings: Settings, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._reading = reading(engine)
        self._clock = clock
        self._pepper = settings.secrets.pepper.get_secret_value()
        self._session_key = settings.secrets.session_key.get_secret_value()
        self._known: OrderedDict[bytes, _Answer] = OrderedDict()
        self._refused: OrderedDict[bytes, _Answer] = OrderedDict()
        self._looking: dict[bytes, asyncio.Task[_Answer]] = {}
        self._checking: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        # Threads of our own: a slow report in the shared ones must not keep people waiting at the door.
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="access")
        self._seen = -1
        self._believed_until = 0

    async def start(self) -> None:
        """Look for changes every second until `stop`."""
        await self._check()
        self._watching = asyncio.create_task(self._watch(), name="access-changes")

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
            self._watching = None
        self._threads.shutdown(wait=False)

    async def authenticate(self, headers: Headers) -> Principal:
        """By API key or by the bearer of a session; `headers` as ASGI has them. Cookies are not looked at.

        Raises Unauthenticated, BadRequest (two different credentials), NotAllowed (no department) or Unavailable.
        """
        given = credential(headers)
        if given is None:
            raise Unauthenticated(
                "No API key: send it as `Authorization: Bearer …`. / API 키가 없습니다.",
                headers={"www-authenticate": "Bearer"},
            )
        if given.startswith(_COOKIE):
            raise _unknown()
        return await self._answer(given)

    async def authenticate_page(self, method: str, headers: Headers) -> Principal:
        """As `authenticate`, or by the cookie of a signed-in browser; a write by cookie needs the CSRF value too."""
        headers = list(headers)
        token = cookie_token(headers)
        if token is None or credential(headers) is not None:
            return await self.authenticate(headers)
        if not token.startswith(_COOKIE):
            raise _ended()
        principal = await self._answer(token)
        if method not in {"GET", "HEAD", "OPTIONS"}:
            self._check_csrf(headers, token)
        return principal

    def invalidate(self) -> None:
        """Forget every answer: for the process that has just changed something itself."""
        self._known.clear()
        self._refused.clear()
        self._seen = -1
        self._believed_until = 0

    # ── kept answers ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _answer(self, given: bytes) -> Principal:
        digest = hmac.digest(self._secret(given), given, "sha256")
        answer = self._kept(digest)
        if answer is None:
            if self._clock() >= self._believed_until:
                await self._check()
                answer = self._kept(digest)
            if answer is None:
                answer = await self._look(digest, given)
        if answer.principal is None:
            raise answer.refusal()
        return answer.principal

    def _secret(self, given: bytes) -> bytes:
        return self._session_key if given.startswith(_SESSIONS) else self._pepper

    def _kept(self, digest: bytes) -> _Answer | None:
        now = self._clock()
        if now >= self._believed_until:
            return None
        answer = self._known.get(digest)
        if answer is not None:
            self._known.move_to_end(digest)
        else:
            answer = self._refused.get(digest)
        return answer if answer is not None and now < answer.until else None

    def _keep(self, digest: bytes, answer: _Answer) -> None:
        # Guesses may push out other guesses, never people.
        answers, other = (self._known, self._refused) if answer.principal else (self._refused, self._known)
        other.pop(digest, None)
        answers[digest] = answer
        if len(answers) > self.KEPT:
            answers.popitem(last=False)

    # ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.CHECK_SECONDS)
            await self._check()

    async def _check(self) -> None:
        """Has anything changed? Many requests may ask at once; one look answers them all."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check_now(), name="access-check")
        await asyncio.shield(self._checking)

    async def _check_now(self) -> None:
        began = self._clock()
        try:
            newest = await asyncio.get_running_loop().run_in_executor(self._threads, self._newest_change)
        except (SQLAlchemyError, DatabaseError) as e:
            log.warning("cannot look for access changes: %s", type(e).__name__)
            return
        if newest != self._seen:
            self._known.clear()
            self._refused.clear()
            self._seen = newest
        self._believed_until = began + self.BELIEVED_US

    def _newest_change(self) -> int:
        with self._reading.connect() as connection:
            return store.newest_change(connection)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _look(self, digest: bytes, given: bytes) -> _Answer:
        """One look per credential, however many requests wait for it."""
        text = given.decode("latin-1")
        if text.startswith(keys.KEY_PREFIX) and not keys.well_formed(text):
            return _Answer(None, _unknown, 0)
        task = self._looking.get(digest)
        if task is None:
            task = asyncio.create_task(self._look_now(digest, given), name="access-look")
            self._looking[digest] = task
            task.add_done_callback(lambda done: self._looked(digest, done))
        return await asyncio.shield(task)

    def _looked(self, digest: bytes, task: asyncio.Task[_Answer]) -> None:
        self._looking.pop(digest, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it; if nobody does any more, that is no news

    async def _look_now(self, digest: bytes, given: bytes) -> _Answer:
        try:
            loop = asyncio.get_running_loop()
            answer, seen = await loop.run_in_executor(self._threads, self._read, digest, given)
        except (SQLAlchemyError, DatabaseError) as e:
            log.warning("cannot look up a credential: %s", type(e).__name__)
            raise Unavailable(
                "The directory cannot be reached; try again. / 잠시 후 다시 시도하십시오.", code="directory_unavailable"
            ) from e
        if seen >= self._seen:  # otherwise something changed while we were reading: right then, not to be kept
            self._keep(digest, answer)
        return answer

    def _read(self, digest: bytes, given: bytes) -> tuple[_Answer, int]:
        """Blocking. The number of the newest change is read first: what is read after it is at least that new."""
        now = self._clock()
        with self._reading.connect() as connection:
            seen = store.newest_change(connection)
            if given.startswith(_SESSIONS):
                session = store.session_by_digest(connection, digest)
                answer = self._of_session(connection, session, now)
            else:
                session = None
                answer = self._of_key(connection, store.key_by_digest(connection, digest), now)
        if answer.principal is not None and session is not None and now - session.last_seen >= self.LOOK_AGAIN_US:
            with self._engine.begin() as connection:
                store.touch_session(connection, digest, now)
        return answer, seen

    def _of_key(self, connection: Connection, key: Key | None, now: int) -> _Answer:
        again = now + self.REFUSED_US
        if key is None:
            return _Answer(None, _unknown, again)
        if key.revoked_at is not None:
            return _Answer(None, _revoked, again)
        if key.expires_at is not None and key.expires_at <= now:
            return _Answer(None, partial(_expired, key.expires_at), again)
        until = min(now + self.LOOK_AGAIN_US, key.expires_at or now + self.LOOK_AGAIN_US)
        identity = store.identity(connection, key.user_id, now)
        return _of_person(identity, "api_key", key.id, until, again, key.grade)

    def _of_session(self, connection: Connection, session: Session | None, now: int) -> _Answer:
        again = now + self.REFUSED_US
        if session is None or session.ended_at is not None:
            return _Answer(None, _ended, again)
        # Another process may have seen it since; then the row says so, because a look that is a minute old looks again.
        ends = min(session.expires_at, session.last_seen + IDLE_US)
        if ends <= now:
            return _Answer(None, _ended, again)
        via: Via = "session" if session.kind == "cookie" else "bearer"
        until = min(now + self.LOOK_AGAIN_US, session.expires_at)
        return _of_person(store.identity(connection, session.user_id, now), via, None, until, again)

    def _check_csrf(self, headers: list[tuple[bytes, bytes]], token: bytes) -> None:
        given = dict(headers)
        # Browsers say where a request comes from; a page of another site has no business writing here.
        foreign = given.get(b"sec-fetch-site", b"same-origin") not in {b"same-origin", b"none"}
        expected = keys.csrf(self._session_key, token).encode()
        if foreign or not hmac.compare_digest(given.get(CSRF_HEADER, b""), expected):
            raise NotAllowed(
                "The page is out of date or foreign: reload it. / 화면을 새로 고친 뒤 다시 시도하십시오.",
                code="csrf_failed",
            )


def _of_person(  # noqa: PLR0917 – what a person's answer is made of
    identity: Identity | None, via: Via, key_id: str | None, until: int, again: int, grade: Grade | None = None
) -> _Answer:
    if identity is None or identity.person.status != "active":
        return _Answer(None, _disabled, again)
    if identity.department is None:
        return _Answer(None, _homeless, again)
    scopes = ["organisation", f"user:{identity.person.id}", *(f"department:{id_}" for id_ in identity.path)]
    principal = Principal(
        user_id=identity.person.id,
        email=identity.person.email,
        key_id=key_id,
        department_id=identity.department.id,
        department_code=identity.department.code,
        department_path=identity.path,
        roles=identity.roles,
        via=via,
        scopes=tuple(sorted(scopes)),
        pledged=identity.pledge.fulfilled,
        grade=stricter(identity.grade, grade or "O"),
        department_codes=identity.codes,
    )
    # Who has yet to sign is looked at each time: what they may do begins the moment they have.
    return _Answer(principal, _unknown, until if principal.pledged else 0)


def credential(headers: Headers) -> bytes | None:
    """The one bearer or x-api-key that was sent; None without any. Raises BadRequest for two that differ."""
    found: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            if value[:7].lower() != b"bearer ":
                continue
            given = value[7:].strip()
        elif name == b"x-api-key":
            given = value.strip()
        else:
            continue
        if found is not None and given != found:
            raise BadRequest(
                "Two different credentials were sent: use one. / 서로 다른 인증 정보가 함께 왔습니다.",
                code="ambiguous_credentials",
            )
        found = given
    return found or None


def cookie_token(headers: Headers) -> bytes | None:
    """The token in our cookie, wherever it stands among others."""
    for name, value in headers:
        if name == b"cookie":
            for pair in value.split(b";"):
                key, _, token = pair.strip().partition(b"=")
                if key == COOKIE and token:
                    return token
    return None


# What a refused credential is told. Unknown and malformed look the same; none repeats what was sent.


def _unknown() -> Refusal:
    return Unauthenticated("Incorrect API key. / API 키가 올바르지 않습니다.")


def _revoked() -> Refusal:
    return Unauthenticated("This API key has been revoked. / 폐기된 API 키입니다.")


def _expired(at: int) -> Refusal:
    day = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).strftime("%Y-%m-%d %H:%M UTC")
    return Unauthenticated(f"This API key expired at {day}. / 유효기간이 지난 API 키입니다.")


def _disabled() -> Refusal:
    return Unauthenticated("This account is disabled. / 사용이 중지된 계정입니다.")


def _ended() -> Refusal:
    return Unauthenticated("The session has ended: sign in again. / 다시 로그인하십시오.", code="session_ended")


def _homeless() -> Refusal:
    return NotAllowed("This account belongs to no department. / 소속 부서가 없는 계정입니다.", code="no_department")
