"""계좌번호, bank accounts: 10–14 digits in each bank's own groups.

The groups alone mean nothing, so an account counts only beside its label, a bank's name before or after it, or under their
column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from policies import scoring
from policies.candidates import Number, stretches
from policies.detector import Match
from policies.page import Page, listed

KIND: Final = "ACCOUNT"

LABELS: Final = listed(
    "계좌번호, 계좌, 통장번호, 통장, 입금계좌, 환급계좌, 급여계좌, 가상계좌, 수령계좌, 입금, 송금, 이체, 예금주, "
    "환급, 계좌이체, bank account, account number, account no, account_no, accountno, account, acct, iban"
)
#: Banks and those who keep accounts like banks, by the names people write.
BANKS: Final = listed(
    "국민은행, kb국민, 국민, 신한은행, 신한, 우리은행, 우리, 하나은행, 하나, keb하나, 농협은행, 농협, nh농협, "
    "지역농협, 기업은행, 기업, ibk, ibk기업, 산업은행, kdb, 수협은행, 수협, 대구은행, im뱅크, 아이엠뱅크, "
    "부산은행, 경남은행, 광주은행, 전북은행, 제주은행, 카카오뱅크, 카뱅, 카카오, 케이뱅크, k뱅크, 토스뱅크, 토스, "
    "우체국, 새마을금고, 새마을, 신협, 저축은행, 산림조합, 씨티은행, 한국씨티, 씨티, sc제일은행, sc제일, "
    "제일은행, 외환은행, 미래에셋, 삼성증권, 키움증권, 한국투자, nh투자, kb증권, 은행"
)
_BANK: Final = "account:bank"
#: Which of them are also ordinary words: only right beside the number.
_ORDINARY: Final = frozenset({"우리", "하나", "기업", "국민", "신한", "카카오", "토스", "새마을"})

_KNOWN: Final = frozenset(
    {
        (6, 2, 6), (3, 3, 6), (4, 3, 6), (3, 6, 5), (3, 4, 4, 2), (3, 6, 2, 3), (4, 2, 7), (4, 4, 4), (4, 4, 4, 1),
        (3, 2, 6), (3, 2, 6, 1), (3, 3, 6, 2), (3, 8, 1), (3, 4, 6), (3, 2, 8), (3, 3, 5), (2, 2, 6), (3, 6, 3),
        (3, 2, 7), (4, 2, 6), (3, 6, 2, 2),
    }
)  # fmt: skip
#: A telephone's first digits; new-style accounts of one bank begin so too and need their plain label.
_TELEPHONE: Final = re.compile(r"0(?:1[016789]|2|[3-6][1-5]|70|50[2-8])[0-9]{7,9}")
_DATE: Final = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
_PLAIN: Final = frozenset({"계좌", "계좌번호", "통장번호", "가상계좌", "환급계좌", "급여계좌", "입금계좌"})
#: Right of a number, a bank or the holder's label may stand this far.
_AFTER: Final = 8

EXAMPLES: Final = (
    ("계좌번호 110-234-567890", "110-234-567890"),
    ("국민은행 123456-01-234567 홍길동", "123456-01-234567"),
    ("카카오뱅크 3333-01-2345678로 보내주세요", "3333-01-2345678"),
    ("110-234-567890 (신한은행)", "110-234-567890"),
    ("302-1234-5678-91 농협 예금주 김철수", "302-1234-5678-91"),
    ("환급계좌: 1002345678901", "1002345678901"),
    ("iM뱅크(대구은행) 508-12-345678-9", "508-12-345678-9"),
    ("은행,계좌번호,예금주\n우리,1002345678901,홍길동", "1002345678901"),
    ("토스 1000-1234-5678", "1000-1234-5678"),
    ("계좌 110 234 567890 입니다", "110 234 567890"),
)
NEAR_MISSES: Final = (
    "110-234-567890",
    "입금 문의 02-2133-1234",
    "국민은행 고객센터 1588-9999",
    "입금일 2025-11-24 10:30",
    "입금액 12,345,678,900원",
    "우리 구청 문서번호 20251124-000123",
    "계좌 이체 후 010-2345-6789로 연락",
    "은행나무 20251124001 그루",
)


@dataclass(frozen=True, slots=True)
class Account:
    name: str = "account"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(default_factory=lambda: {KIND: LABELS, _BANK: BANKS})
    shapes: tuple[tuple[int, ...], ...] = ()

    def detect(self, page: Page, /) -> Iterable[Match]:
        if not (page.has(KIND) or page.has(_BANK)):
            return
        for chain in page.chains:
            for number in stretches(chain, 10, 14):
                found = self._judge(page, number)
                if found is not None:
                    yield found
                    break

    def _judge(self, page: Page, number: Number) -> Match | None:
        if (_DATE.match(number.digits) and number.shape not in _KNOWN) or page.embedded(number):
            return None
        nearest = page.nearest((*scoring.NUMBERED, _BANK), number.start)
        if nearest not in {None, KIND, _BANK}:
            return None
        why = None
        plain = False
        word = page.before(KIND, number.start)
        if word is not None:
            why, plain = "label", page.text[word.start : word.end] in _PLAIN
        elif self._bank(page, number):
            why = "bank"
        elif page.heads(KIND, number.start):
            why, plain = "column", True
        elif page.after(KIND, number.end, _AFTER) is not None:
            why = "label"
        if why is None or (
            _TELEPHONE.fullmatch(number.digits) and not (plain and number.shape not in {(3, 4, 4), (2, 4, 4)})
        ):
            return None
        return scoring.match(
            KIND,
            number.start,
            number.end,
            0.2,
            "account",
            label=why,
            neighbour=number.shape in _KNOWN,
            negative=scoring.denied(page, number.start, number.end, KIND),
        )

    def _bank(self, page: Page, number: Number) -> bool:
        """A bank's name: an ordinary word only when nothing but marks lies between, or together with groups of a bank."""
        before = page.before(_BANK, number.start)
        after = page.after(_BANK, number.end, _AFTER)
        for word, gap in (
            (before, page.text[before.end : number.start] if before else ""),
            (after, page.text[number.end : after.start] if after else ""),
        ):
            if word is None:
                continue
            if page.text[word.start : word.end] in _ORDINARY and any(char.isalnum() for char in gap):
                continue
            if (
                number.shape in _KNOWN
                or not any(char.isalpha() for char in gap)
                or "은행" in page.text[word.start : word.end]
            ):
                return page.text[word.end : word.end + 2] not in {"나무", "잎"}
        return False


detector: Final = Account()
