"""Nothing leaves unread: a mark in any place of any request a surface takes is found, or stands in what is called unreadable."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import tokens
from gateway.api import chat_request, embeddings
from gateway.app import ROUTES
from gateway.errors import BadRequest
from gateway.leaving import WORDS, Leaving, at, leaving, newest_turn, pointer, replaced
from gateway.settings import Limits

MARK = "카나리아850312-2345678"


class Taken(NamedTuple):
    """A surface: how a body is understood, the type it is understood as, and what else it lets through."""

    parse: Callable[[bytes], dict[str, Any]]
    type: type[msgspec.Struct]
    vendor_fields: frozenset[str]
    least: dict[str, Any]


SURFACES = {
    "/v1/chat/completions": Taken(
        lambda raw: chat_request.parse(raw, Limits()).body,
        chat_request.Chat,
        chat_request.VENDOR_FIELDS,
        {"model": "m", "messages": [{"role": "user", "content": "hello"}]},
    ),
    "/v1/embeddings": Taken(
        lambda raw: embeddings.parse(raw, Limits())[1],
        embeddings.Embeddings,
        frozenset(),
        {"model": "m", "input": "hello"},
    ),
}


def test_every_surface_that_reaches_a_provider_is_here() -> None:
    assert {route.path for route in ROUTES if route.metered} == set(SURFACES)


# ── a mark in every place ───────────────────────────────────────────────────────────────────────────────────────────────

#: Where anything may stand: as a text, in a list, under a name, and as a name.
ANYTHING: tuple[Any, ...] = (MARK, [MARK], {"why": MARK}, {"type": MARK}, {MARK: 1}, {"a": [{"b": {"c": [[MARK]]}}]})


def marked(annotation: Any, depth: int = 0) -> Iterator[Any]:
    """Values of a type, each with the mark in another one of the places where a text may stand."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from marked(get_args(annotation)[0], depth)
    elif origin in (typing.Union, types.UnionType):
        for option in get_args(annotation):
            yield from marked(option, depth)
    elif annotation is str or annotation is Any:
        yield from (MARK,) if annotation is str else ANYTHING
    elif origin is list:
        for value in marked(get_args(annotation)[0], depth):
            yield [value]
    elif origin is dict:
        for value in marked(get_args(annotation)[1], depth):
            yield {"why": value}
            yield {"type": value}
            yield {"content": value, "value": value}
        yield {MARK: 1}
    elif isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield from marked_fields(annotation, depth + 1)


def plain(annotation: Any) -> Any:
    """Some value of a type, without the mark."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return plain(get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return plain(get_args(annotation)[0])
    if origin is Literal:
        return get_args(annotation)[0]
    if origin is list:
        return [plain(get_args(annotation)[0])]
    if origin is dict:
        return {}
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return least(annotation)
    return {str: "data:image/png;base64,AAAA", int: 1, float: 0.5, bool: True}[annotation]


def least(struct: type[msgspec.Struct]) -> dict[str, Any]:
    hints = typing.get_type_hints(struct, include_extras=True)
    fields = msgspec.structs.fields(struct)
    given = {field.name: plain(hints[field.name]) for field in fields if field.required}
    tag = struct.__struct_config__
    return {**({tag.tag_field: tag.tag} if tag.tag_field else {}), **given}


def marked_fields(struct: type[msgspec.Struct], depth: int) -> Iterator[dict[str, Any]]:
    hints = typing.get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        for value in marked(hints[field.name], depth):
            yield {**least(struct), field.name: value}


def bodies(surface: Taken) -> Iterator[dict[str, Any]]:
    """Requests with the mark in one place each: every field of the type, and every field that is let through without one."""
    for whole in marked_fields(surface.type, 0):
        yield {**surface.least, **whole, "model": "m"}
    for name in surface.vendor_fields:
        for value in ANYTHING:
            yield {**surface.least, name: value}


def marks(value: Any) -> int:
    return sum(text.count(MARK) for text in tokens.strings(value))


def carried(found: Leaving, body: dict[str, Any]) -> int:
    """Marks inside bytes that are called unreadable."""
    inside = 0
    for opaque in found.opaque:
        value = at(body, opaque.path)
        for name, key in (("image_url", "url"), ("input_audio", "data"), ("file", "file_data")):
            if opaque.in_part and value.get("type") == name:
                inside += marks(value[name].get(key, ""))
        inside += 0 if opaque.in_part else marks(value)
    return inside


@pytest.mark.parametrize("path", SURFACES)
def test_no_field_passes_unread(path: str) -> None:
    """Whatever a surface takes with the mark in it: each mark that would leave is in a text that is read, or in unreadable bytes.

    Not one field is named here: they come from the request's type and from the list of what else is let through.
    """
    surface = SURFACES[path]
    left = set()
    for given_body in bodies(surface):
        try:
            body = surface.parse(json.dumps(given_body).encode())
        except BadRequest:
            continue
        found = leaving(body)
        read = [leaf for leaf in (*found.texts, *found.loose) if MARK in leaf.text]
        assert sum(leaf.text.count(MARK) for leaf in read) + carried(found, body) == marks(body), given_body
        left |= {name for name, value in body.items() if marks(value)}
    assert left >= {"messages", "tools", "response_format", "stop", "prediction", "guided_json"} or left == {"input"}


def messages_with_marks() -> list[dict[str, Any]]:
    return [
        {"role": "system", "content": MARK},
        {"role": "developer", "content": [{"type": "text", "text": MARK}]},
        {"role": "user", "content": MARK, "name": MARK},
        {"role": "assistant", "content": None, "refusal": MARK, "audio": {"id": MARK}},
        {
            "role": "assistant",
            "tool_calls": [{"id": MARK, "type": "function", "function": {"name": MARK, "arguments": MARK}}],
        },
        {"role": "tool", "tool_call_id": MARK, "content": MARK},
        {"role": "function", "name": MARK, "content": MARK},
        {"role": "user", "content": [{"type": "file", "file": {"filename": MARK, "file_data": MARK, MARK: MARK}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": MARK}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": MARK}}]},
    ]  # fmt: skip


@pytest.mark.parametrize("message", messages_with_marks(), ids=lambda message: str(message)[:60])
def test_every_place_of_a_message_is_read(message: dict[str, Any]) -> None:
    body = chat_request.parse(json.dumps({"model": "m", "messages": [message]}).encode(), Limits()).body
    found = leaving(body)
    read = sum(leaf.text.count(MARK) for leaf in (*found.texts, *found.loose))
    assert read + carried(found, body) == marks(body) > 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["messages", "tools", "input", "metadata"]), JSON))
def test_whatever_the_shape_every_text_is_read_or_called_unreadable(body: dict[str, Any]) -> None:
    found = leaving(body)
    read = {leaf.text for leaf in (*found.texts, *found.loose)}
    unread = {text for opaque in found.opaque for text in tokens.strings(at(body, opaque.path))}
    assert {text for value in body.values() for text in tokens.strings(value)} - WORDS - {""} <= read | unread
    assert all(at(body, leaf.path) == leaf.text for leaf in found.texts)


# ── what is known of each text ──────────────────────────────────────────────────────────────────────────────────────────


def turns(roles: str) -> list[dict[str, Any]]:
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": names[letter], "content": "글"} for letter in roles]


# Roles of a conversation (s, u, a, t), and where its newest turn begins.
@pytest.mark.parametrize(
    ("roles", "start"),
    [
        ("u", 0),
        ("su", 0),
        ("suau", 3),
        ("suauu", 3),
        ("suat", 0),
        ("suatatu", 5),
        ("suaua", 3),
        ("suauatat", 3),
        ("a", 0),
        ("s", 0),
        ("", 0),
    ],
)
def test_where_the_newest_turn_begins(roles: str, start: int) -> None:
    assert newest_turn(turns(roles)) == start


def test_instructions_tools_and_formats_are_never_history() -> None:
    body = {
        "messages": [*turns("suau"), {"role": "system", "content": "뒤의 지시"}],
        "tools": [{"type": "function", "function": {"name": "조회", "description": "설명"}}],
        "stop": ["끝"],
    }
    assert [(leaf.path, leaf.role, leaf.newest) for leaf in leaving(body).texts] == [
        (("messages", 0, "content"), "system", True),
        (("messages", 1, "content"), "user", False),
        (("messages", 2, "content"), "assistant", False),
        (("messages", 3, "content"), "user", True),
        (("messages", 4, "content"), "system", True),
        (("tools", 0, "function", "name"), "", True),
        (("tools", 0, "function", "description"), "", True),
        (("stop", 0), "", True),
    ]


def test_a_field_a_caller_named_labels_what_stands_in_it() -> None:
    body = {"prediction": {"계좌": ["123-456"], "표": {"content": "값"}}, "guided_json": {"주민번호": 8503122345678}}
    found = leaving(body)
    assert [(leaf.text, leaf.label) for leaf in found.texts] == [("123-456", "계좌"), ("값", "표")]
    assert [(leaf.text, leaf.label, leaf.maskable) for leaf in found.loose] == [
        ("계좌", "", False),
        ("표", "", False),
        ("주민번호", "", False),
        ("8503122345678", "주민번호", False),
    ]


# What cannot be read as text, and where it stands.
@pytest.mark.parametrize(
    ("body", "opaque"),
    [
        ({"input": [1, 2, 3]}, [("/input", "tokens", False)]),
        ({"input": [[1, 2], [3]]}, [("/input", "tokens", False)]),
        ({"input": ["글", "둘"]}, []),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,A"}}]}]},
            [("/messages/0/content/0", "image", True)],
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
            [("/messages/0/content/0", "file", True)],
        ),
        ({"metadata": {"a": "data:text/plain,850312"}}, [("/metadata/a", "data", False)]),
        ({"metadata": {"a": " DATA:;base64,ODUw"}}, [("/metadata/a", "data", False)]),
        ({"metadata": {"a": "data: 850312-2345678"}}, []),
    ],
)  # fmt: skip
def test_what_is_called_unreadable(body: dict[str, Any], opaque: list[tuple[str, str, bool]]) -> None:
    assert [(pointer(one.path), one.what, one.in_part) for one in leaving(body).opaque] == opaque


def test_other_values_are_put_into_a_copy() -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "stop": ["x", "y"]}
    before = json.dumps(body)
    other = replaced(body, {("messages", 0, "content", 0, "text"): "b", ("stop", 1): "z"})
    assert json.dumps(body) == before
    assert other == {"messages": [{"role": "user", "content": [{"type": "text", "text": "b"}]}], "stop": ["x", "z"]}


def test_a_pointer_is_escaped_as_rfc_6901_says() -> None:
    assert pointer(("metadata", "a/b~c", 0)) == "/metadata/a~1b~0c/0"
