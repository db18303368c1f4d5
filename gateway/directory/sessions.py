"""Signing in and out.

    throttle ─▶ password ─▶ Session row (digest of the token only) ─▶ cookie + CSRF value, or bearer
    5 a minute   argon2id    ends 30 minutes after it was last used, or 10 hours after it began

The CSRF value is derived from the cookie's token with the session key: whoever holds the cookie can be told it again after
a reload, and nobody who cannot read the cookie can make it up. Everything here blocks; a server calls it in a thread.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from sqlalchemy import Engine

from gateway.audit import Actor, Record
from gateway.database import reading
from gateway.directory import keys, passwords, store
from gateway.directory.directory import Clock, Ids, find_person
from gateway.directory.records import Session, SessionKind
from gateway.errors import TooManyRequests, Unauthenticated

SECOND = 1_000_000
IDLE_US = 30 * 60 * SECOND
ABSOLUTE_US = 10 * 3600 * SECOND
_KEEP_US = 30 * 86_400 * SECOND


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session: the token is seen here and by its holder only. `csrf` is None for a bearer."""

    token: str = field(repr=False)
    csrf: str | None = field(repr=False)
    expires_at: int


class Sessions:
    """`session_key` is the secret tokens are kept under."""

    def __init__(self, engine: Engine, session_key: bytes, clock: Clock, ids: Ids) -> None:
        self._engine = engine
        self._secret = session_key
        self._clock = clock
        self._ids = ids

    def open(self, email: str, password: str, kind: SessionKind, *, origin: str) -> Opened:
        """Sign in. Raises Unauthenticated, the same for an unknown account, a disabled one and a wrong password."""
        with reading(self._engine).connect() as connection:
            person = find_person(connection, email)
        right = passwords.verify(person.password_hash if person else None, password)
        if person is None:
            # Not recorded: what was typed into the e-mail field may be somebody's password.
            raise _refused()
        by = Actor(person.email, origin)
        with self._engine.begin() as connection:
            at = self._clock()
            if not right or person.status != "active":
                refused = Record(self._ids(), at, by, "session.refuse", f"user:{person.email}")
                store.append_audit(connection, refused)
            else:
                token = keys.generate(keys.COOKIE_PREFIX if kind == "cookie" else keys.BEARER_PREFIX)
                opened = Session(person.id, kind, at, at, at + ABSOLUTE_US, None)
                store.insert_session(connection, self._digest(token.encode()), opened)
                store.remove_sessions_before(connection, at - _KEEP_US)
                detail = {"kind": kind}
                store.append_audit(
                    connection, Record(self._ids(), at, by, "session.open", f"user:{person.email}", detail)
                )
                csrf = keys.csrf(self._secret, token.encode()) if kind == "cookie" else None
                return Opened(token, csrf, at + ABSOLUTE_US)
        raise _refused()

    def end(self, token: bytes, *, by: Actor) -> bool:
        """Sign out; whether there was anything to end."""
        with self._engine.begin() as connection:
            store.lock_directory(connection)
            at = self._clock()
            ended = store.end_session(connection, self._digest(token), at)
            if ended:
                store.append_audit(connection, Record(self._ids(), at, by, "session.end", f"user:{by.name}"))
                store.append_change(connection, at, "session")
        return ended

    def resume(self, token: bytes) -> Opened | None:
        """The CSRF value and the end of a cookie's session, for a page that was reloaded; None where it has ended."""
        with reading(self._engine).connect() as connection:
            found = store.session_by_digest(connection, self._digest(token))
        if found is None or found.ended_at is not None:
            return None
        return Opened(token.decode("latin-1"), keys.csrf(self._secret, token), found.expires_at)

    def _digest(self, token: bytes) -> bytes:
        return keys.digest(self._secret, token)


def _refused() -> Unauthenticated:
    return Unauthenticated(
        "Wrong e-mail or password. / 전자우편 또는 비밀번호가 올바르지 않습니다.", code="invalid_credentials"
    )


class Throttle:
    """Five wrong answers in a row for an account from an address, then a minute's wait, then two, four … up to fifteen.

    A right answer, or an hour without a try, clears it. Kept in memory, bounded, per process: it slows guessing down.
    """

    FREE = 5
    WAIT_US = 60 * SECOND
    LONGEST_US = 15 * 60 * SECOND
    FORGET_US = 3600 * SECOND
    KEPT = 10_000

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tries: OrderedDict[tuple[str, str], tuple[int, int, int]] = OrderedDict()  # (count, last, not before)

    def admit(self, email: str, origin: str) -> None:
        """Count a try before it is made, so that parallel ones count too. Raises TooManyRequests with `retry-after`."""
        key, now = (email.strip().lower()[:256], origin), self._clock()
        count, last, until = self._tries.get(key, (0, now, 0))
        if now < until:
            seconds = max(1, -(-(until - now) // SECOND))
            raise TooManyRequests(
                f"Too many attempts; try again in {seconds} s. / 시도가 너무 많습니다. {seconds}초 후에 다시 하십시오.",
                code="login_throttled",
                headers={"retry-after": str(seconds)},
            )
        count = 1 if now - last > self.FORGET_US else count + 1
        wait = min(self.WAIT_US << min(count - self.FREE, 10), self.LONGEST_US) if count >= self.FREE else 0
        self._tries[key] = (count, now, now + wait)
        self._tries.move_to_end(key)
        if len(self._tries) > self.KEPT:
            self._tries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._tries)

    def clear(self, email: str, origin: str) -> None:
        self._tries.pop((email.strip().lower()[:256], origin), None)
