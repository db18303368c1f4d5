"""Request bodies for the load: Korean and English office prose, every prompt different from every other.

Different, because a gateway may remember what it has seen by its hash, and a load that repeats itself would measure the memory.
The words are harmless on purpose: no digits, names, markings or addresses, so that the filters read everything and block nothing.
"""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

MODEL = "bench-model"
PACED = "bench-paced"  # the upstream paces what names this model

SMALL_BYTES = 2_100
LARGE_BYTES = 30_000
LARGE_SHARE = 0.2

KOREAN = (Path(__file__).parent / "words" / "korean.txt").read_text(encoding="utf-8").split()
ENGLISH = (Path(__file__).parent / "words" / "english.txt").read_text(encoding="utf-8").split()

ASKS = (
    "다음 글을 세 문단으로 요약하고 핵심을 먼저 써 주세요.",
    "아래 내용을 보도 자료 형식으로 고쳐 써 주세요.",
    "다음 초안에서 어려운 말을 쉬운 말로 바꾸어 주세요.",
    "Summarise the text below in three short paragraphs, most important first.",
    "Turn the notes below into a polite notice for residents.",
)


def prompt(rng: random.Random, size: int) -> str:
    """Prose of about `size` UTF-8 bytes; two prompts in three are Korean."""
    korean = rng.random() < 2 / 3
    words = KOREAN if korean else ENGLISH
    # A Korean word is about 7 bytes with its space, an English one about 6.6.
    drawn = rng.choices(words, k=size // 7 + 1)
    for i in range(9, len(drawn), 10):
        drawn[i] += "."
    text = f"{rng.choice(ASKS)}\n\n{' '.join(drawn)}".encode()
    return text[:size].decode(errors="ignore")


def body(rng: random.Random, size: int, *, model: str, stream: bool) -> bytes:
    request: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "공공기관 직원의 문서 작성을 돕는 조수입니다. 간결하고 정확하게 답합니다."},
            {"role": "user", "content": prompt(rng, size)},
        ],
        "temperature": 0.7,
    }
    if stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()


def write(
    path: Path, count: int, *, seed: str, model: str = MODEL, stream: bool = False, large_share: float = LARGE_SHARE
) -> Path:
    """`count` bodies, each behind its length. The same seed gives the same prompts: every target of a round gets them."""
    rng = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        for _ in range(count):
            data = body(rng, LARGE_BYTES if rng.random() < large_share else SMALL_BYTES, model=model, stream=stream)
            out.write(struct.pack("<I", len(data)) + data)
    return path
