"""What callers should not have sent: told what was wrong, in the API's own shape; nothing leaves, nothing is booked.

Each row of the table is one request. It runs against a gateway that answers ordinary requests all the while.
"""

from __future__ import annotations

import gzip
import json
import select
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from flows.harness import CHAT, PROVIDER_KEY, Answer, Gateway, Town, asking, read_answer

SECRETS = (PROVIDER_KEY, "Traceback", 'File "', "sqlalchemy", "psycopg", "orjson")


def raw(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def fields(**more: Any) -> bytes:
    return raw(asking("안녕", **more))


def content(*parts: Any) -> bytes:
    return fields(messages=[{"role": "user", "content": list(parts)}])


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def nested(levels: int) -> bytes:
    return fields()[:-1] + b', "metadata": ' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"


class Bad(NamedTuple):
    body: bytes
    status: int
    code: str
    param: str | None = None


BODIES = {
    "empty": Bad(b"", 400, "invalid_json"),
    "cut off": Bad(fields()[:-9], 400, "invalid_json"),
    "not JSON": Bad(b"model=inside", 400, "invalid_json"),
    "a list": Bad(b"[]", 400, "invalid_json"),
    "null": Bad(b"null", 400, "invalid_json"),
    "two documents": Bad(fields() * 2, 400, "invalid_json"),
    "NaN": Bad(fields()[:-1] + b', "temperature": NaN}', 400, "invalid_json"),
    "not UTF-8": Bad(b'{"model": "inside\xff"}', 400, "invalid_json"),
    "half a surrogate pair": Bad(fields()[:-1] + b', "user": "\\ud83d"}', 400, "invalid_json"),
    "65 levels": Bad(nested(65), 400, "invalid_json"),
    "100,000 levels": Bad(nested(100_000), 400, "invalid_json"),
    "100,000 open brackets": Bad(b"[" * 100_000, 400, "invalid_json"),
    "a key twice": Bad(fields()[:-1] + b', "model": "free"}', 400, "duplicate_key"),
    "a key twice, spelled differently": Bad(fields()[:-1] + b', "mod\\u0065l": "free"}', 400, "duplicate_key"),
    "a key twice, deep down": Bad(fields()[:-1] + b', "metadata": {"a": "1", "a": "2"}}', 400, "duplicate_key"),
    "another case": Bad(fields()[:-1] + b', "Model": "free"}', 400, "unknown_parameter", "Model"),
    "no model": Bad(raw({"messages": [{"role": "user", "content": "a"}]}), 400, "invalid_type"),
    "model is a number": Bad(fields(model=5), 400, "invalid_type", "model"),
    "model is empty": Bad(fields(model=""), 400, "invalid_type", "model"),
    "model is unknown": Bad(fields(model="gpt-99"), 404, "model_not_found", "model"),
    "model with a NUL": Bad(fields(model="in\0side"), 404, "model_not_found", "model"),
    "model is a path": Bad(fields(model="../../etc/passwd"), 404, "model_not_found", "model"),
    "model is not available": Bad(fields(model="locked"), 503, "model_unavailable"),
    "no messages": Bad(fields(messages=[]), 400, "invalid_type", "messages"),
    "messages is text": Bad(fields(messages="안녕"), 400, "invalid_type", "messages"),
    "a message is text": Bad(fields(messages=["안녕"]), 400, "invalid_type", "messages[0]"),
    "no role": Bad(fields(messages=[{"content": "a"}]), 400, "invalid_type", "messages[0]"),
    "an unknown role": Bad(
        fields(messages=[{"role": "root", "content": "a"}]), 400, "invalid_type", "messages[0].role"
    ),
    "content is a number": Bad(
        fields(messages=[{"role": "user", "content": 1}]), 400, "invalid_type", "messages[0].content"
    ),
    "an unknown part": Bad(content({"type": "video"}), 400, "invalid_type", "messages[0].content[0].type"),
    "a picture by http": Bad(content(picture("http://10.0.0.1/a.png")), 400, "invalid_image_url", "messages.0.content"),
    "a picture by https": Bad(content(picture("https://a.example/")), 400, "invalid_image_url", "messages.0.content"),
    "a picture by file": Bad(content(picture("file:///etc/passwd")), 400, "invalid_image_url", "messages.0.content"),
    "a page as a picture": Bad(content(picture("data:text/html,a")), 400, "invalid_image_url", "messages.0.content"),
    "a picture for a model that sees none": Bad(
        raw(asking(model="plain", messages=[{"role": "user", "content": [picture("data:image/png;base64,AA==")]}])),
        400,
        "unsupported_capability",
        "model",
    ),
    "tools for a model without": Bad(
        fields(model="plain", tools=[{"type": "function", "function": {"name": "a"}}]),
        400,
        "unsupported_capability",
        "model",
    ),
    "negative max_tokens": Bad(fields(max_tokens=-1), 400, "invalid_type", "max_tokens"),
    "max_tokens is text": Bad(fields(max_tokens="5"), 400, "invalid_type", "max_tokens"),
    "max_tokens is a fraction": Bad(fields(max_tokens=1.5), 400, "invalid_type", "max_tokens"),
    "enormous max_tokens": Bad(fields(max_tokens=10**9), 400, "invalid_value", "max_tokens"),
    "64 bits of max_tokens": Bad(fields(max_completion_tokens=2**64 - 1), 400, "invalid_value", "max_tokens"),
    "100 digits of max_tokens": Bad(fields(max_tokens=10**100), 400, "invalid_type", "max_tokens"),
    "n is 0": Bad(fields(n=0), 400, "invalid_type", "n"),
    "n is 5": Bad(fields(n=5), 400, "invalid_value", "n"),
    "n is 64 bits": Bad(fields(n=2**63), 400, "invalid_value", "n"),
    "temperature 3": Bad(fields(temperature=3), 400, "invalid_type", "temperature"),
    "top_p -1": Bad(fields(top_p=-1), 400, "invalid_type", "top_p"),
    "five stops": Bad(fields(stop=list("abcde")), 400, "invalid_type", "stop"),
    "stream is text": Bad(raw({**json.loads(fields()), "stream": "yes"}), 400, "invalid_type", "stream"),
    "a dearer tier": Bad(fields(service_tier="priority"), 400, "invalid_value", "service_tier"),
    "api_base": Bad(fields(api_base="http://169.254.169.254/"), 400, "unknown_parameter", "api_base"),
    "base_url": Bad(fields(base_url="http://10.0.0.1/"), 400, "unknown_parameter", "base_url"),
    "api_key": Bad(fields(api_key="sk-mine"), 400, "unknown_parameter", "api_key"),
    "extra_headers": Bad(fields(extra_headers={"a": "b"}), 400, "unknown_parameter", "extra_headers"),
    "a long name": Bad(fields(**{"x" * 5000: 1}), 400, "unknown_parameter", "x" * 64),
}


@pytest.fixture(scope="module")
def others(place: Town, gateway: Gateway) -> Iterator[list[int]]:
    """Somebody who works on while all this happens: every status they got."""
    lee = place.new_key("lee@town.example")
    statuses: list[int] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            statuses.append(gateway.chat("[[pace:0]] [[chunks:3]] 일하는 중", key=lee, model="drained").status)

    worker = threading.Thread(target=work)
    worker.start()
    yield statuses
    stop.set()
    worker.join()
    assert set(statuses) == {200}


class Counted(NamedTuple):
    upstream: int
    holds: int
    rows: int


def counted(place: Town) -> Counted:
    """What Kim has caused so far; the model tells the two people apart."""
    holds = place.rows("SELECT count(*) AS n FROM hold WHERE model_requested <> 'drained'")[0]["n"]
    rows = place.rows("SELECT count(*) AS n FROM usage_event WHERE model_requested <> 'drained'")[0]["n"]
    seen = [arrival for arrival in place.arrivals().values() if arrival["model"] != "served-drained"]
    return Counted(len(seen), holds, rows)


def refused(answer: Answer, status: int, code: str, param: str | None = None) -> None:
    """The shape of every refusal."""
    assert (answer.status, answer.error["code"], answer.error["param"]) == (status, code, param), answer.body
    assert set(answer.error) - {"haechi"} == {"message", "type", "param", "code"}
    assert answer.error["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == answer.headers["request-id"] == answer.json["request_id"]
    assert "server" not in answer.headers
    told = answer.body.decode() + str(answer.headers)
    assert [secret for secret in SECRETS if secret in told] == []


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body(place: Town, gateway: Gateway, others: list[int], name: str) -> None:
    bad = BODIES[name]
    before = counted(place)
    refused(gateway.post(bad.body), bad.status, bad.code, bad.param)
    assert counted(place) == before


@pytest.mark.parametrize("name", ["model is unknown", "n is 5", "cut off"])
def test_a_bad_stream_is_refused_with_a_status_and_not_inside_the_stream(
    place: Town, gateway: Gateway, name: str
) -> None:
    bad = BODIES[name]
    refused(gateway.post(bad.body.replace(b"{", b'{"stream": true, ', 1)), bad.status, bad.code, bad.param)


@pytest.mark.parametrize("framing", ["declared", "chunked"])
def test_a_hundred_megabytes_are_refused_before_they_came(
    place: Town, gateway: Gateway, others: list[int], framing: str
) -> None:
    before = counted(place)
    wire = gateway.wire()
    length = "content-length: 104857600" if framing == "declared" else "transfer-encoding: chunked"
    head = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {place.key}\r\n{length}\r\n\r\n"
    wire.socket.sendall(head.encode())
    block = b" " * 65536
    piece = block if framing == "declared" else b"10000\r\n" + block + b"\r\n"
    sent = 0
    wire.socket.settimeout(10)
    while sent < 104857600 and not select.select([wire.socket], [], [], 0)[0]:
        try:
            wire.socket.sendall(piece)
        except (ConnectionError, TimeoutError):
            break
        sent += len(block)
    seen = wire.read_to_end()
    assert seen.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"request_too_large"' in seen
    assert sent < 32 << 20, "it was read on long after it was known to be too large"
    assert counted(place) == before


# ── credentials ─────────────────────────────────────────────────────────────────────────────────────────────────────────

GARBLED = "hc_live_" + "A" * 43

HEADERS: dict[str, tuple[dict[str, str], int, str]] = {
    "none": ({}, 401, "invalid_api_key"),
    "not a key": ({"authorization": "Bearer sk-1234"}, 401, "invalid_api_key"),
    "garbled": ({"authorization": f"Bearer {GARBLED}"}, 401, "invalid_api_key"),
    "enormous": ({"authorization": "Bearer " + "k" * 9000}, 401, "invalid_api_key"),
    "not ASCII": ({"authorization": "Bearer \xe9\xe9\xe9\xe9"}, 401, "invalid_api_key"),
    "SQL": ({"authorization": "Bearer ' OR 1=1 --"}, 401, "invalid_api_key"),
    "basic": ({"authorization": "Basic a2ltOmtpbQ=="}, 401, "invalid_api_key"),
    "a cookie": ({"cookie": "__Host-haechi=hc_cookie_" + "A" * 43}, 401, "invalid_api_key"),
    "a cookie's value as a bearer": ({"authorization": "Bearer hc_cookie_" + "A" * 43}, 401, "invalid_api_key"),
    "two that differ": ({"authorization": "Bearer {key}", "x-api-key": GARBLED}, 400, "ambiguous_credentials"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_bad_credential(place: Town, gateway: Gateway, others: list[int], name: str) -> None:
    headers, status, code = HEADERS[name]
    before = counted(place)
    given = {n: v.replace("{key}", place.key).encode("latin-1") for n, v in headers.items()}
    answer = read_answer(gateway.client.post(CHAT, content=fields(), headers=given))
    refused(answer, status, code)
    assert GARBLED not in answer.body.decode()
    assert ("www-authenticate" in answer.headers) == (name in {"none", "basic", "a cookie"})
    assert counted(place) == before


@pytest.mark.parametrize("state", ["revoked", "expired", "cut short", "with another end"])
def test_a_key_that_was_good_once(place: Town, gateway: Gateway, state: str) -> None:
    key = place.new_key("kim@town.example", expires="2020-01-01" if state == "expired" else None)
    if state == "revoked":
        place.cli(f"key revoke {key[:12]}")
    elif state != "expired":
        key = key[:-1] + ("" if state == "cut short" else "0" if key[-1] != "0" else "1")
    before = counted(place)
    refused(gateway.post(fields(), key=key), 401, "invalid_api_key")
    assert counted(place) == before


def test_the_same_key_in_both_places_is_one_credential(place: Town, gateway: Gateway) -> None:
    assert gateway.post(fields(), x_api_key=place.key).status == 200
    assert gateway.post(fields(), key="", x_api_key=place.key).status == 200


# ── everything around the body ──────────────────────────────────────────────────────────────────────────────────────────


class Odd(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    status: int
    code: str
    param: str | None = None


AROUND = {
    "a compressed body": Odd(
        "POST", CHAT, {"content-encoding": "gzip"}, 400, "unsupported_encoding", "content-encoding"
    ),
    "GET": Odd("GET", CHAT, {}, 405, "method_not_allowed"),
    "PUT": Odd("PUT", CHAT, {}, 405, "method_not_allowed"),
    "POST to the list of models": Odd("POST", "/v1/models", {}, 405, "method_not_allowed"),
    "an unknown path": Odd("POST", "/v1/unknown", {}, 404, "not_found"),
    "an unknown path elsewhere": Odd("GET", "/unknown", {}, 404, "not_found"),
    "a path with dots": Odd("GET", "/v1/../../etc/passwd", {}, 404, "not_found"),
    "a trailing slash": Odd("POST", CHAT + "/", {}, 404, "not_found"),
    "an unknown model's page": Odd("GET", "/v1/models/gpt-99", {}, 404, "model_not_found", "model"),
    "an unknown grade": Odd("POST", CHAT, {"x-haechi-grade": "X"}, 400, "invalid_value", "x-haechi-grade"),
    "an empty grade": Odd("POST", CHAT, {"x-haechi-grade": ""}, 400, "invalid_value", "x-haechi-grade"),
    "an empty purpose": Odd("POST", CHAT, {"x-haechi-purpose": ""}, 400, "invalid_value", "x-haechi-purpose"),
    "a purpose with a line end": Odd(
        "POST", CHAT, {"x-haechi-purpose": "a%0d%0ab"}, 400, "invalid_value", "x-haechi-purpose"
    ),
    "a project with a NUL": Odd("POST", CHAT, {"x-haechi-project": "a%00"}, 400, "invalid_value", "x-haechi-project"),
    "a project that is not UTF-8": Odd(
        "POST", CHAT, {"x-haechi-project": "%ff%fe"}, 400, "invalid_value", "x-haechi-project"
    ),
    "a long project": Odd("POST", CHAT, {"x-haechi-project": "p" * 65}, 400, "invalid_value", "x-haechi-project"),
}


@pytest.mark.parametrize("name", AROUND)
def test_odd_requests(place: Town, gateway: Gateway, others: list[int], name: str) -> None:
    odd = AROUND[name]
    before = counted(place)
    body = gzip.compress(fields()) if "encoding" in str(odd.headers) else fields()
    headers = {"authorization": f"Bearer {place.key}", **odd.headers}
    wire = gateway.wire()  # an HTTP library would tidy the path
    lines = [f"{n}: {v}" for n, v in {**headers, "host": "a", "content-length": str(len(body))}.items()]
    wire.socket.sendall(
        "\r\n".join([f"{odd.method} {odd.path} HTTP/1.1", *lines, "connection: close", "", ""]).encode()
    )
    wire.socket.sendall(body)
    head, _, payload = wire.read_to_end().partition(b"\r\n\r\n")
    told = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
    refused(Answer(int(head[9:12]), told, payload), odd.status, odd.code, odd.param)  # type: ignore[arg-type]
    assert ("allow" in told) == (odd.status == 405)
    assert counted(place) == before


def test_what_looks_odd_and_is_fine(place: Town, gateway: Gateway, others: list[int]) -> None:
    """NUL and bidirectional marks belong to the text; a Korean project comes percent-encoded."""
    answer = gateway.post(
        asking("널\0문자 \u202e뒤집힘"), x_haechi_project="%ED%85%8C%EC%8A%A4%ED%8A%B8 %231".replace("%23", ""),
        x_client_request_id="mine-1",
    )  # fmt: skip
    assert answer.status == 200
    row = place.event(answer.request_id)
    assert row["project"] == "테스트 1"


def test_the_callers_own_id_comes_back_and_is_never_ours(place: Town, gateway: Gateway) -> None:
    answer = gateway.post(fields(n=5), x_client_request_id="mine-1")
    assert answer.headers["x-client-request-id"] == "mine-1" != answer.request_id
    assert "x-client-request-id" not in gateway.post(fields(n=5), x_client_request_id="a b").headers


@pytest.mark.usefixtures("others")
def test_after_all_that_the_books_agree_and_no_bug_was_logged(place: Town, gateway: Gateway) -> None:
    assert gateway.ready == 200
    told = gateway.process.err.read_text()
    assert "Traceback" not in told
    assert "traceback" not in told
