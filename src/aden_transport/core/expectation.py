"""What a call probably uses, learned per model and feature from what answers have reported.

Deterministic: the same answers in the same order give the same expectations. Reads take no lock.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from typing import NamedTuple, Protocol

from ..events import NormalizedUsage
from ..pricing.unit_prices import UnitPrices
from .bound import FREE, Bound

__all__ = ["DEFAULT_OUTPUT", "Expectation", "Learned", "Means"]

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


class Means(Protocol):
    """What is expected of a model's calls, or of a feature's."""

    @property
    def input_ratio(self) -> float:
        """Reported input tokens for one that was estimated."""
        ...

    @property
    def likely(self) -> int:
        """Output tokens."""
        ...

    @property
    def answers(self) -> int:
        """Of how many this was learned."""
        ...

    @property
    def is_gone(self) -> bool: ...


class _Key:
    """The memory behind one `Learned`. Reads may see a mean and a count of neighbouring answers."""

    __slots__ = ("_counted", "_quantile", "answers", "counts", "input_ratio", "is_gone", "likely", "output")

    def __init__(self) -> None:
        self._quantile = self._counted = 0
        self.answers = 0
        self.input_ratio = 1.0
        self.output = 0.0
        self.is_gone = False
        """Whether another counts now, or will."""
        self.likely = 0
        """`output` in whole tokens, rounded up."""
        self.counts = bytearray(BUCKETS)

    def take(self, ratio: float | None, output: int) -> None:
        self.answers = answers = self.answers + 1
        weight = WEIGHT if answers > 10 else 1 / answers
        if ratio is not None:
            self.input_ratio += (ratio - self.input_ratio) * weight
        self.output += (output - self.output) * weight
        self.likely = math.ceil(self.output)
        bucket = _bucket(output)
        counts = self.counts
        if counts[bucket] == FULL:
            counts[:] = bytes(count >> 1 for count in counts)
        counts[bucket] += 1

    @property
    def learned(self) -> Learned:
        return Learned(self.answers, self.input_ratio, self.output, self.quantile())

    def quantile(self) -> int:
        """Of some answers ago, once there were many."""
        if self.answers >= self._counted + (self._counted >> 4):
            self._counted, self._quantile = self.answers + 1, self._count()
        return self._quantile

    def _count(self) -> int:
        wanted = math.ceil(QUANTILE * sum(self.counts))
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if seen >= wanted:
                return TOPS[bucket]
        return TOPS[-1]  # pragma: no cover - the counts add up


UNKNOWN = _Key()
UNKNOWN.likely, UNKNOWN.is_gone = DEFAULT_OUTPUT, True


def _bucket(tokens: int) -> int:
    """The first bucket whose top is not less than `tokens`."""
    return min(bisect_left(TOPS, tokens), BUCKETS - 1)


def _top_of(bucket: int) -> int:
    # Whole fourths of octaves are exact powers, so that a power of two is its own top.
    return math.ceil(2 ** (bucket / PER_OCTAVE))


TOPS = [_top_of(bucket) for bucket in range(BUCKETS)]


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
            self._keys.pop(next(iter(self._keys))).is_gone = True

    def learned(self, model: str, feature: str | None) -> Learned | None:
        """What is known of the feature's calls, else of all of the model's; None before the first."""
        found = self._find(model, feature)
        return None if found is None else found.learned

    def _find(self, model: str, feature: str | None) -> _Key | None:
        model = model[:MAX_NAME]
        found = self._keys.get((model, feature[:MAX_NAME])) if feature is not None else None
        return found or self._keys.get((model, None))

    def means(self, model: str, feature: str | None) -> Means:
        """What is expected; it goes on to learn, and may be asked again unless it `is_gone`."""
        # In the path of every call: nearly all names are whole, and known.
        return self._keys.get((model, feature)) or self._find(model, feature) or UNKNOWN

    def output_quantile(self, model: str, feature: str | None) -> int | None:
        """For `hold_nano` where a budget is not hard and the request names no cap."""
        found = self._find(model, feature)
        return None if found is None else found.quantile()

    def expected_usage(
        self, model: str, feature: str | None, estimated_input: int, bound: Bound
    ) -> NormalizedUsage | None:
        """What the call probably uses, never more than its bound; None where neither is known.

        Characters, pictures and search units are as the request says. Before anything is learned the input
        is as estimated, and the output `DEFAULT_OUTPUT` tokens.
        """
        found, most = self._find(model, feature), bound.usage
        if found is None and most is None:
            return None
        means = self.means(model, feature)
        given, output = math.ceil(estimated_input * means.input_ratio), means.likely
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
