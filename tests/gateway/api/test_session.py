"""Signing in: a cookie for pages, a bearer for scripts, and nothing learnt from a refusal."""

from __future__ import annotations

from datetime import datetime

import httpx
import pytest
from clock import MINUTE, SECOND, Clock

from gateway.audit import Actor
from gateway.directory.directory import Directory
from gateway.directory.sessions import Throttle
from gateway.errors import TooManyRequests

KIM = "kim@city.example"


async def sign_in(client: httpx.AsyncClient, password: str, **more: object) -> httpx.Response:
    return await client.post("/api/session", json={"email": KIM, "password": password, **more})


async def test_a_page_gets_a_host_cookie_and_a_csrf_value(client: httpx.AsyncClient, password: str) -> None:
    answer = await sign_in(client, password)
    assert answer.status_code == 200
    assert set(answer.json()) == {"csrf", "expires"}
    assert datetime.fromisoformat(answer.json()["expires"]).utcoffset() is not None
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert cookie.startswith("__Host-haechi=hc_page_")
    assert set(attributes) == {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"}
    assert answer.headers["cache-control"] == "no-store"

    headers = {"cookie": cookie}
    assert (await client.get("/api/me", headers=headers)).json()["email"] == KIM
    again = await client.get("/api/session", headers=headers)
    assert again.json() == answer.json()

    assert (await client.delete("/api/session", headers=headers)).status_code == 403
    ended = await client.delete("/api/session", headers={**headers, "x-haechi-csrf": answer.json()["csrf"]})
    assert ended.status_code == 204
    assert "Max-Age=0" in ended.headers["set-cookie"]
    assert (await client.get("/api/me", headers=headers)).status_code == 401


async def test_a_script_gets_a_bearer_that_needs_no_csrf_value(client: httpx.AsyncClient, password: str) -> None:
    answer = await sign_in(client, password, token=True)
    assert set(answer.json()) == {"token", "expires"}
    assert "set-cookie" not in answer.headers
    headers = {"authorization": f"Bearer {answer.json()['token']}"}
    assert (await client.get("/api/me", headers=headers)).status_code == 200
    assert (await client.delete("/api/session", headers=headers)).status_code == 204
    assert (await client.get("/api/me", headers=headers)).status_code == 401


async def test_the_address_may_be_written_in_any_case(client: httpx.AsyncClient, password: str) -> None:
    answer = await client.post("/api/session", json={"email": f" {KIM.upper()} ", "password": password})
    assert answer.status_code == 200


async def test_who_exists_cannot_be_found_out(client: httpx.AsyncClient, password: str) -> None:
    wrong = await sign_in(client, "wrong")
    unknown = await client.post("/api/session", json={"email": "lee@city.example", "password": "wrong"})
    assert (wrong.status_code, wrong.content) == (unknown.status_code, unknown.content)
    assert wrong.status_code == 401


async def test_a_page_of_another_site_cannot_sign_anybody_in(client: httpx.AsyncClient, password: str) -> None:
    answer = await client.post(
        "/api/session", json={"email": KIM, "password": password}, headers={"sec-fetch-site": "cross-site"}
    )
    assert answer.status_code == 403
    assert (await client.post("/api/session", content=b"email=x", headers={"content-type": "text/plain"})).is_error


async def test_an_api_key_has_no_session_to_end(client: httpx.AsyncClient, city: Directory, by: Actor) -> None:
    headers = {"authorization": f"Bearer {city.create_key(KIM, by=by).key}"}
    assert (await client.delete("/api/session", headers=headers)).status_code == 400
    assert (await client.get("/api/session", headers=headers)).status_code == 400


async def test_five_wrong_answers_make_even_the_right_one_wait(
    client: httpx.AsyncClient, password: str, clock: Clock
) -> None:
    for _ in range(5):
        assert (await sign_in(client, "wrong")).status_code == 401
    refused = await sign_in(client, password)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 60
    clock.advance(MINUTE)
    assert (await sign_in(client, password)).status_code == 200
    assert (await sign_in(client, "wrong")).status_code == 401  # a right answer clears the count


# One line per try: seconds since the one before, and whether it is admitted. Nobody ever answers right.
@pytest.mark.parametrize(
    "tries",
    [
        [(0, True)] * 5 + [(0, False)],
        [(13, True)] * 5 + [(13, False)],
        [(0, True)] * 5 + [(59, False), (2, True), (119, False), (2, True), (239, False), (2, True)],
        [(0, True)] * 5 + [(901, True)] * 9,  # never longer than fifteen minutes
        [(0, True)] * 4 + [(3601, True)] + [(0, True)] * 4 + [(0, False)],
    ],
    ids=["five at once", "five slowly", "the wait doubles", "the longest wait", "an hour clears it"],
)
def test_the_throttle(tries: list[tuple[int, bool]]) -> None:
    clock = Clock()
    throttle = Throttle(clock)

    def admitted() -> bool:
        try:
            throttle.admit(KIM, "10.0.0.1")
        except TooManyRequests:
            return False
        return True

    for number, (seconds, expected) in enumerate(tries):
        clock.advance(seconds * SECOND)
        assert admitted() == expected, number
        throttle.admit("somebody-else@city.example", f"10.0.1.{number}")


def test_the_throttle_forgets_the_oldest_rather_than_growing() -> None:
    throttle = Throttle(Clock())
    for number in range(Throttle.KEPT + 10):
        throttle.admit(f"user{number}@city.example", "10.0.0.1")
    assert len(throttle) == Throttle.KEPT
