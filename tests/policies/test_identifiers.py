"""Check digits by hand, and what numbers with the same shape are told apart by."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.detectors import _resident, brn, card, frn, rrn
from policies.engine import Scanner

TODAY = date(2026, 11, 24)
scanner = Scanner(today=lambda: TODAY)


def kinds(text: str) -> set[str]:
    return {match.kind for match in scanner.scan(text)}


def score(text: str, kind: str) -> float:
    return max((match.score for match in scanner.scan(text) if match.kind == kind), default=0.0)


def test_check_digit_of_a_resident() -> None:
    """850312-234567: 8·2+5·3+0·4+3·5+1·6+2·7+2·8+3·9+4·2+5·3+6·4+7·5 = 191; 191 mod 11 = 4; 11 − 4 = 7."""
    assert rrn.sums_up("8503122345677")
    assert [digit for digit in "0123456789" if rrn.sums_up("850312234567" + digit)] == ["7"]


def test_check_digit_of_a_foreigner_is_two_more() -> None:
    """911124-567890: 9·2+1·3+1·4+1·5+2·6+4·7+5·8+6·9+7·2+8·3+9·4+0·5 = 238; 238 mod 11 = 7; 13 − 7 = 6 (a resident's: 4)."""
    assert frn.sums_up("9111245678906")
    assert not rrn.sums_up("9111245678906")
    assert rrn.sums_up("9111245678904")


def test_check_digit_of_a_business() -> None:
    """124-81-0099: 1·1+2·3+4·7+8·1+1·3+0·7+0·1+9·3+9·5 = 118; ⌊5·9/10⌋ = 4; 122 mod 10 = 2; 10 − 2 = 8."""
    assert brn.sums_up("1248100998")
    assert not brn.sums_up("1248100991")


def test_check_digit_of_a_company_is_that_of_the_published_example() -> None:
    """110111-006243: 1+2+0+2+1+2+0+0+6+4+4+6 = 28; 10 − 8 = 2."""
    assert _resident.company("1101110062432")
    assert not _resident.company("1101110062431")


@pytest.mark.parametrize(
    ("digits", "is_card"),
    [
        ("4111111111111111", True),
        ("378282246310005", True),
        ("30569309025904", True),
        ("3530111333300000", True),
        ("5555555555554444", True),
        ("6011111111111117", True),
        ("2223003122003222", True),
        ("9410123456789010", True),
        ("2025031200010001", False),  # no issuer begins so
        ("1234567812345670", False),  # Luhn is right, the issuer is nobody
        ("4111111111111112", False),
    ],
)
def test_cards_have_an_issuer_and_a_check_digit(digits: str, is_card: bool) -> None:
    assert (card.issued(digits) and card.luhn(digits)) is is_card
    assert ("CARD" in kinds(digits)) is is_card


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("850312-2345678", 0.8),  # written like one, check digit wrong: re-issued numbers are
        ("850312-2345677", 1.0),
        ("주민번호 8503122345678", 0.8),
        ("8503122345678", 0.0),
        ("8503122345677", 0.8),
        ("주민번호 201105-3123456", 0.8),
        ("주문번호 8503122345677", 0.0),
        ("주문번호 850312-2345678", 0.0),
        ("접수번호 주민번호 850312-2345678", 0.8),
    ],
)
def test_how_sure_a_resident_number_is(text: str, wanted: float) -> None:
    """A label, a hyphen or a check digit each do; a nearer word that says otherwise takes it back."""
    got = score(text, "RRN")
    assert got >= wanted if wanted else got == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "다산콜 120, 화재는 119, 민원 110",
        "바코드 8801234567893",
        "상품 8809876543219 재고 12개",
        "ts=1700000000000 level=info",
        "로그 1732412345678 처리 완료",
        "문서번호 도시계획과-12345(2025.03.12.)",
        "문서번호 2025-0312-0001-0002",
        "공고 제2025-1234호",
        "접수번호 20250312-000123",
        "운송장 123456789012",
        "주문 2025031212345678",
        "관리번호 11-12-345678-90",
        "ISBN 978-89-546-1234-5",
        "550e8400-e29b-41d4-a716-446655440000",
        "commit 3fa85f6457174562b3fc2c963f66afa612345678",
        "위도 37.5665350123456 경도 126.9780012345678",
        "사건 2025고단1234567",
        "특허 제10-1234567호",
        "PNU 1168010100107360024",
        "법정동 1168010100",
        "전자납부번호 12345-1-23-45-6-7890123-4",
        "총 1,234,567,890원 (전년 1,134,567,890원)",
        "000001 000002 000003 000004",
        "123456 1234567\n234567 2345678\n345678 3456789",
        "버전 10.1.2.3, v2.0.1.45",
        "20251124103000",
        "202511241030",
        "#850312 #fe2345",
        "2026. 11. 24.(화) 14:00~16:00",
        "기온 25도 2024년 평균",
        "비율 12.34% 23.45% 34.56%",
        "제31조 2024년 개정",
    ],
)
def test_ordinary_numbers_raise_no_alarm(text: str) -> None:
    assert kinds(text) == set()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("법인등록번호 110111-1234567", "CORP"),
        ("법인등록번호 110111-0062432", "CORP"),
        ("주민등록번호 110111-3234567", "RRN"),
        ("외국인등록번호 911124-5678901", "FRN"),
        ("건강보험증 71234567890", "NHIS"),
        ("계좌 71234567890", "ACCOUNT"),
        ("면허번호 111234567890", "DRIVER_LICENSE"),
        ("농협 111234567890", "ACCOUNT"),
        ("휴대폰 01023456789", "PHONE"),
        ("사업자등록번호 1248100991", "BRN"),
        ("계좌번호 1248100991", "ACCOUNT"),
    ],
)
def test_a_label_says_which_of_several_kinds_a_number_is(text: str, kind: str) -> None:
    assert kinds(text) == {kind}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("번호|주민번호\n1|8503122345678\n2|9001011234567", {"RRN"}),
        ("번호\t주민번호\n1\t8503122345678", {"RRN"}),
        ("번호,바코드\n1,8503122345677", set()),
        ("주민번호,바코드\n없음,8503122345678", set()),
        ('"이름, 성","계좌번호"\n"없음, 빈칸","11023456789012"', {"ACCOUNT"}),
        ("아래 명단, 확인 바람\n번호,주민번호\n1,8503122345678", {"RRN"}),
    ],
)
def test_the_head_of_a_column_is_a_label(text: str, found: set[str]) -> None:
    assert kinds(text) == found


DAYS = st.dates(date(1920, 1, 1), date(2020, 9, 30))
#: What may stand between the two halves, and what may be put into them.
SEPARATORS = st.sampled_from(["-", " - ", "–", "－", "·", "--", "—", "~", " -", "‐"])
INSERTED = st.sampled_from(["", "\u200b", "\u200d", "\ufeff", "\u00ad", "\u2060"])
DRAWN = st.sampled_from(["0123456789", "０１２３４５６７８９", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗", "٠١٢٣٤٥٦٧٨٩"])
AROUND = st.sampled_from(["", "민원인 ", "가나다", "(", "「", "번호는", "\n", "이름 없음, "])
BEHIND = st.sampled_from(["", "입니다", ")", "의 서류", "\n", ", 끝", "」"])


@given(DAYS, st.integers(0, 99999), st.booleans(), SEPARATORS, INSERTED, DRAWN, AROUND, BEHIND)
def test_a_resident_number_is_found_however_it_is_written(  # noqa: PLR0917 – hypothesis draws each
    born: date, serial: int, woman: bool, separator: str, inserted: str, digits: str, before: str, after: str
) -> None:
    """And the finding covers exactly its characters, so that masking leaves none of them."""
    century = (1 if born.year < 2000 else 3) + woman
    plain = f"{born:%y%m%d}", f"{century}{serial % 96:02d}{serial:05d}"[:7]
    value = separator.join(inserted.join(half).translate(str.maketrans("0123456789", digits)) for half in plain)
    text = f"{before}{value}{after}"
    assert [text[match.start : match.end] for match in scanner.scan(text) if match.kind == "RRN"] == [value]


@given(st.integers(2000, 9999), st.integers(0, 9999), SEPARATORS, INSERTED, DRAWN, AROUND, BEHIND)
def test_a_mobile_number_is_found_however_it_is_written(  # noqa: PLR0917
    exchange: int, line: int, separator: str, inserted: str, digits: str, before: str, after: str
) -> None:
    groups = ("010", str(exchange), f"{line:04d}")
    value = separator.join(inserted.join(group).translate(str.maketrans("0123456789", digits)) for group in groups)
    text = f"{before}{value}{after}"
    assert [text[match.start : match.end] for match in scanner.scan(text) if match.kind == "PHONE"] == [value]


@given(st.text(max_size=200))
def test_any_text_is_read_and_findings_lie_in_it_apart_from_each_other(text: str) -> None:
    found = scanner.scan(text)
    end = 0
    for match in found:
        assert end <= match.start < match.end <= len(text)
        assert match.band is not None
        end = match.end
