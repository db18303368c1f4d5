"""The start page in a real browser, from the address that `make run` prints to an answer with its price."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.browser import Browser, chromium
from servers import gateway

from gateway.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
CONTROL, ENTER = "\ue009", "\ue007"

#: Where to leave pictures of the page; nowhere unless somebody asks.
PICTURES = os.environ.get("HAECHI_TEST_PICTURES")


@dataclass(frozen=True)
class Start:
    url: str
    data: Path
    email: str
    password: str


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A gateway of its own after its first start, and the demo's staff account."""
    data = tmp_path_factory.mktemp("start") / "data"
    with gateway(ROOT / "config.yaml", data) as url:
        known = json.loads((data / "first-run.json").read_text())
        staff = next(account for account in known["accounts"] if account["role"] == "staff")
        yield Start(url, data, staff["email"], staff["password"])


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        opened.size(1280, 900)
        yield opened


def sign_in(browser: Browser, start: Start) -> None:
    browser.open(start.url)
    browser.wait("document.querySelector('#sign-in').checkVisibility()")
    browser.type("#email", start.email)
    browser.type("#password", start.password)
    browser.press(ENTER)
    browser.wait("document.querySelectorAll('#models li').length && document.querySelector('#ask').checkVisibility()")


def ask(browser: Browser, question: str) -> None:
    browser.type("#question", question)
    browser.press(CONTROL, ENTER)


def picture(browser: Browser, name: str) -> None:
    if PICTURES:
        browser.screenshot(Path(PICTURES, f"{name}.png"))


def fits(browser: Browser) -> bool:
    return bool(browser.script("return document.documentElement.scrollWidth <= window.innerWidth"))


def test_from_the_address_to_an_answer_and_its_price(browser: Browser, start: Start) -> None:
    """Sign in, see what is left, ask with the keyboard, read what it cost and that the budget has moved."""
    sign_in(browser, start)
    assert browser.script("return document.documentElement.lang") == "ko"
    assert "₩100,000" in browser.text("#budgets")
    assert re.search(r"초기화 \d{4}\. \d+\. 1\. 오전 12:00", browser.text("#budgets")), (
        "midnight where the organisation is"
    )
    assert "연습용 (내부)" in browser.text("#models")
    assert "사용할 수 없음" in browser.text("#models")
    ask(browser, "주간 보고서 개요를 써 줘")
    browser.wait("document.querySelector('#cost').textContent.includes('₩')")
    assert "연습용 답변" in browser.text("#text")
    cost = browser.text("#cost").split("₩")[1].split()[0]
    assert float(cost) > 0
    browser.wait("document.querySelector('#total').textContent.includes(arguments[0])", cost)
    assert "practice-inside" in browser.text("#usage")
    picture(browser, "desktop")
    browser.size(390, 844)
    assert fits(browser)
    picture(browser, "phone")
    # A first visit asks whether somebody is signed in; the console calls that 401 an error.
    assert [told for told in browser.complaints() if "/api/session" not in told] == []


def test_a_wrong_password_is_told_and_nothing_else_is_shown(browser: Browser, start: Start) -> None:
    browser.size(390, 844)
    browser.open(start.url)
    browser.wait("document.querySelector('#sign-in').checkVisibility()")
    picture(browser, "phone-sign-in")
    browser.type("#email", start.email)
    browser.type("#password", "not the password")
    browser.press(ENTER)
    browser.wait("document.querySelector('#sign-in .problem').checkVisibility()")
    assert browser.text("#sign-in .problem")
    assert not browser.visible("#mine")
    assert fits(browser)


def test_in_english_and_after_a_reload(browser: Browser, start: Start) -> None:
    """The language stays; the cookie shows what is mine; asking takes the password again; signing out ends both sessions."""
    sign_in(browser, start)
    browser.click("#language")
    assert browser.script("return document.documentElement.lang") == "en"
    browser.open(start.url)
    browser.wait("document.querySelector('#unlock').checkVisibility()")
    assert "My budgets" in browser.text("#mine")
    assert not browser.visible("#ask")
    browser.type("#again", start.password)
    browser.press(ENTER)
    browser.wait("document.querySelector('#ask').checkVisibility()")
    picture(browser, "desktop-english")
    browser.click("#sign-out")
    browser.wait("document.querySelector('#sign-in').checkVisibility()")
    browser.open(start.url)
    browser.wait("document.querySelector('#sign-in').checkVisibility()")
    assert not browser.visible("#mine")


def test_an_exhausted_budget_says_so(browser: Browser, start: Start) -> None:
    """Refused before anything left: no answer, no cost, and when it comes back."""
    sign_in(browser, start)
    quota = ["quota", "set", "--user", start.email, "--period", "day", "--data", str(start.data)]
    assert main([*quota, "--won", "0"]) == 0
    ask(browser, "한 번 더")
    browser.wait("document.querySelector('#ask .problem').checkVisibility()")
    told = browser.text("#ask .problem")
    assert "예산이 부족" in told
    assert "₩0" in told
    assert not browser.visible("#answer")
    picture(browser, "desktop-refused")
