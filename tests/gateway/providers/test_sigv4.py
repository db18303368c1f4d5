"""Signatures of access keys are AWS's own: every one made here is made again by its SDK's signer, and they are the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.providers.base import Call
from gateway.providers.bedrock import BedrockConverse
from gateway.providers.scripted import ScriptedEngine, ScriptedTransport
from gateway.providers.scripted.bedrock import Converse
from gateway.providers.sigv4 import AccessKey, access_key, signed
from gateway.providers.translated import Translated

SEOUL = "https://bedrock-runtime.ap-northeast-2.amazonaws.com"
KEY = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"


def by_aws(url: str, body: bytes, headers: dict[str, str], key: AccessKey, region: str) -> str:
    """The Authorization header the SDK's signer makes of the same request at the same moment."""
    request = AWSRequest("POST", url, data=body, headers={})
    request.context["timestamp"] = headers["x-amz-date"]
    if key.token is not None:
        request.headers["X-Amz-Security-Token"] = key.token
    request.headers["X-Amz-Date"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials(key.id, key.secret, key.token), "bedrock", region)
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    names = signer.signed_headers(signer.headers_to_sign(request))
    return f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={names}, Signature={signature}"


@pytest.mark.parametrize("token", [None, "session/token+=="])
@pytest.mark.parametrize("body", [b"", b'{"messages":[]}', "한글 본문".encode()])
@pytest.mark.parametrize(
    "url",
    [
        f"{SEOUL}/model/m/converse",
        f"{SEOUL}/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream",
        f"{SEOUL}/model/arn%3Aaws%3Abedrock%3Aap-northeast-2%3A1%3Ainference-profile%2Fx/converse",
        "https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com:8443/model/m/converse",
        SEOUL,
    ],
)
def test_a_signature_is_the_one_the_sdk_makes(url: str, body: bytes, token: str | None) -> None:
    key = AccessKey("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
    at = datetime(2026, 11, 24, 3, 4, 5, tzinfo=UTC)
    headers = dict(signed(key, url, body, region="ap-northeast-2", service="bedrock", at=at))
    assert headers["x-amz-date"] == "20261124T030405Z"
    assert headers.get("x-amz-security-token") == token
    assert headers["authorization"] == by_aws(url, body, headers, key, "ap-northeast-2")


@pytest.mark.parametrize("text", ["", "AKID", "AKID:", ":secret", ":"])
def test_half_a_key_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError, match="ID:SECRET") as refused:
        access_key(text)
    assert "AKID" not in str(refused.value)


class Watching(ScriptedTransport):
    """What was sent, as it was sent."""

    sent: list[tuple[str, dict[str, str], bytes]]

    async def post(self, url: str, headers: Any, body: bytes, **more: Any) -> Any:
        self.sent.append((url, dict(headers), body))
        return await super().post(url, headers, body, **more)


def provider(transport: ScriptedTransport, api_key: str, base_url: str = SEOUL) -> Translated:
    return Translated(name="aws", base_url=base_url, api_key=api_key, transport=transport, dialect=BedrockConverse())


@pytest.fixture
def transport() -> Watching:
    dialects = {"/converse": Converse(streams=False), "/converse-stream": Converse(streams=True)}
    made = Watching(ScriptedEngine(pace=0, dialects=dialects))
    made.sent = []
    return made


@pytest.mark.parametrize("key", [KEY, f"{KEY}:session-token"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_access_key_signs_what_leaves(transport: Watching, key: str, *, stream: bool) -> None:
    call = Call("req-1", 1, MODEL, {"messages": [{"role": "user", "content": "해치"}], "max_tokens": 20})
    subject = provider(transport, key)
    if stream:
        async for _ in await subject.stream(call):
            pass
    else:
        await subject.ask(call)
    ((url, headers, body),) = transport.sent
    assert headers["authorization"] == by_aws(url, body, headers, access_key(key), "ap-northeast-2")
    assert "wJalrXUtnFEMI" not in str(headers)


async def test_an_api_key_is_a_bearer(transport: Watching) -> None:
    call = Call("req-1", 1, MODEL, {"messages": [{"role": "user", "content": "해치"}], "max_tokens": 20})
    await provider(transport, "ABSKQmVkcm9jaw==").ask(call)
    ((_, headers, _),) = transport.sent
    assert headers["authorization"] == "Bearer ABSKQmVkcm9jaw=="
    assert "x-amz-date" not in headers


def test_a_signature_needs_a_region(transport: Watching) -> None:
    with pytest.raises(ValueError, match=r"bedrock-runtime\.REGION"):
        provider(transport, KEY, "https://gateway.example/aws")
