"""What commands share when they touch the ledger: one operation, one audit record, names for ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from billing.book import Book, LedgerUnavailable
from billing.holds import Op
from billing.periods import Calendar
from billing.quota import Standing
from billing.reports import standing
from billing.store import Tx
from gateway import audit as records
from gateway.cli.shell import Shell
from gateway.database import reading
from gateway.directory import store
from gateway.directory.ids import now_us, uuid7
from gateway.errors import Unavailable

T = TypeVar("T")


def apply(shell: Shell, op: Op) -> Any:
    """Book one operation beside whatever server is running; raises what the book refused."""
    book = Book(shell.engine, uuid7)
    try:
        (answer,) = book.apply([op])
    except LedgerUnavailable:
        raise _away() from None
    finally:
        book.close()
    if isinstance(answer, BaseException):
        raise answer
    return answer


def transact(shell: Shell, work: Callable[[Tx], T]) -> T:
    """One short transaction of other work on the ledger."""
    book = Book(shell.engine, uuid7)
    try:
        answer: T = book.transact(work)
    except LedgerUnavailable:
        raise _away() from None
    finally:
        book.close()
    return answer


def _away() -> Unavailable:
    return Unavailable(
        "The ledger's database is busy or away; nothing was changed. Try again. / 잠시 후 다시 시도하십시오."
    )


def audit(shell: Shell, action: str, about: str, detail: Mapping[str, Any]) -> None:
    with shell.engine.begin() as connection:
        store.append_audit(connection, records.Record(uuid7(), now_us(), shell.by, action, about, detail))


def calendar(shell: Shell) -> Calendar:
    start = shell.settings.organisation.fiscal_year_starts
    return Calendar(shell.settings.zone, (int(start[:2]), int(start[3:])))


def all_standings(shell: Shell) -> list[Standing]:
    with reading(shell.engine).connect() as connection:
        return standing.every(connection, calendar(shell).periods(now_us()))


def said(shell: Shell, scope: str) -> str:
    """`department DEMO`, `user a@b.kr` or `organisation`."""
    kind, _, id_ = scope.partition(":")
    return f"{kind} {names(shell, kind, [id_]).get(id_, id_)}" if id_ else kind


def names(shell: Shell, kind: str, ids: Iterable[str]) -> dict[str, str]:
    """id → what people call it: a department's code, a person's e-mail address."""
    wanted = list(ids)
    with reading(shell.engine).connect() as connection:
        if kind == "department":
            return {id_: found.code for id_, found in store.departments_by_id(connection, wanted).items()}
        people = {id_: store.person_by_id(connection, id_) for id_ in wanted}
        return {id_: person.email for id_, person in people.items() if person is not None}
