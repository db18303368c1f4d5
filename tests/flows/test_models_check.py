"""`models check` asks every available model once, books it as a check, and says what an operator has to know."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
