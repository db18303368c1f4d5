"""What the server writes about itself: one line an event, JSON where a machine reads it, plain where a person looks on.

Nothing a caller sent is ever an argument of a log call. As a second line of defence every configured secret is replaced by
its name wherever it would appear, whatever library put it there.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime


class Redacting(logging.Formatter):
    """`secrets`: name → value. Values shorter than eight characters are not looked for: they would hit ordinary words."""

    def __init__(self, secrets: Mapping[str, str], *, as_json: bool) -> None:
        super().__init__("%(levelname).1s %(name)s %(message)s")
        self._secrets = [(value, f"[{name}]") for name, value in secrets.items() if len(value) >= 8]
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        text = self._json(record) if self._as_json else super().format(record)
        for value, name in self._secrets:
            if value in text:
                text = text.replace(value, name)
        return text

    def _json(self, record: logging.LogRecord) -> str:
        line: dict[str, str] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(secrets: Mapping[str, str], level: int = logging.INFO) -> None:
    """Send everything to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting(secrets, as_json=not sys.stderr.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Their start-up lines are the server's own business, said better by us.
    for name in ("alembic", "uvicorn", "uvicorn.error", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
