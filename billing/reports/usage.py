"""Who used how much in a month, in the organisation's calendar?

columns: key (department id, user id or public model name), requests, tokens, won (micro-won, tax included)

Requests count each request once, however many attempts it took. Tokens are those of every outcome. Won is what the budgets
carried: usage of the month, less what was reversed in it. The rows add up to the total because they are the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, text

By = Literal["department", "user", "model"]

_COLUMN = {"department": "department_id", "user": "user_id", "model": "model_served"}

_QUERY = """
SELECT key, sum(requests) AS requests, sum(tokens) AS tokens, sum(won) AS won FROM (
  SELECT {column} AS key, count(DISTINCT request_id) AS requests, sum(tokens) AS tokens,
         sum(coalesce(won, 0) + coalesce(vat, 0)) AS won
  FROM usage_event WHERE service_month = :month AND (CAST(:user_id AS text) IS NULL OR user_id = :user_id) GROUP BY {column}
  UNION ALL
  SELECT u.{column} AS key, 0, 0, sum(j.won)
  FROM journal j JOIN usage_event u ON u.id = j.event_id
  WHERE j.kind = 'reversal' AND j.month = :month AND (CAST(:user_id AS text) IS NULL OR u.user_id = :user_id) GROUP BY u.{column}
) AS parts GROUP BY key ORDER BY sum(won) DESC, key
"""

_STATEMENTS = {by: text(_QUERY.replace("{column}", column)) for by, column in _COLUMN.items()}


@dataclass(frozen=True, slots=True)
class Row:
    key: str
    requests: int
    tokens: int
    won: int


def rows(connection: Connection, month: str, by: By = "department", *, user_id: str | None = None) -> list[Row]:
    """The month's rows, dearest first; `user_id` narrows them to one person."""
    found = connection.execute(_STATEMENTS[by], {"month": month, "user_id": user_id})
    return [Row(key, int(requests), int(tokens or 0), int(won or 0)) for key, requests, tokens, won in found]
