"""Counting tokens ourselves: to tighten a hold when a budget is nearly used, and to estimate what a lost usage was.

tiktoken's encodings come from the files litellm ships (importing neither litellm nor the network); the practice models
have their own. Counting is slow (0.6 ms per thousand tokens), so callers on the event loop use `count_in_thread`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from gateway.providers.scripted import count_tokens as count_practice

#: Where no exact tokeniser is known, text is counted with this one: right to about a tenth for Korean and English.
DEFAULT = "o200k_base"

#: Tokens a chat template may add per message beyond its text, generously.
PER_MESSAGE = 8


def strings(value: Any) -> list[str]:
    """Every string inside a JSON value, keys included: all of it may reach the model."""
    found: list[str] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict):
            found += item.keys()
            stack += item.values()
        elif isinstance(item, list):
            stack += item
    return found


def count(text: str, tokenizer: str | None = None) -> int:
    """Tokens of a text. Never raises: without the encoding's file, four bytes count as one token."""
    if tokenizer == "practice":
        return count_practice(text)
    encode = _encoding(tokenizer or DEFAULT)
    return len(encode(text)) if encode is not None else -(-len(text.encode()) // 4)


async def count_in_thread(texts: list[str], tokenizer: str | None = None) -> int:
    return await asyncio.to_thread(lambda: sum(count(text, tokenizer) for text in texts))


async def decode_in_thread(given: Any, tokenizer: str | None) -> str | None:
    """The text behind token numbers: one list of them, or lists. None where it is text, or nobody here has the vocabulary."""
    if not isinstance(given, list) or not any(isinstance(one, int | list) for one in given):
        return None
    if tokenizer is None or tokenizer == "practice" or _encoding(tokenizer) is None:
        return None
    return await asyncio.to_thread(_decode, given, tokenizer)


def _decode(given: list[Any], tokenizer: str) -> str | None:
    import tiktoken  # noqa: PLC0415 – see _encoding

    encoding = tiktoken.get_encoding(tokenizer)
    lists = [one for one in given if isinstance(one, list)] + [[one for one in given if isinstance(one, int)]]
    try:
        return "\n".join(encoding.decode(numbers) for numbers in lists if numbers)
    except (KeyError, ValueError, OverflowError):  # a number its vocabulary does not have
        return None


def is_exact(tokenizer: str | None) -> bool:
    """Whether `count` of this tokenizer is what the provider will count."""
    return tokenizer == "practice" or (tokenizer is not None and _encoding(tokenizer) is not None)


#: Encodings that tiktoken knows and whose files are here, and the practice models' own.
NAMES = ("cl100k_base", "o200k_base", "p50k_base", "practice")


@lru_cache
def _encoding(name: str) -> Callable[[str], list[int]] | None:
    spec = importlib.util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "litellm_core_utils" / "tokenizers"
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    import tiktoken  # noqa: PLC0415 – 50 ms that a server without estimates never needs

    try:
        encoding = tiktoken.get_encoding(name)
    except (ValueError, OSError):
        return None
    return encoding.encode_ordinary
