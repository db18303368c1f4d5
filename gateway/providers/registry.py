"""Every kind of upstream this gateway can be configured with, one row each.

A vendor that speaks the OpenAI wire is a block in the configuration, not a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Literal, NamedTuple, Protocol

from gateway.providers.anthropic import AnthropicMessages, AnthropicOnVertex
from gateway.providers.base import Provider
from gateway.providers.bedrock import BedrockConverse
from gateway.providers.cohere import CohereChat
from gateway.providers.gemini import GeminiGenerateContent
from gateway.providers.lean import LeanTransport
from gateway.providers.openai_compatible import OpenAICompatible
from gateway.providers.openai_responses import OpenAIResponses
from gateway.providers.scripted import ScriptedEngine, ScriptedTransport
from gateway.providers.translated import Dialect, Tokens, Translated
from gateway.providers.transport import Timeouts, Transport
from gateway.providers.wire import ANSWER_TIMEOUTS, STREAM_TIMEOUTS


class ProviderConfig(Protocol):
    """One block under `providers:`, secrets resolved. Paths are of PEM files; `proxy` is a URL.

    `service_account`: the JSON of a Google service account's key file; `token_url`: where it is exchanged, Google's if None.
    """

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def base_url(self) -> str | None: ...
    @property
    def api_key(self) -> str | None: ...
    @property
    def service_account(self) -> str | None: ...
    @property
    def token_url(self) -> str | None: ...
    @property
    def destination(self) -> str: ...
    @property
    def on_disconnect(self) -> Literal["cancel", "drain"]: ...
    @property
    def proxy(self) -> str | None: ...
    @property
    def ca_file(self) -> str | None: ...
    @property
    def client_cert(self) -> str | None: ...
    @property
    def stream_usage(self) -> bool: ...
    @property
    def base64_vectors(self) -> bool: ...


class Kind(NamedTuple):
    """`build` takes the block, whether scripted faults are obeyed, and the time-outs of streams; raises ValueError for a block
    it cannot serve."""

    name: str
    build: Callable[[ProviderConfig, bool, Timeouts], Provider]


def _openai_compatible(config: ProviderConfig, faults: bool, timeouts: Timeouts) -> Provider:
    if not config.base_url:
        raise ValueError(f"provider {config.name} needs a base_url")
    return OpenAICompatible(
        name=config.name,
        base_url=config.base_url,
        api_key=config.api_key,
        transport=_transport(config),
        stream_usage=config.stream_usage,
        base64_vectors=config.base64_vectors,
        stream_timeouts=timeouts,
        answer_timeouts=_for_answers(timeouts),
    )


def _translated(
    dialect: Callable[[], Dialect], *, on_vertex: Callable[[], Dialect] | None = None
) -> Callable[[ProviderConfig, bool, Timeouts], Provider]:
    """How a kind with a wire format of its own is built. `on_vertex`: its dialect where a service account is its credential."""

    def built(config: ProviderConfig, faults: bool, timeouts: Timeouts) -> Provider:
        if not config.base_url:
            raise ValueError(f"provider {config.name} needs a base_url")
        transport = _transport(config)
        spoken, tokens = dialect, None
        if config.service_account is not None:
            if on_vertex is None:
                raise ValueError(f"provider {config.name}: the kind {config.kind} takes no service account")
            spoken, tokens = on_vertex, _tokens(config, config.service_account, transport)
        return Translated(
            name=config.name,
            base_url=config.base_url,
            api_key=config.api_key,
            transport=transport,
            dialect=spoken(),
            tokens=tokens,
            stream_timeouts=timeouts,
            answer_timeouts=_for_answers(timeouts),
        )

    return built


def _tokens(config: ProviderConfig, given: str, transport: Transport) -> Tokens:
    from gateway.providers.service_account import (  # noqa: PLC0415 – signing is an import that nobody else needs
        TOKEN_URL,
        AccessTokens,
        service_account,
    )

    return AccessTokens(service_account(given), transport, config.token_url or TOKEN_URL)


def _litellm(config: ProviderConfig, faults: bool, timeouts: Timeouts) -> Provider:
    from gateway.providers.litellm import LiteLLM  # noqa: PLC0415 – its client is an import that nobody else needs

    return LiteLLM(
        name=config.name,
        base_url=config.base_url,
        api_key=config.api_key,
        transport=_transport(config),
        stream_timeouts=timeouts,
        answer_timeouts=_for_answers(timeouts),
    )


def _transport(config: ProviderConfig) -> Transport:
    """The lean client where the way is direct; aiohttp's where a proxy stands in it.

    Tunnels, proxy credentials and TLS inside TLS are aiohttp's to get right; a way that leads through a proxy is not the one
    where a tenth of a millisecond is felt. See docs/decisions/0003-upstream-client.md.
    """
    if config.proxy is not None:
        from gateway.providers.proxied import AiohttpTransport  # noqa: PLC0415 – see there what importing it costs

        return AiohttpTransport(proxy=config.proxy, ca_file=config.ca_file, client_cert=config.client_cert)
    return LeanTransport(ca_file=config.ca_file, client_cert=config.client_cert)


def _for_answers(timeouts: Timeouts) -> Timeouts:
    """A whole answer's first byte comes after its last token, so it is waited for at least as long as answers take."""
    return replace(timeouts, first_byte=max(timeouts.first_byte, ANSWER_TIMEOUTS.first_byte))


def _scripted(config: ProviderConfig, faults: bool, timeouts: Timeouts) -> Provider:
    # The address is never dialled: the transport answers in this process.
    return OpenAICompatible(
        name=config.name,
        base_url="http://practice.invalid/v1",
        api_key=config.api_key,
        transport=ScriptedTransport(ScriptedEngine(faults=faults)),
        stream_usage=config.stream_usage,
        base64_vectors=config.base64_vectors,
        stream_timeouts=timeouts,
        answer_timeouts=_for_answers(timeouts),
    )


KINDS: tuple[Kind, ...] = (
    Kind("openai_compatible", _openai_compatible),
    Kind("openai_responses", _translated(OpenAIResponses)),
    Kind("anthropic", _translated(AnthropicMessages, on_vertex=AnthropicOnVertex)),
    Kind("gemini", _translated(GeminiGenerateContent, on_vertex=GeminiGenerateContent)),
    Kind("cohere", _translated(CohereChat)),
    Kind("bedrock_converse", _translated(BedrockConverse)),
    Kind("litellm", _litellm),
    Kind("scripted", _scripted),
)


def refusal_of(kind: str, model: str, capabilities: Collection[str]) -> str | None:
    """Why a provider of this kind cannot serve an upstream model of this name, and what to do; None where it may try."""
    if kind != "litellm":
        return None
    from gateway.providers.litellm import CARRIED, EMBEDDING  # noqa: PLC0415 – as above

    vendor, slash, _ = model.partition("/")
    near = CARRIED if "chat" in capabilities else EMBEDDING
    near = near & EMBEDDING if "embeddings" in capabilities else near
    if slash and vendor in near:
        return None
    return (
        f"litellm is not let near {vendor!r} → write vendor/model with one of {', '.join(sorted(near))}, or use a kind of "
        f"its own: {', '.join(each.name for each in KINDS if each.name not in ('litellm', 'scripted'))}"
    )


def build(config: ProviderConfig, *, faults: bool, timeouts: Timeouts = STREAM_TIMEOUTS) -> Provider:
    """The provider a block describes. `faults` lets scripted ones obey directives; no other kind looks at it.

    `timeouts` are those of streams; whole answers wait for their first byte at least `ANSWER_TIMEOUTS.first_byte` seconds.

    Raises ValueError for an unknown kind or a block that kind cannot serve, OSError for a PEM file that cannot be read.
    """
    for kind in KINDS:
        if kind.name == config.kind:
            return kind.build(config, faults, timeouts)
    raise ValueError(f"provider {config.name} has the unknown kind {config.kind!r}")
