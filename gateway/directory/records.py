"""What the directory hands out: frozen values, times in UTC microseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.settings import Grade

Role = Literal["staff", "manager", "finance", "it_admin", "auditor"]
ROLES: tuple[Role, ...] = ("staff", "manager", "finance", "it_admin", "auditor")

SessionKind = Literal["cookie", "bearer"]


@dataclass(frozen=True, slots=True)
class Department:
    """`grade` is the data grade of what its people send where they declare none; None: nothing is assumed."""

    id: str
    code: str
    name: str
    created_at: int
    closed_at: int | None
    grade: Grade | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """`password_hash` is None for somebody who cannot sign in with a password (yet)."""

    id: str
    email: str
    name: str
    status: Literal["active", "disabled"]
    created_at: int
    password_hash: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PledgeText:
    """One published version. `sha256` is of Korean text, NUL, English text in UTF-8."""

    version: int
    body_ko: str
    body_en: str
    sha256: str
    published_at: int


SignatureMethod = Literal["online", "paper"]


@dataclass(frozen=True, slots=True)
class Signature:
    user_id: str
    version: int
    signed_at: int
    method: SignatureMethod
    booked_by: str


@dataclass(frozen=True, slots=True)
class Pledge:
    """`version` is the newest published text (None: none is published, none is asked for); `signed_at` this person's."""

    version: int | None
    signed_at: int | None

    @property
    def required(self) -> bool:
        return self.version is not None

    @property
    def fulfilled(self) -> bool:
        return self.version is None or self.signed_at is not None


@dataclass(frozen=True, slots=True)
class Identity:
    """A person at one instant. `path` holds department ids from their own to the root, `codes` the same departments' codes.

    `grade` is the strictest default of the departments on that path.
    """

    person: Person
    department: Department | None
    path: tuple[str, ...]
    roles: tuple[str, ...]
    pledge: Pledge
    grade: Grade = "O"
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of an API key: never the key. `grade` is the least data grade of what comes with it."""

    id: str
    user_id: str
    prefix: str
    last4: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    grade: Grade | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """The one time the key itself is seen."""

    key: str = field(repr=False)
    prefix: str
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser (`cookie`) or script (`bearer`)."""

    user_id: str
    kind: SessionKind
    created_at: int
    last_seen: int
    expires_at: int
    ended_at: int | None
