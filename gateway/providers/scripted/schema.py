"""A small value for any JSON schema: what a practice model answers where a form is asked for."""

from __future__ import annotations

import math
import re
import re._parser as _regex  # type: ignore[import-not-found]  # the one regular expression parser there is, not in typeshed
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.providers.scripted.script import Rejected
from gateway.providers.scripted.text import LONG


def smallest(schema: Any) -> Any:
    """A small JSON value that satisfies `schema`: required properties only, first alternatives, shortest arrays.

    Follows local `$ref`s and writes strings to a `pattern` without look-around. Raises Rejected for a schema that only an
    endless or a very large value satisfies: schemas come from callers, and this runs in the gateway's own process.
    """
    return _Sample(schema).of(schema, 0)


class _Sample:
    """One walk over one schema, of bounded depth, number of values and length of strings."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = 5_000

    def of(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if depth > 40 or self._left < 0:
            raise Rejected(
                "The schema requires a value without end, or one too large to practise with.", "response_format"
            )
        if not isinstance(schema, dict):
            return {}
        if "$ref" in schema:
            return self.of(self._resolve(str(schema["$ref"])), depth + 1)
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return schema["enum"][0]
        for word in ("anyOf", "oneOf"):
            if isinstance(schema.get(word), list) and schema[word]:
                rest = {key: value for key, value in schema.items() if key != word}
                return self._first_possible([self._merged(rest, option) for option in schema[word]], depth)
        if isinstance(schema.get("allOf"), list):
            whole = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                whole = self._merged(whole, part)
            return self.of(whole, depth + 1)
        return self._of_type(schema, depth)

    def _resolve(self, reference: str) -> Any:
        target = self._root
        for name in reference.removeprefix("#").strip("/").split("/"):
            if name:
                key = name.replace("~1", "/").replace("~0", "~")
                target = target.get(key, {}) if isinstance(target, dict) else {}
        return target

    def _merged(self, base: Mapping[str, Any], part: Any) -> dict[str, Any]:
        if isinstance(part, dict) and "$ref" in part and base:
            part = self._resolve(str(part["$ref"]))
        if not isinstance(part, dict):
            return dict(base)
        whole = {**base, **part}
        if isinstance(base.get("properties"), dict) and isinstance(part.get("properties"), dict):
            whole["properties"] = {**base["properties"], **part["properties"]}
        if isinstance(base.get("required"), list) and isinstance(part.get("required"), list):
            whole["required"] = [*base["required"], *part["required"]]
        return whole

    def _first_possible(self, options: Sequence[Any], depth: int) -> Any:
        # A recursive type ends in one of its later alternatives.
        for option in options[:-1]:
            try:
                return self.of(option, depth + 10)
            except Rejected:
                continue
        return self.of(options[-1], depth + 10)

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list) and kind:
            return self._first_possible([{**schema, "type": one} for one in kind], depth)
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema, depth)
        if kind == "array" or (kind is None and "items" in schema):
            return self._array(schema, depth)
        if kind in {"integer", "number"}:
            return _number(schema, whole=kind == "integer")
        if kind == "boolean":
            return True
        return None if kind == "null" else self._string(schema)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        known = schema.get("properties")
        required = schema.get("required")
        known = known if isinstance(known, dict) else {}
        names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        return {name: self.of(known.get(name, {}), depth + 1) for name in names}

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        first = schema.get("prefixItems")
        found = [self.of(item, depth + 1) for item in first] if isinstance(first, list) else []
        least = _count(schema, "minItems", 0)
        while len(found) < least:
            found.append(self.of(schema.get("items", {}), depth + 1))
        return found

    def _string(self, schema: Mapping[str, Any]) -> str:
        shortest, longest = _count(schema, "minLength", 0), _count(schema, "maxLength", None)
        self._left -= shortest // 10
        if shortest > LONG:
            raise Rejected("The schema requires a string too long to practise with.", "response_format")
        if isinstance(schema.get("pattern"), str):
            return _matching(schema["pattern"])
        fixed = _FORMATS.get(str(schema.get("format")))
        return fixed or "practice".ljust(shortest, "x")[:longest]


def _count(schema: Mapping[str, Any], name: str, default: int | None) -> Any:
    value = schema.get(name)
    return int(value) if isinstance(value, int | float) else default


def _limit(schema: Mapping[str, Any], name: str) -> float | None:
    value = schema.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number(schema: Mapping[str, Any], *, whole: bool) -> float:
    """Zero where allowed, else the nearest bound, on the grid of `multipleOf`."""
    step = _limit(schema, "multipleOf") or (1 if whole else 0)
    low, high = _limit(schema, "minimum"), _limit(schema, "maximum")
    above, below = _limit(schema, "exclusiveMinimum"), _limit(schema, "exclusiveMaximum")
    if above is not None and (low is None or above >= low):
        low = (math.floor(above / step) + 1) * step if step else _between(above, high if below is None else below)
    if below is not None and (high is None or below <= high):
        high = (math.ceil(below / step) - 1) * step if step else _between(low, below)
    value: float = 0
    if low is not None and low > 0:
        value = math.ceil(low / step) * step if step else low
    elif high is not None and high < 0:
        value = math.floor(high / step) * step if step else high
    return int(value) if whole else value


def _between(low: float | None, high: float | None) -> float:
    if low is None:
        return (high or 0) - 1
    return low + 1 if high is None else (low + high) / 2


_FORMATS = {
    "date": "2026-01-02",
    "date-time": "2026-01-02T03:04:05Z",
    "time": "03:04:05Z",
    "duration": "P1D",
    "email": "practice@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
}


def _matching(pattern: str) -> str:
    """A short string the pattern matches. Written from the parsed pattern and never by trying: matching can take forever."""
    try:
        tree = _regex.parse(pattern)
        return _written(tree, {}, 1_000)
    except (re.error, OverflowError, RecursionError):
        return "practice"


def _written(tree: Any, groups: dict[int, str], room: int) -> str:
    text = ""
    for operation, value in tree:
        name = str(operation)
        if name in {"LITERAL", "NOT_LITERAL"}:
            text += chr(value) if name == "LITERAL" else _letter([("NEGATE", None), ("LITERAL", value)])
        elif name in {"IN", "ANY"}:
            text += _letter(value or [])
        elif name == "BRANCH":
            text += _written(value[1][0], groups, room - len(text))
        elif name == "SUBPATTERN":
            part = _written(value[-1], groups, room - len(text))
            if value[0] is not None:
                groups[value[0]] = part
            text += part
        elif name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
            times = min(value[0], room)
            # Once more than needed where that is what makes the text anything at all.
            part = _written(value[2], groups, room // max(1, times))
            text += part * (times or (1 if value[1] and not text else 0))
        elif name == "ATOMIC_GROUP":
            text += _written(value, groups, room - len(text))
        elif name == "GROUPREF":
            text += groups.get(value, "")
        if len(text) > room:
            raise OverflowError("the pattern asks for a longer string than practice needs")
    return text


_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "DIGIT": str.isdigit,
    "SPACE": str.isspace,
    "WORD": lambda letter: letter.isalnum() or letter == "_",
}


def _letter(choices: Any) -> str:
    """A character of a set as the regular expression parser gives it; an empty set stands for any character."""
    items = [(str(operation), value) for operation, value in choices]
    negated = bool(items) and items[0][0] == "NEGATE"
    wanted = [(name, value) for name, value in items if name != "NEGATE"]

    def holds(letter: str) -> bool:
        return any(_holds(letter, name, value) for name, value in wanted) != negated

    first = [chr(value if name == "LITERAL" else value[0]) for name, value in wanted if name in {"LITERAL", "RANGE"}]
    return next((letter for letter in [*"a0A -_.가", *first] if not items or holds(letter)), "a")


def _holds(letter: str, name: str, value: Any) -> bool:
    if name == "LITERAL":
        return bool(ord(letter) == value)
    if name == "RANGE":
        return bool(value[0] <= ord(letter) <= value[1])
    kind = str(value).removeprefix("CATEGORY_")
    return _CATEGORIES[kind.removeprefix("NOT_")](letter) != kind.startswith("NOT_")
