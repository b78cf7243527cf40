"""Virtual time, and a network that loses, repeats and reorders what it carries."""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable
from typing import Any

__all__ = ["Network", "World"]


class World:
    """Events in the order of their times. Nothing in it depends on anything but the seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self._next: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    def at(self, time: float, what: Callable[[], object]) -> None:
        self._count += 1
        heapq.heappush(self._next, (max(time, self.now), self._count, what))

    def after(self, seconds: float, what: Callable[[], object]) -> None:
        self.at(self.now + seconds, what)

    def run(self, until: float) -> None:
        while self._next and self._next[0][0] <= until:
            self.now, _, what = heapq.heappop(self._next)
            what()
        self.now = until


class Network:
    """Between each host and the server. What is sent arrives as JSON, if at all, and perhaps twice."""

    def __init__(self, world: World, *, loss: float, twice: float, delay_s: float) -> None:
        self._world = world
        self._loss = loss
        self._twice = twice
        self._delay_s = delay_s
        self._cut: dict[str, float] = {}
        """Until when nothing passes, by host."""

    def cut(self, host: str, seconds: float) -> None:
        self._cut[host] = self._world.now + seconds

    def heal(self) -> None:
        self._cut.clear()
        self._loss = self._twice = 0.0

    def send(self, host: str, what: Any, arrives: Callable[[Any], object]) -> None:
        text, draw = json.dumps(what), self._world.random.random
        for _ in range(1 + (draw() < self._twice)):
            if draw() >= self._loss:
                delay = self._world.random.expovariate(1 / self._delay_s)
                self._world.after(delay, lambda: self._arrive(host, text, arrives))

    def _arrive(self, host: str, text: str, arrives: Callable[[Any], object]) -> None:
        if self._cut.get(host, 0.0) <= self._world.now:
            arrives(json.loads(text))
