"""What may still be spent under each quota of these scopes, now?

columns: scope, period label, kind, limit, used, held (micro-won), hard

"Reserved" stands apart from "spent": a hold is a ceiling that mostly comes back.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, text

from billing.periods import Periods
from billing.quota import Quota, Standing

_QUOTAS = text(
    "SELECT scope, period, amount, hard FROM quota WHERE amount IS NOT NULL AND scope IN :scopes AND id IN "
    "(SELECT max(id) FROM quota WHERE scope IN :scopes GROUP BY scope, period) ORDER BY scope, period"
).bindparams(bindparam("scopes", expanding=True))

_COUNTERS = text(
    "SELECT scope, period, posted, held FROM counter WHERE scope IN :scopes AND period IN :periods"
).bindparams(bindparam("scopes", expanding=True), bindparam("periods", expanding=True))


def standings(connection: Connection, scopes: Sequence[str], periods: Periods) -> list[Standing]:
    """One per quota in force; a scope without quotas has none."""
    quotas = [
        Quota(scope, period, amount, bool(hard))
        for scope, period, amount, hard in connection.execute(_QUOTAS, {"scopes": list(scopes)})
    ]
    labels = [periods.day, periods.month, periods.year]
    counters = {
        (scope, period): (posted, held)
        for scope, period, posted, held in connection.execute(_COUNTERS, {"scopes": list(scopes), "periods": labels})
    }
    found: list[Standing] = []
    for quota in quotas:
        label = periods.label(quota.period)
        posted, held = counters.get((quota.scope, label), (0, 0))
        found.append(Standing(quota, label, posted, held))
    return found


def every(connection: Connection, periods: Periods) -> list[Standing]:
    """One per quota in force, of any scope."""
    scopes = [scope for (scope,) in connection.execute(text("SELECT DISTINCT scope FROM quota ORDER BY scope"))]
    return standings(connection, scopes, periods) if scopes else []
