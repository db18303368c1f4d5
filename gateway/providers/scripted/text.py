"""The practice answers' words, and how they are counted.

Tokens are counted by a tokeniser of our own, simple enough to check by hand: a run of up to twelve Latin letters, of up to two
Hangul syllables or of up to three digits, each with the one space before it, a run of white space, or any other single
character is one token. A message costs three tokens beside its text and an answer three to begin. So a text never has more
tokens than UTF-8 bytes, and a request never more than the bytes of its `messages` and `tools`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import orjson

MESSAGE_OVERHEAD = 3
ANSWER_OVERHEAD = 3
IMAGE_TOKENS = {"low": 85, "auto": 765, "high": 765}
OTHER_PART_TOKENS = 100

_PIECE = re.compile(r" ?[A-Za-z]{1,12}| ?[가-힣]{1,2}| ?[0-9]{1,3}|\s+|.", re.DOTALL)
LONG = 64 << 10
_HANGUL = re.compile(r"[가-힣ㄱ-ㅣ]")


def pieces(text: str) -> list[str]:
    """The text cut into its tokens; joined they are the text again."""
    return _PIECE.findall(text)


def count_tokens(text: str) -> int:
    if len(text) < LONG:
        return len(_PIECE.findall(text))
    # One by one: no list of millions of strings, and other threads get their turn.
    return sum(1 for _ in _PIECE.finditer(text))


def count_prompt_tokens(request: Mapping[str, Any]) -> int:
    """Tokens of a chat request: messages, their overhead, and the tools as compact JSON."""
    total = ANSWER_OVERHEAD
    for message in request["messages"]:
        total += MESSAGE_OVERHEAD + sum(_part_tokens(part) for part in parts(message))
        if isinstance(message.get("name"), str):
            total += count_tokens(message["name"])
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            total += count_tokens(f"{function.get('name', '')}{function.get('arguments', '')}")
    if request.get("tools"):
        total += count_tokens(orjson.dumps(request["tools"]).decode())
    return total


def parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for part in content or () if isinstance(part, dict)]


def _part_tokens(part: Mapping[str, Any]) -> int:
    if part.get("type") in {"text", "refusal"}:
        return count_tokens(str(part.get("text") or part.get("refusal") or ""))
    flat = OTHER_PART_TOKENS
    if part.get("type") == "image_url":
        image = part.get("image_url")
        detail = image.get("detail", "auto") if isinstance(image, dict) else "auto"
        flat = IMAGE_TOKENS.get(detail, IMAGE_TOKENS["auto"])
    # A short link stands for a large picture; the byte bound on a request's tokens holds all the same.
    return min(flat, len(orjson.dumps(part)))


_KO = (
    "먼저 목적과 대상을 한 문장으로 적고, 근거가 되는 규정과 날짜를 함께 밝혀 주세요.",
    "핵심을 세 가지로 나누어 결론, 이유, 다음 할 일의 순서로 정리하면 읽기 쉽습니다.",
    "숫자와 고유명사는 원문과 한 번 더 맞추어 보시기 바랍니다.",
    "관련 부서와 미리 협의할 점이 있으면 따로 표시해 두는 편이 좋습니다.",
    "민원인이 바로 이해할 수 있도록 어려운 한자말은 쉬운 말로 바꾸어 보세요.",
    "기한과 담당자를 표로 만들면 빠진 일이 한눈에 드러납니다.",
    "마지막으로 개인정보가 남아 있지 않은지 확인한 뒤에 공유해 주세요.",
)
_EN = (
    "Start with one sentence that states the purpose and the reader, then give the rule and the date it rests on.",
    "Three short parts usually work best: the conclusion, the reasons, and the next step with its owner.",
    "Check names and numbers once more against the source before you pass the text on.",
    "If another department has to agree, mark that point so that nobody has to search for it.",
    "Plain words are better than terms of art when the letter goes to a member of the public.",
    "A small table of deadlines and owners shows at a glance what is still missing.",
    "Before sharing it, make sure that no personal data is left in the text.",
)
_SHORTEST = 36
_QUOTE = 4


def compose(engine_model: str, prompt: str, seed: object, index: int, tokens: int | None) -> list[str]:
    """The tokens of a practice answer to `prompt`: 30 to 80 of them, or exactly `tokens`."""
    key = f"{engine_model}\0{seed}\0{index}\0{prompt}".encode()
    draw = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
    quote = "".join(pieces(" ".join(prompt[:200].split()))[:_QUOTE]).strip()
    if _HANGUL.search(prompt) or not prompt:
        stock, opening = _KO, f"연습용 답변입니다. ‘{quote}’에 대해 이렇게 해 보세요."
    else:
        stock, opening = _EN, f"This is a practice answer. About “{quote}”:"
    start, stride = draw % len(stock), 1 + draw // len(stock) % (len(stock) - 1)
    found = pieces(opening)
    turn = 0
    while len(found) < (tokens or _SHORTEST):
        found += pieces(" " + stock[(start + turn * stride) % len(stock)])
        turn += 1
    return found[:tokens] if tokens else found
