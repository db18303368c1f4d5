"""The hash chains. Pure.

    hash(n) = SHA-256( chain ‖ n ‖ hash(n − 1) ‖ canonical row )

A row's canonical form is the compact JSON of its columns in the order they are stored, with everything that belongs to it
(entries, event, meters) inside. Seals are rows of their own, written within seconds of the commit by one sealer, so no sealed
row is ever touched again; flipping any byte of any of them breaks the chain from there on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Seal:
    chain: str
    seq: int
    row_id: str
    prev_hash: str
    hash: str


def canonical(row: Any) -> bytes:
    return orjson.dumps(row)


def link(chain: str, seq: int, prev_hash: str, row: bytes) -> str:
    digest = hashlib.sha256(f"{chain}\n{seq}\n{prev_hash}\n".encode())
    digest.update(row)
    return digest.hexdigest()


def seal(chain: str, head: tuple[int, str], rows: Iterable[tuple[str, bytes]]) -> Iterator[Seal]:
    """Links for (row id, canonical row) after the chain's head (seq, hash); (0, GENESIS) begins a chain."""
    seq, prev = head
    for row_id, row in rows:
        seq += 1
        hash_ = link(chain, seq, prev, row)
        yield Seal(chain, seq, row_id, prev, hash_)
        prev = hash_
