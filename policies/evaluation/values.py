"""Synthetic values for the labelled set: nobody's number, but each in the shape and with the check digit of the real thing.

A value is named `name:style`, e.g. `RRN:h` or `~ean13:dated` (the tilde marks text that is *not* sensitive). Everything is drawn
from the `Random` that is passed in, so the same seed gives the same set.
Check digits: 주민등록번호 and 외국인등록번호 by the resident registration rules (numbers issued since 2020-10 have none),
사업자등록번호 by the tax service's weights 1 3 7 1 3 7 1 3 5, 법인등록번호 by the registry's 1 2, cards by Luhn, EAN by GS1.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Callable
from datetime import date, timedelta
from random import Random

RESIDENT_WEIGHTS = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
TAX_WEIGHTS = (1, 3, 7, 1, 3, 7, 1, 3, 5)
ALNUM = string.ascii_letters + string.digits
PLATE_SYLLABLES = "가나다라마거너더러머버서어저고노도로모보소오조구누두루무부수우주"
SURNAMES = (
    "김이박최정강조윤장임한오서신권황안송류전홍고문양손배백허유남심노하곽성차주우구민진지엄채원천방공현함변염여추"
)
GIVEN = [
    "서준",
    "민서",
    "지우",
    "하윤",
    "도현",
    "예린",
    "시우",
    "수아",
    "건우",
    "다은",
    "현우",
    "지민",
    "은채",
    "준혁",
    "소연",
    "태민",
    "유진",
    "상훈",
    "미경",
    "영호",
    "정숙",
    "재현",
    "혜진",
    "동욱",
    "명자",
    "성민",
    "경희",
    "병철",
    "순옥",
    "진호",
    "가영",
    "세린",
    "우진",
    "나래",
    "형석",
    "보람",
    "철수",
    "은정",
    "광수",
    "말순",
]


def resident_check(digits: str) -> int:
    """The 13th digit of a 주민등록번호 for its first 12."""
    return (11 - sum(w * int(d) for w, d in zip(RESIDENT_WEIGHTS, digits, strict=True)) % 11) % 10


def foreigner_check(digits: str) -> int:
    """The 13th digit of a 외국인등록번호 for its first 12: the same sum from 13."""
    return (13 - sum(w * int(d) for w, d in zip(RESIDENT_WEIGHTS, digits, strict=True)) % 11) % 10


def business_check(digits: str) -> int:
    """The 10th digit of a 사업자등록번호 for its first 9."""
    total = sum(w * int(d) for w, d in zip(TAX_WEIGHTS, digits, strict=True)) + int(digits[8]) * 5 // 10
    return (10 - total % 10) % 10


def corporate_check(digits: str) -> int:
    """The 13th digit of a 법인등록번호 for its first 12 (110111-006243 gives 2)."""
    return (10 - sum((1 + i % 2) * int(d) for i, d in enumerate(digits)) % 10) % 10


def luhn_check(digits: str) -> int:
    """The last digit of a card number for those before it."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return (10 - total % 10) % 10


def ean_check(digits: str) -> int:
    """The 13th digit of an EAN or ISBN-13 for its first 12."""
    return (10 - sum((3 if i % 2 else 1) * int(d) for i, d in enumerate(digits)) % 10) % 10


def some(draw: Random, count: int, alphabet: str = string.digits) -> str:
    return "".join(draw.choice(alphabet) for _ in range(count))


def day_between(draw: Random, first: date, last: date) -> date:
    return first + timedelta(days=draw.randrange((last - first).days + 1))


def born(draw: Random) -> date:
    return day_between(draw, date(1938, 1, 1), date(2004, 12, 31))


def resident(draw: Random, style: str, *, foreign: bool = False) -> str:
    """13 digits in a way of writing. `r…` were issued since 2020-10: their last six are random, so the check is made to fail."""
    recent = style.startswith("r")
    style = style.removeprefix("r") or "h"
    birth = day_between(draw, date(2020, 10, 5), date(2025, 12, 31)) if style.startswith("n") else born(draw)
    style = style.removeprefix("n") or "h"
    century = 0 if birth.year < 2000 else 2
    code = str(century + draw.choice((1, 2)) + (4 if foreign else 0))
    body = birth.strftime("%y%m%d") + code + f"{draw.randrange(0, 96):02d}" + some(draw, 3)
    check = (foreigner_check if foreign else resident_check)(body)
    if recent:
        check = (check + draw.randrange(1, 9)) % 10
    return spaced(f"{body[:6]}\0{body[6:]}{check}", style)


def spaced(parts: str, style: str) -> str:
    """Puts the style's separator where the zero characters are."""
    if style.startswith("="):
        return parts.replace("\0", style[1:])
    return parts.replace(
        "\0", {"h": "-", "b": "", "s": " - ", "sp": " ", "dot": ".", "slash": "/", "us": "_", "tilde": "~"}[style]
    )


def passport(draw: Random, style: str) -> str:
    kind = draw.choice("MMMSRD")
    if style == "old":
        return kind + some(draw, 8)
    return f"{kind}{some(draw, 3)}{draw.choice('ABCDEFGHJKLMNPQRSTUVWXYZ')}{some(draw, 4)}"


def licence(draw: Random, style: str) -> str:
    year, serial, check = f"{draw.randrange(75, 125) % 100:02d}", some(draw, 6), some(draw, 2)
    if style.startswith("reg"):
        region = draw.choice(
            ("서울", "부산", "경기", "강원", "충북", "충남", "전북", "전남", "경북", "경남", "제주", "대구", "인천")
        )
        return f"{region} {year}-{serial}-{check}"
    region = draw.choice(
        ("11", "12", "13", "14", "15", "16", "17", "18", "19", "21", "22", "23", "24", "25", "26", "28")
    )
    return spaced(f"{region}\0{year}\0{serial}\0{check}", style)


def phone(draw: Random, style: str) -> str:
    last = some(draw, 4)
    if style.startswith("land"):
        code = style.removeprefix("land") or draw.choice(("02", "031", "032", "042", "051", "053", "061", "063", "064"))
        return f"{code}-{draw.randrange(200, 999)}-{last}"
    if style == "070":
        return f"070-{draw.randrange(4000, 8999)}-{last}"
    if style == "050":
        return f"050{draw.choice('2457')}-{draw.randrange(1000, 9999)}-{last}"
    if style == "011":
        return f"01{draw.choice('16789')}-{draw.randrange(200, 999)}-{last}"
    middle = str(draw.randrange(2000, 9999))
    match style:
        case "intl":
            return f"+82-10-{middle}-{last}"
        case "intlsp":
            return f"+82 10 {middle} {last}"
        case "intlb":
            return f"+8210{middle}{last}"
        case "paren":
            return f"(010){middle}-{last}"
        case "paren2":
            return f"010){middle}-{last}"
        case "tail":
            return f"{middle}-{last}"
    return spaced(f"010\0{middle}\0{last}", style)


MAILBOXES = [
    "minsu.kim",
    "sora_lee",
    "jiwon88",
    "hyunwoo.park",
    "yjchoi",
    "grace.han",
    "dhkang77",
    "rainbow-ssam",
    "suah.j",
    "mk.lim",
    "kimnr",
    "bluesky2024",
]
MAIL_HOSTS = [
    "naver.com",
    "daum.net",
    "gmail.com",
    "hanmail.net",
    "kakao.com",
    "nate.com",
    "outlook.kr",
    "snu.ac.kr",
    "hyundai-soft.co.kr",
]


def email(draw: Random, style: str) -> str:
    host = draw.choice(MAIL_HOSTS)
    return f"{draw.choice(MAILBOXES)}{draw.randrange(1, 99)}@{host.upper() if style == 'up' else host}"


def account(draw: Random, style: str) -> str:
    """A number in the grouping of a bank; `b` at the end writes it without hyphens."""
    bare = style.endswith("_b")
    n = {
        "kb": lambda: f"{some(draw, 6)}-0{draw.randrange(1, 9)}-{some(draw, 6)}",
        "shinhan": lambda: f"110-{some(draw, 3)}-{some(draw, 6)}",
        "woori": lambda: f"1002-{some(draw, 3)}-{some(draw, 6)}",
        "hana": lambda: f"{some(draw, 3)}-{some(draw, 6)}-{some(draw, 5)}",
        "nh": lambda: f"3{some(draw, 2)}-{some(draw, 4)}-{some(draw, 4)}-{some(draw, 2)}",
        "ibk": lambda: f"{some(draw, 3)}-{some(draw, 6)}-{some(draw, 2)}-{some(draw, 3)}",
        "kakao": lambda: f"3333-{some(draw, 2)}-{some(draw, 7)}",
        "toss": lambda: f"1000-{some(draw, 4)}-{some(draw, 4)}",
        "post": lambda: f"{some(draw, 6)}-0{draw.randrange(1, 9)}-{some(draw, 6)}",
        "mg": lambda: f"9{some(draw, 3)}-{some(draw, 4)}-{some(draw, 4)}-{some(draw, 1)}",
        "daegu": lambda: f"50{some(draw, 1)}-{some(draw, 2)}-{some(draw, 6)}-{some(draw, 1)}",
        "busan": lambda: f"101-{some(draw, 4)}-{some(draw, 4)}-0{some(draw, 1)}",
        "sh": lambda: f"2{some(draw, 2)}-{some(draw, 8)}-{some(draw, 1)}",
        "life": lambda: "0" + "10" + some(draw, 8),
    }[style.removesuffix("_b")]()
    return n.replace("-", "") if bare else n


def card(draw: Random, style: str) -> str:
    if style.startswith("amex"):
        body = "37" + some(draw, 12)
        groups: tuple[int, ...] = (4, 6, 5)
    else:
        head = {"visa": "4", "mc": "5" + draw.choice("12345"), "bc": "9410", "dom": "6"}.get(
            style.partition("_")[0], "4"
        )
        body = head + some(draw, 15 - len(head))
        groups = (4, 4, 4, 4)
    digits = body + str(luhn_check(body))
    separator = {"b": "", "sp": " ", "dot": "."}.get(style.partition("_")[2], "-")
    parts, at = [], 0
    for size in groups:
        parts.append(digits[at : at + size])
        at += size
    return separator.join(parts)


def business(draw: Random, style: str) -> str:
    middle = draw.choice(("12", "31", "45", "81", "86", "87", "82", "83", "85", "91"))
    body = f"{draw.randrange(101, 622)}{middle}{some(draw, 4)}"
    check = business_check(body)
    if style.endswith("x"):  # mistyped: the check digit fails
        check = (check + draw.randrange(1, 9)) % 10
    return spaced(f"{body[:3]}\0{body[3:5]}\0{body[5:]}{check}", style.removesuffix("x") or "h")


def corporate(draw: Random, style: str) -> str:
    body = draw.choice(("1101", "1301", "1801", "1201", "2001", "1546")) + draw.choice(("11", "21", "22", "71"))
    if style.startswith("seoul"):
        body, style = "110111", style.removeprefix("seoul") or "h"
    body += "0" + some(draw, 5)
    return spaced(f"{body[:6]}\0{body[6:]}{corporate_check(body)}", style)


def insurance(draw: Random, style: str) -> str:
    return spaced(f"{draw.choice('1257')}\0{some(draw, 10)}", style)


def plate(draw: Random, style: str) -> str:
    letter, number = draw.choice(PLATE_SYLLABLES), f"{draw.randrange(100, 9999):04d}"
    match style:
        case "three":
            return f"{draw.randrange(100, 699)}{letter}{number}"
        case "region":
            return f"{draw.choice(('서울', '경기', '부산', '전남'))}{draw.randrange(30, 79)}{draw.choice('바사아자')}{number}"
        case "space":
            return f"{draw.randrange(10, 69)}{letter} {number}"
        case "rent":
            return f"{draw.randrange(100, 199)}{draw.choice('하허호')}{number}"
    return f"{draw.randrange(10, 69)}{letter}{number}"


def birthdate(draw: Random, style: str) -> str:
    day = born(draw)
    return {
        "iso": f"{day:%Y-%m-%d}",
        "dot": f"{day.year}.{day.month}.{day.day}.",
        "dot0": f"{day:%Y.%m.%d}",
        "kr": f"{day.year}년 {day.month}월 {day.day}일",
        "krshort": f"{day:%y}년 {day.month}월 {day.day}일",
        "six": f"{day:%y%m%d}",
        "eight": f"{day:%Y%m%d}",
        "slash": f"{day:%Y/%m/%d}",
    }[style]


def person(draw: Random, style: str) -> str:
    surname = draw.choice(("남궁", "선우", "황보", "제갈", "독고")) if style == "two" else draw.choice(SURNAMES)
    return surname + draw.choice(GIVEN)


def address_ip(draw: Random, style: str) -> str:
    tail = f"{draw.randrange(1, 254)}.{draw.randrange(1, 254)}"
    match style:
        case "172":
            return f"172.{draw.randrange(16, 31)}.{tail}"
        case "192":
            return f"192.168.{tail}"
        case "pub":
            return f"{draw.choice((27, 58, 106, 121, 175, 211, 218))}.{draw.randrange(20, 250)}.{tail}"
        case "v6":
            return f"2001:2d8:{some(draw, 4, '123456789abcdef')}:{some(draw, 3, '123456789abcdef')}::{draw.randrange(2, 99)}"
        case "v6ula":
            return f"fd12:{some(draw, 4, '123456789abcdef')}:1::{some(draw, 3, '123456789abcdef')}"
    return f"10.{draw.randrange(20, 250)}.{tail}"


def encoded_json(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def token(draw: Random, style: str) -> str:
    """Secrets in the shapes their vendors publish."""
    hexa, url = "0123456789abcdef", ALNUM + "-_"
    password = (
        draw.choice(("Hangang", "gwanri", "Seoul", "bomnal", "Namsan", "jumin"))
        + draw.choice("!@#$%^&*")
        + some(draw, 4)
    )
    shapes: dict[str, Callable[[], str]] = {
        "ghp": lambda: "ghp_" + some(draw, 36, ALNUM),
        "gho": lambda: "gho_" + some(draw, 36, ALNUM),
        "ghpat": lambda: "github_pat_" + some(draw, 22, ALNUM) + "_" + some(draw, 59, ALNUM),
        "glpat": lambda: "glpat-" + some(draw, 20, url),
        "akia": lambda: "AKIA" + some(draw, 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
        "awssecret": lambda: some(draw, 40, ALNUM + "/+"),
        "openai": lambda: f"sk-proj-{some(draw, 74, url)}T3BlbkFJ{some(draw, 74, url)}",
        "openaiold": lambda: f"sk-{some(draw, 20, ALNUM)}T3BlbkFJ{some(draw, 20, ALNUM)}",
        "anthropic": lambda: f"sk-ant-api03-{some(draw, 93, url)}AA",
        "google": lambda: "AIza" + some(draw, 35, url),
        "slack": lambda: f"xoxb-{some(draw, 12)}-{some(draw, 12)}-{some(draw, 24, ALNUM)}",
        "slackhook": lambda: (
            "https://hooks.slack.com/services/T"
            + some(draw, 10, string.ascii_uppercase + string.digits)
            + "/B"
            + some(draw, 10, string.ascii_uppercase + string.digits)
            + "/"
            + some(draw, 24, ALNUM)
        ),
        "npm": lambda: "npm_" + some(draw, 36, ALNUM),
        "pypi": lambda: "pypi-AgEIcHlwaS5vcmc" + some(draw, 70, url),
        "hf": lambda: "hf_" + some(draw, 34, string.ascii_letters),
        "stripe": lambda: "sk_live_" + some(draw, 24, ALNUM),
        "sendgrid": lambda: f"SG.{some(draw, 22, url)}.{some(draw, 43, url)}",
        "telegram": lambda: f"{draw.randrange(10**9, 9 * 10**9)}:AA{some(draw, 33, url)}",
        "jwt": lambda: ".".join(
            (
                encoded_json('{"alg":"HS256","typ":"JWT"}'),
                encoded_json(f'{{"sub":"{some(draw, 8)}","role":"admin","iat":17{some(draw, 8)}}}'),
                some(draw, 43, url),
            )
        ),
        "datagokr": lambda: some(draw, 86, ALNUM + "+/") + "==",
        "datagokrurl": lambda: some(draw, 40, ALNUM) + "%2B" + some(draw, 43, ALNUM) + "%3D%3D",
        "kakao": lambda: some(draw, 32, hexa),
        "naver": lambda: some(draw, 10, ALNUM),
        "navercloud": lambda: some(draw, 40, ALNUM),
        "juso": lambda: "devU01TX0FVVEgyMDI1" + some(draw, 26, ALNUM) + "==",
        "hex64": lambda: some(draw, 64, hexa),
        "pem": lambda: (
            "-----BEGIN RSA PRIVATE KEY-----\n"
            + "\n".join(some(draw, 64, ALNUM + "+/") for _ in range(4))
            + "\n-----END RSA PRIVATE KEY-----"
        ),
        "sshkey": lambda: (
            "-----BEGIN OPENSSH PRIVATE KEY-----\n"
            + "\n".join(some(draw, 70, ALNUM + "+/") for _ in range(4))
            + "\n-----END OPENSSH PRIVATE KEY-----"
        ),
        "pw": lambda: password,
        "pwlong": lambda: (
            some(draw, 5, string.ascii_lowercase) + draw.choice("!@#%") + some(draw, 6, ALNUM) + some(draw, 2)
        ),
        "generic": lambda: some(draw, 28, ALNUM) + some(draw, 2),
    }
    return shapes[style]()


def harmless(draw: Random, name: str, style: str) -> str:
    """Numbers and strings that look like something and are nothing: barcodes, order numbers, instants, hashes."""
    day = day_between(draw, date(2021, 1, 1), date(2026, 6, 30))
    shapes: dict[str, Callable[[], str]] = {
        "ts12": lambda: f"{day:%Y%m%d}{draw.randrange(24):02d}{draw.randrange(60):02d}",
        "ts14": lambda: f"{day:%Y%m%d}{draw.randrange(24):02d}{draw.randrange(60):02d}{draw.randrange(60):02d}",
        "epochms": lambda: str(draw.randrange(1_577_000_000_000, 1_790_000_000_000)),
        "epoch": lambda: str(draw.randrange(1_577_000_000, 1_790_000_000)),
        "order": lambda: f"{day:%Y%m%d}{some(draw, 8)}",
        "digits": lambda: draw.choice("123456789") + some(draw, int(style or 10) - 1),
        "uuid": lambda: "-".join(some(draw, n, "0123456789abcdef") for n in (8, 4, 4, 4, 12)),
        "sha": lambda: some(draw, int(style or 40), "0123456789abcdef"),
        "pnu": lambda: f"11680{some(draw, 5)}1{some(draw, 4)}{some(draw, 4)}",
        "docno": lambda: f"{day.year}-{some(draw, 4)}-{some(draw, 4)}-{some(draw, 4)}",
        "money": lambda: f"{draw.randrange(10, 999)},{draw.randrange(1000):03d},000",
        "day": lambda: f"{day.year}. {day.month}. {day.day}.",
        "phonemask": lambda: f"010-****-{some(draw, 4)}",
        "rrnmask": lambda: f"{born(draw):%y%m%d}-{draw.choice('12')}******",
        "isbn": lambda: ean13(draw, "979", "isbn"),
        "b64": lambda: base64.b64encode(bytes(draw.randrange(256) for _ in range(int(style or 96)))).decode(),
        "licence12": lambda: f"{day:%Y%m%d}{some(draw, 4)}",
    }
    if name == "ean13":
        return ean13(draw, "880", style)
    return shapes[name]()


def ean13(draw: Random, head: str, style: str) -> str:
    """`dated`: the six first digits are also a birth date and the next a sex code, the shape of a 주민등록번호."""
    body = head + some(draw, 12 - len(head))
    if style == "dated":
        body = f"880{draw.randrange(1, 10)}{draw.randrange(1, 29):02d}{draw.choice('1234')}{some(draw, 5)}"
    digits = body + str(ean_check(body))
    return f"{digits[:3]}-{digits[3:5]}-{digits[5:9]}-{digits[9:12]}-{digits[12]}" if style == "isbn" else digits


def value(draw: Random, name: str, style: str) -> str:
    """A synthetic value. Raises KeyError for a name or style that does not exist, so that a typing error in a source is seen."""
    if name.startswith("~"):
        return harmless(draw, name[1:], style)
    makers: dict[str, Callable[[Random, str], str]] = {
        "RRN": resident,
        "FRN": lambda d, s: resident(d, s, foreign=True),
        "PASSPORT": passport,
        "DRIVER_LICENSE": licence,
        "PHONE": phone,
        "EMAIL": email,
        "ACCOUNT": account,
        "CARD": card,
        "BRN": business,
        "CORP": corporate,
        "NHIS": insurance,
        "PLATE": plate,
        "BIRTHDATE": birthdate,
        "PERSON": person,
        "IP": address_ip,
        "SECRET": token,
    }
    return makers[name](draw, style or "h")
