"""`models check` asks every available model once, books it as a check, and says what an operator has to know."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from flows.harness import Gateway, Town

from gateway.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def check(place: Town, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    def run(*names: str) -> tuple[int, dict[str, Any]]:
        code = main(["models", "check", *names, "--json", "--config", str(place.config)], place.env)
        return code, json.loads(capsys.readouterr().out)

    yield run
    place.books_agree()


def test_each_is_asked_once_and_booked_as_a_check(place: Town, gateway: Gateway, check: Any) -> None:
    """Beside a running server, whose holds and budgets it leaves alone."""
    answered = gateway.chat(model="inside", max_tokens=5)
    code, told = check("inside", "abroad", "free", "locked")
    assert code == 0
    assert [(row["model"], row["ok"], row["quality"]) for row in told["checked"]] == [
        ("inside", True, "exact"),
        ("abroad", True, "exact"),
        ("free", True, "exact"),
    ]
    assert [row["model"] for row in told["skipped"]] == ["locked"]
    assert "API key has not been set" in told["skipped"][0]["reason"]["en"]
    assert told["vendors_called"] == ["abroad"]
    for row in told["checked"]:
        event = place.event(row["request_id"])
        assert (event["purpose"], event["user_id"], event["department_id"]) == ("check", "system:check", "system:check")
        assert event["model_served"] == row["model"]
        assert place.output_tokens(event) <= 16
        assert float(row["cost_krw"]) == (event["won"] + event["vat"]) / 1_000_000
    assert place.event(answered.request_id)["purpose"] == "chat"
    month = place.event(answered.request_id)["service_month"]
    by_department = {row["key"]: row["requests"] for row in place.cli(f"usage --month {month}")["rows"]}
    assert by_department["system:check"] == 3


def test_a_fallback_does_not_hide_a_model_that_fails(place: Town, check: Any) -> None:
    guarded = next(model for model in place.settings["models"] if model["name"] == "guarded")
    guarded["deployments"][0]["provider"] = "nowhere"
    place.write_config()
    code, told = check("guarded", "inside")
    assert code == 1
    rows = {row["model"]: row for row in told["checked"]}
    assert not rows["guarded"]["ok"]
    assert rows["guarded"]["detail"].startswith("connect: ")
    assert rows["inside"]["ok"]


def test_the_shipped_file_calls_no_vendor_and_says_so(
    new_database: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a credential only the two practice models are there to be asked, and they answer in this process."""
    env = {"HAECHI_DATABASE_URL": new_database("sqlite", tmp_path / "database"), "HAECHI_DATA": str(tmp_path / "data")}
    words = ["models", "check", "--config", str(ROOT / "config.yaml")]
    assert main([*words, "--json"], env) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in told["checked"]] == ["practice-inside", "practice-foreign"]
    assert told["vendors_called"] == []
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text("utf-8"))["models"]
    assert len(told["skipped"]) == len(shipped) - 2
    assert all(row["reason"]["ko"] and row["reason"]["en"] for row in told["skipped"])
    assert main(words, env) == 0
    assert "no vendor was called" in capsys.readouterr().out


def test_a_name_that_is_none_is_refused(place: Town, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "check", "insde", "--config", str(place.config)], place.env) == 1
    assert "Did you mean 'inside'?" in capsys.readouterr().err


# ── what an operator is told ────────────────────────────────────────────────────────────────────────────────────────────


def answered(usage: object) -> tuple[int, object]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "OK"}, "finish_reason": "stop"}
    whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "choices": [choice]}
    return 200, {**whole, **({} if usage is None else {"usage": usage})}


#: What the vendor says to each model it is asked for.
VENDOR: dict[str, tuple[int, object]] = {
    "right": answered({"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}),
    "silent": answered(None),
    "odd": answered({"prompt_tokens": -4, "completion_tokens": 1, "total_tokens": -3}),
    "key": (401, {"error": {"message": "Incorrect API key sk-canary", "code": "invalid_api_key"}}),
    "gone": (404, {"error": {"message": "no such model", "code": "model_not_found"}}),
    "busy": (429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}),
    "broke": (402, {"error": {"message": "pay", "code": "insufficient_balance"}}),
    "down": (503, {"error": {"message": "maintenance"}}),
    "page": (200, "<html>"),
}

#: model → what it costs or how it fails, and what the operator is advised, in English and Korean.
CHECKED: dict[str, tuple[str, str | None, str | None]] = {
    # 4 × 1 $ and 1 × 4 $ a million, in won at the shipped rate: exact, and nothing to advise.
    "right": ("exact", None, None),
    "silent": ("estimated", "states no usage", "사용량을 알리지 않아"),
    "odd": ("suspense", "a reconciliation case is open", "대사 건이 열려 있습니다"),
    "key": ("refused: status 401 invalid_api_key", "check the key in VENDOR_KEY", "환경변수 VENDOR_KEY의 키"),
    "gone": ("refused: status 404 model_not_found", "has no model gone", "gone 모델이 없습니다"),
    "busy": ("rate_limited: status 429", "have the limit raised", "호출 한도"),
    "broke": ("refused: status 402", "the account's balance", "잔액"),
    "down": ("unavailable: status 503", "look at its status page", "상태 페이지"),
    "page": ("broken: ", "check that base_url and kind", "답을 읽을 수 없습니다"),
    "dark": ("connect: ", "No connection to dark", "dark에 연결하지 못했습니다"),
}


class _Vendor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, said = VENDOR[asked["model"]]
        body = json.dumps({**said, "model": asked["model"]} if isinstance(said, dict) else said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The test looks at the answer."""


@pytest.fixture
def office(new_database: Any, tmp_path: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """(the command's options, its environment) of an installation with one vendor that answers and one that cannot be reached."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    account = {"kind": "openai_compatible", "api_key_env": "VENDOR_KEY", "destination": "foreign"}

    def model(name: str, provider: str = "vendor", price: str = "acme/chat") -> dict[str, Any]:
        place = {"provider": provider, "model": name if name in VENDOR else "right", "price": price}
        title = {"ko": name, "en": name}
        return {
            "name": name, "title": title, "grade": "O", "context": 8000, "max_output": 100, "deployments": [place]
        }  # fmt: skip

    config = {
        "organisation": {"name": "데모시"},
        "providers": {
            "vendor": {**account, "base_url": f"http://127.0.0.1:{server.server_port}/v1"},
            "dark": {**account, "base_url": "http://127.0.0.1:9/v1"},
            "unset": {**account, "base_url": "http://127.0.0.1:9/v1", "api_key_env": "NOBODY_SET_THIS_KEY"},
        },
        "models": [
            *(model(name, "dark" if name == "dark" else "vendor") for name in CHECKED),
            model("unset", "unset"),
            model("unpriced", price="acme/none"),
            model("unsure", price="acme/unsure"),
        ],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "acme.yaml").write_text(
        """\
provider: acme
currency: USD
valid_from: 2026-01-01
source: written for this test
confirmed: true
prices:
  - {key: acme/chat, per_million: {input: "1", output: "4"}}
  - {key: acme/unsure, confirmed: false, reason: nobody looked, per_million: {input: "1", output: "4"}}
""",
        "utf-8",
    )
    env = {
        "HAECHI_DATABASE_URL": new_database("sqlite", tmp_path / "database"),
        "HAECHI_DATA": str(tmp_path / "data"),
        "HAECHI_PRICES": str(tmp_path / "prices"),
        "VENDOR_KEY": "sk-canary",
    }
    yield ["models", "check", "--config", str(tmp_path / "config.yaml")], env
    server.shutdown()
    server.server_close()


def test_each_way_to_fail_is_told_with_what_to_do(
    office: tuple[list[str], dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Once as JSON for a script, once as lines for a person; what is not available stands there with its reason, not asked."""
    words, env = office
    assert main([*words, "--json"], env) == 1
    told = json.loads(capsys.readouterr().out)
    rows = {row["model"]: row for row in told["checked"]}
    assert rows.keys() == CHECKED.keys()
    for name, (came, english, korean) in CHECKED.items():
        row = rows[name]
        assert row["ok"] == (came in {"exact", "estimated", "suspense"})
        assert row["quality"] == came if row["ok"] else row["detail"].startswith(came), row
        if english is None or korean is None:
            assert row["advice"] is None
        else:
            assert english in row["advice"]["en"]
            assert korean in row["advice"]["ko"]
    assert {row["model"]: row["reason"]["en"] for row in told["skipped"]} == {
        "unset": "The provider's API key has not been set.",
        "unpriced": "It has no price in force today.",
        "unsure": "Its price has not been confirmed yet.",
    }
    assert told["vendors_called"] == ["vendor"], "whom no connection reached was not called"

    assert main(words, env) == 1
    said = capsys.readouterr()
    for came, english, korean in CHECKED.values():
        assert all(part in said.out for part in (came, english, korean) if part is not None)
    assert "가격이 아직 확정되지 않았습니다. · Its price has not been confirmed yet." in said.out
    assert "정상 3 · 실패 7 · 건너뜀 3 · 3 answered, 7 failed, 3 unavailable and not asked" in said.out
    assert said.out.endswith("vendors called: vendor\n")
    assert "sk-canary" not in said.out + said.err
    assert said.err == "", "what the log would say stands in the answer"


@pytest.mark.parametrize(
    ("names", "code", "vendors"),
    [(["right"], 0, ["vendor"]), (["right", "unset"], 0, ["vendor"]), (["dark"], 1, []), (["unset"], 1, [])],
)
def test_the_exit_code_says_whether_everybody_asked_answered(
    office: tuple[list[str], dict[str, str]],
    capsys: pytest.CaptureFixture[str],
    names: list[str],
    code: int,
    vendors: list[str],
) -> None:
    """And that somebody was asked at all."""
    words, env = office
    assert main([*words, *names, "--json"], env) == code
    assert json.loads(capsys.readouterr().out)["vendors_called"] == vendors
