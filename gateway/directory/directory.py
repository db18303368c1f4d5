"""What may be done to departments, people, pledges and keys.

Each method is one short transaction: the deed, its audit record, and where access depends on it a `change` that makes every
process look again within a second. All of them block; a server calls them in a thread. A refusal is one of `gateway.errors`.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from gateway.audit import Actor, Record
from gateway.database import reading
from gateway.directory import keys, store
from gateway.directory.records import (
    ROLES,
    Department,
    Identity,
    Key,
    NewKey,
    Person,
    PledgeText,
    Signature,
    SignatureMethod,
)
from gateway.errors import BadRequest, NotFound
from gateway.settings import Grade

Clock = Callable[[], int]
Ids = Callable[[], str]
Begin = Callable[[], contextlib.AbstractContextManager[Connection]]

#: ASCII on purpose: the e-mail address is what people are told apart by, and look-alike letters would tell two as one.
_EMAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9-]+(\.[a-z0-9-]+)*")
_CODE = re.compile(r"[^\s,;:/\x00-\x1f\x7f]{1,64}")

#: A key without a date is good for a year.
KEY_LIFETIME_US = 365 * 86_400 * 1_000_000


@dataclass(frozen=True, slots=True)
class _Deed:
    """One write in progress: its transaction, its instant, and whose it is."""

    connection: Connection
    at: int
    by: Actor
    ids: Ids

    def done(self, action: str, about: str, detail: Mapping[str, Any], *, change: str) -> None:
        """Record it, and tell every process to look again."""
        store.append_audit(self.connection, Record(self.ids(), self.at, self.by, action, about, detail))
        store.append_change(self.connection, self.at, change)


class Directory:
    """`clock` gives UTC microseconds, `ids` UUIDv7 text, `pepper` the secret keys are kept under."""

    def __init__(self, engine: Engine, pepper: bytes, clock: Clock, ids: Ids) -> None:
        self._begin: Begin = engine.begin
        self._look: Begin = reading(engine).connect
        self._pepper = pepper
        self._clock = clock
        self._ids = ids

    def within(self, connection: Connection) -> Directory:
        """The same directory inside a transaction that is already open: several deeds, all or none."""
        joined = copy.copy(self)
        joined._begin = joined._look = lambda: contextlib.nullcontext(connection)
        return joined

    # ── departments ──────────────────────────────────────────────────────────────────────────────────────────────────

    def add_department(
        self, code: str, name: str, *, by: Actor, parent: str | None = None, grade: Grade | None = None
    ) -> Department:
        """A new department, under `parent` (a code) or as a root; `grade` is the default of what its people send."""
        if not _CODE.fullmatch(code):
            raise _bad("invalid_code", "A department code has 1 to 64 characters, no spaces and none of , ; : / .")
        _printable_name(name)
        with self._deed(by) as deed:
            if store.department_by_code(deed.connection, code):
                raise _bad("department_exists", f"Department {code} exists already. / 이미 있는 부서 코드입니다.")
            above = _open_department(deed.connection, parent) if parent is not None else None
            added = Department(self._ids(), code, name.strip(), deed.at, None, grade)
            store.insert_department(deed.connection, added)
            if above is not None:
                store.set_parent(deed.connection, added.id, above.id, deed.at)
            detail = {"name": name, "parent": parent, "grade": grade}
            deed.done("department.add", f"department:{code}", detail, change="department")
        return added

    def set_department_grade(self, code: str, grade: Grade | None, *, by: Actor) -> None:
        """What the people of a department and of those below it send is at least of this grade; None takes that back."""
        with self._deed(by) as deed:
            found = _open_department(deed.connection, code)
            store.set_department_grade(deed.connection, found.id, grade)
            detail = {"old": found.grade, "new": grade}
            deed.done("department.grade", f"department:{code}", detail, change="department")

    def move_department(self, code: str, parent: str | None, *, by: Actor) -> None:
        """From now on under another department, or a root. What was spent before stays where it was."""
        with self._deed(by) as deed:
            moved = _open_department(deed.connection, code)
            above = _open_department(deed.connection, parent) if parent is not None else None
            if above is not None and moved.id in store.path_to_root(deed.connection, above.id, deed.at):
                raise _bad(
                    "department_cycle", f"{parent} is {code} itself or lies below it. / 하위 부서로 옮길 수 없습니다."
                )
            before = store.path_to_root(deed.connection, moved.id, deed.at)[1:2]
            store.set_parent(deed.connection, moved.id, above.id if above else None, deed.at)
            detail = {"old": before[0] if before else None, "new": above.id if above else None}
            deed.done("department.move", f"department:{code}", detail, change="department")

    def close_department(self, code: str, *, by: Actor) -> None:
        """Nobody can be added any more; its past stays. Refused while people or open departments are in it."""
        with self._deed(by) as deed:
            closed = _open_department(deed.connection, code)
            if store.has_open_members_or_children(deed.connection, closed.id, deed.at):
                raise _bad(
                    "department_in_use", f"Move the people and departments of {code} first. / 소속을 먼저 옮기십시오."
                )
            store.close_department(deed.connection, closed.id, deed.at)
            deed.done("department.close", f"department:{code}", {}, change="department")

    # ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def add_user(
        self,
        email: str,
        department: str,
        roles: Iterable[str],
        *,
        by: Actor,
        name: str | None = None,
        signed: bool = False,
        password_hash: str | None = None,
    ) -> Person:
        """A new person in a department (a code). `signed` books a pledge signed on paper."""
        email = normal_email(email)
        if name is not None:
            _printable_name(name)
        granted = sorted(set(roles))
        for role in granted:
            _known_role(role)
        if not granted:
            raise _bad("unknown_role", f"Give at least one role: {', '.join(ROLES)}.")
        with self._deed(by) as deed:
            if store.person_by_email(deed.connection, email):
                raise _bad("user_exists", f"{email} exists already. / 이미 있는 사용자입니다.")
            home = _open_department(deed.connection, department)
            added = Person(self._ids(), email, name or email.partition("@")[0], "active", deed.at, password_hash)
            store.insert_person(deed.connection, added)
            store.set_membership(deed.connection, added.id, home.id, deed.at)
            for role in granted:
                store.grant_role(deed.connection, added.id, role, deed.at, by.name)
            detail = {"department": department, "roles": granted, "signed": signed}
            deed.done("user.add", f"user:{email}", detail, change="user")
            if signed:
                _sign(deed, added, "paper")
        return added

    def move_user(self, email: str, department: str, *, by: Actor) -> None:
        """From now on in another department. What was spent before stays where it was."""
        with self._deed(by) as deed:
            moved = _person(deed.connection, email)
            new = _open_department(deed.connection, department)
            old = store.department_of(deed.connection, moved.id, deed.at)
            store.set_membership(deed.connection, moved.id, new.id, deed.at)
            detail = {"old": old.code if old else None, "new": new.code}
            deed.done("user.move", f"user:{moved.email}", detail, change="membership")

    def set_role(self, email: str, role: str, *, held: bool, by: Actor) -> None:
        """Grant or end a role. Nothing happens, and nothing is recorded, where it is so already."""
        _known_role(role)
        with self._deed(by) as deed:
            found = _person(deed.connection, email)
            if (role in store.roles_of(deed.connection, found.id, deed.at)) == held:
                return
            if held:
                store.grant_role(deed.connection, found.id, role, deed.at, by.name)
            else:
                store.end_role(deed.connection, found.id, role, deed.at)
            deed.done("role.grant" if held else "role.end", f"user:{found.email}", {"role": role}, change="role")

    def set_active(self, email: str, *, active: bool, by: Actor) -> None:
        """A disabled person's keys stop working and their sessions end; enabling brings back the keys, not the sessions."""
        with self._deed(by) as deed:
            found = _person(deed.connection, email)
            store.set_status(deed.connection, found.id, "active" if active else "disabled")
            ended = 0 if active else store.end_sessions_of(deed.connection, found.id, deed.at)
            detail = {"old": found.status, "sessions_ended": ended}
            deed.done("user.enable" if active else "user.disable", f"user:{found.email}", detail, change="user")

    def set_password_hash(self, email: str, password_hash: str, *, by: Actor) -> None:
        """A new password (already hashed: hashing is slow and holds no transaction open); open sessions end."""
        with self._deed(by) as deed:
            found = _person(deed.connection, email)
            store.set_password_hash(deed.connection, found.id, password_hash)
            ended = store.end_sessions_of(deed.connection, found.id, deed.at)
            deed.done("user.password", f"user:{found.email}", {"sessions_ended": ended}, change="session")

    def person(self, email: str) -> Person:
        """Raises NotFound."""
        with self._look() as connection:
            return _person(connection, email)

    def identity(self, user_id: str) -> Identity:
        """A person as of now. Raises NotFound."""
        with self._look() as connection:
            found = store.identity(connection, user_id, self._clock())
        if found is None:
            raise _nobody("this id")
        return found

    def departments(self, ids: Iterable[str]) -> dict[str, Department]:
        """By id; unknown ids are left out."""
        with self._look() as connection:
            return store.departments_by_id(connection, ids)

    def pledge_text(self) -> PledgeText | None:
        """The text in force; None while none is published."""
        with self._look() as connection:
            version = store.newest_pledge(connection)
            return store.pledge_text_of(connection, version) if version is not None else None

    def department(self, code: str) -> Department:
        """Raises NotFound."""
        with self._look() as connection:
            found = store.department_by_code(connection, code) if _CODE.fullmatch(code) else None
        if found is None:
            raise _no_department(code)
        return found

    # ── pledges ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def publish_pledge(self, body_ko: str, body_en: str, *, by: Actor) -> int:
        """The next version of the text; from now on people without a signature of this version are refused."""
        sha256 = hashlib.sha256(f"{body_ko}\0{body_en}".encode()).hexdigest()
        with self._deed(by) as deed:
            version = (store.newest_pledge(deed.connection) or 0) + 1
            store.insert_pledge(deed.connection, PledgeText(version, body_ko, body_en, sha256, deed.at))
            deed.done("pledge.publish", f"pledge:{version}", {"sha256": sha256}, change="pledge")
        return version

    def sign_pledge(self, email: str, *, by: Actor, method: SignatureMethod = "paper") -> tuple[int, int]:
        """Book a signature of the newest text; (version, signed at). A second one changes nothing.

        Before any text is published a paper signature counts for the first one: that is what was signed.
        """
        with self._deed(by) as deed:
            return _sign(deed, _person(deed.connection, email), method)

    def sign_shown(self, email: str, version: int, *, by: Actor) -> tuple[int, int]:
        """Sign online what was read: refused when another version is in force by now."""
        with self._deed(by) as deed:
            if store.newest_pledge(deed.connection) != version:
                raise _bad("pledge_changed", "The text has changed: read it again. / 서약 문안이 바뀌었습니다.")
            return _sign(deed, _person(deed.connection, email), "online")

    # ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def create_key(self, email: str, *, by: Actor, expires_at: int | None = None, grade: Grade | None = None) -> NewKey:
        """A new key, shown this once. Without a date it is good for a year; a past date makes one that is refused.

        `grade`: what comes with this key is at least of this data grade.
        """
        with self._deed(by) as deed:
            key = keys.generate()
            while store.keys_by_prefix(deed.connection, keys.shown(key)[0]):  # `key revoke PREFIX` must mean one key
                key = keys.generate()
            end = deed.at + KEY_LIFETIME_US if expires_at is None else expires_at
            return self._keep(deed, "key.create", email, key, end, grade=grade)

    def import_key(self, email: str, key: str, *, by: Actor, expires_at: int | None = None) -> NewKey:
        """Take over a key a site has already given out. It is as hard to guess as whoever made it made it."""
        if not keys.importable(key):
            raise _bad("invalid_key", "A key has at least 8 printable ASCII characters.")
        with self._deed(by) as deed:
            return self._keep(deed, "key.import", email, key, expires_at)

    def revoke_key(self, prefix: str, *, by: Actor) -> Key:
        """End the key with this prefix, everywhere within a second or two. A revoked one stays revoked."""
        with self._deed(by) as deed:
            found = store.keys_by_prefix(deed.connection, prefix) if keys.presentable(prefix) else []
            if not found:
                raise NotFound(f"No key begins with {prefix[:12]}. / 그런 키가 없습니다.")
            usable = [key for key in found if key.revoked_at is None]
            if not usable:
                raise _bad("key_revoked", f"Key {prefix} was revoked before. / 이미 폐기된 키입니다.")
            if len(usable) > 1:
                raise _bad("key_ambiguous", f"{len(usable)} keys begin with {prefix}. / 같은 앞자리의 키가 여럿입니다.")
            store.revoke_key(deed.connection, usable[0].id, deed.at)
            deed.done("key.revoke", f"key:{prefix}", {"id": usable[0].id}, change="key")
        return usable[0]

    def _keep(
        self, deed: _Deed, action: str, email: str, key: str, expires_at: int | None, *, grade: Grade | None = None
    ) -> NewKey:
        owner = _person(deed.connection, email)
        prefix, last4 = keys.shown(key)
        digest = keys.digest(self._pepper, key.encode("ascii"))
        if store.key_by_digest(deed.connection, digest):
            raise _bad("key_exists", "This key is known already. / 이미 등록된 키입니다.")
        kept = Key(self._ids(), owner.id, prefix, last4, deed.at, expires_at, None, grade)
        store.insert_key(deed.connection, kept, digest, deed.by.name)
        detail = {"id": kept.id, "user": owner.email, "expires_at": expires_at, "grade": grade}
        deed.done(action, f"key:{prefix}", detail, change="key")
        return NewKey(key, prefix, expires_at)

    @contextlib.contextmanager
    def _deed(self, by: Actor) -> Iterator[_Deed]:
        with self._begin() as connection:
            store.lock_directory(connection)
            yield _Deed(connection, self._clock(), by, self._ids)


def _sign(deed: _Deed, signer: Person, method: SignatureMethod) -> tuple[int, int]:
    version = store.newest_pledge(deed.connection) or 1
    before = store.signed_at(deed.connection, signer.id, version)
    if before is not None:
        return version, before
    signature = Signature(signer.id, version, deed.at, method, deed.by.name)
    store.insert_signature(deed.connection, signature)
    deed.done("pledge.sign", f"user:{signer.email}", {"version": version, "method": method}, change="pledge")
    return version, deed.at


def _person(connection: Connection, email: str) -> Person:
    found = find_person(connection, email)
    if found is None:
        raise _nobody(email)
    return found


def find_person(connection: Connection, email: str) -> Person | None:
    """By address, however it is written. What is no address is not asked for: a database may refuse to read it at all."""
    plain = email.strip().lower()
    return store.person_by_email(connection, plain) if _EMAIL.fullmatch(plain) else None


def _open_department(connection: Connection, code: str) -> Department:
    found = store.department_by_code(connection, code) if _CODE.fullmatch(code) else None
    if found is None:
        raise _no_department(code)
    if found.closed_at is not None:
        raise _bad("department_closed", f"Department {code} is closed. / 폐지된 부서입니다.")
    return found


def normal_email(email: str) -> str:
    """Trimmed and lower-case; raises BadRequest when it is no address."""
    plain = email.strip().lower()
    if not _EMAIL.fullmatch(plain):
        raise _bad("invalid_email", "Not an e-mail address. / 전자우편 주소가 아닙니다.")
    return plain


def _printable_name(name: str) -> None:
    if not name.strip() or not name.isprintable():
        raise _bad(
            "invalid_name", "A name has at least one letter and no control characters. / 이름이 올바르지 않습니다."
        )


def _known_role(role: str) -> None:
    if role not in ROLES:
        raise _bad("unknown_role", f"No role is called {role[:40]}; use one of {', '.join(ROLES)}.")


def _bad(code: str, message: str) -> BadRequest:
    return BadRequest(message, code=code)


def _nobody(email: str) -> NotFound:
    return NotFound(f"Nobody is known by {email[:128]}. / 그런 사용자가 없습니다.")


def _no_department(code: str) -> NotFound:
    return NotFound(f"No department has the code {code[:64]}. / 그런 부서 코드가 없습니다.")
