"""What becomes of holds whose process died. Pure.

    open   nothing had left yet            void      the whole hold is given back
    sent   a checkpoint was written        expired   the prompt and what the checkpoint saw, estimated
    sent   no checkpoint                   expired   the prompt, estimated, and a case: nobody knows what was generated

Either way the budget is free again within a minute, every request an upstream saw has its one row, and nothing we had to
guess passes for exact. Whoever seemed dead may only have been slow: the operations say how the hold was `Seen`, and change
nothing when its owner has moved it or renewed its lease since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from msgspec.structs import replace

from billing.card import RateCard
from billing.holds import Case, Dimensions, Hold, Place, Seen, Settle, Void
from billing.periods import Periods
from billing.settlement import estimate, settle


def resolve(row: Mapping[str, Any], card: RateCard | None, now: int) -> Void | Settle:
    """The operation that resolves a lapsed hold, from its stored row and the prices of its moment."""
    hold = hold_from(row)
    seen = Seen(row["state"], row["lease_until"])
    if row["state"] == "open":
        return Void(hold, "expired", now, seen)
    delivered = orjson.loads(row["checkpoint"]) if row["checkpoint"] else None
    output = delivered["output_tokens"] if delivered else 0
    usage = estimate(hold.input_estimate, output, "the gateway stopped")
    booking = settle(
        hold, usage, usage, card, outcome="expired", started_at=row["sent_at"] or hold.created_at, ended_at=now
    )
    if delivered is None:
        unknown = Case("crash_unknown", hold.id, orjson.dumps({"held": hold.amount}).decode(), ours=booking.total)
        booking = replace(booking, cases=(*booking.cases, unknown))
    return replace(booking, seen=seen)


def hold_from(row: Mapping[str, Any]) -> Hold:
    """The hold a stored row stands for."""
    who = Dimensions(
        principal=row["principal"],
        user_id=row["user_id"],
        department_id=row["department_id"],
        key_id=row["key_id"],
        scopes=tuple(orjson.loads(row["scopes"])),
        periods=Periods(row["day"], row["month"], row["year"]),
        service_date=row["day"],
        surface=row["surface"],
        stream=bool(row["stream"]),
        purpose=row["purpose"],
        project=row["project"],
        grade=row["grade"],
        model_requested=row["model_requested"],
    )
    where = Place(
        model=row["model_resolved"],
        deployment=row["deployment"],
        provider=row["provider"],
        family=row["family"],
        destination=row["destination"],
        creditor=row["creditor"],
        price_key=row["price_key"],
        price_version=row["price_version"],
        fx_rate_e6=row["fx_rate_e6"],
        fx_provisional=bool(row["fx_provisional"]),
        vat_bp=row["vat_bp"],
        vat_treatment=row["vat_treatment"],
    )
    return Hold(
        request_id=row["request_id"],
        attempt=row["attempt"],
        who=who,
        where=where,
        amount=row["amount"],
        output_cap=row["output_cap"],
        input_bound=row["input_bound"],
        input_estimate=row["input_estimate"],
        created_at=row["created_at"],
    )
