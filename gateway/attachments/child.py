"""The process that reads one file and ends: `python -I -m gateway.attachments.child`.

    stdin    one line of JSON (what may be spent), then the bytes of the file to the end
    stdout   one line of JSON: {"kind", "text", "not_read", "mismatch", "fence"} or {"refused", "part", "fence"}

It imports as little of the gateway as it can, never its settings, and its environment is empty, so there is no secret in it.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from typing import Any

from gateway.attachments.extracted import Bounds, Uninspectable
from gateway.attachments.fence import raise_fence


def main() -> int:
    """Exit 0 with an answer. Any other end is the parent's to interpret."""
    order: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    fence = sorted(raise_fence(order["memory"], order["cpu_seconds"]))
    logging.disable(logging.CRITICAL)  # libraries complain about damaged files by quoting them
    answer: dict[str, Any]
    try:
        from gateway.attachments.extract import extract  # noqa: PLC0415 – whatever it imports is behind the fence

        data = sys.stdin.buffer.read()
        answer = asdict(extract(data, order["name"], Bounds(**order["bounds"]), ocr=order["ocr"]))
    except Uninspectable as refused:
        answer = {"refused": refused.code, "part": refused.part}
    except MemoryError:
        answer = {"refused": "memory", "part": ""}
    except RecursionError:
        answer = {"refused": "malformed", "part": ""}
    # A reader that trips over a damaged file must not take the answer with it; nobody reads a traceback here, and a
    # traceback can quote the file.
    except Exception:  # noqa: BLE001
        answer = {"refused": "crashed", "part": ""}
    answer["fence"] = fence
    sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=True).encode() + b"\n")
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
