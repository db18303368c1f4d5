"""Values nobody may find again: sent through every surface of a running gateway, then looked for in all it has left behind.

Personal data may reach a model inside, and the caller reads it in the answer; nothing else keeps it. Not the ledger, not the
evidence, not a log, a metric, an error, the audit record or a file.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from typing import Any

import httpx
import pytest
from flows.harness import CHAT, Answer, Gateway, Town, asking, eventually, read_answer

#: Made up; check digits are right where there are any. Each as a person would write it.
VALUES = {
    "RRN": "850312-2345677",
    "PHONE": "010-9517-5328",
    "EMAIL": "haechi.canary.7q2w@naver.com",
    "ACCOUNT": "110-482-739165",
    "SECRET": "Kanarie!9xQ2#pw",
    "PERSON": "선우카나",
    "PASSPORT": "M482C7391",
}
WRITTEN = {
    "RRN": "주민등록번호 {}",
    "PHONE": "연락처 {}",
    "EMAIL": "이메일 {}",
    "ACCOUNT": "신한은행 계좌 {}",
    "SECRET": "비밀번호: {}",
    "PERSON": "민원인 성명: {}",
    "PASSPORT": "여권번호 {}",
}

#: A whole sentence that stands beside them: text that is nobody's business either.
SENTENCE = "카나리아 문장은 어디에도 남지 않아야 한다"


def texts() -> dict[str, str]:
    return {kind: f"{SENTENCE}. {WRITTEN[kind].format(value)}" for kind, value in VALUES.items()}


def bodies(text: str) -> list[dict[str, Any]]:
    """A text in the places of a request where texts stand."""
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": json.dumps({"memo": text})}}
    return [
        asking(text),
        asking("안녕", messages=[{"role": "system", "content": text}, {"role": "user", "content": "안녕"}]),
        asking("안녕", messages=[{"role": "user", "content": [{"type": "text", "text": text}]}]),
        asking(
            "안녕",
            messages=[
                {"role": "user", "content": text},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": text},
                {"role": "assistant", "content": text},
                {"role": "user", "content": "요약", "name": "kim"},
            ],
        ),
        asking("안녕", stop=[text[:60]], user=text, metadata={"a": text}),
        asking("안녕", guided_json={text: {"enum": [text]}}),
    ]


@pytest.fixture(scope="module")
def guarded(place: Town) -> Gateway:
    """Masked values come back in answers, and answers are looked at: both keep texts for a while, in memory."""
    place.settings["policies"] = {"restore": True, "output": "mask"}
    place.settings["models"].append(
        {**place.settings["models"][2], "name": "vectors", "capabilities": ["embeddings"], "max_output": 1}
    )
    place.write_config()
    return place.gateway()


@pytest.fixture(scope="module")
def answers(place: Town, guarded: Gateway) -> list[Answer]:
    told: list[Answer] = []

    def post(path: str, body: dict[str, Any], **more: str) -> None:
        headers = {"authorization": f"Bearer {place.key}", **more}
        raw = json.dumps(body, ensure_ascii=False).encode()
        told.append(read_answer(guarded.client.post(path, content=raw, headers=headers)))

    def upload(name: str, content: bytes) -> None:
        files = {"file": (name, content)}
        told.append(
            read_answer(
                guarded.client.post("/api/files", files=files, headers={"authorization": f"Bearer {place.key}"})
            )
        )

    for number, text in enumerate(texts().values()):
        for model in ("inside", "abroad"):
            for stream in (False, True):
                for body in bodies(text):
                    post(CHAT, {**body, "model": model, "stream": stream})
            post(CHAT, asking(f"[[fail:500]] {text}", model=model))
            post(CHAT, asking(f"[[cut:3]] {text}", model=model, stream=True))
            post(CHAT, asking(text, model=model), **{"idempotency-key": f"once-{number}-{model}"})
        post("/v1/embeddings", {"model": "vectors", "input": [text, "안녕"]})
        post("/v1/embeddings", {"model": "vectors", "input": text})
        post(CHAT, asking(text, model="abroad"), **{"x-haechi-conversation": f"chat-{number}"})
        post(CHAT, asking(text, model="abroad", stream=True), **{"x-haechi-conversation": f"chat-{number}"})
        refused = told[-1]
        report = {"decision": refused.headers["x-request-id"]}
        for reason in ("example", text):
            post("/api/policies/alarms", {**report, "reason": reason}, **{"content-type": "application/json"})
        upload(f"{text}.txt", text.encode())
        upload(f"{text[-20:]}.hwp", b"\x00\x01" + text.encode())
        stored = json.loads(told[-2].body)["id"]
        for part in ({"file_id": stored}, {"file_data": inline(text), "filename": f"{text}.txt"}):
            for model in ("inside", "abroad"):
                messages = [{"role": "user", "content": [{"type": "file", "file": part}]}]
                post(CHAT, asking(model=model, messages=messages))
        post("/api/policies/check", {"text": text})
        post("/api/policies/check", {"messages": asking(text)["messages"], "model": "inside"})
        post("/api/policies/check", {"text": text, text: text})
        post(CHAT, {"model": text[:90], "messages": [{"role": text, "content": text}]})
        post(CHAT, {"model": text[:90], "messages": [{"role": "user", "content": text}]})
    eventually(lambda: not place.open_holds(), within=30, what="every hold is resolved")
    eventually(
        lambda: place.rows("SELECT 1 FROM seal WHERE chain = 'audit'"), within=30, what="the audit record is sealed"
    )
    verdict = place.cli("verify")
    assert verdict["ok"]
    assert {"seals_whole", "evidence_whole", "audit_whole"} <= {check["name"] for check in verdict["checks"]}
    return told


def inline(text: str) -> str:
    return f"data:text/plain;base64,{base64.b64encode(text.encode()).decode()}"


def spellings(value: str) -> dict[str, bytes]:
    """A value as it is, and in the ways programs write texts down."""
    plain = value.encode()
    return {
        "as it is": plain,
        "escaped in JSON": json.dumps(value).strip('"').encode(),
        "in base64": base64.b64encode(plain),
        "in a URL": urllib.parse.quote(value).encode(),
        "without separators": value.replace("-", "").encode(),
        "in UTF-16": value.encode("utf-16-le"),
    }


def canaries() -> dict[str, bytes]:
    found = {
        f"{kind} {how}": spelled
        for kind, value in {**VALUES, "the sentence": SENTENCE}.items()
        for how, spelled in spellings(value).items()
    }
    assert len(set(found.values())) > 30
    return found


def left_behind(place: Town, gateway: Gateway) -> dict[str, bytes]:
    folders = (place.data, place.folder / "database")
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    files += [place.folder / "gateway-1.out", gateway.process.err, place.config]
    found = {str(file.relative_to(place.folder)): file.read_bytes() for file in files}
    found["/metrics"] = httpx.get(f"{gateway.base_url}/metrics").content
    found["/readyz"] = httpx.get(f"{gateway.base_url}/readyz").content
    return found


def test_every_surface_was_used(answers: list[Answer]) -> None:
    """So that an empty result below means something: requests were answered, masked and refused."""
    assert {answer.status for answer in answers} >= {200, 400, 404}
    assert {201} <= {answer.status for answer in answers}, "files were taken"
    codes = [answer.error["code"] for answer in answers if answer.status == 400 and b'"error"' in answer.body]
    assert {"file_uninspectable", "invalid_request"} <= set(codes), "a file and a report with text in it were refused"
    assert codes.count("policy_blocked") > 50
    assert {answer.headers.get("x-haechi-policy") for answer in answers} >= {None, "masked"}


def test_no_value_is_left_behind(place: Town, guarded: Gateway, answers: list[Answer]) -> None:
    least = {
        "evidence": 50,
        "mask_vault": 3,
        "stored_file": len(VALUES),
        "false_alarm": 3,
        "idempotency": 3,
        "audit": 5,
    }
    there = {table: place.rows(f"SELECT COUNT(*) AS n FROM {table}")[0]["n"] for table in least}
    assert all(there[table] >= number for table, number in least.items()), f"what is searched is there: {there}"
    left = left_behind(place, guarded)
    assert any(b"policy" in content or b"PHONE" in content for content in left.values())
    found = [
        f"{what} in {where}" for where, content in left.items() for what, one in canaries().items() if one in content
    ]
    assert found == []


def test_no_refusal_repeats_a_value(answers: list[Answer]) -> None:
    refused = [answer for answer in answers if answer.status not in (200, 201)]
    assert len(refused) > 80
    for answer in refused:
        whole = answer.body + str(answer.headers).encode()
        assert [what for what, one in canaries().items() if one in whole] == [], (answer.status, answer.error["code"])


def test_the_evidence_can_tell_two_values_apart_and_nothing_more(place: Town, answers: list[Answer]) -> None:
    rows = place.rows("SELECT kind, digests FROM evidence_item WHERE kind = 'RRN'")
    digests = {digest for row in rows for digest in json.loads(row["digests"])}
    assert len(digests) == 1
    assert all(len(digest) == 32 for digest in digests)
