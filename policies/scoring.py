"""How sure a finding is: what its shape says, plus what stands around it.

    score = base(shape) + checksum 0.3 + label 0.4 + column head 0.4 + neighbour 0.15 − negative label 0.4

A checksum makes surer and never vetoes beside a label: numbers issued since 2020-10 have none, and people mistype. What cannot
be (the thirteenth month) is vetoed by the detector itself.
"""

from __future__ import annotations

from typing import Final

from policies.detector import Match
from policies.page import NEGATIVE_REACH, Page, listed

CHECKSUM: Final = 0.3
LABEL: Final = 0.4
NEIGHBOUR: Final = 0.15
NEGATIVE: Final = 0.4

#: Role of the words that say what a number is instead of an identifier of a person.
NOT: Final = "not"
NEGATIVE_WORDS: Final = listed(
    "주문, 운송장, 송장, 바코드, 상품, 품목, 품번, 모델, 시리얼, 일련번호, 자산, 관리번호, 문서번호, 공고, "
    "고시, 접수번호, 접수증, 사건, 특허, 출원, 트랜잭션, 타임스탬프, 로그번호, 로그 id, 버전, 좌표, 위도, 경도, 과세번호, "
    "전자납부번호, 납부번호, 고지서, 고지번호, 예약번호, 승인번호, 거래번호, 추적번호, 등기번호, 우편번호, "
    "입찰, 계약번호, 회의 id, 회의id, 종목코드, 법정동, 행정코드, 고유키, isbn, issn, uuid, guid, commit, sku, "
    "ean, gtin, serial, barcode, timestamp, epoch, order, tracking, invoice, version, build, pnu, doi, trace, "
    "request_id, txid, transaction, order_id, order_no, item_id, product"
)
#: The kinds whose labels stand before numbers; the nearest of them tells what a number is.
NUMBERED: Final = (
    "RRN",
    "FRN",
    "PHONE",
    "CARD",
    "ACCOUNT",
    "BRN",
    "CORP",
    "NHIS",
    "DRIVER_LICENSE",
    "PASSPORT",
    "BIRTHDATE",
)

#: What follows an amount.
UNITS: Final = (
    "천원",
    "만원",
    "백만원",
    "억원",
    "원",
    "달러",
    "ms",
    "bytes",
    "byte",
    "kb",
    "mb",
    "건",
    "명",
    "개",
    "권",
    "세대",
)


def labelled(page: Page, role: str, start: int) -> str | None:
    """Why a value at `start` is of the kind whose labels have this role: "label", "column", or None."""
    if not page.has(role):
        return None
    if page.before(role, start) is not None:
        return "label"
    return "column" if page.heads(role, start) else None


def denied(page: Page, start: int, end: int, labelled_as: str | None = None) -> bool:
    """Whether a nearer word than the value's own label says that this is something else, or a unit that it is an amount."""
    if page.has(NOT):
        word = page.before(NOT, start, NEGATIVE_REACH)
        if word is not None:
            label = page.before(labelled_as, start) if labelled_as is not None else None
            if label is None or (label.end < word.end and label.start < word.start):
                return True
        elif page.heads(NOT, start):
            return True
    return page.lower.startswith(UNITS, end)


def match(
    kind: str,
    start: int,
    end: int,
    base: float,
    rule: str,
    *,
    checksum: bool = False,
    label: str | None = None,
    neighbour: bool = False,
    negative: bool = False,
) -> Match:
    """Adds up. `label` is what `labelled` said."""
    score = base
    evidence: tuple[str, ...] = ()
    if checksum:
        score += CHECKSUM
        evidence = ("checksum",)
    if label is not None:
        score += LABEL
        evidence += (label,)
    if neighbour:
        score += NEIGHBOUR
        evidence += ("neighbour",)
    if negative:
        score -= NEGATIVE
        evidence += ("negative label",)
    if not 0.0 <= score <= 1.0:
        score = 0.0 if score < 0.0 else 1.0
    return Match(kind, start, end, score, rule, evidence)
