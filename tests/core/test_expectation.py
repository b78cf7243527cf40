"""What a call probably uses follows from what answers have reported, within its bound."""

from __future__ import annotations

from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aden_transport.core.bound import Bound
from aden_transport.core.expectation import DEFAULT_OUTPUT, Expectation
from aden_transport.core.hold import hold_nano
from aden_transport.events import NormalizedUsage
from aden_transport.pricing import Price, UnitPrices

UNIT = UnitPrices(Price(1, 2).rates())
TOKENS = st.integers(0, 10**7)


def bound(given_tokens: int = 10_000, output: int = 4096, **more: int) -> Bound:
    return Bound(NormalizedUsage(given_tokens, output, **more), "bytes", "max_tokens")


def taught(*answers: tuple[int, int, int], feature: str | None = None) -> Expectation:
    expectation = Expectation()
    for estimated, reported, output in answers:
        expectation.learn("m", feature, estimated, NormalizedUsage(reported, output))
    return expectation


def expected(
    expectation: Expectation, estimated: int, most: Bound, feature: str | None = None
) -> tuple[int, int]:
    usage = expectation.expected_usage("m", feature, estimated, most)
    assert usage is not None
    return usage.input_tokens, usage.output_tokens


def test_before_anything_is_learned_the_input_is_as_estimated_and_the_output_a_default() -> None:
    assert expected(Expectation(), 100, bound()) == (100, DEFAULT_OUTPUT)
    assert expected(Expectation(), 100, bound(output=20)) == (100, 20)


def test_input_is_learned_as_a_ratio_and_output_as_a_mean() -> None:
    expectation = taught((100, 150, 10), (200, 300, 30))
    assert expected(expectation, 1000, bound()) == (1500, 20)


def test_old_answers_lose_their_weight() -> None:
    expectation = taught(*[(100, 100, 1000)] * 50, *[(100, 100, 10)] * 100)
    assert expected(expectation, 100, bound())[1] < 20
    assert expectation.output_quantile("m", None) == 1024
    for _ in range(1000):
        expectation.learn("m", None, 100, NormalizedUsage(100, 10))
    assert expectation.output_quantile("m", None) == 10


def test_features_of_a_model_are_told_apart_and_new_ones_are_like_the_others() -> None:
    expectation = taught((100, 100, 10), feature="short")
    expectation.learn("m", "long", 100, NormalizedUsage(100, 1000))
    assert expected(expectation, 100, bound(), "short")[1] == 10
    assert expected(expectation, 100, bound(), "long")[1] == 1000
    assert expected(expectation, 100, bound(), "new")[1] == 505
    assert expectation.learned("other", "short") is None


def test_an_answer_whose_input_was_not_estimated_teaches_its_output() -> None:
    assert expected(taught((0, 500, 7)), 100, bound()) == (100, 7)


@pytest.mark.parametrize("tokens", [0, 1, 2, 64, 100, 1024, 5000])
def test_nine_of_ten_answers_do_not_exceed_the_quantile(tokens: int) -> None:
    quantile = taught(*[(1, 1, tokens)] * 9, (1, 1, 10**6)).output_quantile("m", None)
    assert quantile is not None
    assert tokens <= quantile <= max(1, tokens * 1.2)


@given(st.lists(TOKENS, min_size=1, max_size=60))
def test_the_quantile_is_none_too_small_and_at_most_a_bucket_too_large(outputs: list[int]) -> None:
    quantile = taught(*[(1, 1, output) for output in outputs]).output_quantile("m", None)
    assert quantile is not None
    exact = sorted(outputs)[-(-9 * len(outputs) // 10) - 1]
    assert min(exact, 1 << 20) <= quantile <= max(1, exact * 1.2)


@given(st.lists(st.tuples(TOKENS, TOKENS, TOKENS), max_size=30), TOKENS, TOKENS, TOKENS)
def test_the_expectation_never_exceeds_the_bound(
    answers: list[tuple[int, int, int]], estimated: int, given_tokens: int, output: int
) -> None:
    most = bound(given_tokens, output)
    usage = expected(taught(*answers), estimated, most)
    assert 0 <= usage[0] <= given_tokens
    assert 0 <= usage[1] <= output
    cost = taught(*answers).expected_nano([UNIT], "m", None, estimated, most)
    hold = hold_nano([UNIT], most)
    assert cost is not None
    assert hold is not None
    assert cost <= hold


def test_the_same_answers_give_the_same_expectation() -> None:
    answers = [(number, number * 3 % 97, number * 7 % 1009) for number in range(1, 300)]
    assert taught(*answers).learned("m", None) == taught(*answers).learned("m", None)


def test_the_number_of_keys_is_bounded_and_the_longest_unseen_leaves_first() -> None:
    expectation = Expectation(limit=3)
    for model in ("a", "b", "c", "a", "d"):
        expectation.learn(model, None, 1, NormalizedUsage(1, 1))
    assert [expectation.learned(model, None) is not None for model in "abcd"] == [True, False, True, True]


def test_without_a_bound_what_was_learned_counts() -> None:
    unbounded = Bound(None, "unbounded: batch")
    assert Expectation().expected_usage("m", None, 100, unbounded) is None
    assert Expectation().expected_nano([UNIT], "m", None, 100, unbounded) is None
    assert expected(taught((100, 200, 50)), 100, unbounded) == (200, 50)


def test_what_the_request_says_is_expected_as_it_says() -> None:
    speech = Bound(NormalizedUsage(characters=12), "characters")
    usage = Expectation().expected_usage("m", None, 100, speech)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.characters) == (0, 0, 12)


def test_what_has_no_price_has_no_expected_cost() -> None:
    expectation = Expectation()
    assert expectation.expected_nano([], "m", None, 100, bound()) is None
    assert expectation.expected_nano([None], "m", None, 100, bound()) is None
    speech = Bound(NormalizedUsage(characters=12), "characters")
    assert expectation.expected_nano([UNIT], "m", None, 100, speech) is None
    assert expectation.expected_nano([], "m", None, 100, Bound(NormalizedUsage(), "free")) == 0
    assert expectation.expected_nano([UNIT], "m", None, 100, bound()) == 100 * 1000 + DEFAULT_OUTPUT * 2000


def test_threads_may_learn_and_read_at_once() -> None:
    expectation = Expectation(limit=8)

    def work(number: int) -> None:
        for step in range(300):
            expectation.learn(f"m{(number + step) % 12}", "f", 10, NormalizedUsage(10, step))
            expectation.expected_usage(f"m{step % 12}", "f", 10, bound())

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(expectation._keys) <= 8
