"""What a person reads when the filters stop a request: what kind of text, where, what to do, that nothing left and nothing was
charged. Korean first, English after: programs show the message as it is. Never the text itself, and no rule's inner name: who
was stopped cannot tune a rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.errors import PolicyBlocked
from gateway.settings import Label
from policies.decision import ACTIONS, Finding, Grade

#: What each kind is called.
KIND_NAMES: Final[Mapping[str, Label]] = {
    "RRN": Label(en="resident registration number", ko="주민등록번호"),
    "FRN": Label(en="foreigner registration number", ko="외국인등록번호"),
    "PASSPORT": Label(en="passport number", ko="여권번호"),
    "DRIVER_LICENSE": Label(en="driver's licence number", ko="운전면허번호"),
    "PHONE": Label(en="telephone number", ko="전화번호"),
    "EMAIL": Label(en="e-mail address", ko="이메일 주소"),
    "ADDRESS": Label(en="street address", ko="주소"),
    "ACCOUNT": Label(en="bank account number", ko="계좌번호"),
    "CARD": Label(en="card number", ko="카드번호"),
    "BRN": Label(en="business registration number", ko="사업자등록번호"),
    "CORP": Label(en="corporation number", ko="법인등록번호"),
    "NHIS": Label(en="health insurance number", ko="건강보험증 번호"),
    "PLATE": Label(en="vehicle plate", ko="차량번호"),
    "BIRTHDATE": Label(en="date of birth", ko="생년월일"),
    "PERSON": Label(en="person's name", ko="사람 이름"),
    "IP": Label(en="IP address", ko="IP 주소"),
    "SECRET": Label(en="password or key", ko="비밀번호나 인증키"),
    "CLASSMARK": Label(en="classification mark", ko="보안등급·공개구분 표시"),
    "KEYWORD": Label(en="sensitive subject", ko="민감정보 낱말"),
    "UNREADABLE": Label(en="content that cannot be inspected", ko="검사할 수 없는 내용(이미지·음성·파일)"),
}

_ROLES: Final = {
    "system": ("the instructions", "지시문"),
    "developer": ("the instructions", "지시문"),
    "tool": ("a tool's result", "도구 결과"),
    "assistant": ("the assistant's message", "답변 메시지"),
}
_FIELDS: Final = {
    "tools": ("the tools", "도구 정의"),
    "functions": ("the tools", "도구 정의"),
    "input": ("the input", "입력"),
    "response_format": ("the answer's format", "답변 형식"),
}

#: What to do about some kinds beside taking them out.
_REMEDIES: Final[Mapping[str, Label]] = {
    "SECRET": Label(
        en="Take it out; if it was ever sent anywhere, change it.",
        ko="그 값을 지우십시오. 이미 다른 곳에 보낸 적이 있다면 바꾸십시오.",
    ),
    "CLASSMARK": Label(
        en="A document with such a mark does not leave; ask its owner whether it may.",
        ko="그런 표시가 있는 문서는 밖으로 보낼 수 없습니다. 보내도 되는지 문서 담당자에게 문의하십시오.",
    ),
    "UNREADABLE": Label(en="Send its text instead.", ko="내용을 글로 붙여 넣으십시오."),
}
_TAKE_OUT = Label(
    en="Take it out, or write it without the number or the name.", ko="그 부분을 지우거나 가려서 다시 보내십시오."
)
_NOWHERE = Label(en="Text of grade C may not go to any model.", ko="C등급(기밀) 자료는 어떤 모델로도 보낼 수 없습니다.")
_NOTHING_LEFT = Label(en="Nothing was sent and nothing was charged.", ko="아무것도 전송되지 않았고 과금도 없었습니다.")


def stopped(
    findings: Sequence[Finding], roles: Mapping[str, str], *, rule: str, grade: Grade, alternatives: Sequence[str]
) -> PolicyBlocked:
    """The refusal of a request. `roles`: pointer → role of the message it stands in; `alternatives`: models inside."""
    at_fault = [finding for finding in findings if ACTIONS.index(finding.action) >= ACTIONS.index("route_local")]
    details = {
        "findings": shown(findings),
        "rule": rule,
        "grade": grade,
        "alternatives": list(alternatives),
    }
    if not at_fault:
        return PolicyBlocked(_of_grade(grade, alternatives), details=details)
    kinds = list(dict.fromkeys(finding.kind for finding in at_fault))
    where = list(dict.fromkeys(_place(finding.part, roles.get(finding.part, "")) for finding in at_fault))[:3]
    remedies = list(dict.fromkeys(_REMEDIES.get(kind, _TAKE_OUT) for kind in kinds))
    if grade == "C":
        remedies = [_NOWHERE]
    english = (
        f"This request was stopped before it left: {_listed([name(kind).en for kind in kinds])} in "
        f"{_listed([place.en for place in where])}. {' '.join(remedy.en for remedy in remedies)}"
    )
    korean = (
        f"요청을 보내지 않았습니다. {', '.join(place.ko for place in where)}에 "
        f"{_subject(', '.join(name(kind).ko for kind in kinds))} 있습니다. "
        f"{' '.join(remedy.ko for remedy in remedies)}"
    )
    if alternatives:
        english += f" A model inside may have it as it is: {', '.join(alternatives)}."
        korean += f" 내부 모델에는 그대로 보낼 수 있습니다: {', '.join(alternatives)}."
    return PolicyBlocked(f"{korean} {_NOTHING_LEFT.ko} {english} {_NOTHING_LEFT.en}", details=details)


def filter_failed(rule: str) -> PolicyBlocked:
    """The filters could not finish: what nobody has read does not leave."""
    return PolicyBlocked(
        "필터가 요청을 끝까지 검사하지 못하여 보내지 않았습니다. 다시 시도하고, 되풀이되면 관리자에게 알리십시오. "
        f"{_NOTHING_LEFT.ko} The filters could not finish reading this request, so it was not sent. Try again; if it happens "
        f"again, tell your administrator. {_NOTHING_LEFT.en}",
        details={"findings": [], "rule": rule},
    )


def shown(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as every answer spells them."""
    return [{"kind": f.kind, "part": f.part, "start": f.start, "end": f.end, "action": f.action} for f in findings]


def name(kind: str) -> Label:
    return KIND_NAMES.get(kind) or Label(en=kind, ko=kind)


def _of_grade(grade: Grade, alternatives: Sequence[str]) -> str:
    if grade == "C":
        return f"{_NOWHERE.ko} {_NOTHING_LEFT.ko} {_NOWHERE.en} {_NOTHING_LEFT.en}"
    models = f" ({', '.join(alternatives)})" if alternatives else ""
    return (
        f"{grade}등급 자료는 이 모델로 보낼 수 없습니다. 내부 모델을 고르십시오{models}. {_NOTHING_LEFT.ko} "
        f"Text of grade {grade} may not go to this model. Choose a model inside{models}. {_NOTHING_LEFT.en}"
    )


def _place(part: str, role: str) -> Label:
    steps = part.split("/")[1:]
    if steps[:1] == ["messages"] and len(steps) > 1 and steps[1].isdigit():
        number = int(steps[1]) + 1
        english, korean = _ROLES.get(role, ("", ""))
        if not english:
            return Label(en=f"message {number}", ko=f"{number}번째 메시지")
        return Label(en=f"{english} (message {number})", ko=f"{korean}({number}번째 메시지)")
    field = steps[0] if steps else ""
    english, korean = _FIELDS.get(field, (f"`{field}`" if field else "the text", f"`{field}`" if field else "글"))
    return Label(en=english, ko=korean)


def _subject(words: str) -> str:
    """With the particle its last sound wants: 번호가, 이름이; 이(가) where it ends in none of Hangul."""
    last = words.rstrip(")")[-1:]
    if not "가" <= last <= "힣":
        return f"{words}이(가)"
    return f"{words}이" if (ord(last) - ord("가")) % 28 else f"{words}가"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
