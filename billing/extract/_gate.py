"""The consistency gate: every number a vendor states passes here before it counts.

A family reads its own fields with these and raises `Inconsistent` where they do not fit together; `extract` turns that into a
usage in suspense. Absent and null are "not stated"; 0 is a statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from billing.money import round_half_even

Block = Mapping[str, Any]
_TICKS_PER_USD = 10**10
# More than a year of the busiest city: a count beyond it is a fault, and the ledger's columns must hold count × price.
_ABSURD = 10**12


class Inconsistent(Exception):
    """The numbers cannot be booked. The message is the reason; its first word says which kind:

    `missing` (not stated), `malformed` (no number, no object), `inconsistent` (numbers that contradict each other),
    `unknown` (something was used that no meter stands for; `reported`, the vendor's own charge, may still cover it).
    """

    reported: int | None = None


def whole(value: Any, name: str) -> int:
    """A stated quantity. Raises Inconsistent for anything but a whole number that is not negative (12.0 is 12)."""
    if type(value) is not int:
        if type(value) not in (float, Decimal):
            raise Inconsistent(f"malformed: {name} is no number")
        # The bounds come first: a hostile exponent must not become a number of a billion digits.
        if not -_ABSURD <= value <= _ABSURD or value % 1:
            raise Inconsistent(f"malformed: {name} is no whole number of ordinary size")
    if value < 0:
        raise Inconsistent(f"inconsistent: {name} is negative")
    if value > _ABSURD:
        raise Inconsistent(f"inconsistent: {name} is absurd")
    return int(value)


def count(block: Block, name: str) -> int | None:
    """The quantity under `name`; None where the vendor does not state it."""
    value = block.get(name)
    return None if value is None else whole(value, name)


def needed(block: Block, name: str) -> int:
    """The quantity under `name`. Raises Inconsistent when it is not stated."""
    value = count(block, name)
    if value is None:
        raise Inconsistent(f"missing: {name}")
    return value


def part(block: Block, name: str) -> Block:
    """The object under `name`; empty where there is none. Raises Inconsistent when it is something else."""
    value = block.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Inconsistent(f"malformed: {name} is no object")
    return value


def items(block: Block, name: str) -> list[Block]:
    """The objects listed under `name`; empty where there are none. Raises Inconsistent when it is something else."""
    value = block.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise Inconsistent(f"malformed: {name} is no list of objects")
    return value


def within(parts: Mapping[str, int], total: int, name: str) -> int:
    """What is left of `total` without its parts. Raises Inconsistent when they are more than the whole."""
    rest = total - sum(parts.values())
    if rest < 0:
        raise Inconsistent(f"inconsistent: {' + '.join(parts)} exceed {name}")
    return rest


def no_unknown_tokens(block: Block, known: Iterable[str], name: str) -> None:
    """Raises Inconsistent when a breakdown counts a kind of token nobody here knows the price of."""
    for key, value in block.items():
        if key not in known and isinstance(key, str) and key.endswith("_tokens") and value:
            raise Inconsistent(f"unknown: {name}.{key}")


def only_used(meters: Mapping[str, int | None], *, always: tuple[str, ...] = ("input", "output")) -> dict[str, int]:
    """The meters that count something, and those that were stated to be 0 although an answer always has them."""
    return {
        meter: quantity for meter, quantity in meters.items() if quantity or (quantity is not None and meter in always)
    }


def reported_usd(value: Any, name: str) -> int | None:
    """A vendor's own charge in dollars → ticks of 1e-10, half-even. Raises Inconsistent unless it is a number ≥ 0."""
    if value is None:
        return None
    if type(value) not in (int, float, Decimal):
        raise Inconsistent(f"malformed: {name} is no number")
    # The shortest decimal that is this float is what the vendor wrote.
    number = Decimal(repr(value)) if type(value) is float else Decimal(value)
    if not number.is_finite() or number < 0 or number > _ABSURD:
        raise Inconsistent(f"inconsistent: {name} is no amount")
    if number.adjusted() < -30:
        return 0
    numerator, denominator = number.as_integer_ratio()
    return round_half_even(numerator * _TICKS_PER_USD, denominator)


def reported_ticks(value: Any, name: str) -> int | None:
    """A vendor's own charge already in 1e-10 USD."""
    return None if value is None else whole(value, name)


def agreed(one: int | None, other: int | None, name: str) -> int | None:
    """A number some vendors state in two places. A 0 beside a number is a field nobody filled in."""
    if one and other and one != other:
        raise Inconsistent(f"inconsistent: {name} is stated twice and differently")
    return one or other if one is not None and other is not None else (other if one is None else one)


def with_reasoning(prompt: int, completion: int, reasoning: int, total: int | None, *, outside: bool) -> int:
    """All output tokens, reasoning among them. The total decides where reasoning is; without one the vendor's habit does.

    Raises Inconsistent when neither place explains the total.
    """
    if total is None:
        inside = not outside
    elif total == prompt + completion:
        inside = True
    elif reasoning and total == prompt + completion + reasoning:
        inside = False
    else:
        raise Inconsistent("inconsistent: the total is not input + output, with or without reasoning")
    if inside and reasoning > completion:
        raise Inconsistent("inconsistent: reasoning exceeds the output")
    return completion if inside else completion + reasoning


def snake(block: Block) -> dict[str, Any]:
    """The same object with camelCase names as snake_case, two levels deep: that is as deep as vendors nest what counts."""
    return {_snake_name(name): _snake_value(value) for name, value in block.items()}


def _snake_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_snake_name(name): inner for name, inner in value.items()}
    if isinstance(value, list):
        return [_snake_value(item) if isinstance(item, Mapping) else item for item in value]
    return value


def _snake_name(name: Any) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in str(name)).lstrip("_")


def text(value: Any) -> str | None:
    """A non-empty string, or nothing."""
    return value if isinstance(value, str) and value else None
