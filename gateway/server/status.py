"""What the app may know about the server it runs in. It is `scope["state"]["server"]` (in FastAPI: `request.state.server`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class ServerStatus:
    """Written by the server, read by the app.

    `draining` is true from the first SIGTERM or SIGINT on: readiness answers 503. `expired` is true once the drain time
    is over and running requests have been told to finish (http.disconnect with reason "shutdown"). `refused` counts
    the answers the server gave itself, by error code, and `stuck` the connections closed because the client did not read.
    `connections` and `running` (requests whose handler runs) are as of the last sweep.
    """

    draining: bool = False
    expired: bool = False
    connections: int = 0
    running: int = 0
    stuck: int = 0
    refused: Counter[str] = field(default_factory=Counter)
