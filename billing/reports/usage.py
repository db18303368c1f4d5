"""Who used how much in a month, in the organisation's calendar?

columns: key (department id, user id or public model name), requests, tokens, won (micro-won, tax included)

Requests count each request once, however many attempts it took, where its last attempt went. Tokens are those of every outcome.
Won is what the budgets carried: usage of the month, less what was reversed in it. However they are grouped, the rows add up to
the same total, because they are the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, TextClause, text

By = Literal["department", "user", "model"]

_COLUMN = {"department": "department_id", "user": "user_id", "model": "model_served"}

# `kind <> 'usage'` says nothing new: it is how the index of the few unusual journals is declared, and found.
_QUERY = """
SELECT key, sum(requests) AS requests, sum(tokens) AS tokens, sum(won) AS won FROM (
  SELECT u.{column} AS key, u.tokens, coalesce(u.won, 0) + coalesce(u.vat, 0) AS won,
         CASE WHEN u.attempt = max(u.attempt) OVER (PARTITION BY u.request_id) THEN 1 ELSE 0 END AS requests
  FROM usage_event u WHERE u.service_month = :month {of_one}
  UNION ALL
  SELECT u.{column} AS key, 0, j.won, 0
  FROM journal j JOIN usage_event u ON u.id = j.event_id
  WHERE j.kind <> 'usage' AND j.kind = 'reversal' AND j.month = :month {of_one}
) AS parts GROUP BY key ORDER BY sum(won) DESC, key
"""


def _statement(column: str, of_one: str) -> TextClause:
    return text(_QUERY.replace("{column}", column).replace("{of_one}", of_one))


_OF_ALL = {by: _statement(column, "") for by, column in _COLUMN.items()}
_OF_ONE = {by: _statement(column, "AND u.user_id = :user_id") for by, column in _COLUMN.items()}


@dataclass(frozen=True, slots=True)
class Row:
    key: str
    requests: int
    tokens: int
    won: int


def rows(connection: Connection, month: str, by: By = "department", *, user_id: str | None = None) -> list[Row]:
    """The month's rows, dearest first; `user_id` narrows them to one person."""
    if user_id is None:
        found = connection.execute(_OF_ALL[by], {"month": month})
    else:
        found = connection.execute(_OF_ONE[by], {"month": month, "user_id": user_id})
    return [Row(key, int(requests), int(tokens or 0), int(won or 0)) for key, requests, tokens, won in found]
