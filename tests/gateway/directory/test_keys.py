"""A key says what it is, tells a typo, and shows little of itself."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.directory import keys
from gateway.directory.ids import rfc3339, to_us, uuid7

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_the_shape() -> None:
    """8 characters of prefix, 43 of 256 random bits, 6 of a CRC-32 that anybody can recompute."""
    key = keys.generate()
    assert key.startswith("hc_live_")
    assert len(key) == 8 + 43 + 6
    check = 0
    for digit in key[-6:]:
        check = check * 62 + _DIGITS.index(digit)
    assert check == zlib.crc32(key[:-6].encode())


@given(st.integers(0, 62**6 - 1))
def test_base62_is_what_it_says(number: int) -> None:
    back = 0
    for digit in keys.base62(number, 6):
        back = back * 62 + _DIGITS.index(digit)
    assert back == number


@given(st.integers(0, 56), st.sampled_from(_DIGITS + "_-é "))
def test_one_wrong_character_is_noticed(position: int, character: str) -> None:
    key = keys.generate()
    wrong = key[:position] + character + key[position + 1 :]
    assert keys.well_formed(wrong) == (wrong == key)


@pytest.mark.parametrize(
    "key", ["", "hc_live_", "hc_live_" + "0" * 49, keys.generate() + "0", keys.generate("hc_sess_")]
)
def test_what_is_not_a_key(key: str) -> None:
    assert not keys.well_formed(key)


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("hc_live_" + "a" * 45 + "wxyz", ("hc_live_aaaa", "wxyz")),
        ("My API Key", ("My", "")),
        ("sk-" + "b" * 29, ("sk-bbbbb", "")),
    ],
)
def test_never_more_than_a_quarter_of_a_short_key_is_shown(key: str, shown: tuple[str, str]) -> None:
    assert keys.shown(key) == shown


@pytest.mark.parametrize(
    ("key", "fine"),
    [
        ("My API Key", True),
        ("sk-proj-1234567890", True),
        (keys.generate(), True),
        ("short", False),
        (" padded-key ", False),
        ("키키키키키키키키", False),
        ("with\nnewline", False),
        (keys.generate(keys.COOKIE_PREFIX), False),
        ("hc_sess_looks-like-a-session", False),
    ],
)
def test_which_keys_a_site_may_bring(key: str, fine: bool) -> None:
    assert keys.importable(key) == fine


def test_ids_sort_by_when_they_were_made() -> None:
    made = [uuid7(at) for at in (0, 1_795_392_000_000_000, 1_795_392_000_000_001, 1_795_392_000_001_000)]
    assert [id_[:18] for id_ in made] == sorted(id_[:18] for id_ in made)
    assert {id_[14] for id_ in made} == {"7"}
    assert {id_[19] for id_ in made} <= set("89ab")
    assert len(uuid7()) == 36


def test_instants_are_written_and_read_to_the_second() -> None:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    at = datetime(2026, 11, 23, 0, 0, tzinfo=UTC)
    assert to_us(at) == 1_795_392_000_000_000
    assert rfc3339(to_us(at), ZoneInfo("Asia/Seoul")) == "2026-11-23T09:00:00+09:00"
    assert rfc3339(2**62, UTC).startswith("9999-")
