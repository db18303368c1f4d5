"""How an API key is made, recognised and kept.

    hc_live_  +  43 characters (32 random bytes, base62)  +  6 characters (CRC-32 of all before, base62)
    └──── prefix shown: 12 characters ┘                     └ last4 shown

The prefix lets secret scanners find a leaked key, the check lets them and us tell a typo without asking the database.
Kept is HMAC-SHA-256(pepper, key): 256 random bits need no slow hash, and without the pepper a copied database is useless.
A session's token is made the same way, under a prefix of its own and kept under a secret of its own.
"""

from __future__ import annotations

import hmac
import secrets
import zlib

KEY_PREFIX = "hc_live_"
#: A token says by its prefix where it may come from, so a cookie can never pass as a bearer or the other way round.
COOKIE_PREFIX = "hc_page_"
BEARER_PREFIX = "hc_sess_"

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY = 43  # 62^43 > 2^256
_CHECK = 6  # 62^6 > 2^32
_SHOWN = 12
_SHORTEST = 8


def base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def generate(prefix: str = KEY_PREFIX) -> str:
    """A new key from 256 random bits."""
    text = prefix + base62(int.from_bytes(secrets.token_bytes(32), "big"), _BODY)
    return text + _check(text)


def well_formed(key: str, prefix: str = KEY_PREFIX) -> bool:
    """Whether the check agrees. A typing error passes with a chance of one in 4 · 10⁹; a guess is caught by the digest."""
    return (
        len(key) == len(prefix) + _BODY + _CHECK
        and key.startswith(prefix)
        and key.isascii()
        and _check(key[:-_CHECK]) == key[-_CHECK:]
    )


def _check(text: str) -> str:
    return base62(zlib.crc32(text.encode("ascii")), _CHECK)


def digest(secret: bytes, key: bytes) -> bytes:
    """What is stored and looked up; 32 bytes. `secret` is the pepper for keys, the session key for sessions."""
    return hmac.digest(secret, key, "sha256")


def csrf(session_key: bytes, token: bytes) -> str:
    """What a browser with this cookie sends back with every write. Only we can derive it, and only its page is told it."""
    return hmac.digest(session_key, b"csrf\0" + token, "sha256").hex()


def shown(key: str) -> tuple[str, str]:
    """(prefix, last4): what lists show of a key. Of a short imported one never more than a quarter."""
    prefix = key[: min(_SHOWN, len(key) // 4)]
    return prefix, key[-4:] if len(key) >= 4 * _SHOWN else ""


def importable(key: str) -> bool:
    """Whether a site's own key can be taken over: printable ASCII that survives a header and does not look like ours."""
    foreign = not key.startswith((KEY_PREFIX, COOKIE_PREFIX, BEARER_PREFIX)) or well_formed(key)
    return len(key) >= _SHORTEST and presentable(key) and key == key.strip() and foreign


def presentable(text: str) -> bool:
    """Printable ASCII: what a header, a terminal and both databases take."""
    return text.isascii() and text.isprintable()
