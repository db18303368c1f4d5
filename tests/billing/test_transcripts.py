"""Whole provider answers: what is read must add up to what they state, in a stream as outside one.

Runs over the answers in tests/transcripts, and over the folder in HAECHI_TRANSCRIPTS where that is set.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from recorded import Answer, answers

from billing.extract import extract
from billing.prices import load
from billing.rate import key_for
from billing.usage import METERS, Usage

OWN = Path(__file__).parents[1] / "transcripts"
FOLDERS = [OWN, *(Path(folder) for folder in [os.environ.get("HAECHI_TRANSCRIPTS")] if folder)]
ANSWERS = [answer for folder in FOLDERS for answer in answers(folder)]
BOOK = load()
AT = datetime(2026, 11, 2, 12, tzinfo=UTC)


def read(answer: Answer) -> Usage:
    return extract(answer.provider, answer.flavor, answer.usage, model=answer.model, context=answer.context)


def stated_tokens(answer: Answer) -> int | None:
    """The tokens an answer says it used, by the vendor's own arithmetic; None where it states no total."""
    usage = answer.usage
    if "iterations" in usage:
        return sum(beside(part) for part in usage["iterations"])
    if answer.flavor == "messages":
        return beside(usage)
    if answer.provider == "cohere":
        return sum(int(usage["billed_units"].get(side, 0)) for side in ("input_tokens", "output_tokens"))
    if "deep-research" in answer.model:
        names = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "citation_tokens")
        return sum(usage[name] for name in names)
    if usage.get("prompt_audio_seconds"):
        return int(usage["prompt_tokens"]) + int(usage["completion_tokens"])
    total = usage.get("total_tokens", usage.get("totalTokens", usage.get("totalTokenCount")))
    if "groundingMetadata" in answer.context:
        total -= usage.get("toolUsePromptTokenCount", 0)  # tool tokens of a search are not billed
    return total if total is None else int(total)


def beside(part: dict[str, int]) -> int:
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    return sum(part.get(name) or 0 for name in names)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_meters_are_disjoint_and_add_up_to_what_is_stated(answer: Answer) -> None:
    usage = read(answer)
    assert (usage.quality, usage.reason) == ("exact", None)
    assert set(usage.meters) <= set(METERS)
    assert all(type(quantity) is int and quantity >= 0 for quantity in usage.meters.values())
    stated = stated_tokens(answer)
    if stated is not None:
        assert usage.tokens == stated
    if usage.reasoning_tokens is not None:
        assert usage.reasoning_tokens <= usage.meters["output"]
    for part in usage.served:
        assert set(part.meters) <= set(usage.meters)
    if usage.served:
        for meter, quantity in usage.meters.items():
            assert sum(part.meters.get(meter, 0) for part in usage.served) == quantity


def test_a_stream_is_read_as_the_answer_it_carries() -> None:
    """Of one name, stream and answer with the same stated numbers have the same meters; our own pairs all do."""
    whole = {answer.name.removesuffix(".json"): answer for answer in ANSWERS if not answer.stream}
    compared = 0
    for streamed in (answer for answer in ANSWERS if answer.stream):
        answer = whole.get(streamed.name.removesuffix(".chunks.txt"))
        if answer is None or stated_tokens(answer) != stated_tokens(streamed) or answer.context != streamed.context:
            continue
        first, second = read(answer), read(streamed)
        assert first.extractor == second.extractor
        if answer.usage.keys() == streamed.usage.keys() and answer.usage == streamed.usage:
            assert first == second
            compared += 1
        else:
            assert first.tokens == second.tokens
    assert compared >= len([answer for answer in answers(OWN) if answer.stream])


def test_a_reported_charge_agrees_wherever_the_book_has_the_price() -> None:
    agreed = 0
    for answer in ANSWERS:
        usage = read(answer)
        if usage.reported_ticks is None:
            continue
        charge = BOOK.rate(key_for(BOOK, answer.provider, answer.model), usage, AT, trust_reported=True)
        assert charge.ticks is not None
        assert charge.ticks >= usage.reported_ticks
        if charge.computed_ticks is not None:
            assert not charge.differs, answer.name
            agreed += 1
    assert agreed >= 6


def test_every_family_has_an_answer_of_our_own() -> None:
    from billing.extract import FAMILIES

    read_by = {read(answer).extractor for answer in answers(OWN)}
    assert {family.EXTRACTOR for family in FAMILIES} - read_by == {
        "gemini_openai/1"
    }  # its shape is OpenAI's: see the tables
