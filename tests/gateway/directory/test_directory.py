"""Departments, people, roles, pledges and keys: what holds from when, who did it, and what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from clock import DAY, HOUR, Clock
from sqlalchemy import Engine

from gateway.audit import Actor
from gateway.database import reading
from gateway.directory import keys, store
from gateway.directory.directory import Directory
from gateway.directory.ids import uuid7
from gateway.directory.tables import api_key, audit, change, pledge_signature, pledge_text
from gateway.errors import BadRequest, NotFound, Refusal
from gateway.settings import Settings

KIM = "kim@city.example"


def path_codes(engine: Engine, directory: Directory, code: str, at: int) -> list[str]:
    with reading(engine).connect() as connection:
        path = store.path_to_root(connection, directory.department(code).id, at)
        names = store.departments_by_id(connection, path)
    return [names[id_].code for id_ in path]


def test_the_tree_is_dated(city: Directory, engine: Engine, by: Actor, clock: Clock) -> None:
    """A statement of last month is made with last month's departments."""
    before = clock()
    clock.advance(DAY)
    city.move_department("TAX", "CITY", by=by)
    assert path_codes(engine, city, "TAX", clock()) == ["TAX", "CITY"]
    assert path_codes(engine, city, "TAX", before) == ["TAX", "FIN", "CITY"]
    clock.advance(DAY)
    city.move_department("TAX", None, by=by)
    assert path_codes(engine, city, "TAX", clock()) == ["TAX"]
    assert path_codes(engine, city, "TAX", before) == ["TAX", "FIN", "CITY"]


def test_memberships_and_roles_are_dated(city: Directory, engine: Engine, by: Actor, clock: Clock) -> None:
    before = clock()
    kim = city.person(KIM).id
    clock.advance(DAY)
    city.move_user(KIM, "FIN", by=by)
    city.set_role(KIM, "manager", held=True, by=by)
    city.set_role(KIM, "staff", held=False, by=by)
    with reading(engine).connect() as connection:
        then, now = (store.identity(connection, kim, at) for at in (before, clock()))
    assert then is not None
    assert now is not None
    assert then.department is not None
    assert now.department is not None
    assert (then.department.code, then.roles) == ("TAX", ("staff",))
    assert (now.department.code, now.roles) == ("FIN", ("manager",))


@pytest.mark.parametrize(
    ("deed", "code"),
    [
        (lambda d, by: d.add_department("TAX", "다시", by=by), "department_exists"),
        (lambda d, by: d.add_department("A B", "이름", by=by), "invalid_code"),
        (lambda d, by: d.add_department("A\x00", "이름", by=by), "invalid_code"),
        (lambda d, by: d.add_department("NEW", "  ", by=by), "invalid_name"),
        (lambda d, by: d.add_department("NEW", "\x00", by=by), "invalid_name"),
        (lambda d, by: d.add_department("NEW", "이름", by=by, parent="NONE"), "not_found"),
        (lambda d, by: d.move_department("CITY", "TAX", by=by), "department_cycle"),
        (lambda d, by: d.move_department("CITY", "CITY", by=by), "department_cycle"),
        (lambda d, by: d.close_department("FIN", by=by), "department_in_use"),
        (lambda d, by: d.close_department("TAX", by=by), "department_in_use"),
        (lambda d, by: d.add_user(KIM.upper(), "TAX", ["staff"], by=by), "user_exists"),
        (lambda d, by: d.add_user("kim", "TAX", ["staff"], by=by), "invalid_email"),
        (lambda d, by: d.add_user("кim@city.example", "TAX", ["staff"], by=by), "invalid_email"),
        (lambda d, by: d.add_user("lee@city.example", "NONE", ["staff"], by=by), "not_found"),
        (lambda d, by: d.add_user("lee@city.example", "TAX", ["boss"], by=by), "unknown_role"),
        (lambda d, by: d.add_user("lee@city.example", "TAX", [], by=by), "unknown_role"),
        (lambda d, by: d.create_key("lee@city.example", by=by), "not_found"),
        (lambda d, by: d.import_key(KIM, "short", by=by), "invalid_key"),
        (lambda d, by: d.import_key(KIM, "hc_live_not-really-one-of-ours", by=by), "invalid_key"),
        (lambda d, by: d.revoke_key("hc_live_none", by=by), "not_found"),
        (lambda d, by: d.revoke_key("\x00", by=by), "not_found"),
        (lambda d, by: d.sign_pledge("lee@city.example", by=by), "not_found"),
        (lambda d, by: d.sign_shown(KIM, 1, by=by), "pledge_changed"),
    ],
)
def test_what_is_refused_leaves_no_trace(
    city: Directory, engine: Engine, by: Actor, deed: Callable[[Directory, Actor], object], code: str
) -> None:
    before = records(engine)
    with pytest.raises(Refusal) as caught:
        deed(city, by)
    assert caught.value.code == code
    assert caught.value.status in {400, 404}
    assert records(engine) == before


def test_a_closed_department_takes_nobody(city: Directory, by: Actor) -> None:
    city.move_user(KIM, "FIN", by=by)
    city.close_department("TAX", by=by)
    with pytest.raises(BadRequest, match="is closed"):
        city.add_user("lee@city.example", "TAX", ["staff"], by=by)


def records(engine: Engine) -> list[tuple[str, str, dict[str, Any]]]:
    with reading(engine).connect() as connection:
        rows = connection.execute(sa.select(audit).order_by(audit.c.at, audit.c.id)).all()
    return [(row.action, row.object, json.loads(row.detail)) for row in rows]


def test_every_deed_is_recorded_with_who_did_it_and_what_changed(
    city: Directory, engine: Engine, by: Actor, clock: Clock
) -> None:
    made = city.create_key(KIM, by=by, expires_at=clock.now + DAY)
    city.revoke_key(made.prefix, by=by)
    city.move_user(KIM, "FIN", by=Actor("it@city.example", "10.0.0.9"))
    city.set_role(KIM, "staff", held=True, by=by)  # so already: not a deed
    told = records(engine)
    assert [action for action, _, _ in told] == [
        *["department.add"] * 3,
        "user.add",
        "key.create",
        "key.revoke",
        "user.move",
    ]
    assert told[-1][1:] == (f"user:{KIM}", {"old": "TAX", "new": "FIN"})
    assert told[3][2] == {"department": "TAX", "roles": ["staff"], "signed": False}
    with reading(engine).connect() as connection:
        last = connection.execute(sa.select(audit).where(audit.c.action == "user.move")).one()
        everything = str(connection.execute(sa.select(audit)).all()) + str(connection.execute(sa.select(api_key)).all())
    assert (last.actor, last.origin) == ("it@city.example", "10.0.0.9")
    assert made.key not in everything
    assert made.key[20:40] not in everything


@pytest.mark.parametrize("table", [audit, pledge_text, pledge_signature], ids=lambda table: table.name)
@pytest.mark.parametrize("verb", ["update", "delete"])
def test_what_was_recorded_published_or_signed_stays(
    city: Directory, engine: Engine, by: Actor, table: sa.Table, verb: str
) -> None:
    city.publish_pledge("서약", "pledge", by=by)
    city.sign_pledge(KIM, by=by)
    column = table.primary_key.columns.values()[0]
    statement = sa.update(table).values({column.name: column}) if verb == "update" else sa.delete(table)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(statement)


def test_change_numbers_have_no_gaps_and_no_twins_whoever_writes(
    city: Directory, engine: Engine, settings: Settings, by: Actor
) -> None:
    """Four writers at once. A reader that has seen number n must have missed nothing up to n."""
    pepper = settings.secrets.pepper.get_secret_value()

    def work(name: str) -> None:
        mine = Directory(engine, pepper, Clock(), uuid7)
        for number in range(5):
            mine.add_department(f"{name}{number}", "부서", by=by)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ABCD"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine).connect() as connection:
        numbers = list(connection.scalars(sa.select(change.c.seq).order_by(change.c.seq)))
    assert numbers == list(range(1, 4 + 20 + 1))


def test_several_deeds_in_one_transaction_are_one(city: Directory, engine: Engine, by: Actor) -> None:
    def half_done() -> None:
        with engine.begin() as connection:
            joined = city.within(connection)
            joined.add_department("NEW", "새 부서", by=by)
            joined.add_user("lee@city.example", "NONE", ["staff"], by=by)

    with pytest.raises(NotFound):
        half_done()
    with pytest.raises(NotFound):
        city.department("NEW")


# ── pledges ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def pledge(engine: Engine, directory: Directory) -> tuple[bool, bool]:
    """(a signature is asked of Kim, it is there)"""
    state = directory.identity(directory.person(KIM).id).pledge
    return state.required, state.fulfilled


def test_a_pledge_is_asked_for_once_a_text_is_published(city: Directory, engine: Engine, by: Actor) -> None:
    assert pledge(engine, city) == (False, True)
    city.publish_pledge("서약 1", "pledge 1", by=by)
    assert pledge(engine, city) == (True, False)
    first = city.sign_pledge(KIM, by=by)
    assert pledge(engine, city) == (True, True)
    assert city.sign_pledge(KIM, by=by) == first  # a second time changes nothing
    city.publish_pledge("서약 2", "pledge 2", by=by)
    assert pledge(engine, city) == (True, False)
    text = city.pledge_text()
    assert text is not None
    assert (text.version, text.body_en) == (2, "pledge 2")


def test_paper_signed_before_the_first_text_counts_for_it(city: Directory, engine: Engine, by: Actor) -> None:
    city.add_user("lee@city.example", "TAX", ["staff"], by=by, signed=True)
    city.publish_pledge("서약 1", "pledge 1", by=by)
    assert city.identity(city.person("lee@city.example").id).pledge.fulfilled
    assert not city.identity(city.person(KIM).id).pledge.fulfilled


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_kept_as_a_digest_and_shown_by_its_ends(
    city: Directory, engine: Engine, settings: Settings, by: Actor, clock: Clock
) -> None:
    made = city.create_key(KIM, by=by)
    pepper = settings.secrets.pepper.get_secret_value()
    with reading(engine).connect() as connection:
        kept = store.key_by_digest(connection, keys.digest(pepper, made.key.encode()))
    assert kept is not None
    assert (kept.prefix, kept.last4) == (made.key[:12], made.key[-4:])
    assert made.key not in repr(made)
    assert made.expires_at is not None
    assert abs(made.expires_at - clock.now - 365 * DAY) < HOUR


def test_a_key_is_revoked_once_and_only_where_its_prefix_is_the_only_one(city: Directory, by: Actor) -> None:
    made = city.create_key(KIM, by=by)
    assert city.revoke_key(made.prefix, by=by).prefix == made.prefix
    with pytest.raises(BadRequest, match="revoked before"):
        city.revoke_key(made.prefix, by=by)
    for last in "ab":
        city.import_key(KIM, "site-key-0000000000000000000000000000000000000000000" + last, by=by)
    with pytest.raises(BadRequest, match="2 keys begin"):
        city.revoke_key("site-key-000", by=by)


def test_a_key_is_known_once(city: Directory, by: Actor) -> None:
    city.import_key(KIM, "My API Key", by=by)
    with pytest.raises(BadRequest, match="known already"):
        city.import_key(KIM, "My API Key", by=by)


def test_a_key_of_nobody_is_worth_nothing(city: Directory, engine: Engine) -> None:
    """The database holds the rule too, whoever writes to it."""
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(
            sa.insert(api_key).values(
                id="x", user_id="nobody", digest=b"d", prefix="p", last4="l", created_at=0, created_by="t"
            )
        )
