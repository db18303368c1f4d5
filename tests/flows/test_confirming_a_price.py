"""Finance confirms a price in the product: a dated list with its source, imported beside a running gateway, opens the model."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from flows.harness import Gateway, Town, eventually

from billing.prices import SHIPPED
from gateway.__main__ import main

#: One that ships unconfirmed: a single price library states it, and no vendor's page was read.
KEY = "together/openai/gpt-oss-120b"
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).date()

CONFIRMED = f"""\
provider: together
currency: USD
valid_from: {YESTERDAY}
source: 계약서 2026-31호 제3조 (재무과 확인)
confirmed: true
prices:
  - key: {KEY}
    per_million: {{input: "0.2", output: "0.8"}}
"""


@pytest.fixture(scope="module")
def place(found: Callable[..., Town]) -> Town:
    town = found("sqlite")
    model = json.loads(json.dumps(next(m for m in town.settings["models"] if m["name"] == "abroad")))
    model |= {"name": "awaited", "title": {"ko": "기다림", "en": "Awaited"}}
    model["deployments"][0] |= {"model": "served-awaited", "price": KEY}
    town.settings["models"].append(model)
    town.write_config()
    return town


def listed(gateway: Gateway) -> dict[str, Any]:
    (model,) = [m for m in gateway.get("/v1/models").json["data"] if m["id"] == "awaited"]
    return dict(model.get("haechi", model))


def imported(place: Town, file: Path) -> tuple[int, str]:
    """The command as a clerk runs it: its exit code, and all it says."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        code = main(["price", "import", str(file), "--config", str(place.config)], place.env)
    return code, out.getvalue()


def test_a_confirmed_price_opens_its_model(place: Town, gateway: Gateway, tmp_path: Path) -> None:
    shipped = yaml.safe_load((SHIPPED / "together.yaml").read_text("utf-8"))
    assert shipped["confirmed"] is False, "this test needs a price that ships unconfirmed"
    closed = listed(gateway)
    assert closed["available"] is False
    assert closed["reason"]["en"] == "Its price has not been confirmed yet."
    refused = gateway.chat(model="awaited", max_tokens=5)
    assert refused.status in {400, 403, 404, 503}
    assert place.events(refused.request_id) == []

    # The day the unconfirmed list began is taken: what was is never edited, and the refusal says what to do.
    same_day = tmp_path / "same-day.yaml"
    same_day.write_text(CONFIRMED.replace(str(YESTERDAY), str(shipped["valid_from"])), "utf-8")
    code, said = imported(place, same_day)
    assert code == 1
    assert KEY in said
    # And a list that is confirmed by nobody is no confirmation.
    sourceless = tmp_path / "sourceless.yaml"
    sourceless.write_text(CONFIRMED.replace("source: 계약서 2026-31호 제3조 (재무과 확인)\n", ""), "utf-8")
    code, said = imported(place, sourceless)
    assert (code, "source" in said) == (1, True), said

    letter = tmp_path / "together-confirmed.yaml"
    letter.write_text(CONFIRMED, "utf-8")
    code, said = imported(place, letter)
    assert code == 0, said
    assert "together-confirmed.yaml: 2 prices added" in said
    assert "SIGHUP" in said, "and what is left to do"
    prices = {(p["key"], p["meter"]): p for p in place.cli("price list")["prices"]}
    assert (prices[KEY, "input"]["confirmed"], prices[KEY, "input"]["per_million"]) == (True, "0.2")
    assert prices[KEY, "input"]["source"] == "계약서 2026-31호 제3조 (재무과 확인)"

    gateway.process.signal(signal.SIGHUP)
    eventually(lambda: listed(gateway)["available"], what="the model is available")
    answer = gateway.chat("[[chunks:30]] 얼마", model="awaited", max_tokens=100)
    assert answer.status == 200
    event = place.event(answer.request_id)
    assert (event["quality"], place.output_tokens(event)) == ("exact", 30)
    # 0.2 $ a million is 2,000 ticks of 1e-10 $ a token; 0.8 $ are 8,000.
    lines = place.rows("SELECT meter, quantity, amount_ticks FROM usage_meter WHERE event_id = :id", id=event["id"])
    booked = {row["meter"]: (int(row["quantity"]), int(row["amount_ticks"])) for row in lines}
    sent = answer.json["usage"]["prompt_tokens"]
    assert booked == {"input": (sent, sent * 2_000), "output": (30, 30 * 8_000)}
    place.books_agree()
