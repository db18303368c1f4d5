"""Access tokens of a Google service account: signed for, exchanged, kept, renewed before they end.

    token() ──▶ fresh?        ─▶ the one we have
            ├─▶ soon too old? ─▶ the one we have; a task gets the next one meanwhile
            └─▶ none           ─▶ everybody waits for one exchange
                                     claims ─ RS256 ─▶ POST token endpoint ─▶ access token, seconds

The exchange takes the provider's own way out: its proxy, its authority, its client certificate. Where it leads is the operator's
to say and never the key file's. Neither the key nor a token is in any message. Imported only where a provider needs it.
Source: Google, "Using OAuth 2.0 for Server to Server Applications"; RFC 7523.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.providers.base import Failure, ProviderError
from gateway.providers.transport import Timeouts, Transport
from gateway.providers.wire import refusal

log = logging.getLogger("haechi.providers")

#: Google's token endpoint. It is also whom a claim is meant for, whichever address it is reached by.
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 – an address
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

_TIMEOUTS = Timeouts(connect=10.0, first_byte=15.0, idle=15.0)
_MAX_ANSWER = 64 << 10
#: Seconds a claim may be used, which is the most Google takes, and how far our clock may be ahead of theirs.
_CLAIMED = 3600
_AHEAD = 10
#: Seconds before its end from which a token is renewed, and from which it is not used any more.
_RENEW_BEFORE = 300.0
_UNUSED_BEFORE = 30.0
#: Seconds between two attempts to renew a token that is still good.
_AGAIN = 10.0


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Who signs. `key_id` tells Google which of the account's keys to check with."""

    email: str
    key_id: str | None
    key: RSAPrivateKey = field(repr=False)

    def claim(self, at: int) -> str:
        """A signed statement of who asks, in Unix seconds `at`: a JWT."""
        header = {"alg": "RS256", "typ": "JWT"} | ({} if self.key_id is None else {"kid": self.key_id})
        begins = at - _AHEAD
        claims = {"iss": self.email, "scope": _SCOPE, "aud": TOKEN_URL, "iat": begins, "exp": begins + _CLAIMED}
        signed = f"{_encoded(orjson.dumps(header))}.{_encoded(orjson.dumps(claims))}"
        return f"{signed}.{_encoded(self.key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def service_account(text: str) -> ServiceAccount:
    """The JSON of a service account's key file. Raises ValueError with what to do, without quoting any of it."""
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        raise ValueError("the service account's key is not JSON: give the file Google made, whole and unchanged")
    if given.get("type") != "service_account":
        raise ValueError("the credentials are not a service account's: create a JSON key under IAM › Service accounts")
    email, pem, key_id = given.get("client_email"), given.get("private_key"), given.get("private_key_id")
    if not (isinstance(email, str) and email and isinstance(pem, str) and (key_id is None or isinstance(key_id, str))):
        raise ValueError(
            "the service account's key file lacks client_email or private_key: give it whole and unchanged"
        )
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the private_key of the service account is no RSA key: give the file Google made, unchanged")
    return ServiceAccount(email, key_id, key)


class AccessTokens:
    """The tokens of one account, by way of `transport`. `wall` is Unix time, `elapsed` a clock that never jumps: seconds."""

    def __init__(
        self,
        account: ServiceAccount,
        transport: Transport,
        url: str = TOKEN_URL,
        *,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._transport = transport
        self._url = url
        self._wall = wall
        self._elapsed = elapsed
        self._token = ""
        self._good_until = self._renew_from = elapsed()
        self._getting: asyncio.Task[str] | None = None

    async def token(self) -> str:
        """A token that is good for a while yet. Raises ProviderError, never `sent`: the model's upstream has seen nothing."""
        now = self._elapsed()
        if now < self._renew_from:
            return self._token
        if self._getting is None:
            self._getting = asyncio.create_task(self._get())
            self._getting.add_done_callback(self._got)
        if now < self._good_until:
            return self._token
        # One that waits may leave; the exchange is everybody's.
        return await asyncio.shield(self._getting)

    def refused(self, token: str) -> None:
        """The upstream does not take it: whoever comes next gets another one."""
        if token == self._token:
            self._good_until = self._renew_from = self._elapsed()

    async def close(self) -> None:
        if self._getting is not None:
            self._getting.cancel()

    def _got(self, task: asyncio.Task[str]) -> None:
        self._getting = None
        if task.cancelled() or (error := task.exception()) is None:
            return
        now = self._elapsed()
        if now < self._good_until:
            self._renew_from = min(now + _AGAIN, self._good_until)
            log.warning("the access token of %s was not renewed: %s", self._account.email, error)

    async def _get(self) -> str:
        asked = self._elapsed()
        body = urlencode({"grant_type": _GRANT, "assertion": self._account.claim(int(self._wall()))}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        try:
            response = await self._transport.post(self._url, headers, body, timeouts=_TIMEOUTS)
            try:
                if response.status != 200:
                    raise await refusal(response, None)
                answer = await response.read(_MAX_ANSWER)
            finally:
                response.close()
        except ProviderError as error:
            raise _without(error) from None
        self._token, lasts = _granted(answer)
        self._good_until = asked + lasts - min(_UNUSED_BEFORE, lasts / 10)
        self._renew_from = asked + lasts - min(_RENEW_BEFORE, lasts / 2)
        return self._token


def _granted(answer: bytes) -> tuple[str, float]:
    """(token, seconds it lasts). The seconds are left out by some who stand between."""
    try:
        given = orjson.loads(answer)
        token, lasts = given["access_token"], float(given.get("expires_in", _CLAIMED))
        if not (isinstance(token, str) and token and token.isascii() and token.isprintable() and lasts > 0):
            raise ValueError
    except (orjson.JSONDecodeError, LookupError, TypeError, ValueError, AttributeError):
        detail = "no access token: the token endpoint's answer makes no sense: correct this provider's token_url"
        raise ProviderError(Failure.BROKEN, sent=False, status=200, detail=detail) from None
    return token, min(lasts, _CLAIMED)


def _without(error: ProviderError) -> ProviderError:
    """Why there is no token, as a failure of the call that wanted one. A refusal is one of our credential, not of the request."""
    if error.failure is not Failure.REFUSED:
        return ProviderError(
            error.failure,
            sent=False,
            status=error.status,
            retry_after=error.retry_after,
            retry_after_ms=error.retry_after_ms,
            detail=f"no access token: {error.detail}",
        )
    detail = (
        f"no access token: the token endpoint refuses the service account ({error.detail}): "
        "its key was deleted or disabled, or this machine's clock is wrong"
    )
    return ProviderError(Failure.REFUSED, sent=False, status=401, detail=detail)
