"""What a running gateway does when its files are changed under it: it takes all of the new, or keeps all of the old."""

from __future__ import annotations

import copy
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from flows.harness import Gateway, Town, eventually

PRICED = """\
provider: acme
currency: USD
valid_from: 2026-01-01
source: contract 7/2026
confirmed: true
prices:
  - key: acme/model
    per_million: {input: "1", output: "4"}
"""


@pytest.fixture(scope="module")
def prices(place: Town) -> Path:
    folder = place.folder / "prices"
    folder.mkdir()
    (folder / "acme.yaml").write_text(PRICED)
    return folder


@pytest.fixture(scope="module")
def running(place: Town, prices: Path) -> Gateway:
    return place.gateway(HAECHI_PRICES=str(prices))


def hang_up(running: Gateway, says: str) -> str:
    """SIGHUP; what it then logs, from that moment on, once `says` is in it."""
    before = running.process.err.stat().st_size
    running.process.signal(signal.SIGHUP)

    def logged() -> str:
        with running.process.err.open("rb") as log:
            log.seek(before)
            text = log.read().decode()
        return text if says in text else ""

    return eventually(logged, what=f"{says!r} in the log")


def first(config: dict[str, Any], name: str) -> dict[str, Any]:
    return next(model for model in config["models"] if model["name"] == name)


# Each row: what an operator gets wrong, and what the log has to say about it.
BAD_CONFIG: list[Any] = [
    pytest.param(
        lambda c: first(c, "plain")["deployments"][0].update(provider="nobody"),
        ["config.yaml:", "no provider is called 'nobody'", "add it under `providers`"],
        id="a missing provider",
    ),
    pytest.param(
        lambda c: first(c, "guarded").update(fallbacks=["abroad"]),
        ["config.yaml:", "takes grade O, lower than S", "same or a higher grade"],
        id="a fallback into a lower grade",
    ),
    pytest.param(
        lambda c: first(c, "reserve").update(fallbacks=["guarded"]),
        ["config.yaml:", "goes round: guarded → reserve → guarded", "remove one"],
        id="fallbacks that go round",
    ),
    pytest.param(
        lambda c: c["providers"]["near"].update(kind="telepathy"),
        ["config.yaml:", "providers.near", "unknown kind 'telepathy'"],
        id="a kind nobody has",
    ),
]
BAD_PRICES: list[Any] = [
    pytest.param(
        PRICED.replace('"1"', '"-1"'), ["bad.yaml:8:", "negative", "a price is 0 or more"], id="a negative price"
    ),
    pytest.param(
        PRICED.replace("input:", "inptu:"), ["bad.yaml:8:", "unknown meter inptu", "use one of"], id="an unknown meter"
    ),
    pytest.param(
        PRICED.replace("USD", "EUR"), ["bad.yaml:2:", "unknown currency EUR", "KRW, USD"], id="a currency without a rate"
    ),
    pytest.param(
        PRICED, ["bad.yaml:7:", "has a list from 2026-01-01", "acme.yaml:7", "later valid_from"], id="the same instant"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "says"), BAD_CONFIG)
def test_a_spoilt_configuration_changes_nothing(
    place: Town, running: Gateway, spoil: Callable[[dict[str, Any]], None], says: list[str]
) -> None:
    good = place.config.read_text()
    changed = yaml.safe_load(good)
    changed["models"] = [m for m in changed["models"] if m["name"] != "drained"]
    spoil(changed)
    place.config.write_text(yaml.safe_dump(changed, allow_unicode=True, sort_keys=False))
    try:
        logged = hang_up(running, "the old one stays")
        assert all(words in logged for words in says), logged
        # What else the file said is not taken either.
        assert running.chat(model="drained", max_tokens=5).status == 200
        assert running.chat(model="inside", max_tokens=5).status == 200
    finally:
        place.config.write_text(good)


@pytest.mark.parametrize(("text", "says"), BAD_PRICES)
def test_a_spoilt_price_file_changes_nothing(
    place: Town, running: Gateway, prices: Path, text: str, says: list[str]
) -> None:
    stored = place.rows("SELECT COUNT(*) AS n FROM price")
    (prices / "bad.yaml").write_text(text)
    (prices / "aaa-good.yaml").write_text(PRICED.replace("acme", "another"))
    try:
        logged = hang_up(running, "the old one stays")
        assert all(words in logged for words in says), logged
        assert place.rows("SELECT COUNT(*) AS n FROM price") == stored
        assert running.chat(model="inside", max_tokens=5).status == 200
    finally:
        (prices / "bad.yaml").unlink()
        (prices / "aaa-good.yaml").unlink()


OURS = """\
provider: acme
currency: USD
valid_from: 2026-06-01
source: the treasurer's letter
confirmed: true
prices:
  - key: acme/model
    per_million: {input: "0.5", output: "2"}
"""


def test_what_an_administrator_imported_is_not_undone_by_a_file(
    place: Town, running: Gateway, prices: Path, tmp_path: Path
) -> None:
    """A file that says something else about the same day is told of as a conflict; what was imported stays as it is."""
    letter = tmp_path / "letter.yaml"
    letter.write_text(OURS)
    place.cli(f"price import {letter}")
    hang_up(running, "configuration reloaded")
    stored = place.rows("SELECT id, unit_price_pico, source FROM price WHERE price_key = 'acme/model' ORDER BY id")
    assert [row["unit_price_pico"] for row in stored if row["source"] == "the treasurer's letter"] == [
        500_000,
        2_000_000,
    ]
    (prices / "later.yaml").write_text(OURS.replace('"0.5"', '"9"').replace("the treasurer's letter", "a release"))
    try:
        logged = hang_up(running, "the old one stays")
        for words in ("acme/model has a list from 2026-06-01", "later.yaml", "letter.yaml", "later valid_from"):
            assert words in logged
        assert (
            place.rows("SELECT id, unit_price_pico, source FROM price WHERE price_key = 'acme/model' ORDER BY id")
            == stored
        )
    finally:
        (prices / "later.yaml").unlink()
    hang_up(running, "configuration reloaded")


def test_a_good_file_is_taken_whole(place: Town, running: Gateway) -> None:
    """A model is added with the price it has had all along, and is there for the next request."""
    added = {**copy.deepcopy(first(place.settings, "free")), "name": "newcomer"}
    place.settings["models"].append(added)
    place.settings["models"] = [m for m in place.settings["models"] if m["name"] != "locked"]
    place.write_config()
    hang_up(running, "configuration reloaded")
    assert running.chat(model="newcomer", max_tokens=5).status == 200
    assert running.chat(model="locked", max_tokens=5).status == 404
    place.books_agree()


DICTIONARY = """\
dictionaries:
  - {name: ours, department: CITY, words: [한빛 계획], action: block}
  - {name: theirs, department: ELSEWHERE, words: [가온 지구], action: block}
"""


def test_rules_are_taken_whole_or_not_at_all(place: Town, running: Gateway) -> None:
    """A pack of the site's own takes effect with SIGHUP; one with a fault in one line of one file changes nothing. A
    dictionary names its department as people do, by its code."""
    folder = place.folder / "packs" / "site"
    folder.mkdir(parents=True)
    before = dict(place.settings)
    good = "marks:\n  - {variant: eyes, grade: C, triggers: [시장전용], words: [시장전용]}\n"
    (folder / "marks.yaml").write_text(good)
    (folder / "dictionaries.yaml").write_text(DICTIONARY)
    text = "시장전용\n\n보고 내용"
    assert running.chat(text, model="abroad", max_tokens=5).status == 200
    place.settings["policies"] = {"pack": "site"}
    place.write_config()
    try:
        hang_up(running, "configuration reloaded")
        assert running.chat(text, model="abroad", max_tokens=5).error["code"] == "policy_blocked"
        assert running.chat("한빛 계획을 요약", model="abroad", max_tokens=5).error["code"] == "policy_blocked"
        assert running.chat("가온 지구를 요약", model="abroad", max_tokens=5).status == 200, "another department's"
        (folder / "keywords.yaml").write_text("topics:\n  - {id: health, wrods: [해치병]}\n")
        (folder / "marks.yaml").write_text(good.replace("시장전용", "구청장전용"))
        logged = hang_up(running, "the old one stays")
        assert "keywords.yaml:2" in logged
        assert running.chat(text, model="abroad", max_tokens=5).error["code"] == "policy_blocked"
        assert running.chat(text.replace("시장", "구청장"), model="abroad", max_tokens=5).status == 200
    finally:
        # What comes after this test in whatever order finds the gateway as it was.
        place.settings.clear()
        place.settings.update(before)
        place.write_config()
        shutil.rmtree(folder)
        hang_up(running, "configuration reloaded")
    assert running.chat(text, model="abroad", max_tokens=5).status == 200
