"""A gateway in an office reaches its vendors through the office's proxy, with the office's certificates, or not at all."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flows.inside import Inside, frames, opened
from flows.office import HOST, USER, Authority, OfficeProxy, office_proxy, vendor_tls

from gateway.cli import models
from gateway.providers import registry
from gateway.providers.scripted import Script, ScriptedEngine
from gateway.providers.scripted_server import Connection, ScriptedServer
from gateway.providers.transport import distrust

PRICES = """\
provider: acme
currency: USD
valid_from: 2026-01-01
source: written for this test
confirmed: true
prices:
  - key: acme/chat
    per_million: {input: "1", output: "4"}
"""

#: Each kind that calls somebody: the path its address ends in, and whose usage it reads.
LANES: Mapping[str, tuple[str, str, str]] = {
    "openai_compatible": ("/v1", "openai/chat", "served"),
    "openai_responses": ("/v1", "openai/responses", "served"),
    "anthropic": ("/v1", "anthropic/messages", "served"),
    "gemini": ("/v1beta", "google/generateContent", "served"),
    "cohere": ("/v2", "cohere/v2", "served"),
    "bedrock_converse": ("", "aws/converse", "served"),
    "litellm": ("/v1", "openai/chat", "hosted_vllm/served"),
}
EMBEDDING = ("openai_compatible", "gemini", "cohere", "litellm")


class Counting(ScriptedServer):
    """The vendor, remembering the port of every connection that reached it."""

    def __init__(self) -> None:
        super().__init__(self)
        self.engine = ScriptedEngine(faults=True, pace=0)
        self.paths: list[str] = []
        self.peers: set[int] = set()

    def answer(self, path: str, body: bytes) -> Script:
        self.paths.append(path)
        for connection in self.connections:
            self.peers.add(port_of(connection))
        return self.engine.answer(path, body)


def port_of(connection: Connection) -> int:
    assert connection._wire is not None
    return int(connection._wire.get_extra_info("peername")[1])


@dataclass(frozen=True)
class Office:
    vendor: Counting
    proxy: OfficeProxy
    authority: Authority
    other: Authority
    client_cert: Path

    def account(self, kind: str, **changed: Any) -> dict[str, Any]:
        path, family, _ = LANES[kind]
        given = {
            "kind": kind,
            "base_url": f"https://{HOST}{path}",
            "api_key_env": "VENDOR_KEY",
            "destination": "foreign",
            "family": family,
            "proxy": f"http://127.0.0.1:{self.proxy.port}",
            "proxy_auth_env": "PROXY_USER",
            "ca_file": str(self.authority.file),
            "client_cert": str(self.client_cert),
        }
        return {name: value for name, value in {**given, **changed}.items() if value is not None}

    def config(self, accounts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        return {
            "organisation": {"name": "데모시"},
            "providers": {name.replace("_", "-"): account for name, account in accounts.items()},
            "models": [
                {
                    "name": name,
                    "title": {"ko": name, "en": name},
                    "grade": "O",
                    "capabilities": ["chat", *(["embeddings"] if account["kind"] in EMBEDDING else [])],
                    "context": 8000,
                    "max_output": 100,
                    "deployments": [
                        {
                            "provider": name.replace("_", "-"),
                            "model": LANES[account["kind"]][2],
                            "price": "acme/chat",
                        }
                    ],
                }
                for name, account in accounts.items()
            ],
        }


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority, Path, Path]:
    folder = tmp_path_factory.mktemp("papers")
    authority, other = Authority(folder, "office-ca"), Authority(folder, "other-ca")
    return authority, other, authority.sign("vendor", HOST), authority.sign("gateway")


@pytest.fixture
async def office(papers: tuple[Authority, Authority, Path, Path]) -> AsyncIterator[Office]:
    authority, other, vendor_cert, client_cert = papers
    vendor = Counting()
    await vendor.listen("127.0.0.1", 0, vendor_tls(vendor_cert, authority.file))
    async with office_proxy(vendor.port) as proxy:
        yield Office(vendor, proxy, authority, other, client_cert)
    await vendor.close()


@contextlib.asynccontextmanager
async def inside(
    office: Office, tmp_path: Path, migrated: Path, accounts: Mapping[str, dict[str, Any]]
) -> AsyncIterator[Inside]:
    env = {"VENDOR_KEY": "sk-vendor", "PROXY_USER": USER}
    config = office.config(accounts)
    async with opened(tmp_path / "gateway", migrated, config, prices={"acme.yaml": PRICES}, env=env) as gateway:
        yield gateway


def test_no_kind_is_forgotten() -> None:
    assert set(LANES) == {kind.name for kind in registry.KINDS} - {"scripted"}


def test_nobody_but_the_proxy_knows_the_way() -> None:
    with pytest.raises(OSError):  # noqa: PT011 – the ways a resolver says no are the system's own
        socket.create_connection((HOST, 443), timeout=5)


async def test_every_lane_goes_through_the_proxy_and_shows_its_certificate(
    office: Office, tmp_path: Path, migrated_sqlite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, streamed and embedded, by every kind; settings of the machine's own environment change nothing."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    accounts = {kind: office.account(kind) for kind in LANES}
    async with inside(office, tmp_path, migrated_sqlite, accounts) as gateway:
        for kind in LANES:
            whole = await gateway.chat(kind, max_tokens=5)
            assert whole.status_code == 200, (kind, whole.text)
            streamed = await gateway.chat(kind, max_tokens=5, stream=True)
            assert streamed.status_code == 200, (kind, streamed.text)
            assert frames(streamed), kind
            for answer in (whole, streamed):
                assert gateway.event(answer)["quality"] == "exact", kind
        for kind in EMBEDDING:
            vectors = await gateway.post("/v1/embeddings", model=kind, input="Hello")
            assert vectors.status_code == 200, (kind, vectors.text)
            assert vectors.json()["data"][0]["embedding"], kind
    assert len(office.vendor.paths) == 2 * len(LANES) + len(EMBEDDING)
    assert set(office.proxy.asked) == {f"CONNECT {HOST}:443 HTTP/1.1"}
    # No socket went around: whoever reached the vendor was one of the proxy's.
    assert office.vendor.peers <= office.proxy.outside
    assert len(office.vendor.peers) >= len(LANES)


async def test_without_a_proxy_the_office_authority_and_certificate_count_all_the_same(
    office: Office, tmp_path: Path, migrated_sqlite: Path, papers: tuple[Authority, Authority, Path, Path]
) -> None:
    """The direct way has a client of its own. `localhost` is the one name that needs no resolver."""
    vendor = Counting()
    await vendor.listen("127.0.0.1", 0, vendor_tls(papers[0].sign("direct", "localhost"), office.authority.file))
    direct = office.account(
        "openai_compatible", proxy=None, proxy_auth_env=None, base_url=f"https://localhost:{vendor.port}/v1"
    )
    async with inside(office, tmp_path, migrated_sqlite, {"openai_compatible": direct}) as gateway:
        answer = await gateway.chat("openai_compatible", max_tokens=5)
        assert answer.status_code == 200, answer.text
    assert vendor.paths == ["/v1/chat/completions"]
    assert office.proxy.asked == []
    await vendor.close()


# Each row: what is wrong with the account, and the one sentence that says what to do.
UNTRUSTED = "name the PEM file of the authority that signed it as this provider's ca_file"
WRONG: dict[str, tuple[str, str]] = {
    "another authority": ("ca_file", f"(self-signed certificate in certificate chain): {UNTRUSTED}"),
    "no authority": (
        "ca_file",
        f"certificate is not trusted (self-signed certificate in certificate chain): {UNTRUSTED}",
    ),
    "another user": ("proxy_auth_env", "the proxy wants another user or password (407): set the variable"),
    "another host": ("base_url", "the proxy opens no way to the upstream (403): ask whoever runs it to allow the host"),
    "no proxy there": ("proxy", "the proxy does not answer: correct this provider's proxy"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_shuts_the_way_out_is_told_in_one_sentence_with_the_remedy(
    office: Office, tmp_path: Path, migrated_sqlite: Path, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    key, sentence = WRONG[case]
    wrong: Any = {
        "another authority": str(office.other.file),
        "no authority": None,
        "another user": "VENDOR_KEY",
        "another host": "https://elsewhere.test/v1",
        "no proxy there": "http://127.0.0.1:9",
    }[case]
    accounts = {"openai_compatible": office.account("openai_compatible", **{key: wrong})}
    async with inside(office, tmp_path, migrated_sqlite, accounts) as gateway:
        with caplog.at_level(logging.WARNING):
            answer = await gateway.chat("openai_compatible", max_tokens=5)
        # An operator who asks is told the same, by `models check`.
        checked = await models.ask(gateway.app, gateway.app.worlds.current.catalog.resolve("openai_compatible"))
        assert sentence in checked["detail"]
    assert answer.status_code in {502, 503}
    told = [r.getMessage() for r in caplog.records if r.name == "haechi.exchange" and r.levelno == logging.WARNING]
    assert told
    assert all(sentence in line and "\n" not in line for line in told), told
    # What is for our log stays there, and the proxy's password is not even in it.
    assert "ca_file" not in answer.text
    assert "p@ss" not in caplog.text
    assert not any(record.exc_info for record in caplog.records)
    assert office.vendor.paths == []
    assert gateway.rows("SELECT * FROM hold WHERE state IN ('open', 'sent')") == []


async def test_without_a_client_certificate_nothing_arrives(
    office: Office, tmp_path: Path, migrated_sqlite: Path
) -> None:
    """The vendor hangs up in the handshake; most then do so before anybody can read why."""
    accounts = {"openai_compatible": office.account("openai_compatible", client_cert=None)}
    async with inside(office, tmp_path, migrated_sqlite, accounts) as gateway:
        answer = await gateway.chat("openai_compatible", max_tokens=5)
    assert answer.status_code == 502
    assert office.vendor.paths == []


def test_a_vendor_that_says_why_it_refuses_our_certificate_is_quoted() -> None:
    refusal = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required")
    refusal.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    told = distrust(refusal)
    assert told is not None
    assert "TLSV13_ALERT_CERTIFICATE_REQUIRED" in told
    assert told.endswith("name the right PEM file as client_cert")
    assert distrust(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")) is None
    assert distrust(ConnectionResetError()) is None
