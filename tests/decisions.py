"""Decisions of the filters, as tests need them: short to write, and like the ones a server keeps."""

from __future__ import annotations

from itertools import count

from ledgers import SEOUL

from gateway.evidence.records import Evidence, Item

_NUMBERS = count(1)


def item(kind: str = "RRN", action: str = "block", count: int = 1, **more: object) -> Item:
    """Findings of one kind that are alike."""
    given = {"rule": f"{kind.lower()}.shape", "band": "sure", "newest": True, "digests": ("ab" * 16,), **more}
    return Item(kind=kind, action=action, count=count, **given)  # type: ignore[arg-type]


def decision(*items: Item, at: int, **more: object) -> Evidence:
    """A decision about a message of Kim's of the water works, to a model abroad."""
    number = next(_NUMBERS)
    given = {
        "id": f"decision-{number:06d}",
        "at": at,
        "month": SEOUL.periods(at).month,
        "stage": "input",
        "request_id": f"request-{number:06d}",
        "surface": "chat",
        "user_id": "kim",
        "department_id": "water",
        "key_id": "k1",
        "model": "plain",
        "destination": "foreign",
        "declared": "O",
        "grade": "O",
        "action": "block",
        "rule": "actions:RRN",
        "version": "v1",
        "seen": 120,
        "items": items,
        **more,
    }
    return Evidence(**given)  # type: ignore[arg-type]
