"""What may still be spent under each quota of these scopes, now?

columns: scope, period label, kind, limit, used, held (micro-won), hard

"Reserved" stands apart from "spent": a hold is a ceiling that mostly comes back.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, TextClause, bindparam, text

from billing.periods import Periods
from billing.quota import Quota, Standing

_QUERY = """
SELECT q.scope, q.period, q.amount, q.hard, coalesce(c.posted, 0), coalesce(c.held, 0)
FROM quota q LEFT JOIN counter c ON c.scope = q.scope
     AND c.period = CASE q.period WHEN 'day' THEN :day WHEN 'month' THEN :month ELSE :year END
WHERE q.amount IS NOT NULL AND q.id IN (SELECT max(id) FROM quota {among} GROUP BY scope, period)
ORDER BY q.scope, q.period
"""

_EVERY = text(_QUERY.replace("{among}", ""))
_AMONG = text(_QUERY.replace("{among}", "WHERE scope IN :scopes")).bindparams(bindparam("scopes", expanding=True))


def standings(connection: Connection, scopes: Sequence[str], periods: Periods) -> list[Standing]:
    """One per quota in force; a scope without quotas has none."""
    return _standings(connection, _AMONG, periods, scopes=list(scopes))


def every(connection: Connection, periods: Periods) -> list[Standing]:
    """One per quota in force, of any scope."""
    return _standings(connection, _EVERY, periods)


def _standings(connection: Connection, query: TextClause, periods: Periods, **more: object) -> list[Standing]:
    return [
        Standing(Quota(scope, period, amount, bool(hard)), periods.label(period), posted, held)
        for scope, period, amount, hard, posted, held in connection.execute(query, {**periods._asdict(), **more})
    ]
