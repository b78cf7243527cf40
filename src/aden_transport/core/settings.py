"""What the exchanges of one meter share. Clocks, randomness and the way out are handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import RequestCancelledError
from ..events import AlertEvent, MetricEvent
from ..pricing import PriceBook
from .degrade import Degrades

if TYPE_CHECKING:
    from .exchange import Exchange
    from .pacing import Pacer
    from .reserve import Budgets

__all__ = ["Settings"]


class Settings:
    """Shared by the exchanges of one meter."""

    __slots__ = (
        "agent_name",
        "alert",
        "bits",
        "blocked",
        "budgets",
        "clock",
        "context_id",
        "counted_ids",
        "degrades",
        "emit",
        "fail_open",
        "forward_metadata",
        "gives_metadata",
        "has_hook",
        "hook",
        "hook_timeout_s",
        "metadata",
        "modify",
        "open",
        "owner",
        "pacer",
        "prices",
        "run_budgets",
        "stream_usage",
        "wall",
    )

    def __init__(
        self,
        *,
        owner: object = None,
        emit: Callable[[MetricEvent], None],
        prices: PriceBook,
        clock: Callable[[], float],
        wall: Callable[[], float],
        bits: Callable[[int], int],
        alert: Callable[[AlertEvent], None] | None = None,
        blocked: Callable[[RequestCancelledError], None] | None = None,
        has_hook: bool = False,
        hook: Callable[..., Any] | None = None,
        modify: Callable[..., Any] | None = None,
        hook_timeout_s: float = 0.0,
        metadata: Callable[[], Mapping[str, Any] | None] | Mapping[str, Any] | None = None,
        context_id: Callable[[], str | None] | None = None,
        stream_usage: bool = True,
        forward_metadata: str = "native",
        fail_open: bool = True,
        agent_name: str | None = None,
        counted_ids: dict[tuple[str, str], object] | None = None,
        budgets: Budgets | None = None,
        run_budgets: Callable[[], Budgets | None] = lambda: None,
        pacer: Pacer | None = None,
    ) -> None:
        self.owner = owner
        """Kept alive as long as a call of these settings is open."""
        self.emit = emit
        self.alert = alert
        self.blocked = blocked
        """Told of each call that is refused."""
        self.prices = prices
        self.degrades = Degrades(prices)
        self.clock = clock
        """Monotonic seconds."""
        self.wall = wall
        """Seconds since the epoch."""
        self.bits = bits
        self.has_hook = has_hook or hook is not None
        self.hook = hook
        self.modify = modify
        """`modify_params` of the options."""
        self.hook_timeout_s = hook_timeout_s
        self.metadata = metadata
        self.context_id = context_id
        self.gives_metadata = metadata is not None or context_id is not None
        """Whether either of the two is there."""
        self.stream_usage = stream_usage
        self.forward_metadata = forward_metadata
        self.fail_open = fail_open
        self.agent_name = agent_name
        self.budgets = budgets
        """None where no policy holds anything."""
        self.run_budgets = run_budgets
        """What keeps the sums of `budget(...)` blocks where there is no policy."""
        self.pacer = pacer
        """None where calls leave whenever they come."""
        self.open: dict[int, Exchange] = {}
        """Exchanges under way, by identity. Taking one out is what ends it, once."""
        self.counted_ids: dict[tuple[str, str], object] = {} if counted_ids is None else counted_ids
        """Work already counted, by vendor and id, so that polling it again counts nothing; bounded."""
