"""Everything of a request that would leave: each text with its place, its role and whether it is new; and what is no text.

    {"messages": [{"role": "user", "content": "…"}], "tools": […]}
                          │
        Leaving(texts   Leaf(("messages", 0, "content"), "…", "user", newest)
                loose   names of fields callers made up, and long numbers: read one by one, and not maskable
                opaque  images, audio, files, token numbers, data: URLs: nobody here can read them)

The walk is structural: whatever stands in the body is taken, wherever it stands, so a field nobody thought of is read like any
other. What is skipped is skipped by what it says: `WORDS` are the protocol's own words, and no text of a person is one of them.
The newest turn is everything after the last answer that was given before the last user message, and all that is no message:
instructions, tools, formats. The rest is history, which a client sends again and again and its user cannot take back.

`replaced` puts other values into places without touching the original, so that what was clean leaves as it came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_PROTOCOL = """
additionalProperties allOf anyOf any approximate arguments array assistant audio auto boolean chat_template_kwargs citations
city_only concise const content country custom data date date-time default definition description detail detailed developer
disabled effort enable_thinking enabled enum exclude exclusiveMaximum exclusiveMinimum file file_data file_id filename float
format function functions grammar guided_choice guided_json guided_regex high id image image_url include_reasoning input
input_audio instructions integer items json_object json_schema jsonl lark length_penalty logit_bias low markdown max_tokens
maxItems maxLength maximum medium message messages metadata min_p min_tokens minItems minLength minimal minimum model mp3
multipleOf name none null number object oneOf opus parallel_tool_calls parameters pattern patternProperties pcm16 plain
prediction prefixItems presence_penalty properties random_seed reasoning reasoning_content reasoning_effort ref refusal
regex repetition_penalty required response_format return_citations return_images return_related_questions role safe_prompt
schema search_context_size search_domain_filter search_mode search_recency_filter seed skip_special_tokens stop strict string
syntax system temperature text thinking time timezone title tool tool_call_id tool_calls tool_choice tools top_k top_p type
typical_p uniqueItems url user user_location value verbosity voice wav web web_search_options $defs $id $ref $schema
"""
#: The protocol's own words: names of fields, and values chosen from a list. Nothing a person would hide is among them, and
#: only an exact match is skipped.
WORDS: Final = frozenset(_PROTOCOL.split())

#: A part of this type carries bytes nobody can read as text, in the named field of the named object.
_CARRIERS: Final[Mapping[str, tuple[str, str, str]]] = {
    "image_url": ("image", "image_url", "url"),
    "input_audio": ("audio", "input_audio", "data"),
    "file": ("file", "file", "file_data"),
}

#: data:image/png;base64,…  data:text/plain,…  data:;base64,…
_DATA_URL = re.compile(r"\s*data:(?:[\w.+-]+/[\w.+-]+[;,]|;base64,)", re.IGNORECASE)

#: Shorter numbers are counts, sizes and settings; from nine digits on one may be somebody's.
_LONG_NUMBER = 10**8


@dataclass(frozen=True, slots=True)
class Leaf:
    """One text at `path`. `label` is the caller's own name of the field it stands in, which says what a bare number is."""

    path: Path
    text: str
    role: str = ""
    newest: bool = True
    label: str = ""
    maskable: bool = True


@dataclass(frozen=True, slots=True)
class Opaque:
    """Bytes that are no text. `path` leads to the content part, or to the value where there is no part around it."""

    path: Path
    what: str
    newest: bool = True
    in_part: bool = False


@dataclass(slots=True)
class Leaving:
    """What was found, in the order it stands in the body."""

    texts: list[Leaf] = field(default_factory=list)
    loose: list[Leaf] = field(default_factory=list)
    opaque: list[Opaque] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Code points to read."""
        return sum([len(leaf.text) for leaf in self.texts]) + sum([len(leaf.text) for leaf in self.loose])


def leaving(body: Mapping[str, Any]) -> Leaving:
    """Everything in a body that is about to leave. The names at its top are the surface's own, checked before."""
    found = Leaving()
    for name, value in body.items():
        if name == "messages" and type(value) is list:
            _messages(found, value)
        elif name == "input" and _is_tokens(value):
            found.opaque.append(Opaque((name,), "tokens"))
        elif type(value) is not bool and value is not None:
            _walk(found, (name,), value, "", newest=True, label="")
    return found


def newest_turn(messages: Sequence[Any]) -> int:
    """The index where the newest turn begins: after the last answer that stands before the last user message."""
    start = len(messages)
    while start and _role(messages[start - 1]) != "user":
        start -= 1
    while start and _role(messages[start - 1]) != "assistant":
        start -= 1
    return start


def replaced(body: Mapping[str, Any], values: Mapping[Path, Any]) -> dict[str, Any]:
    """The body with other values at these paths; everything beside the paths is shared with the original."""
    changed: Any = body
    for path, value in values.items():
        changed = _with(changed, path, value)
    return dict(changed)


def pointer(path: Path) -> str:
    """RFC 6901."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def at(body: Any, path: Path) -> Any:
    """The value a path leads to."""
    for step in path:
        body = body[step]
    return body


def _messages(found: Leaving, messages: list[Any]) -> None:
    start = newest_turn(messages)
    for index, message in enumerate(messages):
        role = _role(message)
        newest = index >= start or role in ("system", "developer")
        if type(message) is not dict:
            _walk(found, ("messages", index), message, role, newest=newest, label="")
            continue
        for name, value in message.items():
            if type(value) is str:
                if value and value not in WORDS:
                    _text(found, ("messages", index, name), value, role, newest=newest, label="")
            elif value is not None:
                _walk(found, ("messages", index, name), value, role, newest=newest, label="")
            if name not in WORDS:
                found.loose.append(Leaf(("messages", index), name, role, newest, maskable=False))


def _walk(found: Leaving, path: Path, value: Any, role: str, *, newest: bool, label: str) -> None:
    kind = type(value)
    if kind is str:
        if value and value not in WORDS:
            _text(found, path, value, role, newest=newest, label=label)
    elif kind is list:
        for index, item in enumerate(value):
            _walk(found, (*path, index), item, role, newest=newest, label=label)
    elif kind is dict:
        carrier = _CARRIERS.get(value["type"]) if type(value.get("type")) is str else None
        carried = None
        if carrier is not None and type(value.get(carrier[1])) is dict:
            carried = (*path, carrier[1], carrier[2])
            found.opaque.append(Opaque(path, carrier[0], newest, in_part=True))
        for name, item in value.items():
            own = label
            if name not in WORDS:
                found.loose.append(Leaf(path, name, role, newest, maskable=False))
                own = name
            if carried is not None and name == carried[-2]:
                _carrier(found, carried, item, role, newest=newest)
            elif item is not None:
                _walk(found, (*path, name), item, role, newest=newest, label=own)
    elif (kind is int or kind is float) and abs(value) >= _LONG_NUMBER:
        text = str(value) if kind is int else f"{value:.0f}"
        found.loose.append(Leaf(path, text, role, newest, label, maskable=False))


def _carrier(found: Leaving, carried: Path, value: dict[str, Any], role: str, *, newest: bool) -> None:
    """The object around carried bytes: everything but the bytes."""
    for name, item in value.items():
        if name not in WORDS:
            found.loose.append(Leaf(carried[:-1], name, role, newest, maskable=False))
        if name != carried[-1] and item is not None:
            _walk(found, (*carried[:-1], name), item, role, newest=newest, label="")


def _text(found: Leaving, path: Path, text: str, role: str, *, newest: bool, label: str) -> None:
    if text[:64].lstrip()[:5].lower() == "data:" and _DATA_URL.match(text):
        found.opaque.append(Opaque(path, "data", newest))
    else:
        found.texts.append(Leaf(path, text, role, newest, label))


def _role(message: Any) -> str:
    role = message.get("role") if type(message) is dict else None
    return role if type(role) is str else ""


def _is_tokens(value: Any) -> bool:
    """Numbers of a tokeniser instead of text: one list of them, or one for each text."""
    return type(value) is list and any(type(one) is int or type(one) is list for one in value)


def _with(value: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    step, rest = path[0], path[1:]
    if isinstance(value, Mapping):
        return {**value, step: _with(value[step], rest, new)}
    copy = list(value)
    copy[int(step)] = _with(copy[int(step)], rest, new)
    return copy
