"""Places where a crash test may kill the process. Off, a point costs one comparison.

`HAECHI_FAULT_POINT=<name>[:<nth>]` kills this process with SIGKILL the nth time it passes the point (first, if not given):
`reserved` `sent` `dispatched` `frame` `metered` `settled`. Meant for tests; an operator has no reason to set it.
"""

from __future__ import annotations

import os
import signal

_NAME, _, _NTH = os.environ.get("HAECHI_FAULT_POINT", "").partition(":")
_LEFT = {_NAME: int(_NTH or "1")} if _NAME else {}


def point(name: str) -> None:
    """Die here if told so."""
    if name == _NAME and _NAME:
        _LEFT[name] -= 1
        if _LEFT[name] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
