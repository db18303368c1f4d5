"""IP addresses of hosts, v4 and v6; a private one tells of the inside of a network and is surer.

Versions (10.1.2.3) and numbered paragraphs (제1.2.3.4항) have the same shape: four single digits need a label. Addresses
that everybody has (loopback, 0.0.0.0, masks, public name servers) are none.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from policies import scoring
from policies.detector import Match
from policies.page import Page, listed

KIND: Final = "IP"

LABELS: Final = listed(
    "ip주소, ip 주소, 아이피, ip, 서버, 접속, 방화벽, 게이트웨이, 호스트, host, server, gateway, dns, subnet, "
    "내부망, 공인, 사설, ping, ssh, rdp, 대역, addr, remote_addr, client"
)
_VERSION: Final = re.compile(
    r"(?:버전|버젼|판|(?<![A-Za-z])(?:version|ver\.?|v|release|build)|릴리스|펌웨어|제)[ :=]?[ ]?\Z", re.I
)
_PARAGRAPH: Final = re.compile(r"[ ]?(?:항|조|호|절|장|버전|판)")

#: Both begin with a set of characters, so that the search skips what cannot begin an address.
_V4: Final = re.compile(r"[0-9][0-9]{0,2}\.[0-9][0-9]{0,2}\.[0-9][0-9]{0,2}\.[0-9][0-9]{0,2}(?![0-9]|\.[0-9])")
_V6: Final = re.compile(r"[0-9A-Fa-f:][0-9A-Fa-f:]{3,}+")
_LONGEST_V6: Final = 39
_LETTER: Final = re.compile(r"[0-9A-Za-z:.]")
_INSIDE: Final = frozenset("0123456789.")
#: Name servers anybody may ask.
_PUBLIC: Final = frozenset(
    listed(
        "8.8.8.8, 8.8.4.4, 1.1.1.1, 1.0.0.1, 9.9.9.9, 168.126.63.1, 168.126.63.2, 164.124.101.2, 203.248.252.2, "
        "210.220.163.82, 219.250.36.130, 2001:4860:4860::8888, 2001:4860:4860::8844, 2606:4700:4700::1111"
    )
)

EXAMPLES: Final = (
    ("서버 IP 10.20.30.41", "10.20.30.41"),
    ("접속지 211.233.17.54입니다", "211.233.17.54"),
    ("192.168.0.15로 접속", "192.168.0.15"),
    ("IP주소: 10.1.2.3", "10.1.2.3"),
    ("server 10.28.163.47:8001;", "10.28.163.47"),
    ("서버 2001:db8:85a3::8a2e:370:7334", "2001:db8:85a3::8a2e:370:7334"),
)
NEAR_MISSES: Final = (
    "버전 10.11.12.13",
    "v10.11.12.13",
    "제1.2.3.4항",
    "10.1.2.3",
    "127.0.0.1",
    "0.0.0.0",  # noqa: S104 – an address to read, not one to listen on
    "255.255.255.0",
    "DNS는 8.8.8.8",
    "서버 시각 12:30:45",
    "256.300.1.2",
    "2025.11.24.10",
    "std::vector",
)


@dataclass(frozen=True, slots=True)
class Ip:
    name: str = "ip"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(default_factory=lambda: {KIND: LABELS})
    shapes: tuple[tuple[int, ...], ...] = ()

    def detect(self, page: Page, /) -> Iterable[Match]:
        if page.numeric and "." in page.text:
            for found in _V4.finditer(page.text):
                if page.text[found.start() - 1 : found.start()] not in _INSIDE:
                    yield from self._judge(page, found, four=True)
        if "::" in page.text or page.text.count(":") > 6:
            for found in _V6.finditer(page.text):
                colons = found[0].count(":")
                if colons < 2 or len(found[0]) > _LONGEST_V6 or not ("::" in found[0] or colons == 7):
                    continue
                if _LETTER.match(page.text[found.start() - 1 : found.start()]) or _LETTER.match(page.text, found.end()):
                    continue
                if sum(char.isdigit() for char in found[0]) > 2:
                    yield from self._judge(page, found, four=False)

    def _judge(self, page: Page, found: re.Match[str], *, four: bool) -> Iterable[Match]:
        try:
            address = ipaddress.ip_address(found[0])
        except ValueError:
            return
        if address.is_loopback or address.is_unspecified or address.is_multicast or found[0].lower() in _PUBLIC:
            return
        start, end = found.span()
        octets = found[0].split(".")
        if four and (octets[0] in {"0", "255"} or _VERSION.search(page.text, max(start - 9, 0), start)):
            return
        if four and _PARAGRAPH.match(page.text, end):
            return
        label = scoring.labelled(page, KIND, start)
        short = four and sum(len(octet) > 1 for octet in octets) < 2
        if label is None and short:
            return
        yield scoring.match(KIND, start, end, 0.45 if address.is_private else 0.4, "ip", label=label)


detector: Final = Ip()
