"""Vectors as clients ask for them: numbers, or base64 of little-endian 32-bit floats, which OpenAI's own SDK asks for unasked.

Not every upstream knows the second form, so it is asked for numbers and they are packed here.
"""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Sequence

import orjson

#: Above this many bytes of numbers, reading and packing them takes long enough for other requests to notice.
_INLINE_BYTES = 1 << 18


def packed(vector: Sequence[float]) -> str:
    """Raises struct.error or OverflowError for what is no vector of 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


async def packed_answer(body: bytes) -> bytes:
    """An embeddings answer with its vectors packed; those that already are stay.

    Raises ValueError, TypeError, LookupError or struct.error for an answer without sense.
    """
    return await asyncio.to_thread(_packed_answer, body) if len(body) > _INLINE_BYTES else _packed_answer(body)


def _packed_answer(body: bytes) -> bytes:
    said = orjson.loads(body)
    for one in said["data"]:
        if not isinstance(one["embedding"], str):
            one["embedding"] = packed(one["embedding"])
    return orjson.dumps(said)
