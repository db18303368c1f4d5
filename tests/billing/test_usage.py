"""The shape of a usage: names, and where reasoning goes."""

import pytest

from billing.usage import FALLBACKS, METERS, TOKEN_METERS, Usage, split_reasoning, suspense


def test_every_meter_has_one_name() -> None:
    assert len(METERS) == len(set(METERS)) == 30


def test_what_falls_back_is_a_meter() -> None:
    assert {*FALLBACKS, *FALLBACKS.values()} <= set(METERS)


def test_tokens_counts_every_token_meter_and_no_call() -> None:
    usage = Usage({"input": 10, "cache_read": 5, "output": 3, "citation": 2, "web_search": 7}, "test/1")
    assert usage.tokens == 10 + 5 + 3 + 2
    assert set(TOKEN_METERS) <= set(METERS)


def test_suspense_carries_a_reason_and_no_quantities() -> None:
    usage = suspense("test/1", "missing")
    assert (usage.quality, usage.reason, usage.meters) == ("suspense", "missing", {})


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        (None, {"output": 100}),
        (0, {"output": 100}),
        (64, {"output": 36, "output_reasoning": 64}),  # 100 - 64 = 36
        (100, {"output": 0, "output_reasoning": 100}),
        (101, {"output": 100}),  # more than the whole cannot be split off; extraction refuses it before
    ],
)
def test_reasoning_leaves_output_as_a_part_of_it(reasoning: int | None, expected: dict[str, int]) -> None:
    assert split_reasoning({"output": 100}, reasoning) == expected
