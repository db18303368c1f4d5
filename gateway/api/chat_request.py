"""The body of POST /v1/chat/completions: its fields, their types and bounds, and which of them may leave.

    raw ─ strict JSON ─▶ dict ─ shape ─▶ Chat ─ bounds ─▶ Submission

The shape is OpenAI's. A field that is not in it is refused by name, unless it stands in `VENDOR_FIELDS`, the written list of
what other vendors understand and nobody can be harmed by. What leaves is built anew from what was understood, so nothing a
caller sends can name an address, a key or another caller.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.api import strict_json
from gateway.errors import BadRequest
from gateway.settings import Limits

#: Accepted and forwarded although OpenAI does not know them: sampling and reasoning switches of vLLM, llama.cpp, Mistral,
#: Perplexity, xAI and others. Nothing here carries text of its own, an address or a credential.
VENDOR_FIELDS = frozenset(
    {
        "chat_template_kwargs",
        "enable_thinking",
        "guided_choice",
        "guided_json",
        "guided_regex",
        "include_reasoning",
        "length_penalty",
        "min_p",
        "min_tokens",
        "random_seed",
        "reasoning",
        "repetition_penalty",
        "return_citations",
        "return_images",
        "return_related_questions",
        "safe_prompt",
        "search_domain_filter",
        "search_mode",
        "search_recency_filter",
        "skip_special_tokens",
        "thinking",
        "top_k",
        "typical_p",
    }
)

#: Understood, and kept here: who the caller is stays with us, nothing is stored at the vendor, we say what streams report.
_KEPT_BACK = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "model",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "user",
    }
)

Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(max_length=256)]


class _Url(Struct):
    url: str
    detail: str | None = None


class _TextPart(Struct, tag_field="type", tag="text"):
    text: str


class _ImagePart(Struct, tag_field="type", tag="image_url"):
    image_url: _Url


class _AudioPart(Struct, tag_field="type", tag="input_audio"):
    input_audio: dict[str, Any]


class _FilePart(Struct, tag_field="type", tag="file"):
    file: dict[str, Any]


class _RefusalPart(Struct, tag_field="type", tag="refusal"):
    refusal: str


_Part = _TextPart | _ImagePart | _AudioPart | _FilePart | _RefusalPart


class _Message(Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    function_call: dict[str, Any] | None = None
    audio: dict[str, Any] | None = None


class _StreamOptions(Struct):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class _Function(Struct):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(Struct):
    type: Literal["function", "custom"]
    function: _Function | None = None
    custom: dict[str, Any] | None = None


class Chat(Struct):
    """The request as OpenAI documents it."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: Annotated[list[_Message], Meta(min_length=1)]
    audio: dict[str, Any] | None = None
    frequency_penalty: Penalty | None = None
    function_call: str | dict[str, Any] | None = None
    functions: list[_Function] | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    max_completion_tokens: Count | None = None
    max_tokens: Count | None = None
    metadata: dict[str, str] | None = None
    modalities: list[str] | None = None
    moderation: dict[str, Any] | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    parallel_tool_calls: bool | None = None
    prediction: dict[str, Any] | None = None
    presence_penalty: Penalty | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: str | None = None
    response_format: dict[str, Any] | None = None
    safety_identifier: str | None = None
    seed: int | None = None
    service_tier: str | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: Temperature | None = None
    tool_choice: str | dict[str, Any] | None = None
    tools: Annotated[list[_Tool], Meta(max_length=128)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    top_p: Share | None = None
    user: str | None = None
    verbosity: str | None = None
    web_search_options: dict[str, Any] | None = None


FIELDS = frozenset(Chat.__struct_fields__)

#: Dearer tiers would break the ceiling a hold is computed from.
_TIERS = frozenset({"auto", "default", "flex", None})


class Request:
    """What was understood: the typed request, and the body that may leave."""

    __slots__ = ("body", "chat", "needs")

    def __init__(self, chat: Chat, body: dict[str, Any], needs: frozenset[str]) -> None:
        self.chat = chat
        self.body = body
        self.needs = needs

    @property
    def output_cap(self) -> int | None:
        """The smaller of the caps the caller gave; 0 means none was given."""
        caps = [cap for cap in (self.chat.max_completion_tokens, self.chat.max_tokens) if cap]
        return min(caps) if caps else None


def parse(raw: bytes, limits: Limits) -> Request:
    """Understand a body, or raise BadRequest naming the field at fault."""
    given = strict_json.loads(raw, limits.depth)
    unknown = given.keys() - FIELDS - VENDOR_FIELDS
    if unknown:
        name = strict_json.quotable(min(unknown))
        raise BadRequest(
            f"Unrecognized request argument: {name}. Remove it. 알 수 없는 항목입니다: {name}",
            code="unknown_parameter",
            param=name,
        )
    try:
        chat = msgspec.convert(given, Chat)
    except msgspec.ValidationError as error:
        raise explained(error) from None
    if chat.n is not None and chat.n > limits.n:
        raise BadRequest(
            f"n may be at most {limits.n}. n은 {limits.n} 이하여야 합니다.", code="invalid_value", param="n"
        )
    if chat.service_tier not in _TIERS:
        raise BadRequest(
            "service_tier may be auto, default or flex here. service_tier는 auto, default, flex만 쓸 수 있습니다.",
            code="invalid_value",
            param="service_tier",
        )
    body = {key: value for key, value in given.items() if value is not None and key not in _KEPT_BACK}
    return Request(chat, body, _needs(chat))


def _needs(chat: Chat) -> frozenset[str]:
    needs = {"chat"}
    if chat.tools or chat.functions:
        needs.add("tools")
    if chat.response_format is not None and chat.response_format.get("type") != "text":
        needs.add("json")
    if chat.web_search_options is not None:
        needs.add("search")
    if chat.modalities is not None and "audio" in chat.modalities:
        needs.add("audio")
    for number, message in enumerate(chat.messages):
        if isinstance(message.content, list):
            for part in message.content:
                if isinstance(part, _ImagePart):
                    _only_data(part.image_url.url, f"messages.{number}.content")
                    needs.add("vision")
                elif isinstance(part, _AudioPart):
                    needs.add("audio")
                elif isinstance(part, _FilePart):
                    needs.add("documents")
    return frozenset(needs)


def _only_data(url: str, param: str) -> None:
    """An image by address would be fetched by somebody; only the bytes themselves are taken."""
    if not url.startswith("data:image/"):
        raise BadRequest(
            "Send images as data: URLs; addresses are not fetched. 이미지는 data: URL로 보내십시오. 주소는 열지 않습니다.",
            code="invalid_image_url",
            param=param,
        )


def explained(error: msgspec.ValidationError) -> BadRequest:
    """msgspec says `Expected `int`, got `str` - at `$.max_tokens``: the path becomes `param`.

    It quotes a value that is none of the allowed ones. Whatever landed there by mistake may be text of a prompt, so it stays out.
    """
    what, _, path = str(error).rpartition(" - at `$")
    if not what:
        what, path = path, ""
    what = what.partition(" '")[0]
    param = path.rstrip("`").lstrip(".") or None
    return BadRequest(
        f"{what}{f' in {param}' if param else ''}. 형식이 맞지 않습니다: {param or what}",
        code="invalid_type",
        param=param,
    )
