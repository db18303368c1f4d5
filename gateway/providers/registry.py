"""Every kind of upstream this gateway can be configured with, one row each.

A vendor that speaks the OpenAI wire is a block in the configuration, not a row here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from gateway.providers.base import Provider
from gateway.providers.openai_compatible import OpenAICompatible
from gateway.providers.scripted import ScriptedEngine, ScriptedTransport
from gateway.providers.transport import AiohttpTransport


class ProviderConfig(Protocol):
    """One block under `providers:`, secrets resolved. Paths are of PEM files; `proxy` is a URL."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def base_url(self) -> str | None: ...
    @property
    def api_key(self) -> str | None: ...
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


class Kind(NamedTuple):
    """`build` takes the block and whether scripted faults are obeyed; raises ValueError for a block it cannot serve."""

    name: str
    build: Callable[[ProviderConfig, bool], Provider]


def _openai_compatible(config: ProviderConfig, faults: bool) -> Provider:
    if not config.base_url:
        raise ValueError(f"provider {config.name} needs a base_url")
    transport = AiohttpTransport(proxy=config.proxy, ca_file=config.ca_file, client_cert=config.client_cert)
    return OpenAICompatible(
        name=config.name,
        base_url=config.base_url,
        api_key=config.api_key,
        transport=transport,
        stream_usage=config.stream_usage,
    )


def _scripted(config: ProviderConfig, faults: bool) -> Provider:
    # The address is never dialled: the transport answers in this process.
    return OpenAICompatible(
        name=config.name,
        base_url="http://practice.invalid/v1",
        api_key=config.api_key,
        transport=ScriptedTransport(ScriptedEngine(faults=faults)),
        stream_usage=config.stream_usage,
    )


KINDS: tuple[Kind, ...] = (
    Kind("openai_compatible", _openai_compatible),
    Kind("scripted", _scripted),
)


def build(config: ProviderConfig, *, faults: bool) -> Provider:
    """The provider a block describes. `faults` lets scripted ones obey directives; no other kind looks at it.

    Raises ValueError for an unknown kind or a block that kind cannot serve, OSError for a PEM file that cannot be read.
    """
    for kind in KINDS:
        if kind.name == config.kind:
            return kind.build(config, faults)
    raise ValueError(f"provider {config.name} has the unknown kind {config.kind!r}")
