"""How a password is kept: argon2id with OWASP's smaller profile (19 MiB, 2 passes, 1 lane).

The profile bounds what a flood of sign-ins can take: two at a time cost 38 MiB. A deliberate wrong answer for an unknown
account costs the same as a real one, so the time it takes does not tell whether somebody exists.
"""

from __future__ import annotations

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

#: Without the letters and digits people mistake for each other when they copy from paper.
_READABLE = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789"

LONGEST = 256
SHORTEST = 10


def hash_password(password: str) -> str:
    return _HASHER.hash(password)


def verify(password_hash: str | None, password: str) -> bool:
    """Blocking, about 20 ms, whether or not there is a hash to compare with."""
    try:
        _HASHER.verify(password_hash or _nobody(), password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


def generate(length: int = 20) -> str:
    """About 115 bits at the default length."""
    return "".join(secrets.choice(_READABLE) for _ in range(length))


@cache
def _nobody() -> str:
    return hash_password(generate())
