"""Vertex AI with a service account: what is signed, exchanged, kept and renewed, over real sockets to a scripted Google."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flows.inside import opened
from flows.office import HOST, USER, Authority, office_proxy, vendor_tls

from gateway.providers.anthropic import AnthropicOnVertex
from gateway.providers.base import Call, Failure, ProviderError
from gateway.providers.gemini import GeminiGenerateContent
from gateway.providers.lean import LeanTransport
from gateway.providers.registry import build
from gateway.providers.scripted import Script, ScriptedEngine, Step
from gateway.providers.scripted_server import ScriptedServer
from gateway.providers.service_account import TOKEN_URL, AccessTokens, service_account
from gateway.providers.translated import Dialect, Translated
from gateway.settings import ConfigError

EMAIL = "haechi@demo-city.iam.gserviceaccount.com"
#: What Unix time the gateway believes it is.
NOW = 1_800_000_000
ADDRESS = "/v1/projects/demo-city/locations/asia-northeast3/publishers"


def pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FILE = {
    "type": "service_account",
    "project_id": "demo-city",
    "private_key_id": "key-of-the-test",
    "private_key": pem(KEY),
    "client_email": EMAIL,
    "token_uri": "https://thief.example/token",
}


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@dataclass
class Google:
    """The token endpoint and Vertex AI. Tokens are numbered in their last four characters, which the upstream's log keeps."""

    lasts: Any = 3599
    status: int = 200
    body: bytes | None = None
    #: How many of the next model calls are answered with 401.
    refusing: int = 0
    slow: float = 0.0
    engine: ScriptedEngine = field(default_factory=lambda: ScriptedEngine(pace=0))
    claims: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def answer(self, path: str, body: bytes) -> Script:
        self.paths.append(path)
        if path == "/token":
            return self._granted(body)
        if self.refusing:
            self.refusing -= 1
            return plain(401, b'{"error":{"code":401,"status":"UNAUTHENTICATED"}}')
        return self.engine.answer(path, body)

    def _granted(self, body: bytes) -> Script:
        asked = parse_qs(body.decode())
        assert asked["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        (assertion,) = asked["assertion"]
        header, claims, signature = assertion.split(".")
        # Raises where the signature is not the account's.
        KEY.public_key().verify(decoded(signature), f"{header}.{claims}".encode(), PKCS1v15(), SHA256())
        self.claims.append((json.loads(decoded(header)), json.loads(decoded(claims))))
        given = {"access_token": f"ya29.secret-{len(self.claims):04}", "token_type": "Bearer", "expires_in": self.lasts}
        return plain(self.status, json.dumps(given).encode() if self.body is None else self.body, self.slow)


def plain(status: int, body: bytes, before: float = 0.0) -> Script:
    return Script(status, {"content-type": "application/json"}, [Step(body)], before=before, length=len(body))


@dataclass
class Clock:
    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Subject:
    google: Google
    server: ScriptedServer
    clock: Clock
    provider: Translated
    tokens: AccessTokens

    def bearers(self) -> list[str]:
        """The last four characters of what each model call came with."""
        calls = zip(self.google.paths, self.server.log, strict=True)
        return [arrival.authorization for path, arrival in calls if path != "/token"]

    async def renewed(self) -> None:
        """Until the exchange that runs beside the calls has ended, if one does."""
        if self.tokens._getting is not None:
            await asyncio.wait([self.tokens._getting])


@contextlib.asynccontextmanager
async def vertex(
    google: Google, dialect: Callable[[], Dialect] = GeminiGenerateContent, publisher: str = "google"
) -> AsyncIterator[Subject]:
    server = ScriptedServer(google)
    await server.listen("127.0.0.1", 0)
    origin, clock, transport = f"http://127.0.0.1:{server.port}", Clock(), LeanTransport()
    account = service_account(json.dumps(FILE))
    tokens = AccessTokens(account, transport, f"{origin}/token", wall=lambda: NOW, elapsed=clock)
    provider = Translated(
        name="vertex",
        base_url=f"{origin}{ADDRESS}/{publisher}",
        api_key=None,
        transport=transport,
        dialect=dialect(),
        tokens=tokens,
    )
    try:
        yield Subject(google, server, clock, provider, tokens)
    finally:
        await provider.close()
        await server.close()


def call(model: str = "gemini-2.5-flash") -> Call:
    return Call("req-1", 1, model, {"messages": [{"role": "user", "content": "해치"}], "max_tokens": 20})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("dialect", "publisher", "model", "verbs"),
    [
        (GeminiGenerateContent, "google", "gemini-2.5-flash", ("generateContent", "streamGenerateContent?alt=sse")),
        (AnthropicOnVertex, "anthropic", "claude-sonnet-4-5@20250929", ("rawPredict", "streamRawPredict")),
    ],
    ids=["gemini", "anthropic"],
)
async def test_a_signed_claim_becomes_the_bearer_of_each_call(
    dialect: Callable[[], Dialect], publisher: str, model: str, verbs: tuple[str, str], *, stream: bool
) -> None:
    async with vertex(Google(), dialect, publisher) as subject:
        for _ in range(2):
            if stream:
                answer = await subject.provider.stream(call(model))
                assert [payload async for payloads in answer for payload in payloads]
                usage = answer.usage
            else:
                reply = await subject.provider.ask(call(model))
                assert json.loads(reply.body)["choices"][0]["message"]["content"]
                usage = reply.usage
            assert usage.keys() & {"promptTokenCount", "input_tokens"}
    path = f"{ADDRESS}/{publisher}/models/{model.replace('@', '%40')}:{verbs[stream]}".removesuffix("?alt=sse")
    assert [p.partition("?")[0] for p in subject.google.paths] == ["/token", path, path]
    assert subject.bearers() == ["0001", "0001"]
    ((header, claims),) = subject.google.claims
    assert header == {"alg": "RS256", "typ": "JWT", "kid": "key-of-the-test"}
    # Meant for Google whatever address it was sent to; and never where the key file says.
    assert claims == {
        "iss": EMAIL,
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": TOKEN_URL,
        "iat": NOW - 10,
        "exp": NOW - 10 + 3600,
    }


async def test_many_at_once_wait_for_one_exchange_and_one_that_leaves_does_not_end_it() -> None:
    async with vertex(Google(slow=0.2)) as subject:
        leaving = asyncio.create_task(subject.provider.ask(call()))
        staying = [asyncio.create_task(subject.provider.ask(call())) for _ in range(20)]
        await asyncio.sleep(0.05)
        leaving.cancel()
        await asyncio.gather(*staying)
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert len(subject.google.claims) == 1
    assert subject.bearers() == ["0001"] * 20


async def test_a_token_is_renewed_before_its_end_without_anybody_waiting() -> None:
    async with vertex(Google()) as subject:
        await subject.provider.ask(call())
        subject.clock.at += 3599 - 301
        await subject.provider.ask(call())
        assert len(subject.google.claims) == 1
        # Into the last five minutes: this call goes out with the old one, and the new one is fetched beside it.
        subject.clock.at += 2
        subject.google.slow = 0.3
        await subject.provider.ask(call())
        assert subject.bearers()[-1] == "0001"
        await subject.renewed()
        await subject.provider.ask(call())
    assert subject.bearers() == ["0001", "0001", "0001", "0002"]


async def test_nobody_is_sent_out_with_a_token_about_to_end() -> None:
    async with vertex(Google()) as subject:
        await subject.provider.ask(call())
        subject.clock.at += 3599 - 29
        await subject.provider.ask(call())
    assert subject.bearers() == ["0001", "0002"]


async def test_a_renewal_that_fails_is_told_and_tried_again_while_the_old_one_is_good(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with vertex(Google()) as subject:
        await subject.provider.ask(call())
        subject.clock.at += 3400
        subject.google.status, subject.google.body = 503, b"{}"
        with caplog.at_level(logging.DEBUG):
            for _ in range(3):
                await subject.provider.ask(call())
                await subject.renewed()
        assert subject.google.paths.count("/token") == 2, "not again within ten seconds"
        (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert warning.startswith(f"the access token of {EMAIL} was not renewed: unavailable: no access token")
        subject.clock.at += 11
        subject.google.status, subject.google.body = 200, None
        await subject.provider.ask(call())
        await subject.renewed()
        await subject.provider.ask(call())
    assert subject.bearers() == ["0001"] * 5 + ["0003"]
    assert "ya29" not in caplog.text
    assert "PRIVATE" not in caplog.text


async def test_a_token_the_upstream_refuses_is_not_shown_again() -> None:
    async with vertex(Google()) as subject:
        await subject.provider.ask(call())
        subject.google.refusing = 1
        with pytest.raises(ProviderError) as failed:
            await subject.provider.ask(call())
        assert (failed.value.failure, failed.value.status) == (Failure.REFUSED, 401)
        await subject.provider.ask(call())
    assert subject.bearers() == ["0001", "0001", "0002"]


@pytest.mark.parametrize(
    ("status", "body", "failure", "says"),
    [
        (
            400,
            b'{"error":"invalid_grant","error_description":"Invalid JWT Signature."}',
            Failure.REFUSED,
            "invalid_grant",
        ),
        (401, b'{"error":"invalid_client"}', Failure.REFUSED, "its key was deleted or disabled"),
        (403, b"no JSON", Failure.REFUSED, "status 403"),
        (429, b"{}", Failure.RATE_LIMITED, "status 429"),
        (500, b"{}", Failure.UNAVAILABLE, "status 500"),
        (302, b"{}", Failure.BROKEN, "status 302"),
        (200, b"<html>", Failure.BROKEN, "makes no sense"),
        (200, b"[]", Failure.BROKEN, "makes no sense"),
        (200, b'{"id_token":"x"}', Failure.BROKEN, "makes no sense"),
        (200, b'{"access_token":"a\\nb","expires_in":3599}', Failure.BROKEN, "makes no sense"),
        (200, b'{"access_token":"a","expires_in":-1}', Failure.BROKEN, "makes no sense"),
        (200, b'{"access_token":"a","expires_in":"soon"}', Failure.BROKEN, "makes no sense"),
        (200, b'{"access_token":"' + b"a" * (70 << 10) + b'"}', Failure.BROKEN, "no access token"),
    ],
)
async def test_without_a_token_nothing_reaches_the_model(status: int, body: bytes, failure: Failure, says: str) -> None:
    """And so nothing can be billed; the failure is one of our account, never one of the request."""
    async with vertex(Google(status=status, body=body)) as subject:
        for attempt in (subject.provider.ask, subject.provider.stream):
            with pytest.raises(ProviderError) as failed:
                await attempt(call())
            error = failed.value
            assert (error.failure, error.sent) == (failure, False)
            assert error.status == 401 or failure is not Failure.REFUSED
            assert says in error.detail
            assert "eyJ" not in error.detail, "no piece of the claim"
    assert set(subject.google.paths) == {"/token"}


async def test_a_token_endpoint_nobody_answers_at_is_no_connection() -> None:
    tokens = AccessTokens(service_account(json.dumps(FILE)), LeanTransport(), "http://127.0.0.1:9/token")
    with pytest.raises(ProviderError) as failed:
        await tokens.token()
    assert (failed.value.failure, failed.value.sent) == (Failure.CONNECT, False)


async def test_an_answer_without_a_lifetime_is_believed_for_an_hour() -> None:
    async with vertex(Google(body=b'{"access_token":"ya29.once"}')) as subject:
        await subject.provider.ask(call())
        subject.clock.at += 3200
        await subject.provider.ask(call())
        assert subject.google.paths.count("/token") == 1


@dataclass(frozen=True)
class Block:
    """A block of configuration, as the registry sees it."""

    name: str = "vertex"
    kind: str = "gemini"
    base_url: str | None = f"https://{HOST}{ADDRESS}/google"
    api_key: str | None = None
    service_account: str | None = json.dumps(FILE)
    token_url: str | None = f"https://{HOST}/token"
    destination: str = "foreign"
    on_disconnect: Any = "cancel"
    proxy: str | None = None
    ca_file: str | None = None
    client_cert: str | None = None
    stream_usage: bool = True
    base64_vectors: bool = False


async def test_the_exchange_takes_the_providers_own_way_out(tmp_path: Path) -> None:
    """The office's proxy, authority and client certificate: the host is one that no resolver knows."""
    authority = Authority(tmp_path, "office-ca")
    google = Google()
    server = ScriptedServer(google)
    await server.listen("127.0.0.1", 0, vendor_tls(authority.sign("vendor", HOST), authority.file))
    user, _, password = USER.partition(":")
    async with office_proxy(server.port) as proxy:
        way = f"http://{user}:{password.replace('@', '%40').replace('/', '%2F').replace(':', '%3A')}@127.0.0.1:{proxy.port}"
        block = Block(proxy=way, ca_file=str(authority.file), client_cert=str(authority.sign("gateway")))
        provider = build(block, faults=False)
        assert json.loads((await provider.ask(call())).body)["choices"]
        await provider.close()
        assert google.paths[0] == "/token"
        assert len(google.paths) == 2
        assert set(proxy.asked) == {f"CONNECT {HOST}:443 HTTP/1.1"}
        # An authority nobody here knows, in front of the token endpoint too: told with the remedy, as for the model itself.
        stranger = build(replace(block, ca_file=None), faults=False)
        with pytest.raises(ProviderError, match="ca_file") as failed:
            await stranger.ask(call())
        assert (failed.value.failure, failed.value.sent) == (Failure.CONNECT, False)
        await stranger.close()
    await server.close()


EC = pem(ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ('"ya29.secret"', "not JSON"),
        (json.dumps({**FILE, "type": "authorized_user"}), "not a service account's"),
        (json.dumps({**FILE, "client_email": ""}), "lacks client_email or private_key"),
        (json.dumps({**FILE, "private_key": None}), "lacks client_email or private_key"),
        (json.dumps({**FILE, "private_key": FILE["private_key"][:200]}), "no RSA key"),
        (json.dumps({**FILE, "private_key": EC}), "no RSA key"),
    ],
)
def test_half_a_key_file_is_refused_without_quoting_it(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        build(Block(service_account=text), faults=False)
    assert not any(part in str(refused.value) for part in ("PRIVATE", "ya29", EMAIL))


@pytest.mark.parametrize("kind", ["openai_responses", "cohere", "bedrock_converse"])
def test_other_kinds_take_none(kind: str) -> None:
    with pytest.raises(ValueError, match="takes no service account"):
        build(Block(kind=kind), faults=False)


def test_the_key_is_in_no_representation() -> None:
    shown = repr(service_account(json.dumps(FILE)))
    assert EMAIL in shown
    assert "PRIVATE" not in shown
    assert "RSAPrivateKey" not in shown


PRICES = """\
provider: acme
currency: USD
valid_from: 2026-01-01
source: written for this test
confirmed: true
prices:
  - {key: acme/gemini, per_million: {input: "1", output: "4"}}
"""


def configuration(origin: str) -> dict[str, Any]:
    place = {"provider": "vertex", "model": "gemini-2.5-flash", "price": "acme/gemini"}
    model = {"name": "gemini", "title": {"ko": "제미니", "en": "Gemini"}, "grade": "O", "context": 8000}
    provider = {
        "kind": "gemini",
        "base_url": f"{origin}{ADDRESS}/google",
        "credentials_env": "SERVICE_ACCOUNT",
        "token_url": f"{origin}/token",
        "destination": "foreign",
    }
    return {
        "organisation": {"name": "데모시"},
        "providers": {"vertex": provider},
        "models": [{**model, "max_output": 100, "deployments": [place]}],
    }


async def test_a_gateway_configured_so_answers_and_books(
    tmp_path: Path, migrated_sqlite: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From the key file to the ledger: whole and streamed, exact, with the arithmetic of this test's prices."""
    google = Google()
    server = ScriptedServer(google)
    await server.listen("127.0.0.1", 0)
    config = configuration(f"http://127.0.0.1:{server.port}")
    (tmp_path / "account.json").write_text(json.dumps(FILE), "utf-8")
    env = {"SERVICE_ACCOUNT": str(tmp_path / "account.json")}
    with caplog.at_level(logging.DEBUG):
        async with opened(tmp_path / "g", migrated_sqlite, config, prices={"a.yaml": PRICES}, env=env) as gateway:
            for stream in (False, True):
                answer = await gateway.chat("gemini", max_tokens=9, stream=stream)
                assert answer.status_code == 200, answer.text
                event = gateway.event(answer)
                meters = gateway.meters(event)
                assert event["quality"] == "exact"
                assert gateway.ticks(event) == meters["input"] * 10_000 + meters["output"] * 40_000 > 0
    assert google.paths.count("/token") == 1
    assert "PRIVATE" not in caplog.text
    assert "ya29" not in caplog.text
    await server.close()


async def test_a_key_that_is_none_stops_the_start_with_its_line(tmp_path: Path, migrated_sqlite: Path) -> None:
    env = {"SERVICE_ACCOUNT": json.dumps({**FILE, "private_key": "-----BEGIN PRIVATE KEY-----\ncanary"})}
    with pytest.raises(ConfigError, match=r"config\.yaml:\d+: providers\.vertex: .*no RSA key.* → ") as refused:
        async with opened(tmp_path / "g", migrated_sqlite, configuration("http://127.0.0.1:9"), env=env):
            pass
    assert "canary" not in str(refused.value)
