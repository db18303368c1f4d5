"""Canaries: keys and the words of a prompt are looked for everywhere the gateway leaves something behind."""

from __future__ import annotations

import json
import signal

import httpx
import pytest
from flows.harness import CHAT, PROVIDER_KEY, Answer, Gateway, Town, asking, eventually

#: Words of a prompt. Prompts are not stored: not in the ledger, not in a log, not in an error.
WORDS = "카나리아-주민등록번호-9X7Q"
#: Somebody's mistyped key; even that could be almost right.
TYPO = "hc_live_canaryTYPO" + "Z" * 25


@pytest.fixture(scope="module")
def said(place: Town, gateway: Gateway) -> list[Answer]:
    """Everything that can go wrong with a prompt in it; every answer that is an error."""
    answers: list[Answer] = []
    for directive in ("", "[[fail:500]]", "[[fail:400]]", "[[fail:429]]", "[[cut:3]]", "[[garbage]]", "[[no-usage]]"):
        for stream in (False, True):
            answers += [gateway.chat(f"{directive} {WORDS}", stream=stream, user=WORDS, model="guarded")]
            answers += [gateway.chat(f"{directive} {WORDS}", stream=stream, metadata={"a": WORDS})]
    bodies = [
        json.dumps(asking(WORDS))[:-2].encode(),
        json.dumps(asking(WORDS, stop=WORDS, temperature=WORDS)).encode(),
        json.dumps(asking(WORDS, model=5)).encode(),
        json.dumps(asking(WORDS, n=99)).encode(),
        json.dumps({"messages": [{"role": WORDS, "content": WORDS}], "model": "inside"}).encode(),
    ]
    answers += [gateway.post(body) for body in bodies]
    answers += [
        gateway.chat(WORDS, key=TYPO),
        gateway.chat(WORDS, model="unreachable"),
        gateway.chat(WORDS, model="locked"),
    ]
    answers += [gateway.post(asking(WORDS, model="abroad"), x_haechi_grade="S")]
    place.cli("quota set --user kim@town.example --won 0 --period day")
    answers += [gateway.chat(WORDS)]
    place.cli("quota lift --user kim@town.example --period day")
    wire = gateway.wire()
    wire.ask(place.key, asking(f"[[pace:20]] [[chunks:100]] {WORDS}", stream=True))
    wire.read_until(lambda seen: b"data: " in seen)
    wire.leave("rst")
    place.books_agree()
    place.config.write_text(place.config.read_text() + "\nunknown: " + PROVIDER_KEY + "\n")
    gateway.process.signal(signal.SIGHUP)
    eventually(lambda: httpx.get(f"{gateway.base_url}/readyz").json()["config_problem"], what="the bad file was read")
    return answers


def left_behind(place: Town, gateway: Gateway) -> dict[str, bytes]:
    """Every file of the data folder but the one that is the secret, the database with its log, and what was printed."""
    folders = (place.data, place.folder / "database")
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file() and file.name != "secrets.json"]
    files += [place.folder / "gateway-1.out", gateway.process.err]
    found = {str(file.relative_to(place.folder)): file.read_bytes() for file in files}
    assert any(name.endswith("ledger.db") and content for name, content in found.items())
    return {**found, "/metrics": httpx.get(f"{gateway.base_url}/metrics").content}


def canaries(place: Town) -> dict[str, bytes]:
    secrets = json.loads((place.data / "secrets.json").read_text())
    return {
        "the words of a prompt": WORDS.encode(),
        "the words, escaped": json.dumps(WORDS).strip('"').encode(),
        "the API key": place.key.encode(),
        "the part of the API key that is not its name": place.key[12:].encode(),
        "the mistyped key": TYPO.encode(),
        "the provider's key": PROVIDER_KEY.encode(),
        **{name: value.encode() for name, value in secrets.items()},
        **{f"{name}, raw": bytes.fromhex(value) for name, value in secrets.items()},
    }


def test_nothing_secret_is_left_behind(place: Town, gateway: Gateway, said: list[Answer]) -> None:
    found = [
        f"{what} in {where}"
        for where, content in left_behind(place, gateway).items()
        for what, canary in canaries(place).items()
        if canary in content
    ]
    assert found == []


def test_no_error_repeats_what_was_sent_or_what_we_know(place: Town, said: list[Answer]) -> None:
    errors = [answer for answer in said if answer.status != 200]
    assert len(errors) > 15
    for answer in errors:
        whole = answer.body + str(answer.headers).encode()
        assert [what for what, canary in canaries(place).items() if canary in whole] == []


def test_the_provider_gets_its_key_and_nothing_else_of_ours(place: Town, said: list[Answer]) -> None:
    arrivals = place.arrivals().values()
    assert {arrival["authorization"] for arrival in arrivals} == {PROVIDER_KEY[-4:]}


@pytest.mark.usefixtures("said")
def test_the_files_of_the_data_folder_are_the_operators_alone(place: Town) -> None:
    private = [place.data / "secrets.json", place.data]
    assert [oct(file.stat().st_mode & 0o077) for file in private] == ["0o0", "0o0"]


@pytest.mark.usefixtures("said")
def test_a_key_is_shown_once(place: Town, gateway: Gateway) -> None:
    me = gateway.client.get("/api/me", headers={"authorization": f"Bearer {place.key}"})
    assert me.status_code == 200
    assert place.key[12:] not in me.text
    assert gateway.client.get(CHAT, headers={"authorization": f"Bearer {place.key}"}).text.count(place.key) == 0
