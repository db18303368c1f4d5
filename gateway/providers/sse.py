"""Server-sent events, incrementally: bytes in, whole events out.

    feed(b'data: {"a"')  → []
    feed(b':1}\\n\\n')     → [b'{"a":1}']

The grammar is WHATWG HTML §9.2.6. It stays in bytes, so a character cut in two by the network is no concern of ours: line
ends are ASCII and no byte of a longer UTF-8 sequence can be mistaken for one. Line ends of all three kinds are made LF on
arrival; after that an event is what stands between two blank lines, and the ordinary case (`data: {…}` on one line) is a few
calls into C for a whole network read.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_LINE = 1 << 20
_BOM = b"\xef\xbb\xbf"


class LineTooLong(Exception):
    """A line, or one event's lines together, is longer than the cap. The stream cannot be followed any further."""


class Event(NamedTuple):
    """`name` is the `event:` field, None where the upstream gave none; `data` the joined `data:` lines."""

    name: bytes | None
    data: bytes


class EventParser:
    """One stream's parser. It raises LineTooLong and nothing else, whatever it is fed.

    Events that were complete before an over-long line are returned first; the next call raises. So the events do not depend
    on how the network cut the bytes.
    """

    __slots__ = ("_at_start", "_max_line", "_overflow", "_skip_lf", "_tail")

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max_line = max_line
        self._tail = bytearray()
        self._at_start = True
        self._skip_lf = False
        self._overflow = False

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads completed by `data`, in order; names are dropped and events without a `data:` line skipped."""
        if (
            data.count(b"\n") == 2
            and data.startswith(b"data: ")
            and data.endswith(b"\n\n")
            and b"\r" not in data
            and not (self._tail or self._at_start or self._skip_lf or self._overflow)
            and len(data) <= self._max_line
        ):
            # One read, one event: what a paced stream is made of.
            return [data[6:-2]]
        whole = self._whole_blocks(data)
        if not whole:
            return []
        blocks = whole[:-2].split(b"\n\n")
        # Two line ends a block and nothing else: every block is one line. Cheaper than looking into each.
        if whole.count(b"\n") == 2 * len(blocks):
            payloads = [block[6:] for block in blocks if block.startswith(b"data: ")]
            if len(payloads) == len(blocks):
                return payloads
        return [event.data for event in map(_event, blocks) if event is not None]

    def feed_events(self, data: bytes) -> list[Event]:
        """As `feed`, with names, for dialects that give them a meaning."""
        whole = self._whole_blocks(data)
        if not whole:
            return []
        return [event for event in map(_event, whole[:-2].split(b"\n\n")) if event is not None]

    def rest(self) -> list[bytes]:
        """At the end of the bytes: the payload of a last event that was never closed by a blank line, if there is one.

        The grammar throws it away; some servers close right after `data: [DONE]`.
        """
        if self._overflow:
            raise LineTooLong(self._max_line)
        event = _event(bytes(self._tail))
        return [] if event is None else [event.data]

    def _whole_blocks(self, data: bytes) -> bytes:
        """Everything up to and including the last blank line seen, LF only; what follows it waits in the tail."""
        if self._overflow:
            raise LineTooLong(self._max_line)
        if self._at_start:
            data = self._without_bom(data)
        if self._skip_lf or b"\r" in data:
            data = self._with_lf(data)
        tail = self._tail
        if tail:
            seen = len(tail)
            tail += data
            end = tail.rfind(b"\n\n", seen - 1)
            if end < 0:
                self._check_tail()
                return b""
            whole = bytes(tail[: end + 2])
            del tail[: end + 2]
        elif data.endswith(b"\n\n"):
            whole = data
        else:
            end = data.rfind(b"\n\n")
            if end < 0:
                tail += data
                self._check_tail()
                return b""
            whole = data[: end + 2]
            tail += data[end + 2 :]
        if len(whole) > self._max_line:
            whole = self._before_overflow(whole)
        if not self._overflow and self._too_long(tail):
            self._stop()
        return whole

    def _without_bom(self, data: bytes) -> bytes:
        head = bytes(self._tail) + data
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._tail[:] = head
            return b""
        self._tail.clear()
        self._at_start = False
        return head.removeprefix(_BOM)

    def _with_lf(self, data: bytes) -> bytes:
        """CRLF and CR become LF. A CR at the very end ends its line at once; the LF that may follow is then ignored."""
        if not data:
            return data
        if self._skip_lf and data.startswith(b"\n"):
            data = data[1:]
            self._skip_lf = False
            if not data:
                return data
        self._skip_lf = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _check_tail(self) -> None:
        if self._too_long(self._tail):
            self._stop()
            raise LineTooLong(self._max_line)

    def _too_long(self, block: bytes | bytearray) -> bool:
        # Where blank lines fall to depends on the cut, so they must not count.
        return len(block) > self._max_line and len(block.strip(b"\n")) > self._max_line

    def _stop(self) -> None:
        self._overflow = True
        self._tail.clear()

    def _before_overflow(self, whole: bytes) -> bytes:
        """The blocks in front of the first one over the cap."""
        start = 0
        while start < len(whole):
            end = whole.find(b"\n\n", start)
            if end < 0:  # three line ends in a row: the last one is left over
                break
            if self._too_long(whole[start:end]):
                self._stop()
                if not start:
                    raise LineTooLong(self._max_line)
                return whole[:start]
            start = end + 2
        return whole


def _event(block: bytes) -> Event | None:
    """One block's event, or None where it has no `data` field (comments, retry hints, ids)."""
    name: bytes | None = None
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return Event(name, b"\n".join(data)) if data else None
