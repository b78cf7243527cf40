"""What a call probably uses, learned per model and feature from what answers have reported.

Deterministic: the same answers in the same order give the same expectations. Reads take no lock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from typing import NamedTuple

from ..events import NormalizedUsage
from ..pricing.unit_prices import UnitPrices
from .bound import FREE, Bound

__all__ = ["DEFAULT_OUTPUT", "Expectation", "Learned"]

DEFAULT_OUTPUT = 500
"""Output tokens that are expected before any answer was seen, where the request allows as many."""
WEIGHT = 0.1
"""Of a new answer in the means, once there were ten; before that each counts alike."""
QUANTILE = 0.9
"""The part of answers that are no longer than the learned quantile."""
PER_OCTAVE = 4
"""Buckets of output lengths between a power of two and the next: a quantile is at most 19 % too long."""
BUCKETS = 21 * PER_OCTAVE
"""Up to two million tokens."""
FULL = 255
"""Answers in one bucket at which all counts are halved, so that old ones lose their weight."""
MAX_RATIO = 64.0
MAX_NAME = 256


class Learned(NamedTuple):
    """What is known of one model and feature."""

    answers: int
    input_ratio: float
    """Reported input tokens for one that was estimated."""
    output: float
    """Mean output tokens."""
    quantile: int
    """Output tokens that nine of ten answers do not exceed."""


class _Key:
    """The memory behind one `Learned`, which is replaced as a whole."""

    __slots__ = ("counts", "learned")

    def __init__(self) -> None:
        self.counts = bytearray(BUCKETS)
        self.learned = Learned(0, 1.0, 0.0, 0)

    def take(self, ratio: float | None, output: int) -> None:
        known = self.learned
        answers = known.answers + 1
        weight = max(WEIGHT, 1 / answers)
        kept = known.input_ratio
        mean_ratio = kept if ratio is None else kept + (ratio - kept) * weight
        bucket = _bucket(output)
        if self.counts[bucket] == FULL:
            self.counts[:] = bytes(count >> 1 for count in self.counts)
        self.counts[bucket] += 1
        mean = known.output + (output - known.output) * weight
        self.learned = Learned(answers, mean_ratio, mean, self._quantile())

    def _quantile(self) -> int:
        wanted = math.ceil(QUANTILE * sum(self.counts))
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if seen >= wanted:
                return _top_of(bucket)
        return _top_of(BUCKETS - 1)  # pragma: no cover - the counts add up


def _bucket(tokens: int) -> int:
    """The first bucket whose top is not less than `tokens`."""
    if tokens <= 1:
        return 0
    bucket = math.ceil(math.log2(tokens) * PER_OCTAVE)
    if _top_of(bucket - 1) >= tokens:
        bucket -= 1
    return min(bucket, BUCKETS - 1)


def _top_of(bucket: int) -> int:
    # Whole fourths of octaves are exact powers, so that a power of two is its own top.
    return math.ceil(2 ** (bucket / PER_OCTAVE))


class Expectation:
    """What was learned of up to `limit` pairs of a model and a feature; the longest unseen leaves first.

    A feature of which nothing was learned is expected to be like the model's other calls.
    """

    __slots__ = ("_keys", "_limit", "_lock")

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._lock = Lock()
        self._keys: dict[tuple[str, str | None], _Key] = {}

    def learn(self, model: str, feature: str | None, estimated_input: int, usage: NormalizedUsage) -> None:
        """Take what an answer has reported. `estimated_input` is what was estimated before it was sent, by
        whatever measure, if always by the same; 0 where nothing was."""
        ratio = min(usage.input_tokens / estimated_input, MAX_RATIO) if estimated_input > 0 else None
        output = max(usage.output_tokens, 0)
        with self._lock:
            self._take((model[:MAX_NAME], None), ratio, output)
            if feature is not None:
                self._take((model[:MAX_NAME], feature[:MAX_NAME]), ratio, output)

    def _take(self, key: tuple[str, str | None], ratio: float | None, output: int) -> None:
        known = self._keys.pop(key, None) or _Key()
        known.take(ratio, output)
        self._keys[key] = known
        if len(self._keys) > self._limit:
            del self._keys[next(iter(self._keys))]

    def learned(self, model: str, feature: str | None) -> Learned | None:
        """What is known of the feature's calls, else of all of the model's; None before the first."""
        model = model[:MAX_NAME]
        found = self._keys.get((model, feature[:MAX_NAME])) if feature is not None else None
        found = found or self._keys.get((model, None))
        return None if found is None else found.learned

    def output_quantile(self, model: str, feature: str | None) -> int | None:
        """For `hold_nano` where a budget is not hard and the request names no cap."""
        learned = self.learned(model, feature)
        return None if learned is None else learned.quantile

    def expected_usage(
        self, model: str, feature: str | None, estimated_input: int, bound: Bound
    ) -> NormalizedUsage | None:
        """What the call probably uses, never more than its bound; None where neither is known.

        Characters, pictures and search units are as the request says. Before anything is learned the input
        is as estimated, and the output `DEFAULT_OUTPUT` tokens.
        """
        learned = self.learned(model, feature)
        most = bound.usage
        if learned is None and most is None:
            return None
        ratio, output = (1.0, DEFAULT_OUTPUT) if learned is None else (learned[1], math.ceil(learned[2]))
        given = math.ceil(estimated_input * ratio)
        if most is None:
            return NormalizedUsage(given, output)
        given, output = min(given, most.input_tokens), min(output, most.output_tokens)
        return replace(
            most,
            input_tokens=given,
            output_tokens=output,
            audio_input_tokens=min(most.audio_input_tokens, given),
            image_input_tokens=min(most.image_input_tokens, given),
            audio_output_tokens=min(most.audio_output_tokens, output),
            image_output_tokens=min(most.image_output_tokens, output),
            server_tool_calls=min(most.server_tool_calls, 1),
        )

    def expected_nano(
        self,
        prices: Sequence[UnitPrices | None],
        model: str,
        feature: str | None,
        estimated_input: int,
        bound: Bound,
    ) -> int | None:
        """Nano-dollars that the call probably costs, by the first of `prices`; None where that is not known
        or has no price for what is used."""
        if bound.input_basis == FREE:
            return 0
        unit = prices[0] if prices else None
        if unit is None:
            return None
        usage = self.expected_usage(model, feature, estimated_input, bound)
        if usage is None:
            return None
        missing = unit.unpriced(usage, bound.units)
        if missing and not (missing == ("images",) and usage.image_output_tokens):
            return None
        return unit.cost(usage, bound.units)
