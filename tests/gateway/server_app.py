"""The tiny ASGI app that test_server.py talks to, run as a process of its own: `server_app.py '{"limits": {…}}'`.

What happens inside is printed as one JSON object a line, because a draining server takes no more questions.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import resource
import sys
import urllib.parse
from typing import Any

from gateway.api.raw import (
    Disconnect,
    finish_sse,
    json_headers,
    read_body,
    send_json,
    send_refusal,
    send_sse,
    sse_error,
    sse_frame,
    sse_headers,
    start_sse,
)
from gateway.errors import Refusal, Unavailable
from gateway.server import ServerLimits, ServerStatus, serve

ID = "req_test"


def tell(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


async def hello(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    tell("hello", path=scope["path"], **query)
    facts = {
        "method": scope["method"],
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode(),
        "query": scope["query_string"].decode(),
        "http": scope["http_version"],
        "scheme": scope["scheme"],
        "client": scope["client"][0],
        "headers": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]],
    }
    await send_json(send, 200, json.dumps(facts).encode(), json_headers(ID))


async def echo(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    await asyncio.sleep(float(query.get("wait", "0")))
    body = await read_body(receive, 10**9)
    facts = {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    tell("echo", **facts, **query)
    await send_json(send, 200, json.dumps(facts).encode(), json_headers(ID))


async def encoded(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    """The app's own rule, not the server's: a compressed body is refused unread."""
    if dict(scope["headers"]).get(b"content-encoding", b"identity") != b"identity":
        await send_json(send, 415, b"{}", json_headers(ID))
    else:
        await echo(scope, receive, send, query)


async def unread(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    await asyncio.sleep(float(query.get("wait", "0")))
    await send_json(send, 401, b"{}", json_headers(ID))


async def early(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Begins to answer before it has the body."""
    await start_sse(send, sse_headers(ID))
    await send_sse(send, b": early\n\n")
    body = await read_body(receive, 10**9)
    await finish_sse(send, b"data: %d\n\n" % len(body))


async def stream(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    """`n` events, `pace` seconds apart (default 0.02), and who left when."""
    outcome = "complete"
    if "wrapped" in query:
        inner = receive

        async def receive() -> Any:
            return await inner()

    await read_body(receive, 1000)
    with Disconnect(receive) as gone:
        gone.then(lambda reason: tell("left", reason=reason, **query))
        await start_sse(send, sse_headers(ID))
        for number in range(int(query.get("n", "5"))):
            await send_sse(send, sse_frame(b"%d" % number))
            await asyncio.sleep(float(query.get("pace", "0.02")))
            if gone.left and "deaf" not in query:
                outcome = str(gone.reason)
                break
    if outcome == "shutdown":
        refusal = Unavailable("shutting down", code="server_shutting_down")
        await finish_sse(send, sse_error(refusal, ID))
    elif outcome == "complete":
        await finish_sse(send, b"data: [DONE]\n\n")
    tell("stream", outcome=outcome, **query)


async def hang(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Answers nothing until the client leaves."""
    await read_body(receive, 1000)
    tell("hanging", **query)
    try:
        with Disconnect(receive) as gone:
            reason = await gone
    except asyncio.CancelledError:
        tell("hang", reason="cancelled", **query)
        raise
    tell("hang", reason=reason, again=(await receive())["type"], **query)


async def stubborn(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Goes on whatever it is told."""
    tell("stubborn")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        tell("cancelled")
        raise


async def flood(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Sends for ever."""
    reason = None
    with Disconnect(receive) as gone:
        await start_sse(send, sse_headers(ID))
        while not gone.left:
            await send_sse(send, sse_frame(b"x" * 16_384))
            await asyncio.sleep(0)
        reason = gone.reason
    tell("flood", reason=reason, **query)


async def big(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    await send_json(send, 200, b"x" * int(query["bytes"]), json_headers(ID))
    tell("big", **query)


async def broken(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": []}
    match query["how"]:
        case "raise":
            raise LookupError("broken on purpose")
        case "exit":
            raise SystemExit(3)
        case "silent":
            return
        case "unfinished":
            await send(start)
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        case "after-start":
            await send(start)
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise LookupError("broken on purpose")
        case "short":
            await send({**start, "headers": [(b"content-length", b"10")]})
            await send({"type": "http.response.body", "body": b"half"})
        case "split":
            await send({**start, "headers": [(b"x-a", b"1\r\nx-b: 2")]})


async def framed(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Answers that end in different ways."""
    status = int(query.get("status", "200"))
    headers = [(b"X-Upper", b"1"), (b"Transfer-Encoding", b"chunked")]
    if "close" in query:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if status == 204:
        await send({"type": "http.response.body"})
        return
    await send({"type": "http.response.body", "body": b"one", "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    await send({"type": "http.response.body", "body": b"two"})


async def state(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    server: ServerStatus = scope["state"]["server"]
    facts = {
        "draining": server.draining,
        "expired": server.expired,
        "connections": server.connections,
        "running": server.running,
        "stuck": server.stuck,
        "refused": dict(server.refused),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }
    await send_json(send, 503 if server.draining else 200, json.dumps(facts).encode(), json_headers(ID))


ROUTES = {
    "/hello": hello,
    "/echo": echo,
    "/upload": echo,
    "/encoded": encoded,
    "/unread": unread,
    "/early": early,
    "/stream": stream,
    "/hang": hang,
    "/stubborn": stubborn,
    "/flood": flood,
    "/big": big,
    "/broken": broken,
    "/framed": framed,
    "/readyz": state,
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            match CONFIG.get("broken_start"):
                case "failed":
                    await send({"type": "lifespan.startup.failed", "message": "broken on purpose"})
                    return
                case "raised":
                    raise LookupError("broken on purpose")
            tell(message["type"], status=type(scope["state"]["server"]).__name__)
            if message["type"] == "lifespan.shutdown":
                await asyncio.sleep(CONFIG.get("slow_stop", 0))
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    query = dict(urllib.parse.parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    try:
        await ROUTES.get(scope["path"], hello)(scope, receive, send, query)
    except Refusal as refusal:
        await send_refusal(send, refusal, ID)


def reload() -> None:
    RELOADS.append(1)
    tell("reload", number=len(RELOADS))
    if len(RELOADS) == 1:
        raise ValueError("broken on purpose")
    if len(RELOADS) == 2:
        raise SystemExit(2)


def body_limit(path: str) -> int:
    return 3_000_000 if path == "/upload" else 1_000_000


CONFIG: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
RELOADS: list[int] = []

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    given = dict(CONFIG.get("limits", {}))
    given["trusted_proxies"] = tuple(given.get("trusted_proxies", ()))
    code = serve(
        app,
        host="127.0.0.1",
        port=CONFIG.get("port", 0),
        limits=ServerLimits(body_limit=body_limit, **given),
        on_reload=reload,
        ready=lambda host, port: tell("ready", host=host, port=port),
    )
    tell("exit", code=code)
    sys.exit(code)
