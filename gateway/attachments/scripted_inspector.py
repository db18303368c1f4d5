"""An inspector that answers what it is told: the fake beside the seam.

`refuse` and `fail` are marks in a file; `replace` maps a file to what the service would make of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.attachments.extracted import Uninspectable
from gateway.attachments.inspector import failed


class ScriptedInspector:
    """Keeps what it was shown in `seen`, as (bytes, name)."""

    def __init__(
        self, *, refuse: bytes = b"[[refuse]]", fail: bytes = b"[[fail]]", replace: Mapping[bytes, bytes] | None = None
    ) -> None:
        self._refuse = refuse
        self._fail = fail
        self._replace = dict(replace or {})
        self.seen: list[tuple[bytes, str]] = []
        self.closed = False

    async def inspect(self, data: bytes, name: str) -> bytes:
        self.seen.append((data, name))
        if self._refuse in data:
            raise Uninspectable("inspector_refused")
        if self._fail in data:
            raise failed("told to")
        return self._replace.get(data, data)

    async def close(self) -> None:
        self.closed = True
