"""What every usage of a month was, as its provider stated it: enough to rate it again.

columns: the event's id and what was booked for it; the vendor's usage and what it was read with; whose prices counted, and when
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from billing.periods import from_us
from billing.rate import Recorded

_QUERY = text("""
SELECT u.id, h.created_at, h.family, h.price_key, u.deployment, u.destination, u.provider, u.upstream_model, u.raw_usage,
       u.usage_context, u.currency, u.amount_ticks, u.quality, u.extractor, u.price_version
FROM usage_event u JOIN hold h ON h.id = u.id
WHERE u.service_month = :month AND u.raw_usage IS NOT NULL AND u.id > :after
ORDER BY u.id LIMIT :limit
""")
_BATCH = 1000


def recorded(connection: Connection, month: str) -> Iterator[Recorded]:
    """Every usage of the month (YYYY-MM) that a provider stated, in the order of their ids; read in batches."""
    after = ""
    while rows := connection.execute(_QUERY, {"month": month, "after": after, "limit": _BATCH}).all():
        for row in rows:
            yield Recorded(
                row.id,
                from_us(row.created_at),
                row.family,
                row.price_key,
                row.deployment.partition("/")[2],
                row.destination == "inside",
                row.provider,
                row.upstream_model,
                row.raw_usage,
                row.usage_context,
                row.currency,
                row.amount_ticks,
                row.quality,
                row.extractor,
                row.price_version,
            )
        after = rows[-1].id
