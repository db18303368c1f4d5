"""A first start leaves somebody to sign in as, exactly once, and a start that is cut short can be finished."""

from __future__ import annotations

import stat

import pytest
from clock import Clock
from sqlalchemy import Engine

from gateway.directory import demo
from gateway.directory.directory import Directory
from gateway.directory.ids import uuid7
from gateway.directory.records import ROLES
from gateway.directory.sessions import Sessions
from gateway.principal import Authenticator
from gateway.settings import Settings


async def test_every_account_can_sign_in_and_the_key_works(
    engine: Engine, settings: Settings, clock: Clock, directory: Directory
) -> None:
    seeded = demo.seed(engine, settings, clock, uuid7)
    assert seeded is not None
    assert [account["role"] for account in seeded.accounts] == list(ROLES)
    assert seeded.department_id == directory.department("DEMO").id
    sessions = Sessions(engine, settings.secrets.session_key.get_secret_value(), clock, uuid7)
    authenticator = Authenticator(engine, settings, clock)
    for account in seeded.accounts:
        token = sessions.open(account["email"], account["password"], "bearer", origin="127.0.0.1").token
        principal = await authenticator.authenticate([(b"authorization", b"Bearer " + token.encode())])
        assert (principal.roles, principal.pledged, principal.department_code) == ((account["role"],), True, "DEMO")
    principal = await authenticator.authenticate([(b"x-api-key", seeded.api_key.encode())])
    assert principal.email == "staff@demo.example"
    assert seeded.api_key not in repr(seeded)
    assert seeded.accounts[0]["password"] not in repr(seeded)


def test_it_happens_once(engine: Engine, settings: Settings, clock: Clock) -> None:
    first = demo.seed(engine, settings, clock, uuid7)
    again = demo.seed(engine, settings, clock, uuid7)  # cut short: first-run.json was never written
    assert again == first
    (settings.data / demo.FIRST_RUN).write_text("{}")
    assert demo.seed(engine, settings, clock, uuid7) is None
    assert not (settings.data / demo.PENDING).exists()


def test_passwords_wait_in_a_private_file(engine: Engine, settings: Settings, clock: Clock) -> None:
    demo.seed(engine, settings, clock, uuid7)
    assert stat.S_IMODE((settings.data / demo.PENDING).stat().st_mode) == 0o600


def test_where_people_are_already_nothing_is_added(
    city: Directory, engine: Engine, settings: Settings, clock: Clock
) -> None:
    assert demo.seed(engine, settings, clock, uuid7) is None


def test_a_start_that_fails_before_the_commit_leaves_nobody(engine: Engine, settings: Settings, clock: Clock) -> None:
    """The private file cannot be written, so the accounts are not made: the next start makes them anew."""
    (settings.data / demo.PENDING).mkdir()
    with pytest.raises(OSError, match=demo.PENDING):
        demo.seed(engine, settings, clock, uuid7)
    (settings.data / demo.PENDING).rmdir()
    assert demo.seed(engine, settings, clock, uuid7) is not None
