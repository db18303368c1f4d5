"""The chunked transfer coding, decoded strictly: RFC 9112 §7.1 without trailers.

Only CRLF ends a line; a size has at most eight hex digits; extensions are ignored within their bound; trailers are
refused, because nobody downstream reads them and two readers may disagree about where they end.
"""

from __future__ import annotations

import re

# Size, then optionally extensions of printable characters. The longest legal line is 8 + 256 + 2 bytes.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t\x20-\x7e]{0,250})?\r\n")
_LONGEST_LINE = 266
# Each chunk costs us about as much work as 16 bytes of framing; data pays for it byte by byte. A body of one-byte chunks
# would otherwise keep the event loop busy for seconds. What may stay unpaid is some 3,000 tiny chunks.
_CHUNK_COST = 16
_LARGEST_DEBT = 64 * 1024


class BadChunk(Exception):
    """The coding is broken; where the next request starts is unknown."""


class ChunkedBody:
    """Feed it the bytes after the head; it gives back the data and, once finished, what follows the body."""

    __slots__ = ("_debt", "_held", "_left", "done", "rest")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""  # bytes after the end of the body, once done
        self._held = b""  # an unfinished size line, chunk end or last line
        self._left = 0  # data bytes of the current chunk still to come, and its CRLF (2)
        self._debt = 0  # framing not paid for by data

    def feed(self, data: bytes) -> bytes:
        """The body data in `data`. Raises BadChunk."""
        if self._held:
            data, self._held = self._held + data, b""
        parts: list[bytes] = []
        at = 0
        end = len(data)
        while at < end:
            if self._left > 2:
                part = data[at : at + self._left - 2]
                at += len(part)
                self._left -= len(part)
                parts.append(part)
                continue
            if self._left:
                if data[at : at + 2] != b"\r\n":
                    if data[at:] == b"\r":
                        break
                    raise BadChunk("a chunk is longer than its size")
                at += 2
                self._left = 0
                continue
            line = _SIZE_LINE.match(data, at)
            if line is None:
                if b"\n" in data[at:] or end - at > _LONGEST_LINE:
                    raise BadChunk("bad chunk size line")
                break
            size = int(line[1], 16)
            if size == 0:
                ending = data[line.end() : line.end() + 2]
                if ending == b"\r\n":
                    self.done = True
                    self.rest = data[line.end() + 2 :]
                    return b"".join(parts)
                if ending not in (b"", b"\r"):
                    raise BadChunk("trailers are not accepted")
                break
            self._debt = max(self._debt + line.end() - at + _CHUNK_COST - size, 0)
            if self._debt > _LARGEST_DEBT:
                raise BadChunk("too much framing for too little data")
            at = line.end()
            self._left = size + 2
        self._held = data[at:]
        return parts[0] if len(parts) == 1 else b"".join(parts)
