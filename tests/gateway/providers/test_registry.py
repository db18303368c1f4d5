"""What a block of configuration decides about the way to its upstream: which client, and how long it waits."""

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import pytest
from peers import peer

from gateway.providers.base import Call, Failure, ProviderError
from gateway.providers.registry import KINDS, build
from gateway.providers.scripted import ScriptedEngine
from gateway.providers.scripted_server import serve
from gateway.providers.transport import Timeouts

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{"choices":[]}'
WIRED = [kind.name for kind in KINDS if kind.name not in {"litellm", "scripted"}]


@dataclass(frozen=True)
class Block:
    name: str = "one"
    kind: str = "openai_compatible"
    base_url: str | None = "http://upstream.invalid/v1"
    api_key: str | None = "sk-1"
    destination: str = "inside"
    on_disconnect: Any = "cancel"
    proxy: str | None = None
    ca_file: str | None = None
    client_cert: str | None = None
    stream_usage: bool = True
    base64_vectors: bool = False
    service_account: str | None = None
    token_url: str | None = None


def call(prompt: str = "hello") -> Call:
    return Call("r", 1, "practice", {"messages": [{"role": "user", "content": prompt}], "max_tokens": 9})


async def test_a_proxy_is_used_where_one_is_configured() -> None:
    async with peer(ANSWER) as proxy:
        provider = build(Block(proxy=proxy.url.removesuffix("/v1/chat/completions")), faults=False)
        assert (await provider.ask(call())).body == b'{"choices":[]}'
        await provider.close()
    assert proxy.heads[0].startswith(b"post http://upstream.invalid/v1/chat/completions ")


async def test_without_one_the_upstream_itself_is_asked() -> None:
    async with peer(ANSWER) as upstream:
        provider = build(Block(base_url=upstream.url.removesuffix("/chat/completions")), faults=False)
        assert (await provider.ask(call())).body == b'{"choices":[]}'
        await provider.close()
    assert upstream.heads[0].startswith(b"post /v1/chat/completions ")


def test_what_only_a_proxy_or_a_service_account_needs_is_not_imported_without_one() -> None:
    """In a process of its own: other tests have imported it."""
    script = (
        "import sys; from gateway.providers import registry; from types import SimpleNamespace as B;"
        "registry.build(B(name='a', kind='gemini', base_url='http://a/v1', api_key=None, proxy=None,"
        " ca_file=None, client_cert=None, stream_usage=True, base64_vectors=False,"
        " service_account=None, token_url=None), faults=False);"
        "sys.exit('aiohttp' in sys.modules or 'gateway.providers.service_account' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("kind", [*WIRED, "scripted"])
async def test_streams_wait_as_long_as_they_are_told_and_whole_answers_longer(kind: str) -> None:
    """A whole answer's first byte comes after its last token."""
    async with serve(ScriptedEngine(faults=True, pace=0)) as server:
        block = replace(Block(), kind=kind, base_url=server.base_url)
        provider = build(block, faults=True, timeouts=Timeouts(connect=1, first_byte=0.2, idle=0.2))
        for asked in (call("[[slow:9]]"), call("[[stall:9]]")):
            with pytest.raises(ProviderError) as failed:
                async for _ in await provider.stream(asked):
                    pass
            assert failed.value.failure is Failure.TIMEOUT
        assert (await provider.ask(call("[[slow:0.6]]"))).status == 200
        await provider.close()
