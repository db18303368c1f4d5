"""The book and the card. Every expected amount has its sum beside it.

Prices are in pico (1e-12 USD per unit): USD 1 per million tokens is 1_000_000. A tick is 100 pico.
"""

from datetime import UTC, datetime, timedelta

import pytest

from billing.calendars import Calendar, Window
from billing.charge import shares
from billing.pricing import NoPrice, Price, PriceBook, RateCard, conditions_from
from billing.usage import Served, Usage

JANUARY, JUNE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
MAY, JULY = datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)


def price(
    meter: str,
    pico: int,
    *,
    key: str = "vendor/model",
    valid_from: datetime = JANUARY,
    tier_gt: int | None = None,
    tier_ge: int | None = None,
    confirmed: bool = True,
    currency: str = "USD",
    **conditions: str,
) -> Price:
    name = f"{key}#{meter}@{valid_from:%m}>{tier_gt}{tier_ge}{conditions}"
    return Price(
        name, "vendor", key, meter, currency, pico, valid_from, tier_gt, tier_ge, conditions, "test", confirmed
    )


def usage(**meters: int) -> Usage:
    return Usage(meters, "test/1")


PLAIN = [price("input", 1_000_000), price("output", 4_000_000), price("cache_read", 100_000)]


def test_a_charge_is_quantity_times_price() -> None:
    charge = (
        PriceBook(PLAIN, version="v1").card("vendor/model", JULY).charge(usage(input=1000, cache_read=200, output=500))
    )
    # 1000 × 1e-6 + 200 × 1e-7 + 500 × 4e-6 = 0.001 + 0.00002 + 0.002 = 0.00302 USD = 30_200_000 ticks
    assert (charge.ticks, charge.quality, charge.currency) == (30_200_000, "exact", "USD")
    assert [(line.meter, line.quantity, line.amount_ticks) for line in charge.lines] == [
        ("input", 1000, 10_000_000),
        ("cache_read", 200, 200_000),
        ("output", 500, 20_000_000),
    ]
    assert {line.model for line in charge.lines} == {"model"}


def test_the_total_is_rounded_once_and_the_lines_share_it() -> None:
    # 1 × 150 + 1 × 150 + 1 × 100 pico = 400 pico = 4 ticks; each line alone would be 1.5, 1.5, 1 ticks
    prices = [price("input", 150), price("cache_read", 150), price("output", 100)]
    charge = PriceBook(prices).card("vendor/model", JULY).charge(usage(input=1, cache_read=1, output=1))
    assert charge.ticks == 4
    assert [line.amount_ticks for line in charge.lines] == [2, 1, 1]


@pytest.mark.parametrize(
    ("amounts", "total", "parts"),
    [
        ([50], 0, [0]),  # half a tick: to the even 0
        ([150], 2, [2]),  # a tick and a half: to the even 2
        ([99, 99], 2, [1, 1]),  # 1.98 ticks
        ([40, 40, 40], 1, [1, 0, 0]),  # 1.2 ticks; equal remainders, the first gets it
        ([0, 260], 3, [0, 3]),
        ([], 0, []),
    ],
)
def test_largest_remainder(amounts: list[int], total: int, parts: list[int]) -> None:
    assert shares(amounts, 100) == (total, parts)


def test_a_quantity_without_a_price_is_suspense_and_zero_of_it_is_not() -> None:
    card = PriceBook(PLAIN).card("vendor/model", JULY)
    charge = card.charge(usage(input=10, web_search=1))
    assert (charge.ticks, charge.quality, charge.lines) == (None, "suspense", ())
    assert charge.reason == "no price for web_search of vendor/model"
    assert card.charge(usage(input=10, web_search=0)).ticks == 100_000  # 10 × 1e-6 = 1e-5 USD


def test_nothing_used_costs_nothing_and_is_exact() -> None:
    charge = PriceBook(PLAIN).card("vendor/model", JULY).charge(usage(input=0, output=0))
    assert (charge.ticks, charge.quality, charge.meters) == (0, "exact", {"input": 0, "output": 0})


def test_cache_writes_with_a_time_to_live_fall_back_to_plain_cache_writes() -> None:
    card = PriceBook([*PLAIN, price("cache_write", 1_250_000), price("cache_write_1h", 2_000_000)]).card(
        "vendor/model", JULY
    )
    # 8 × 1.25e-6 (fallen back) + 8 × 2e-6 (its own) = 1e-5 + 1.6e-5 = 2.6e-5 USD
    assert card.charge(usage(cache_write_5m=8, cache_write_1h=8)).ticks == 260_000
    # the other way round there is no falling back: a write of unknown time to live has no price here
    bare = PriceBook([*PLAIN, price("cache_write_5m", 1_250_000)]).card("vendor/model", JULY)
    assert bare.charge(usage(cache_write=8)).quality == "suspense"


def test_audio_does_not_fold_into_text_unless_the_book_says_so() -> None:
    card = PriceBook(PLAIN).card("vendor/model", JULY)
    assert card.charge(usage(input_audio=1)).quality == "suspense"


def test_reasoning_is_apart_if_and_only_if_it_has_a_price() -> None:
    spent = Usage({"input": 0, "output": 100}, "test/1", reasoning_tokens=60)
    plain = PriceBook(PLAIN).card("vendor/model", JULY).charge(spent)
    apart = PriceBook([*PLAIN, price("output_reasoning", 3_000_000)]).card("vendor/model", JULY).charge(spent)
    assert (plain.meters, plain.ticks) == ({"input": 0, "output": 100}, 4_000_000)  # 100 × 4e-6
    # 40 × 4e-6 + 60 × 3e-6 = 1.6e-4 + 1.8e-4 = 3.4e-4 USD
    assert (apart.meters, apart.ticks) == ({"input": 0, "output": 40, "output_reasoning": 60}, 3_400_000)


@pytest.mark.parametrize(
    ("prompt", "ticks"),
    [
        (200_000, 2_000_000_000),  # 200_000 × 1e-6 = 0.2 USD
        (200_001, 4_000_020_000),  # all of them at 2e-6: 0.400002 USD
    ],
)
def test_a_tier_above_reprices_every_token(prompt: int, ticks: int) -> None:
    book = PriceBook([price("input", 1_000_000), price("input", 2_000_000, tier_gt=200_000), price("output", 1)])
    assert book.card("vendor/model", JULY).charge(usage(input=prompt)).ticks == ticks


def test_a_tier_from_begins_at_its_number() -> None:
    book = PriceBook([price("input", 1_000_000), price("input", 2_000_000, tier_ge=200_000)])
    card = book.card("vendor/model", JULY)
    assert card.charge(usage(input=199_999)).ticks == 1_999_990_000  # 199_999 × 1e-6
    assert card.charge(usage(input=200_000)).ticks == 4_000_000_000  # 200_000 × 2e-6


def test_the_whole_prompt_chooses_the_tier_cached_or_not() -> None:
    book = PriceBook([price("input", 10), price("input", 20, tier_gt=100), price("cache_read", 1), price("output", 5)])
    card = book.card("vendor/model", JULY)
    # 40 + 61 = 101 tokens were sent: 40 × 20 + 61 × 1 = 861 pico = 8.61 ticks
    assert card.charge(usage(input=40, cache_read=61)).ticks == 9
    # what was sent is for the vendor's own number to say where it gives one
    assert card.charge(Usage({"input": 40}, "test/1", prompt_tokens=101)).ticks == 8  # 40 × 20 = 800


def test_yesterdays_charge_is_unchanged_by_a_new_list() -> None:
    old = PriceBook(PLAIN)
    new = PriceBook([*PLAIN, price("input", 9_000_000, valid_from=JUNE), price("output", 9_000_000, valid_from=JUNE)])
    spent = usage(input=7, output=7, cache_read=7)
    assert new.card("vendor/model", MAY).charge(spent) == old.card("vendor/model", MAY).charge(spent)
    assert new.card("vendor/model", JUNE).charge(usage(input=1)).ticks == 90_000
    assert new.valid_to(new.prices[0]) == JUNE
    assert new.valid_to(new.prices[-1]) is None
    # a dated list is whole: what the new one does not price has no price any more
    assert new.card("vendor/model", JUNE).charge(spent).quality == "suspense"


def test_before_the_first_list_and_without_one_there_is_no_price() -> None:
    book = PriceBook(PLAIN)
    with pytest.raises(NoPrice, match="before 2026-01-01"):
        book.card("vendor/model", JANUARY - timedelta(seconds=1))
    with pytest.raises(NoPrice, match="vendor/other"):
        book.card("vendor/other", JULY)
    charge = book.rate("vendor/other", usage(input=1), JULY)
    assert (charge.ticks, charge.quality, charge.reason) == (None, "suspense", "no price for vendor/other")


def test_another_name_of_a_key_finds_it() -> None:
    book = PriceBook(PLAIN, aliases={"vendor/model-2026-01-01": "vendor/model"})
    assert book.card("vendor/model-2026-01-01", JULY).key == "vendor/model"


@pytest.mark.parametrize(
    ("prices", "why"),
    [
        ([price("input", 1), price("input", 2)], "two prices"),
        ([price("input", 1, tier_gt=9), price("input", 2, tier_ge=10)], "two prices"),  # > 9 is >= 10
        ([price("tokens", 1)], "no such meter"),
        ([price("input", -1)], "not negative"),
        ([price("input", 1, currency="EUR")], "EUR"),
        ([price("input", 1), price("output", 1, currency="KRW")], "mixes currencies"),
        ([price("input", 1, tier_gt=1, tier_ge=1)], "either"),
        ([price("input", 1, valid_from=datetime(2026, 1, 1))], "zone"),  # noqa: DTZ001 – that is the fault
        ([price("input", 1, calendar="moon")], "no calendar"),
    ],
)
def test_a_book_that_contradicts_itself_is_refused(prices: list[Price], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        PriceBook(prices)


TIERED = [
    *PLAIN,
    price("web_search", 10_000_000_000),
    price("input", 500_000, service_tier="batch"),
    price("output", 2_000_000, service_tier="batch"),
    price("input", 1_100_000, region="eu"),
    price("output", 4_400_000, region="eu"),
    price("input", 550_000, service_tier="batch", region="eu"),
    price("output", 2_200_000, service_tier="batch", region="eu"),
]


@pytest.mark.parametrize(
    ("conditions", "ticks"),
    [
        ({}, 500_000),  # 10 × 1e-6 + 10 × 4e-6 = 5e-5
        ({"service_tier": "default", "region": "global"}, 500_000),
        ({"service_tier": None, "batch": False}, 500_000),
        ({"service_tier": "batch"}, 250_000),  # half
        ({"batch": True}, 250_000),
        ({"processing": "batch"}, 250_000),
        ({"region": "EU"}, 550_000),  # + 10 %
        ({"region": "eu", "batch": True}, 275_000),  # half, + 10 %
        ({"search_context_size": "high"}, 500_000),  # this list does not price by it
    ],
)
def test_conditions_choose_the_most_particular_prices(conditions: dict[str, object], ticks: int) -> None:
    card = PriceBook(TIERED).card("vendor/model", JULY, **conditions)
    assert card.charge(usage(input=10, output=10)).ticks == ticks


def test_fees_that_a_condition_does_not_touch_stay() -> None:
    card = PriceBook(TIERED).card("vendor/model", JULY, batch=True)
    assert card.charge(usage(web_search=1)).ticks == 100_000_000  # 0.01 USD


@pytest.mark.parametrize("conditions", [{"service_tier": "priority"}, {"speed": "fast"}, {"region": "kr"}])
def test_a_condition_nobody_priced_is_not_billed_at_the_ordinary_price(conditions: dict[str, str]) -> None:
    book = PriceBook(TIERED)
    with pytest.raises(NoPrice):
        book.card("vendor/model", JULY, **conditions)
    assert book.rate("vendor/model", usage(input=1), JULY, **conditions).quality == "suspense"


def test_what_the_answer_says_about_its_tier_wins() -> None:
    card = PriceBook(TIERED).card("vendor/model", JULY)
    batch = Usage({"input": 10, "output": 10}, "test/1", conditions={"service_tier": "batch"})
    assert card.charge(batch).ticks == 250_000
    assert card.charge(Usage({"input": 10}, "test/1", conditions={"service_tier": "odd"})).quality == "suspense"


def test_context_becomes_conditions() -> None:
    context = {
        "service_tier": "Flex",
        "region": "us-east-1",
        "deployment": "DataZoneStandard",
        "tools": ["x"],
    }
    assert conditions_from(context) == {"service_tier": "flex", "region": "us_east_1", "deployment": "data_zone"}
    assert conditions_from({"processing": "Priority"}) == {"service_tier": "priority"}
    assert conditions_from({"processing": "standard", "service_tier": "flex", "batch": True}) == {
        "service_tier": "batch"
    }
    assert conditions_from({"processing": "flex", "service_tier": "priority"}) == {
        "service_tier": "priority"
    }  # the answer
    assert conditions_from({"service_tier": 7, "region": None, "deployment": "my-own-name"}) == {}


PEAK = Calendar(
    "peak",
    (Window(frozenset({1, 2, 3, 4, 5}), 60, 240), Window(frozenset({1, 2, 3, 4, 5}), 360, 600)),
    frozenset({datetime(2026, 10, 1).date()}),  # noqa: DTZ001 – a date
    datetime(2026, 12, 31).date(),  # noqa: DTZ001
)
CLOCKED = [price("input", 1_000_000), price("input", 2_000_000, calendar="peak"), price("output", 1)]


@pytest.mark.parametrize(
    ("at", "ticks"),
    [
        (datetime(2026, 11, 2, 0, 59, 59, tzinfo=UTC), 10_000),  # Monday before 01:00
        (datetime(2026, 11, 2, 1, tzinfo=UTC), 20_000),
        (datetime(2026, 11, 2, 3, 59, 59, tzinfo=UTC), 20_000),
        (datetime(2026, 11, 2, 4, tzinfo=UTC), 10_000),  # the end is outside
        (datetime(2026, 11, 2, 6, tzinfo=UTC), 20_000),
        (datetime(2026, 11, 2, 10, tzinfo=UTC), 10_000),
        (datetime(2026, 10, 31, 2, tzinfo=UTC), 10_000),  # Saturday
        (datetime(2026, 10, 1, 2, tzinfo=UTC), 10_000),  # Thursday, a public holiday
        (datetime(2026, 11, 2, 11, tzinfo=UTC) + timedelta(hours=15), 20_000),  # Tuesday 02:00
    ],
)
def test_a_clock_changes_the_price(at: datetime, ticks: int) -> None:
    book = PriceBook(CLOCKED, [PEAK])
    for moment in (at, at + timedelta(days=700), at):  # a card kept from another day is not used
        if moment == at:
            assert book.card("vendor/model", moment).charge(usage(input=1)).ticks == ticks
        else:
            assert not book.card("vendor/model", moment).confirmed  # holidays of 2028 are not announced


def test_a_ceiling_covers_the_hour_to_come() -> None:
    card = PriceBook(CLOCKED, [PEAK]).card("vendor/model", datetime(2026, 11, 2, 0, 59, tzinfo=UTC))
    assert card.ceiling(10, 0) == 200_000  # 10 × 2e-6: the request may run into the peak


def test_a_ceiling_takes_the_dearest_reachable_price_and_rounds_up() -> None:
    book = PriceBook(
        [
            price("input", 1_000_000),
            price("input", 2_000_000, tier_gt=1000),
            price("cache_write_1h", 2_500_000),
            price("output", 4_000_000),
            price("output", 6_000_000, tier_gt=1000),
            price("output_reasoning", 5_000_000),
            price("web_search", 10_000_000_000),
        ]
    )
    card = book.card("vendor/model", JULY)
    assert card.ceiling(1000, 10) == 10_500_000  # 1000 × 1e-6 + 10 × 5e-6 (reasoning is dearer than output)
    assert card.ceiling(1001, 10) == 20_620_000  # 1001 × 2e-6 + 10 × 6e-6
    assert card.ceiling(1000, 10, cache_write=True) == 25_500_000  # 1000 × 2.5e-6 + 10 × 5e-6
    assert card.ceiling(0, 0, extras={"web_search": 3}) == 300_000_000  # 3 × 0.01
    assert (card.input_unit_pico(1000), card.input_unit_pico()) == (1_000_000, 2_000_000)
    assert (card.output_unit_pico(1000), card.output_unit_pico()) == (5_000_000, 6_000_000)
    tiny = PriceBook([price("input", 1), price("output", 1), price("request", 1)]).card("vendor/model", JULY)
    assert tiny.ceiling(1, 1) == 1  # 3 pico with the request fee: up to a whole tick
    with pytest.raises(NoPrice):
        tiny.ceiling(1, 1, extras={"page": 1})


def test_each_model_that_took_part_is_priced_at_its_own_price() -> None:
    book = PriceBook(
        [*PLAIN, price("input", 5_000_000, key="vendor/adviser"), price("output", 25_000_000, key="vendor/adviser")]
    )
    spent = Usage(
        {"input": 30, "output": 12},
        "test/1",
        served=(Served("", {"input": 10, "output": 2}), Served("adviser", {"input": 20, "output": 10})),
    )
    charge = book.card("vendor/model", JULY).charge(spent)
    # 10 × 1e-6 + 2 × 4e-6 = 1.8e-5; 20 × 5e-6 + 10 × 25e-6 = 3.5e-4; together 3.68e-4 USD
    assert charge.ticks == 3_680_000
    assert [(line.model, line.meter) for line in charge.lines] == [
        ("model", "input"),
        ("model", "output"),
        ("adviser", "input"),
        ("adviser", "output"),
    ]
    stranger = Usage({"input": 1}, "test/1", served=(Served("stranger", {"input": 1}),))
    assert book.card("vendor/model", JULY).charge(stranger).reason == "no price for vendor/stranger"


@pytest.mark.parametrize(
    ("reported", "ticks", "differs"),
    [
        (50_000, 50_000, False),  # as we computed: 5 × 1e-6 = 5e-6 USD
        (40_000, 50_000, False),  # less: ours stands
        (60_000, 60_000, False),  # more, by 1e-6: theirs is booked
        (60_001, 60_001, True),  # more than 1e-6 apart: a case
        (0, 50_000, True),
    ],
)
def test_a_trusted_vendors_charge_is_booked_when_larger(reported: int, ticks: int, *, differs: bool) -> None:
    spent = Usage({"input": 5}, "test/1", reported_ticks=reported)
    card = PriceBook(PLAIN).card("vendor/model", JULY)
    charge = card.charge(spent, trust_reported=True)
    assert (charge.ticks, charge.computed_ticks, charge.reported_ticks) == (ticks, 50_000, reported)
    assert charge.differs is differs
    assert sum(line.amount_ticks for line in charge.lines) == ticks
    distrusted = card.charge(spent)
    assert (distrusted.ticks, distrusted.reported_ticks) == (50_000, reported)


def test_a_trusted_charge_alone_is_booked_where_the_book_has_no_price() -> None:
    spent = Usage({"input": 5, "image": 1}, "test/1", reported_ticks=123_456)
    book = PriceBook(PLAIN)
    for charge in (
        book.card("vendor/model", JULY).charge(spent, trust_reported=True),
        book.rate("vendor/unknown", spent, JULY, trust_reported=True),
    ):
        assert (charge.ticks, charge.quality, charge.computed_ticks) == (123_456, "exact", None)
        assert sum(line.amount_ticks for line in charge.lines) == 123_456


def test_a_usage_in_suspense_stays_there_whatever_was_reported() -> None:
    spent = Usage({}, "test/1", "suspense", "inconsistent: x", reported_ticks=5)
    book = PriceBook(PLAIN)
    assert book.card("vendor/model", JULY).charge(spent, trust_reported=True).ticks is None
    assert book.rate("vendor/none", spent, JULY, trust_reported=True).reason == "inconsistent: x"


def test_an_estimate_is_priced_and_stays_an_estimate() -> None:
    charge = PriceBook(PLAIN).card("vendor/model", JULY).charge(Usage({"input": 1}, "test/1", "estimated", "cut"))
    assert (charge.ticks, charge.quality, charge.reason) == (10_000, "estimated", "cut")


def test_an_unconfirmed_price_marks_what_was_priced_by_it() -> None:
    card = PriceBook([*PLAIN, price("web_search", 1, confirmed=False)]).card("vendor/model", JULY)
    assert card.confirmed  # what an ordinary text request uses is
    assert card.charge(usage(input=1)).confirmed
    assert not card.charge(usage(input=1, web_search=1)).confirmed


def test_won_is_counted_in_micro_won() -> None:
    book = PriceBook([price("input", 300_000_000, currency="KRW")])  # ₩0.0003 a token
    charge = book.card("vendor/model", JULY).charge(usage(input=10_000))
    assert (charge.currency, charge.ticks) == ("KRW", 3_000_000)  # ₩3


def test_prices_handed_in_stand_for_every_model() -> None:
    card = RateCard.given({"input": 1_000_000}, model="m")
    spent = Usage({"input": 3}, "test/1", served=(Served("", {"input": 1}), Served("other", {"input": 2})))
    charge = card.charge(spent)
    assert charge.ticks == 30_000
    assert [line.model for line in charge.lines] == ["m", "other"]
    with pytest.raises(NoPrice):
        RateCard.given({})
