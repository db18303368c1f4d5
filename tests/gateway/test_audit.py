"""A record is the same bytes for the same deed, and names the person at the keyboard by the kernel's word."""

from __future__ import annotations

import getpass

import pytest

from gateway.audit import Actor, Record, operator


@pytest.mark.parametrize(
    ("detail", "written"),
    [
        ({}, "{}"),
        ({"new": "재무국", "old": None}, '{"new":"재무국","old":null}'),
        ({"old": None, "new": "재무국"}, '{"new":"재무국","old":null}'),
        ({"n": 1, "list": ["b", "a"]}, '{"list":["b","a"],"n":1}'),
    ],
)
def test_a_detail_is_canonical(detail: dict[str, object], written: str) -> None:
    assert Record("id", 0, Actor("os:t", "cli"), "a.b", "c:d", detail).detail_json() == written


def test_the_operator_is_who_the_process_runs_as() -> None:
    assert operator() == Actor(f"os:{getpass.getuser()}", "cli")
