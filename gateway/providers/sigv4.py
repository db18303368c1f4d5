"""AWS Signature Version 4 for one POST with a body. Pure; the moment is an argument.

    canonical request ─▶ string to sign ─▶ HMAC chain of secret, day, region, service ─▶ Authorization

Signed are the host, the moment, the session's token where there is one, and the body's digest. Source: AWS, "Create a signed AWS
API request".
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class AccessKey(NamedTuple):
    """What signs: an access key, and a token where it is one of a session."""

    id: str
    secret: str
    token: str | None = None


def access_key(text: str) -> AccessKey:
    """`ID:SECRET` or `ID:SECRET:TOKEN`. Raises ValueError, without quoting any of it."""
    id_, _, rest = text.partition(":")
    secret, _, token = rest.partition(":")
    if not id_ or not secret:
        raise ValueError("an access key is written ID:SECRET, or ID:SECRET:TOKEN for one of a session")
    return AccessKey(id_, secret, token or None)


def signed(key: AccessKey, url: str, body: bytes, *, region: str, service: str, at: datetime) -> Mapping[str, str]:
    """The headers that go with a POST of `body` to `url` (its path percent-encoded, no query) at `at` (aware)."""
    parts = urlsplit(url)
    moment = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    own_port = parts.port not in (None, _DEFAULT_PORTS.get(parts.scheme))
    headers = {"host": f"{parts.hostname}:{parts.port}" if own_port else str(parts.hostname), "x-amz-date": moment}
    if key.token is not None:
        headers["x-amz-security-token"] = key.token
    names = ";".join(sorted(headers))
    request = "\n".join(
        [
            "POST",
            quote(parts.path or "/", safe="/-_.~"),  # encoded once more, as every service but S3 has it
            "",
            *(f"{name}:{value}" for name, value in sorted(headers.items())),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    chained = f"AWS4{key.secret}".encode()
    for link in scope.split("/"):
        chained = hmac.digest(chained, link.encode(), "sha256")
    signature = hmac.digest(chained, to_sign.encode(), "sha256").hex()
    del headers["host"]  # the transport writes it
    return {
        **headers,
        "authorization": f"{_ALGORITHM} Credential={key.id}/{scope}, SignedHeaders={names}, Signature={signature}",
    }
