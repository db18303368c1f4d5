"""The gateway's side of reading a file: a fresh process for each, a few at a time, killed when its time is over.

A process per file costs a tenth of a second and leaves nothing: no memory that grows, no state that a file of one person could
leave for the file of the next. A gateway nobody sends files to never starts one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from gateway.attachments.extracted import FENCE, REASONS, Bounds, Extracted, Uninspectable

log = logging.getLogger("haechi.attachments")

#: JSON spells a Hangul letter with six characters and everything beside the text is small.
_ANSWER_BYTES_PER_CHAR = 12


class Extractor(Protocol):
    """Bytes and a name → text."""

    async def extract(self, data: bytes, name: str) -> Extracted:
        """Raises Uninspectable, and nothing else."""
        ...


@dataclass(frozen=True, slots=True)
class Spend:
    """What reading one file may cost: `seconds` on the clock and of CPU, bytes of address space, files read at once."""

    seconds: float = 60.0
    memory: int = 1024 * 1024 * 1024
    at_once: int = 2


class ChildExtractor:
    """Reads each file in a process of its own."""

    def __init__(self, spend: Spend, bounds: Bounds, *, ocr: bool = True) -> None:
        self._spend = spend
        self._bounds = bounds
        self._ocr = ocr
        self._places = asyncio.Semaphore(spend.at_once)
        self._told = False

    async def extract(self, data: bytes, name: str) -> Extracted:
        async with self._places:
            answer = await self._ask(data, name)
        self._tell(frozenset(answer.get("fence", FENCE)))
        code = answer.get("refused")
        if code is not None:
            raise Uninspectable(code if code in REASONS else "crashed", str(answer.get("part", "")))
        return Extracted(
            kind=str(answer["kind"]),
            text=str(answer["text"]),
            not_read=tuple(str(part) for part in answer["not_read"]),
            mismatch=bool(answer["mismatch"]),
        )

    def _tell(self, standing: frozenset[str]) -> None:
        """Once: which part of the fence this kernel or container does not have. The limits hold in any case."""
        if not self._told and standing < FENCE:
            missing = ", ".join(sorted(FENCE - standing))
            log.warning("attachments are read without %s, which this kernel or container does not allow", missing)
        self._told = True

    async def _ask(self, data: bytes, name: str) -> dict[str, Any]:
        order = {
            "name": name,
            "memory": self._spend.memory,
            "cpu_seconds": int(self._spend.seconds) + 1,
            "bounds": asdict(self._bounds),
            "ocr": self._ocr,
        }
        limit = self._bounds.chars * _ANSWER_BYTES_PER_CHAR + 64 * 1024
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-m", "gateway.attachments.child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # tesseract starts a thread per core unless told not to; everything else of ours stays ours.
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "OMP_THREAD_LIMIT": "1"},
            start_new_session=True,
            limit=limit,
        )
        try:
            async with asyncio.timeout(self._spend.seconds):
                told = await _converse(process, json.dumps(order).encode() + b"\n", data)
                code = await process.wait()
        except TimeoutError:
            raise Uninspectable("slow") from None
        except ValueError:  # an answer longer than any text may be
            raise Uninspectable("long") from None
        finally:
            _kill(process)
            await process.wait()
        if not told.endswith(b"\n"):
            return {"refused": _why(code)}
        # A long text takes a while to read; other people's requests are not to wait for it.
        answer: dict[str, Any] = await asyncio.to_thread(json.loads, told)
        return answer


async def _converse(process: asyncio.subprocess.Process, order: bytes, data: bytes) -> bytes:
    """Give the order and the file, read the one line of answer. A child that dies early breaks the pipe; that is its answer."""
    assert process.stdin is not None
    assert process.stdout is not None

    async def give() -> None:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(order)
            process.stdin.write(data)
            await process.stdin.drain()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.close()

    giving = asyncio.create_task(give())
    try:
        return await process.stdout.readline()
    finally:
        giving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await giving


def _why(code: int) -> str:
    """What the end of a child without an answer means: the kernel's signals for too much CPU; else it crashed."""
    if code in {-24, -9}:  # SIGXCPU, SIGKILL
        return "slow"
    log.warning("a reader of attachments ended with %d", code)
    return "crashed"


def _kill(process: asyncio.subprocess.Process) -> None:
    """The child and whatever it started: it leads a session of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, 9)
