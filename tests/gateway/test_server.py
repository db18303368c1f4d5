"""The HTTP server as a client meets it: bytes in over a real socket, status and behaviour out, from a real process.

The server runs `server_app.py` with small time-outs, so that waiting for one is quick. What is asserted about time is
only that a limit was not applied too early; that it is applied at all is what ends the wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api.raw import json_headers, send_json
from gateway.server import Server, ServerLimits, serve
from gateway.server.runner import allowed_files

APP = Path(__file__).with_name("server_app.py")
ROOT = APP.parents[2]
WAIT = 20.0  # how long a test waits for what must come

# The usual server: no limit of time is met by accident on a busy machine. Those who want to meet one use HASTY.
CALM: dict[str, Any] = {"sweep_seconds": 0.05, "drain_idle_seconds": 10.0}
HASTY: dict[str, Any] = {
    "header_seconds": 0.6,
    "idle_seconds": 1.0,
    "body_seconds": 1.2,
    "body_grace_seconds": 0.4,
    "body_bytes_per_second": 2000,
    "write_seconds": 0.8,
    "close_drain_seconds": 0.5,
}
BODY_LIMIT = 1_000_000  # server_app.body_limit


class Process:
    """A server process and the lines it tells."""

    def __init__(self, config: dict[str, Any] | None = None, **limits: Any) -> None:
        given = {**(config or {}), "limits": {**CALM, **limits}}
        self.process = subprocess.Popen(
            [sys.executable, str(APP), json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        )
        self.told: list[dict[str, Any]] = []
        self.log = ""
        self._news: queue.Queue[None] = queue.Queue()
        self._readers = [threading.Thread(target=self._read_told), threading.Thread(target=self._read_log)]
        for reader in self._readers:
            reader.start()

    def _read_told(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.append(json.loads(line))
            self._news.put(None)

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line

    def wait_for(self, event: str, **facts: Any) -> dict[str, Any]:
        """The first event with these facts, waiting for it when it has not been told yet."""
        deadline = time.monotonic() + WAIT
        while True:
            for seen in tuple(self.told):
                if seen["event"] == event and all(seen.get(name) == value for name, value in facts.items()):
                    return seen
            with contextlib.suppress(queue.Empty):
                self._news.get(timeout=0.05)
            assert time.monotonic() < deadline, f"no {event} {facts} in {self.told[-5:]}; {self.log[-2000:]}"

    def catch_up(self) -> None:
        """Wait until everything told so far has been read."""
        mark = str(time.monotonic_ns())
        with self.connect() as client:
            assert client.ask(get(f"/hello?mark={mark}")).status == 200
        self.wait_for("hello", mark=mark)

    @property
    def port(self) -> int:
        return int(self.wait_for("ready")["port"])

    def connect(self, *, receive_buffer: int | None = None) -> Client:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(WAIT)
        sock.connect(("127.0.0.1", self.port))
        return Client(sock)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def exit_code(self) -> int:
        code = self.process.wait(WAIT)
        for reader in self._readers:
            reader.join(WAIT)
        return code

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.exit_code()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()

    def state(self) -> dict[str, Any]:
        """What the server says about itself now."""
        with self.connect() as client:
            return client.ask(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").json()


class Answer:
    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes, *, whole: bool) -> None:
        self.status = status
        self.headers = dict(headers)
        self.header_list = headers
        self.body = body
        self.whole = whole  # whether the body came to its announced end

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection, byte by byte."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.held = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes, every: float, size: int = 1) -> bool:
        """Send a little at a time until the other side hangs up or answers; whether everything went out."""
        for at in range(0, len(data), size):
            self.sock.settimeout(every)
            try:
                more = self.sock.recv(65536)
            except TimeoutError:
                pass
            except ConnectionError:
                return False
            else:
                self.held += more
                self.sock.settimeout(WAIT)
                return False
            self.sock.settimeout(WAIT)
            try:
                self.sock.sendall(data[at : at + size])
            except ConnectionError:
                return False
        return True

    def _more(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            return False
        self.held += data
        return bool(data)

    def answer(self, *, head_only: bool = False) -> Answer:
        """The next answer, without interim ones."""
        while b"\r\n\r\n" not in self.held:
            assert self._more(), f"closed without an answer; had {self.held!r}"
        head, _, self.held = self.held.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status = first.split(" ")[:2]
        assert version == "HTTP/1.1"
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        fields = dict(headers)
        if head_only or status in ("204", "304", "100"):
            return Answer(int(status), headers, b"", whole=True)
        if "content-length" in fields:
            length = int(fields["content-length"])
            while len(self.held) < length and self._more():
                pass
            body, self.held = self.held[:length], self.held[length:]
            return Answer(int(status), headers, body, whole=len(body) == length)
        if fields.get("transfer-encoding") == "chunked":
            body, whole = self._chunks()
            return Answer(int(status), headers, body, whole=whole)
        while self._more():
            pass
        body, self.held = self.held, b""
        return Answer(int(status), headers, body, whole=True)

    def _chunks(self) -> tuple[bytes, bool]:
        body = b""
        while True:
            while b"\r\n" not in self.held:
                if not self._more():
                    return body, False
            line, _, self.held = self.held.partition(b"\r\n")
            size = int(line, 16)
            while len(self.held) < size + 2:
                if not self._more():
                    return body + self.held, False
            body += self.held[:size]
            assert self.held[size : size + 2] == b"\r\n"
            self.held = self.held[size + 2 :]
            if size == 0:
                return body, True

    def ask(self, data: bytes) -> Answer:
        self.send(data)
        return self.answer(head_only=data.startswith(b"HEAD "))

    def read_until(self, text: bytes) -> None:
        while text not in self.held:
            assert self._more(), f"closed before {text!r}; had {self.held[-200:]!r}"

    def closed(self) -> bool:
        """Whether the server ends the connection without another byte."""
        return not self.held and not self._more()

    def reset(self) -> None:
        """Close with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    process = Process()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def hasty() -> Iterator[Process]:
    process = Process(**HASTY)
    yield process
    process.stop()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start servers of a test's own."""
    started: list[Process] = []

    def begin(config: dict[str, Any] | None = None, **limits: Any) -> Process:
        started.append(Process(config, **limits))
        return started[-1]

    yield begin
    for process in started:
        process.stop()


def get(target: str, *headers: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: a", *headers]
    return "".join(line + "\r\n" for line in lines).encode() + b"\r\n"


def post(target: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *headers]
    return "".join(line + "\r\n" for line in lines).encode() + b"\r\n" + body


def chunked(target: str, *chunks: bytes) -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def assert_refused(answer: Answer, status: int, code: str) -> None:
    """The API's own error shape, in both languages, with its request id, and the end of the connection."""
    assert answer.status == status
    assert answer.whole
    error = answer.json()["error"]
    assert set(error) <= {"message", "type", "param", "code", "haechi"}
    assert error["code"] == code
    assert error["param"] is None
    assert any("가" <= char <= "힣" for char in error["message"])
    assert any("a" <= char <= "z" for char in error["message"])
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"] == answer.headers["request-id"] == answer.json()["request_id"]


# What is understood

UNDERSTOOD: list[tuple[str, bytes, dict[str, Any]]] = [
    ("plain", get("/hello?a=1&b=%20"), {"method": "GET", "path": "/hello", "query": "a=1&b=%20", "http": "1.1"}),
    ("no reason to look at traversal", get("/a/%2e%2e/..%2fb"), {"path": "/a/../../b", "raw_path": "/a/%2e%2e/..%2fb"}),
    ("utf-8 path", get("/%ed%95%b4%ec%b9%98"), {"path": "/해치", "raw_path": "/%ed%95%b4%ec%b9%98"}),
    ("two slashes are a path", get("//b/c"), {"path": "//b/c"}),
    ("empty line first", b"\r\n" + get("/hello"), {"path": "/hello"}),
    ("HTTP/1.0 without Host", b"GET /hello HTTP/1.0\r\n\r\n", {"http": "1.0"}),
    ("space around values", get("/hello", "X-A: \t b \t "), {"headers": [["host", "a"], ["x-a", "b"]]}),
    ("empty value", get("/hello", "X-A:"), {"headers": [["host", "a"], ["x-a", ""]]}),
    ("repeatable header", get("/hello", "X-A: 1", "x-a: 2"), {"headers": [["host", "a"], ["x-a", "1"], ["x-a", "2"]]}),
    ("latin-1 value", get("/hello")[:-2] + b"X-A: \xe9\r\n\r\n", {"headers": [["host", "a"], ["x-a", "é"]]}),
    ("IPv6 host", b"GET /hello HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", {"path": "/hello"}),
    ("longest target", get("/" + "a" * 8191), {"path": "/" + "a" * 8191}),
    ("other method", b"OPTIONS /hello HTTP/1.1\r\nHost: a\r\n\r\n", {"method": "OPTIONS"}),
    ("forwarded by nobody", get("/hello", "X-Forwarded-For: 9.9.9.9"), {"client": "127.0.0.1", "scheme": "http"}),
]


@pytest.mark.parametrize(("data", "facts"), [row[1:] for row in UNDERSTOOD], ids=[row[0] for row in UNDERSTOOD])
def test_understood(server: Process, data: bytes, facts: dict[str, Any]) -> None:
    with server.connect() as client:
        answer = client.ask(data)
        assert answer.status == 200
        assert {name: answer.json()[name] for name in facts} == facts


BODIES: list[tuple[str, bytes, bytes]] = [
    ("declared", post("/echo", b"hello"), b"hello"),
    ("declared zero", post("/echo", b""), b""),
    ("spaces after the length", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5  \r\n\r\nhello", b"hello"),
    ("chunked", chunked("/echo", b"he", b"llo"), b"hello"),
    ("chunked, nothing", chunked("/echo"), b""),
    ("Chunked", chunked("/echo", b"hello").replace(b"chunked", b"CHUNKED"), b"hello"),
    ("chunk extensions", chunked("/echo", b"hello").replace(b"\r\n5\r\n", b'\r\n5 ; a="b"\r\n'), b"hello"),
    ("binary", chunked("/echo", b"\r\n0\r\n\r\n", b"\0\xff"), b"\r\n0\r\n\r\n\0\xff"),
    ("at the limit", post("/echo", b"x" * BODY_LIMIT), b"x" * BODY_LIMIT),
    ("at the limit, chunked", chunked("/echo", *[b"x" * 100_000] * 10), b"x" * BODY_LIMIT),
    ("a route with more", post("/upload", b"x" * 3 * BODY_LIMIT), b"x" * 3 * BODY_LIMIT),
]


@pytest.mark.parametrize(("data", "body"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_body(server: Process, data: bytes, body: bytes) -> None:
    """The app gets the body as sent, and the connection serves another request after it."""
    with server.connect() as client:
        answer = client.ask(data)
        assert answer.json() == {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        assert client.ask(get("/hello")).status == 200


@pytest.mark.parametrize(
    "data", [post("/echo", b"hello"), chunked("/echo", b"he", b"llo")], ids=["declared", "chunked"]
)
def test_every_split(server: Process, data: bytes) -> None:
    """However the bytes are cut into segments, they mean the same."""
    with server.connect() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(1, len(data)):
            client.send(data[:at])
            time.sleep(0.001)
            assert client.ask(data[at:]).json()["length"] == 5
        for byte in data:
            client.send(bytes([byte]))
        assert client.answer().json()["length"] == 5


def test_pipelined(server: Process) -> None:
    """Requests sent ahead are answered one after the other, in order, each with its own body."""
    with server.connect() as client:
        client.send(
            post("/echo?wait=0.2", b"one") + get("/hello?second") + chunked("/echo", b"three!") + post("/echo", b"four")
        )
        assert client.answer().json()["length"] == 3
        assert client.answer().json()["query"] == "second"
        assert client.answer().json()["length"] == 6
        assert client.answer().json()["length"] == 4


def test_many_pipelined(server: Process) -> None:
    """More ahead than we hold: the rest waits in the network and is answered all the same."""
    count = 3000
    with server.connect() as client:
        sender = threading.Thread(target=client.send, args=(b"".join(get(f"/hello?{n}") for n in range(count)),))
        sender.start()
        for number in range(count):
            assert client.answer().json()["query"] == str(number)
        sender.join(WAIT)


def test_nothing_after_a_refused_request(server: Process) -> None:
    """What follows an unclear request may be its body: it is never run."""
    with server.connect() as client:
        client.send(get("/hello?before-bad") + b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n" + get("/hello?after-bad"))
        assert client.answer().json()["query"] == "before-bad"
        assert_refused(client.answer(), 400, "invalid_request")
        assert client.closed()
    server.catch_up()
    assert [event for event in server.told if "before-bad" in event]
    assert not [event for event in server.told if "after-bad" in event]


def test_head_and_answers_without_body(server: Process) -> None:
    with server.connect() as client:
        answer = client.ask(b"HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.status == 200
        assert int(answer.headers["content-length"]) > 0
        answer = client.ask(get("/framed?status=204"))
        assert "transfer-encoding" not in answer.headers
        assert client.ask(get("/hello")).status == 200
        client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n")
        assert client.answer(head_only=True).status == 400
        assert client.closed()


def test_how_answers_end(server: Process) -> None:
    """Chunked on 1.1, by closing on 1.0, and never as the app's own framing header says."""
    with server.connect() as client:
        answer = client.ask(get("/framed"))
        assert [name for name, _ in answer.header_list] == ["date", "x-upper", "transfer-encoding"]
        assert (answer.body, answer.whole) == (b"onetwo", True)
        answer = client.ask(get("/framed?close"))
        assert answer.headers["connection"] == "close"
        assert client.closed()
    with server.connect() as client:
        answer = client.ask(b"GET /framed HTTP/1.0\r\n\r\n")
        assert "transfer-encoding" not in answer.headers
        assert answer.body == b"onetwo"
    with server.connect() as client:
        assert client.ask(get("/hello", "Connection: foo, Close")).headers["connection"] == "close"
        assert client.closed()


def test_no_word_about_the_software(server: Process) -> None:
    with server.connect() as client:
        assert "server" not in client.ask(get("/hello")).headers
        assert "server" not in client.ask(b"x\r\n\r\n").headers


# What is refused

HEAD = b"POST /hello HTTP/1.1\r\nHost: a\r\n"
MALFORMED: list[tuple[str, bytes]] = [
    ("content-length and transfer-encoding", HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("transfer-encoding and content-length", HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"),
    ("two lengths, equal", HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    ("two lengths, different", HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    ("length list", HEAD + b"Content-Length: 3, 3\r\n\r\nabc"),
    ("length with sign", HEAD + b"Content-Length: +3\r\n\r\nabc"),
    ("negative length", HEAD + b"Content-Length: -3\r\n\r\nabc"),
    ("hexadecimal length", HEAD + b"Content-Length: 0x3\r\n\r\nabc"),
    ("empty length", HEAD + b"Content-Length: \r\n\r\n"),
    ("length beyond 64 bits", HEAD + b"Content-Length: 99999999999999999999\r\n\r\n"),
    ("gzip, chunked", HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked, gzip", HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("chunked twice", HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked, chunked", HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("identity", HEAD + b"Transfer-Encoding: identity\r\n\r\n"),
    ("xchunked", HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("vertical tab before chunked", HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("empty transfer-encoding", HEAD + b"Transfer-Encoding: \r\n\r\n"),
    ("HTTP/1.0 with transfer-encoding", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("folded line", HEAD + b"X-A: b\r\n c\r\n\r\n"),
    ("folded first line", HEAD[:22] + b" X-A: b\r\n\r\n"),
    ("bare LF between headers", HEAD + b"X-A: b\nX-C: d\r\n\r\n"),
    ("bare LF everywhere", b"GET /hello HTTP/1.1\nHost: a\n\n"),
    ("bare LF at the end", b"GET /hello HTTP/1.1\r\nHost: a\r\n\n"),
    ("bare CR in a value", HEAD + b"X-A: b\rX-C: d\r\n\r\n"),
    ("CR CR LF", HEAD + b"X-A: b\r\r\n\r\n"),
    ("space before the colon", HEAD + b"X-A : b\r\n\r\n"),
    ("tab before the colon", HEAD + b"Content-Length\t: 3\r\n\r\nabc"),
    ("no colon", HEAD + b"X-A\r\n\r\n"),
    ("no name", HEAD + b": b\r\n\r\n"),
    ("NUL in a value", HEAD + b"X-A: b\0c\r\n\r\n"),
    ("NUL in a name", HEAD + b"X\0A: b\r\n\r\n"),
    ("control character in a value", HEAD + b"X-A: b\x01\r\n\r\n"),
    ("DEL in a value", HEAD + b"X-A: b\x7f\r\n\r\n"),
    ("bracket in a name", HEAD + b"X(A): b\r\n\r\n"),
    ("unknown method", b"FETCH / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("lower-case method", b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("method of another protocol", b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute target", b"GET http://a/hello HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("asterisk target", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("relative target", b"GET hello HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("raw UTF-8 in the target", "GET /해치 HTTP/1.1\r\nHost: a\r\n\r\n".encode()),
    ("raw UTF-8 in the query", "GET /a?해치 HTTP/1.1\r\nHost: a\r\n\r\n".encode()),
    ("two spaces", b"GET  /hello HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("tab in the request line", b"GET\t/hello HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("space after the version", b"GET /hello HTTP/1.1 \r\nHost: a\r\n\r\n"),
    ("no version", b"GET /hello\r\n\r\n"),
    ("HTTP/0.9", b"GET /hello HTTP/0.9\r\nHost: a\r\n\r\n"),
    ("HTTP/2.0", b"GET /hello HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("HTTP/1.2", b"GET /hello HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("RTSP", b"GET /hello RTSP/1.0\r\nHost: a\r\n\r\n"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"),
    ("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("two empty lines first", b"\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        "upgrade to h2c",
        get("/hello", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    ),
    ("upgrade to websocket", get("/hello", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")),
    ("upgrade without connection", get("/hello", "Upgrade: h2c")),
    ("no Host", b"GET /hello HTTP/1.1\r\n\r\n"),
    ("two Hosts", get("/hello", "Host: a")),
    ("empty Host", b"GET /hello HTTP/1.1\r\nHost: \r\n\r\n"),
    ("Host with a path", b"GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("Host with a user", b"GET /hello HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    ("two Authorizations", get("/hello", "Authorization: Bearer a", "Authorization: Bearer b")),
    ("chunk size not hexadecimal", chunked("/echo", b"hello").replace(b"\r\n5\r\n", b"\r\ng\r\n")),
    ("chunk size with sign", chunked("/echo", b"hello").replace(b"\r\n5\r\n", b"\r\n+5\r\n")),
    ("chunk size 0x5", chunked("/echo", b"hello").replace(b"\r\n5\r\n", b"\r\n0x5\r\n")),
    ("space before a chunk size", chunked("/echo", b"hello").replace(b"\r\n5\r\n", b"\r\n 5\r\n")),
    ("chunk size of nine digits", chunked("/echo", b"hello").replace(b"\r\n5\r\n", b"\r\n000000005\r\n")),
    ("chunk size ended by LF", chunked("/echo", b"hello").replace(b"\r\n5\r\n", b"\r\n5\n")),
    ("chunk extension with LF", chunked("/echo", b"hello").replace(b"\r\n5\r\n", b"\r\n5;a\nb\r\n")),
    ("chunk extension without end", chunked("/echo").replace(b"\r\n0\r\n\r\n", b"\r\n5;" + b"a" * 500)),
    ("chunk longer than its size", chunked("/echo", b"hello").replace(b"\r\n5\r\n", b"\r\n4\r\n")),
    ("chunk ended by LF", chunked("/echo", b"hello").replace(b"hello\r\n", b"hello\n")),
    ("trailer", chunked("/echo", b"hello")[:-2] + b"X-A: b\r\n\r\n"),
    ("smuggled trailer", chunked("/echo", b"hello")[:-2] + b"Content-Length: 50\r\n\r\n"),
]


@pytest.mark.parametrize("data", [row[1] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_malformed(server: Process, data: bytes) -> None:
    """400 in the API's shape, the connection ends, and what was hidden behind never runs."""
    mark = f"hidden-{abs(hash(data))}"
    with server.connect() as client:
        client.send(data + get(f"/hello?{mark}"))
        assert_refused(client.answer(), 400, "invalid_request")
        assert client.closed()
    server.catch_up()
    assert not [event for event in server.told if mark in event]


OVERSIZED: list[tuple[str, bytes, int, str]] = [
    ("target", get("/" + "a" * 8192), 414, "uri_too_long"),
    ("query", get("/?" + "a" * 8191), 414, "uri_too_long"),
    ("endless target", b"GET /" + b"a" * 9000, 414, "uri_too_long"),
    ("method of 9 KB", b"A" * 9000 + b" / HTTP/1.1\r\n\r\n", 414, "uri_too_long"),
    ("one header", get("/hello", "X-A: " + "b" * 33_000), 431, "headers_too_large"),
    ("endless header", get("/hello")[:-2] + b"X-A: " + b"b" * 33_000, 431, "headers_too_large"),
    ("headers in sum", get("/hello", *[f"X-{n}: " + "b" * 500 for n in range(80)]), 431, "headers_too_large"),
    ("101 headers", get("/hello", *[f"X-{n}: b" for n in range(100)]), 431, "headers_too_large"),
    ("declared body", post("/echo", b"x" * (BODY_LIMIT + 1)), 413, "request_too_large"),
    ("chunked body", chunked("/echo", *[b"x" * 100_001] * 10), 413, "request_too_large"),
    ("declared 4 EB", HEAD + b"Content-Length: 4611686018427387904\r\n\r\n", 413, "request_too_large"),
    ("unknown expectation", get("/hello", "Expect: 200-ok"), 417, "expectation_failed"),
]


@pytest.mark.parametrize(("data", "status", "code"), [row[1:] for row in OVERSIZED], ids=[row[0] for row in OVERSIZED])
def test_oversized(server: Process, data: bytes, status: int, code: str) -> None:
    with server.connect() as client:
        with contextlib.suppress(ConnectionError):
            client.send(data)
        assert_refused(client.answer(), status, code)
        assert client.closed()


@pytest.mark.parametrize("kind", ["declared", "chunked", "endless chunk"])
def test_a_hundred_megabytes(server: Process, kind: str) -> None:
    """413 while the client is still sending, and nearly all of it stays with the client."""
    total = 100_000_000
    block = b"x" * 100_000
    with server.connect() as client:
        if kind == "declared":
            client.send(f"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {total}\r\n\r\n".encode())
        else:
            client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        if kind == "chunked":
            block = b"%x\r\n%b\r\n" % (len(block), block)
        elif kind == "endless chunk":
            client.send(b"7fffffff\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < total:
                client.send(block)
                sent += len(block)
        # What left the client is what was read, and what the two kernels hold.
        assert sent < 30_000_000
        assert_refused(client.answer(), 413, "request_too_large")


def test_tiny_chunks(server: Process) -> None:
    """A body cut so finely that taking it apart would cost more than the body is worth."""
    with server.connect() as client:
        client.send(chunked("/echo", *[b"x"] * 1000))
        assert client.answer().json()["length"] == 1000
        with contextlib.suppress(ConnectionError):
            client.send(chunked("/echo", *[b"x"] * 50_000))
        assert_refused(client.answer(), 400, "invalid_request")


def test_compressed_body_is_the_apps_affair(server: Process) -> None:
    """The server passes the coding on and never unpacks; the app refuses before it reads."""
    with server.connect() as client:
        assert client.ask(post("/encoded", b"\x1f\x8b" * 100, "Content-Encoding: gzip")).status == 415
        assert client.ask(post("/encoded", b"plain", "Content-Encoding: identity")).json()["length"] == 5


def test_expect_continue(server: Process) -> None:
    """100 when the app asks for the body, never before an answer that makes the body needless."""
    with server.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n")
        assert client.answer().status == 100
        assert client.ask(b"hello").json()["length"] == 5
        client.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        answer = client.answer()
        assert answer.status == 401
        # Whether the client still sends the body is its own choice, so nothing can follow.
        assert answer.headers["connection"] == "close"
    with server.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
        assert_refused(client.answer(), 413, "request_too_large")
    with server.connect() as client:
        assert client.ask(post("/echo", b"hello", "Expect: 100-continue")).status in (100, 200)


def test_answered_without_reading(server: Process) -> None:
    """A short rest of a body is skipped and the connection kept; for a long one the connection ends."""
    with server.connect() as client:
        client.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 10)
        answer = client.answer()
        assert answer.status == 401
        assert "connection" not in answer.headers
        assert client.ask(b"x" * 990 + get("/hello")).status == 200

        # More than we keep unread has come before the app answers: reading starts again for the rest.
        client.send(b"POST /unread?wait=0.3 HTTP/1.1\r\nHost: a\r\nContent-Length: 131072\r\n\r\n" + b"x" * 90_000)
        assert client.answer().status == 401
        assert client.ask(b"x" * (131_072 - 90_000) + get("/hello")).status == 200

        client.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" + b"x" * 10)
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert client.closed()


def test_answer_begun_before_the_body(server: Process) -> None:
    """An app may answer while it reads; a body that then breaks a limit cuts the answer, so that it looks cut."""
    head = b"POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server.connect() as client:
        client.send(head)
        client.read_until(b": early")
        client.send(b"5\r\nhello\r\n0\r\n\r\n")
        answer = client.answer()
        assert answer.body.endswith(b"data: 5\n\n")
        assert answer.whole
    with server.connect() as client:
        client.send(head)
        client.read_until(b": early")
        client.send(b"zz\r\n")
        answer = client.answer()
        assert answer.status == 200
        assert not answer.whole


@pytest.mark.parametrize("how", ["raise", "exit", "silent", "split"])
def test_app_fails_before_answering(server: Process, how: str) -> None:
    with server.connect() as client:
        answer = client.ask(get(f"/broken?how={how}"))
        assert_refused(answer, 500, "server_error")
        assert b"purpose" not in answer.body
        assert client.closed()


@pytest.mark.parametrize("how", ["unfinished", "after-start", "short"])
def test_app_fails_while_answering(server: Process, how: str) -> None:
    """A cut answer looks cut."""
    with server.connect() as client:
        assert not client.ask(get(f"/broken?how={how}")).whole


# Slowness


def test_head_drip(hasty: Process) -> None:
    """A head that comes a byte at a time is given up after header_seconds; others are served meanwhile."""
    began = time.monotonic()
    with hasty.connect() as client, hasty.connect() as other:
        client.send(get("/hello")[:-2])
        assert not client.drip(b"X-A: " + b"b" * 1000, every=0.05)
        assert time.monotonic() - began >= HASTY["header_seconds"]
        assert_refused(client.answer(), 408, "request_timeout")
        assert client.closed()
        assert other.closed()  # and so is one that never said a word, without an answer


def test_head_drip_on_a_kept_connection(hasty: Process) -> None:
    with hasty.connect() as client:
        assert client.ask(get("/hello")).status == 200
        client.send(b"G")
        assert not client.drip(b"E" * 1000, every=0.05)
        assert_refused(client.answer(), 408, "request_timeout")


@pytest.mark.parametrize("kind", ["declared", "chunked", "chunk size"])
def test_body_drip(hasty: Process, kind: str) -> None:
    """A body under the least rate is given up although every byte comes in time."""
    began = time.monotonic()
    with hasty.connect() as client, hasty.connect() as other:
        if kind == "declared":
            client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        else:
            client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        data = {"declared": b"x" * 1000, "chunked": b"1\r\nx\r\n" * 1000, "chunk size": b"1;" + b"a" * 1000}[kind]
        assert other.ask(get("/hello")).status == 200
        assert not client.drip(data, every=0.03, size=6 if kind == "chunked" else 1)
        assert time.monotonic() - began >= HASTY["body_grace_seconds"]
        assert_refused(client.answer(), 408, "request_timeout")
        assert client.closed()


def test_body_stops(hasty: Process) -> None:
    with hasty.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        assert_refused(client.answer(), 408, "request_timeout")


def test_body_fast_enough_but_endless(hasty: Process) -> None:
    """Above the least rate, but not done within body_seconds."""
    began = time.monotonic()
    with hasty.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n")
        assert not client.drip(b"x" * 900_000, every=0.05, size=1000)
        assert time.monotonic() - began >= HASTY["body_seconds"]
        assert_refused(client.answer(), 408, "request_timeout")


def test_our_own_slowness_is_not_the_clients(hasty: Process) -> None:
    """While the app does not take the body, the client cannot send it, and the clock stands."""
    with hasty.connect() as client:
        body = b"x" * 900_000
        sender = threading.Thread(target=client.send, args=(post("/echo?wait=2.5", body),))
        sender.start()
        assert client.answer().json()["length"] == len(body)
        sender.join(WAIT)


def test_idle_connection_is_closed(hasty: Process) -> None:
    with hasty.connect() as client:
        assert client.ask(get("/hello")).status == 200
        began = time.monotonic()
        assert client.closed()
        assert time.monotonic() - began >= HASTY["idle_seconds"]


def test_slow_answer_is_not_idle(hasty: Process) -> None:
    with hasty.connect() as client:
        assert client.ask(post("/echo?wait=2", b"x")).status == 200


# Clients that leave

LEAVE: list[tuple[str, Callable[[Client], None]]] = [("FIN", lambda client: client.sock.close()), ("RST", Client.reset)]


@pytest.mark.parametrize("leave", [row[1] for row in LEAVE], ids=[row[0] for row in LEAVE])
@pytest.mark.parametrize("watch", ["callback", "wrapped"])
def test_client_leaves_a_stream(server: Process, watch: str, leave: Callable[[Client], None]) -> None:
    """The app learns of it between two events, through our callback or through a middleware's receive."""
    mark = str(time.monotonic_ns())
    client = server.connect()
    client.send(get(f"/stream?n=100000&id={mark}&{watch}"))
    client.read_until(b"data: 3")
    leave(client)
    assert server.wait_for("stream", id=mark)["outcome"] == "client"
    assert server.wait_for("left", id=mark)["reason"] == "client"


@pytest.mark.parametrize("leave", [row[1] for row in LEAVE], ids=[row[0] for row in LEAVE])
def test_client_leaves_before_the_answer(server: Process, leave: Callable[[Client], None]) -> None:
    """Nothing is being written, so nothing can fail: the app is told all the same, and receive() agrees."""
    client = server.connect()
    mark = str(time.monotonic_ns())
    client.send(get(f"/hang?id={mark}"))
    server.wait_for("hanging", id=mark)
    leave(client)
    told = server.wait_for("hang", id=mark)
    assert (told["reason"], told["again"]) == ("client", "http.disconnect")


def test_client_leaves_while_sending(server: Process) -> None:
    """Half a body: the handler ends quietly and nothing of it is run."""
    with server.connect() as client:
        client.send(b"POST /echo?half HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhello")
    server.catch_up()
    assert not [event for event in server.told if event["event"] == "echo" and "half" in event]
    assert "ClientLeft" not in server.log


def test_finished_stream_is_not_left(server: Process) -> None:
    """A client that closes after the last byte has not left: its request was complete."""
    with server.connect() as client:
        answer = client.ask(get("/stream?n=3&id=finished"))
        assert answer.whole
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert answer.headers["content-type"].startswith("text/event-stream")
    assert server.wait_for("stream", id="finished")["outcome"] == "complete"
    server.catch_up()
    assert not [event for event in server.told if event["event"] == "left" and event.get("id") == "finished"]


def test_client_that_never_reads(hasty: Process) -> None:
    """A stream nobody reads ends after write_seconds without progress, and the app learns why."""
    client = hasty.connect(receive_buffer=4096)
    client.send(get("/flood?id=never"))
    assert hasty.wait_for("flood", id="never")["reason"] == "stuck"
    assert hasty.state()["stuck"] >= 1
    client.sock.close()


@pytest.mark.parametrize("extra", ["", "Connection: close"], ids=["kept", "closing"])
def test_complete_answer_never_read(hasty: Process, extra: str) -> None:
    """The app is done long before; the connection is dropped all the same, open or already closing."""
    before = hasty.state()["stuck"]
    client = hasty.connect(receive_buffer=4096)
    client.send(get("/big?bytes=30000000", *filter(None, [extra])))
    deadline = time.monotonic() + WAIT
    while hasty.state()["stuck"] == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.sock.close()


def test_slow_reader_is_served(hasty: Process) -> None:
    """Progress is enough: whoever reads a little in each write_seconds gets everything."""
    with hasty.connect(receive_buffer=65536) as client:
        client.send(get("/big?bytes=6000000"))
        for _ in range(5):
            time.sleep(HASTY["write_seconds"] / 2)
            client.held += client.sock.recv(1_000_000)
        answer = client.answer()
        assert answer.whole
        assert len(answer.body) == 6_000_000


# Connections and clients


def test_too_many_connections(start: Callable[..., Process]) -> None:
    server = start(max_connections=3)
    kept = [server.connect() for _ in range(3)]
    assert all(client.ask(get("/hello")).status == 200 for client in kept)
    with server.connect() as client:
        answer = client.answer()
        assert_refused(answer, 503, "too_many_connections")
        assert answer.headers["retry-after"] == "2"
    kept.pop().sock.close()
    deadline = time.monotonic() + WAIT
    while True:  # until the server has seen that one left
        with server.connect() as client, contextlib.suppress(ConnectionError):
            client.send(get("/hello"))
            if client.answer().status == 200:
                break
        assert time.monotonic() < deadline
    for client in kept:
        client.sock.close()


FORWARDED: list[tuple[str, tuple[str, ...], str]] = [
    ("none", (), "127.0.0.1"),
    ("one", ("X-Forwarded-For: 203.0.113.9",), "203.0.113.9"),
    ("claim left of ours", ("X-Forwarded-For: 127.0.0.1, 203.0.113.9",), "203.0.113.9"),
    ("through our inner proxy", ("X-Forwarded-For: 198.51.100.1, 203.0.113.9, 10.1.2.3",), "203.0.113.9"),
    ("two headers", ("X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9"),
    ("with a port", ("X-Forwarded-For: 203.0.113.9:4711",), "203.0.113.9"),
    ("IPv6", ("X-Forwarded-For: [2001:db8::1]:4711",), "2001:db8::1"),
    ("IPv4 in IPv6", ("X-Forwarded-For: ::ffff:203.0.113.9",), "203.0.113.9"),
    ("only ours", ("X-Forwarded-For: 10.1.2.3, 10.1.2.4",), "10.1.2.3"),
    ("not an address", ('X-Forwarded-For: evil"',), "127.0.0.1"),
    ("not an address on the left", ("X-Forwarded-For: unknown, 10.1.2.4",), "10.1.2.4"),
]


@pytest.fixture(scope="module")
def proxied() -> Iterator[Process]:
    process = Process(trusted_proxies=["127.0.0.1", "10.0.0.0/8"])
    yield process
    process.stop()


@pytest.mark.parametrize(("headers", "client"), [row[1:] for row in FORWARDED], ids=[row[0] for row in FORWARDED])
def test_forwarded_by_a_listed_proxy(proxied: Process, headers: tuple[str, ...], client: str) -> None:
    with proxied.connect() as connection:
        facts = connection.ask(get("/hello", "X-Forwarded-Proto: https", *headers)).json()
        assert (facts["client"], facts["scheme"]) == (client, "https")


def test_impossible_proxy_refuses_to_start() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        serve(_nothing, host="127.0.0.1", port=0, limits=ServerLimits(trusted_proxies=("nonsense",)))


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("never called")


def test_connections_fit_the_open_files() -> None:
    """A limit above what the system allows is lowered, so that refusing stays possible."""
    assert allowed_files(ServerLimits(max_connections=100)).max_connections == 100
    assert allowed_files(ServerLimits(max_connections=10**9)).max_connections < 10**9


# Shutting down


def test_drain_with_a_live_stream(start: Callable[..., Process]) -> None:
    """SIGTERM: not ready, no new work, no new connections; what runs may finish; exit 0."""
    server = start(drain_idle_seconds=2.0)
    stream, kept, probe, late = (server.connect() for _ in range(4))
    for client in (kept, probe, late):
        assert client.ask(get("/readyz")).status == 200
    stream.send(get("/stream?n=150&id=live"))
    stream.read_until(b"data: 3")
    server.signal(signal.SIGTERM)
    deadline = time.monotonic() + WAIT
    while True:
        answer = probe.ask(get("/readyz"))
        if answer.status == 503:
            break
        assert time.monotonic() < deadline
    assert answer.json()["draining"] is True
    assert answer.headers["connection"] == "close"

    answer = kept.ask(post("/echo", b"hello"))
    assert_refused(answer, 503, "server_shutting_down")
    assert answer.headers["retry-after"] == "1"
    assert late.closed()  # idle: closed after a moment
    with pytest.raises(ConnectionRefusedError):
        server.connect()

    answer = stream.answer()
    assert answer.whole
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert server.exit_code() == 0
    assert server.wait_for("stream", id="live")["outcome"] == "complete"
    assert not [event for event in server.told if event["event"] == "left"]
    assert [event["event"] for event in server.told][-2:] == ["lifespan.shutdown", "exit"]


def test_drain_time_is_over(start: Callable[..., Process]) -> None:
    """A stream that does not end in time is told "shutdown", not that its client left, and can say so."""
    server = start(drain_seconds=0.5)
    with server.connect() as stream:
        stream.send(get("/stream?n=10000&id=long"))
        stream.read_until(b"data: 3")
        server.signal(signal.SIGTERM)
        answer = stream.answer()
    assert answer.whole
    assert json.loads(answer.body.rsplit(b"data: ", 1)[1])["error"]["code"] == "server_shutting_down"
    assert server.wait_for("left", id="long")["reason"] == "shutdown"
    assert server.wait_for("stream", id="long")["outcome"] == "shutdown"
    assert server.exit_code() == 0


def test_client_leaves_during_the_drain(start: Callable[..., Process]) -> None:
    """A real departure is still one."""
    server = start()
    stream = server.connect()
    stream.send(get("/stream?n=10000&id=gone"))
    stream.read_until(b"data: 3")
    server.signal(signal.SIGTERM)
    stream.read_until(b"data: 9")
    stream.reset()
    assert server.wait_for("stream", id="gone")["outcome"] == "client"
    assert server.exit_code() == 0


def test_upload_finishes_during_the_drain(start: Callable[..., Process]) -> None:
    """A request whose head was accepted is work under way."""
    server = start()
    with server.connect() as client, server.connect() as probe:
        assert probe.ask(get("/readyz")).status == 200
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        time.sleep(0.1)
        server.signal(signal.SIGTERM)
        deadline = time.monotonic() + WAIT
        while not probe.ask(get("/readyz")).json()["draining"]:
            assert time.monotonic() < deadline
        answer = client.ask(b"world")
        assert answer.json()["length"] == 10
        assert answer.headers["connection"] == "close"
    assert server.exit_code() == 0


def test_handlers_that_do_not_listen(start: Callable[..., Process]) -> None:
    """After drain_seconds and final_seconds they are cancelled; one that has not answered yet gets a 503."""
    server = start(drain_seconds=0.3, final_seconds=0.3)
    stubborn, deaf = server.connect(), server.connect()
    stubborn.send(get("/stubborn"))
    deaf.send(get("/stream?n=10000&deaf"))
    deaf.read_until(b"data: 3")
    server.wait_for("stubborn")
    server.signal(signal.SIGTERM)
    assert_refused(stubborn.answer(), 503, "server_shutting_down")
    assert not deaf.answer().whole
    assert server.exit_code() == 0
    server.wait_for("cancelled")
    assert server.told[-2]["event"] == "lifespan.shutdown"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_forces(start: Callable[..., Process], number: int) -> None:
    server = start(drain_seconds=600, final_seconds=600)
    with server.connect() as client, server.connect() as probe:
        assert probe.ask(get("/readyz")).status == 200
        client.send(get("/stubborn"))
        server.wait_for("stubborn")
        server.signal(signal.SIGTERM)
        deadline = time.monotonic() + WAIT
        while not probe.ask(get("/readyz")).json()["draining"]:
            assert time.monotonic() < deadline
        server.signal(number)
        assert server.exit_code() == 0
    assert server.told[-2]["event"] == "lifespan.shutdown"


def test_third_signal_does_not_wait_for_the_lifespan(start: Callable[..., Process]) -> None:
    server = start({"slow_stop": 600})
    server.wait_for("ready")
    server.signal(signal.SIGTERM)
    server.wait_for("lifespan.shutdown")
    server.signal(signal.SIGTERM)
    time.sleep(0.2)
    assert server.process.poll() is None
    server.signal(signal.SIGTERM)
    assert server.exit_code() == 0


def test_interrupt_is_a_drain_too(start: Callable[..., Process]) -> None:
    server = start(drain_idle_seconds=0)
    server.wait_for("ready")
    server.signal(signal.SIGINT)
    assert server.exit_code() == 0


def test_listening_grace(start: Callable[..., Process]) -> None:
    """With a grace the socket stays open, so that a balancer that has not looked yet meets a 503 and not a refusal."""
    server = start(drain_grace_seconds=5, drain_seconds=600)
    with server.connect() as held:
        held.send(get("/stream?n=100000"))
        held.read_until(b"data: 3")
        server.signal(signal.SIGTERM)
        deadline = time.monotonic() + WAIT
        while not server.state()["draining"]:
            assert time.monotonic() < deadline
        with server.connect() as client:
            assert_refused(client.ask(get("/hello")), 503, "server_shutting_down")
        server.signal(signal.SIGTERM)
        assert server.exit_code() == 0


def test_reload(start: Callable[..., Process]) -> None:
    """SIGHUP reloads; whatever the reload raises, the server goes on, and so do its streams."""
    server = start()
    with server.connect() as client:
        client.send(get("/stream?n=50&id=through"))
        client.read_until(b"data: 3")
        for number in (1, 2, 3):
            server.signal(signal.SIGHUP)
            server.wait_for("reload", number=number)
        assert client.answer().whole
    assert server.state()["draining"] is False
    assert server.log.count("the reload failed") == 2
    server.signal(signal.SIGTERM)
    assert server.exit_code() == 0


@pytest.mark.parametrize("how", ["failed", "raised"])
def test_app_that_does_not_start(start: Callable[..., Process], how: str) -> None:
    """Whether it says so or merely raises."""
    server = start({"broken_start": how})
    assert server.exit_code() == 1
    assert not [event for event in server.told if event["event"] == "ready"]


def test_in_a_thread() -> None:
    """Other tests run a server beside themselves: no signals there, `stop` drains."""
    ready: queue.Queue[tuple[str, int]] = queue.Queue()
    server = Server(
        server_in_thread,
        host="127.0.0.1",
        port=0,
        limits=ServerLimits(drain_idle_seconds=0),
        ready=lambda host, port: ready.put((host, port)),
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    with Client(socket.create_connection(ready.get(timeout=WAIT), timeout=WAIT)) as client:
        assert client.ask(get("/")).body == b"{}"
    assert server.status.draining is False
    server.stop()
    thread.join(WAIT)
    assert not thread.is_alive()
    assert server.status.draining is True
    server.stop()  # too late, and harmless


async def server_in_thread(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send_json(send, 200, b"{}", json_headers("req_thread"))


def test_port_in_use(start: Callable[..., Process], server: Process) -> None:
    second = start({"port": server.port})
    assert second.exit_code() == 1
    assert not [event for event in second.told if event["event"] == "ready"]
