"""The HTTP server: uvicorn's start-up and ASGI, with a connection of our own that bounds every wait and every size.

    socket ─▶ connection.py ─▶ head.py      which request is this; what is refused at once
                  │        ─▶ chunked.py    where a chunked body ends
                  │        ─▶ refusals.py   what the server answers by itself
                  ▼
              the ASGI app                  scope["state"]["server"] is a ServerStatus
    signals, drain, sweep: runner.py        limits: limits.py        X-Forwarded-For: forwarded.py

Why this and not another server: docs/decisions/0002-http-server.md
"""

from gateway.server.limits import ServerLimits
from gateway.server.runner import Server, serve
from gateway.server.status import ServerStatus

__all__ = ["Server", "ServerLimits", "ServerStatus", "serve"]
