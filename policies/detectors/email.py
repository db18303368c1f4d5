"""E-mail addresses: plain, with a Korean domain, and written out ((at), 골뱅이, 닷).

Nobody's: git@github.com and reserved domains, versions (node@20.11.5), and mailboxes named like an office on a domain that is
not a free mail service; the organisation's own domains come from `Rules.mail_domains`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from policies.detector import Match
from policies.pack import Mail, shipped
from policies.page import Page, listed

KIND: Final = "EMAIL"

_AT: Final = "EMAIL:at"
_LABEL: Final = "EMAIL"
_LABELS: Final = listed("이메일, 전자우편, 메일, 메일주소, e-mail, email, mail")

_LOCAL: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-"
#: A local part in Korean is allowed by the standard, and used with Korean domains.
_HANGUL: Final = re.compile(r"[가-힣]{1,10}$")
#: 공용 메일, 대표 메일: an office's own mailbox, whatever it is called.
_OFFICE: Final = re.compile(r"(?:공용|대표|부서|공식|기관) ?(?:전자)?$")
#: Lists and trackers, not people.
_MACHINES: Final = ("lists.", "bugs.", "groups.", "packages.")
_SIGN: Final = re.compile(r"@(?= ?[A-Za-z0-9가-힣])")
_HOST: Final = re.compile(
    r"\s?(?P<host>(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.|[가-힣](?:[가-힣A-Za-z0-9-]{0,20})\.){1,6}"
    r"(?P<suffix>[A-Za-z]{2,18}|한국|닷컴|닷넷))(?![A-Za-z0-9]|[.-][A-Za-z0-9]|[@:/]\w)"
)

EXAMPLES: Final = (
    ("문의: kim.cs@naver.com 으로", "kim.cs@naver.com"),
    ("a@naver.com입니다", "a@naver.com"),
    ("hong@서울시.한국 으로 보내주세요", "hong@서울시.한국"),
    ("minsu_k(at)gmail.com", "minsu_k(at)gmail.com"),
    ("minsu [at] daum [dot] net", "minsu [at] daum [dot] net"),
    ("minsu 골뱅이 naver 닷 com", "minsu 골뱅이 naver 닷 com"),
    ("minsu골뱅이naver점com 입니다", "minsu골뱅이naver점com"),
    ("hong.gd＠hanmail.net", "hong.gd＠hanmail.net"),
    ("kim.minji @ naver . com", "kim.minji @ naver . com"),
    ("kim.minji@naver,com", "kim.minji@naver,com"),
    ("kimminji%40naver.com", "kimminji%40naver.com"),
    ("<lee@seoul.go.kr>", "lee@seoul.go.kr"),
    ("김서준,kim@korea.kr,010", "kim@korea.kr"),
    ("메일 kim@dept.seoul.go.kr.", "kim@dept.seoul.go.kr"),
    ("help@naver.com", "help@naver.com"),
)
NEAR_MISSES: Final = (
    "git@github.com:org/repo.git",
    "npm i node@20.11.5",
    "user@example.com",
    "@app.route('/login')",
    "name@localhost",
    "webmaster@seoul.go.kr",
    "pip install foo@git+https://x.y/z.git",
    "import numpy@main.py",
    "회의는 골뱅이 무침집에서",
    "a@b",
    "부서 공용 메일(plan@demo.go.kr)로 제출",
    "repo@sha256:3f7a91c2d84b",
    "root@10.0.0.1",
    "12345678+kim@users.noreply.github.com",
)


class Address:
    """The detector, compiled from the pack's mailboxes, domains and words."""

    name = "email"
    kind = KIND
    shapes: tuple[tuple[int, ...], ...] = ()

    def __init__(self, pack: Mail) -> None:
        self._examples = tuple(domain.lower() for domain in pack.example_domains)
        self._machines = frozenset(address.lower() for address in pack.machine_addresses)
        self._roles = frozenset(box.lower() for box in pack.role_mailboxes)
        self._personal = frozenset(domain.lower() for domain in pack.personal_domains)
        self._suffixes = frozenset(suffix.lower() for suffix in pack.suffixes)
        self._files = frozenset(ending.lower() for ending in pack.file_endings)
        dots = "|".join(re.escape(word).replace("\\ ", " ") for word in sorted(pack.dot_words, key=len, reverse=True))
        self._spoken_host = re.compile(
            rf" {{0,2}}(?P<host>[A-Za-z0-9가-힣-]{{1,20}}?"
            rf"(?: {{0,2}}(?:{dots}|\.) {{0,2}}[A-Za-z0-9-]{{2,20}}){{1,3}})(?![A-Za-z0-9])",
            re.IGNORECASE,
        )
        known = "|".join(sorted({re.escape(domain.partition(".")[0]) for domain in self._personal}))
        self._broken_host = re.compile(
            rf" ?(?P<host>(?:{known}) ?[.,] ?(?P<suffix>com|net|co ?[.,] ?kr))(?![A-Za-z0-9])", re.IGNORECASE
        )
        self._dots = re.compile(rf" {{0,2}}(?:{dots}) {{0,2}}", re.IGNORECASE)
        self.words: dict[str, tuple[str, ...]] = {_AT: pack.at_words, _LABEL: _LABELS}

    def detect(self, page: Page, /) -> Iterable[Match]:
        done = 0
        text = page.text
        if "@" in text:
            for sign in _SIGN.finditer(text):
                found = self._plain(page, sign.start(), done)
                if found is not None:
                    done = found.end
                    yield found
        if page.has(_AT):
            yield from self._spoken(page)

    def _plain(self, page: Page, at: int, done: int) -> Match | None:
        text = page.text
        host = _HOST.match(text, at + 1) or self._broken_host.match(text, at + 1)
        if host is None or (text[at + 1].isspace() and not text[at - 1 : at].isspace()):
            return None
        end = at
        if text[at - 1 : at] == " " and host.start("host") > at + 1:
            end = at - 1
        begin = _local(text, max(done, end - 64), end)
        if begin is None:
            return None
        local = text[begin:end]
        name = host["host"].replace(" ", "").replace(",", ".")
        return self._judge(page, (begin, host.end("host")), local, name, "email")

    def _spoken(self, page: Page) -> Iterator[Match]:
        text = page.text
        done = 0
        for word in page.words(_AT):
            end = word.start
            while end > done and text[end - 1] == " " and word.start - end < 2:
                end -= 1
            begin = _local(text, max(done, end - 64), end)
            if begin is None or not text[begin:end].isascii():
                continue
            host = self._spoken_host.match(text, word.end)
            if host is None:
                continue
            name = self._dots.sub(".", host["host"])
            if text[word.start] == " " and host["host"] == name:  # "meet me at example.kr" names a place
                continue
            found = self._judge(page, (begin, host.end("host")), text[begin:end], name, "email:spoken")
            if found is not None:
                done = found.end
                yield found

    def _judge(self, page: Page, span: tuple[int, int], local: str, host: str, rule: str) -> Match | None:
        start, end = span
        host, local = host.lower(), local.lower()
        suffix = host.rpartition(".")[2]
        if not self._is_host(suffix, host) or f"{local}@{host}" in self._machines:
            return None
        if any(host == domain or host.endswith(f".{domain}") for domain in self._examples):
            return None
        if host.startswith(_MACHINES):
            return None
        own = any(host == domain or host.endswith(f".{domain}") for domain in map(str.lower, page.rules.mail_domains))
        if local in page.rules.mailboxes and own:
            return None
        if local in self._roles and host not in self._personal:
            return None
        word = page.before(_LABEL, start)
        label = word is not None
        if word is not None and _OFFICE.search(page.text, max(0, word.start - 6), word.start):
            return None
        score, why = (0.95, ("shape", "label")) if label else (0.85, ("shape",))
        return Match(KIND, start, end, score, rule, why)

    def _is_host(self, suffix: str, host: str) -> bool:
        if suffix in self._suffixes:
            return True
        if len(suffix) != 2 or not suffix.isascii():
            return False
        return suffix not in self._files or host.count(".") > 1


def _local(text: str, floor: int, end: int) -> int | None:
    """Where the local part that ends at `end` begins; None when there is none."""
    piece = text[floor:end]
    begin = len(piece.rstrip(_LOCAL))
    local = piece[begin:].lstrip(".-%+")
    if not local:
        hangul = _HANGUL.search(piece)
        return None if hangul is None or end >= len(text) or text[end] != "@" else floor + hangul.start()
    if local.endswith(".") or ".." in local or len(local) > 63:
        return None
    return end - len(local)


detector: Final = Address(shipped().email)
