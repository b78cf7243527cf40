"""The budgets of one meter: a hold before each call, and its end after it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .._guard import internal_fault
from ..errors import LedgerUnavailable
from ..events import BudgetStatus, Decision
from ..ledger.base import NEVER, Intent, Ledger, Line, Outcome, Unit
from ..ledger.hold_end import HoldEnd
from ..ledger.memory import MemoryLedger
from ..policy import (
    Budget,
    Index,
    Match,
    OnUnknown,
    Plan,
    Verdict,
    crossed_alerts,
    decide,
    older_keys,
    output_cap,
    plan_call,
    raise_floors,
)
from ..policy import Call as Asked
from ..policy.ladder import Target
from ..policy.verdict import ALLOWED, Alert, Explanation
from ..pricing import PriceBook, UnitPrices
from ..vendors.ceilings import Ceilings
from .asking import UNANSWERED, Asking, beyond_leases, unanswered
from .bound import Bound, KnownTotals, upper_usage
from .capped import Cap, cap_of, with_cap
from .expectation import Expectation
from .hold import hold_nano
from .plain import REFERRED, Amounts, PlainCalls
from .runs import active_runs, budget
from .spooled import intent_of
from .steps import Consult
from .turns import in_turn

if TYPE_CHECKING:
    from ..ledger.opened import Choice
    from ..ledger.store_thread import StoreThread
    from .attempts import LogicalCall
    from .conclude import Concluded
    from .exchange import Exchange

__all__ = ["Budgets", "Money", "Plain", "Server"]

HOLD_S = 3600.0
"""After so long a hold that nobody ended is settled at its amount; no answer takes longer."""
DEFERRED_S = 30 * 3600.0
"""The same of work that goes on after its answer: vendors give batches 24 hours."""
SWEEP_S = 60.0
"""Between two looks for holds that have expired or whose process is gone."""
MAX_TOLD = 10_000
UNANSWERED_S = 5.0
"""After so long nothing is under way any more to a store that did not answer."""
MOST_UNANSWERED = 1000
EMPTY: Mapping[str, Any] = {}


class Money:
    """What is held for one attempt, and why. Defaults stand on the class: few calls come to need more."""

    about = 0
    """Tokens of the input as its bytes tell; 0: nobody asks what calls probably cost."""
    cap: Cap | None = None
    """What its output is capped at for it."""
    plan: Plan | None = None
    held = False
    hold: int | None = None
    """Nano-dollars; None where no budget of dollars holds any."""
    expected: int | None = None
    basis: str | None = None
    """What the hold rests on."""
    hard = False
    """Whether a limit holds whatever happens."""
    waits = False
    """Whether the exchange is waiting, to ask again afterwards."""
    waited_s = 0.0
    """How long a policy has delayed the call."""
    tried_s = 0.0
    """How long it has waited for holds of other calls to settle, asking them not counted."""
    asks_since: float | None = None
    """When it began to wait for a lease, by the ledger's clock."""
    asked_s = 0.0
    """How long it was told to wait for one, or for another word of the control server."""
    after_hook = False
    """Whether the hook has been asked."""
    given_back = False
    """Whether what was held has to be held anew, since the call had to wait for its turn."""
    delayed = False
    """Whether the hook has delayed the call, so that no policy delays it, too."""
    question: object = None
    """What the control server is asked for it; its own matter."""

    def __init__(self, budgets: Budgets, op_id: str, model: str | None) -> None:
        self.budgets = budgets
        self.op_id = op_id
        self.model = model
        """The model that is asked for."""
        self.bases: dict[str | None, str] = {}
        """What the holds of models rest on."""

    def carry_on(self, logical: LogicalCall) -> None:
        """Know what an earlier attempt of the call has waited for, and what its hook has said."""
        self.waited_s = logical.waited_s
        known = logical.decision
        if known is not None:
            self.delayed = known.delay_s > 0
            if known.action == "degrade":
                self.model = known.to_model

    def take(self, outcome: Outcome) -> None:
        """What a ledger has answered."""
        self.held = outcome.kind == "held"
        lines = self.plan.candidates[outcome.candidate].lines if self.held and self.plan is not None else ()
        self.hold = max([line.hold for line in lines if line.unit == "usd"], default=None)
        if self.hold is not None and self.plan is not None:
            self.basis = self.bases.get(self.plan.candidates[outcome.candidate].model, "assumed")
        self.expected = max([line.expected for line in lines if line.unit == "usd"], default=None)
        self.hard = any(line.limit_held != NEVER for line in lines)


Plain: TypeAlias = "tuple[Budgets, Amounts, bool]"
"""What is held for a plain call: by whom, what, and whether a limit is hard."""


class Server(Protocol):
    """What a control server has to say about calls, beside the policy that it has sent.

    A refusal with `again_s` has the call wait so long and come back.
    """

    def before(self, exchange: Exchange, money: Money) -> Verdict | None:
        """Before anything is held; None: go on."""
        ...

    def is_heard(self) -> bool:
        """Whether `before` has nothing to say about any call. Called for every call; starts what has to
        run."""
        ...

    def demands(self, money: Money) -> Sequence[Target]:
        """Models that it asks for in the place of the call's, before the call is planned."""
        ...

    def lines(self, money: Money, lines: Sequence[Sequence[Line]]) -> Sequence[Sequence[Line]]:
        """What is reserved."""
        ...

    def after(
        self, exchange: Exchange, money: Money, plan: Plan, outcome: Outcome, verdict: Verdict
    ) -> Verdict:
        """`verdict`, or what is done instead of it. What is held is given back but where it is to send."""
        ...

    def tell_once(self, ledger: Ledger, alert: Alert, tell: Callable[[], object]) -> bool:
        """Of an alert that `ledger` sees for the first time: whether `tell` is called by and by, unless
        another host has told of it; else it is to be told of here. Does not wait."""
        ...


class Budgets:
    """A policy, the ledger of its sums, and what is known about the size of calls."""

    def __init__(
        self,
        index: Index,
        ledger: Ledger,
        *,
        prices: PriceBook,
        unknown: OnUnknown,
        wall: Callable[[], float],
        thread: StoreThread | None = None,
        timeout_s: float = 0.25,
    ) -> None:
        """`thread`: of a ledger that does I/O; None of one that answers at once."""
        self.index = index
        self.ledger = ledger
        self.begin: Callable[[], None] | None = None
        """What is to be done before the first call of this process; takes itself away."""
        self.inline = thread is None
        """Whether the ledger answers at once, so that a call need not wait for it on its loop."""
        self._memory = ledger if thread is None and isinstance(ledger, MemoryLedger) else None
        self.end_taken = None if self._memory is None else self._memory.end
        """Settles a plain hold, by its exchange's number, at what was reported; None once it has to wait."""
        self.thread = thread
        self.spools = False
        """Whether events go into the ledger with the ends of their holds; set by who emits them."""
        self.intends = False
        """Whether holds come with intents."""
        self.server: Server | None = None
        """What is asked about calls beside policy and ledger."""
        self.addressed: Callable[[Intent, Sequence[Line]], Intent] | None = None
        """Adds to the intent of a call with such lines where its event goes."""
        self.recover: Callable[[], object] | None = None
        """Called at each look for lost holds, to emit what it left."""
        self.timeout_s = timeout_s
        """How long a call waits for the ledger."""
        self.choice: Choice | None = None
        """Where the ledger is, and why there."""
        self.note: str | None = None
        """What the first decision is to say of the ledger."""
        self._prices = prices
        self.unknown = unknown
        self._wall = wall
        self._later: Callable[[Callable[[], object]], object] = _at_once if thread is None else thread.put
        self._ceilings = Ceilings()
        self._seen = KnownTotals()
        self._learned = Expectation()
        self._plain = PlainCalls(prices, self._ceilings, self._learned)
        self._sweep_at = 0.0
        self._told: set[tuple[str, str]] = set()
        """Alerts that somebody has told of, as far as this process knows."""
        self._unanswered: deque[str] = deque(maxlen=MOST_UNANSWERED)
        self.asking = Asking()

    # -- before ------------------------------------------------------------------------------------

    def hold_plain(self, exchange: Exchange) -> Plain | None:
        """The hold of a plain call on whose budgets nothing is in force; None: `ask` has to say."""
        memory, at = self._memory, exchange.started_at
        if memory is None or at >= self._sweep_at or self.begin is not None or active_runs():
            return None
        index = self.index
        version, start, end, found = index.common
        if version is not index.version or not start <= at < end:
            found = index.common_at(at)
        if found is None:
            found = index.takes(exchange.metadata, at)
            if found is None:
                return None
        takes, expects, hard = found
        amounts = self._plain.amounts(exchange, expects, hard)
        if amounts is None:
            return None
        if not memory.take(exchange.number, takes, amounts[0], amounts[1], at + HOLD_S):
            return None
        return self, amounts, hard

    def named(self, exchange: Exchange, plain: Plain) -> Money:
        """A plain hold as one that may end in any way."""
        assert self._memory is not None
        money = Money(self, self._memory.name(exchange.number), exchange.model)
        money.hold, money.expected, money.about, money.basis = plain[1]
        money.hard = plain[2]
        money.held = True
        return money

    def end_plain(self, exchange: Exchange, cost: int, about: int) -> None:
        """Settle a plain hold at what was reported."""
        memory = self._memory
        assert memory is not None
        if self.inline:
            memory.end(exchange.number, cost)
        else:  # it has moved to a store meanwhile
            self._later(partial(memory.end, exchange.number, cost))
        if exchange.settings.alert is not None:
            asked = Asked(exchange.metadata or EMPTY, "", None, exchange.started_at)
            self._tell_where_alerting(exchange, Plan(asked, self.index.match(asked.attributes, asked.at)))
        if about:
            self.learn(exchange, about)

    def ask(self, exchange: Exchange, money: Money) -> Verdict:
        """Plan the call, reserve what it may cost, and say what is to be done."""
        if self.begin is not None:
            self.begin()
        if money.held:
            self._give_back_first(money)
        if active_runs() and (over := self._over()) is not None:
            return over
        server = self.server
        if server is not None and (waits := server.before(exchange, money)) is not None:
            return waits
        demands = () if server is None else server.demands(money)
        plan = money.plan = self._plan(exchange, money.model, demands)
        if plan.stop is not None or plan.is_free:
            return decide(plan)
        now = self._wall()
        self._look_around(exchange, now)
        try:
            lines = plan.lines(waited=money.waited_s > 0 or money.delayed)
            if server is not None:
                lines = server.lines(money, lines)
            outcome = self._reserve(exchange, money, plan, lines, now)
            if outcome.kind == "refused" and not outcome.asks and self._has_caught_up():
                outcome = self._reserve(exchange, money, plan, lines, now)
            if outcome.asks:
                again_s = self.asking.again_in(money, self.ledger)
                if again_s:
                    return Verdict("refuse", "block", again_s=again_s)
                reserve = beyond_leases(self.ledger, plan, self.index.policy.on_unknown.over(self.unknown))
                outcome = self._reserve(exchange, money, plan, lines, now, reserve)
                if outcome.asks:
                    return unanswered(plan, outcome)
                exchange.decision = UNANSWERED
            verdict = decide(plan, outcome, waited_s=money.waited_s)
            if server is not None:
                verdict = server.after(exchange, money, plan, outcome, verdict)
                if verdict.kind != "send" and money.held:
                    self.give_back(money)
            if verdict.kind == "wait":
                return in_turn(plan, verdict, self.ledger, money.op_id, now)
            return self._with_new_alerts(exchange, verdict)
        except LedgerUnavailable as exc:
            if not money.held:
                self._take_back(money.op_id, now)
            return self._without_ledger(exc)

    def _give_back_first(self, money: Money) -> None:
        """Before more is asked for the same call, which must not stand in its own way."""
        op_id, later = money.op_id, self._later
        money.held = False
        money.op_id += "'"
        try:
            self.ledger.release(op_id)
        except LedgerUnavailable:
            later(partial(self.ledger.release, op_id))

    def asks_nothing(self, exchange: Exchange) -> bool:
        """Whether no budget and no rule has anything to do with the call, so that no store is asked."""
        index = self.index
        return (
            self.begin is None
            and not index.has_rules
            and (self.server is None or self.server.is_heard())
            and not active_runs()
            and not index.match(exchange.metadata or EMPTY, exchange.started_at)
        )

    def consult(self, exchange: Exchange, money: Money) -> Consult:
        """`ask`, of a store that does I/O, as a step."""
        assert self.thread is not None
        return Consult(
            partial(self.ask, exchange, money),
            exchange.consulted,
            otherwise=self._did_not_answer,
            late=lambda _: self.give_back(money),
            thread=self.thread,
            timeout_s=self.timeout_s,
        )

    def _reserve(
        self,
        exchange: Exchange,
        money: Money,
        plan: Plan,
        lines: Sequence[Sequence[Line]],
        now: float,
        reserve: Callable[..., Outcome] | None = None,
    ) -> Outcome:
        given: dict[str, Any] = {"now": now, "expires_at": now + HOLD_S}
        if self.intends:
            intent = intent_of(exchange, plan)
            given["intent"] = intent if self.addressed is None else self.addressed(intent, lines[0])
        outcome = (reserve or self.ledger.reserve)(money.op_id, lines, **given)
        money.take(outcome)
        return outcome

    def _has_caught_up(self) -> bool:
        """Whether the store has been told of calls that had ended, and may have stood in the way."""
        thread = self.thread
        return thread is not None and thread.is_behind and thread.catch_up(self.timeout_s)

    def _look_around(self, exchange: Exchange, now: float) -> None:
        """At the first call, and from time to time."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP_S
        if self.note is not None:
            exchange.decision = Decision("allow", self.note, "policy")
            self.note = None
        self._later(partial(self.sweep, now))

    def lay_floors(self, budgets: Iterable[Budget], at: float) -> None:
        """What these have spent at least, now, or as soon as the store answers."""
        lay = partial(raise_floors, self.ledger, tuple(budgets), at)
        try:
            lay()
        except LedgerUnavailable as exc:
            internal_fault("ledger", exc)
            self._later(lay)

    def sweep(self, now: float) -> None:
        """Settle what nobody will settle any more, and emit its events. Not tried again before the next."""
        try:
            while self._unanswered:
                self.ledger.release(self._unanswered[-1])
                self._unanswered.pop()
            self.ledger.sweep(now)
            if self.recover is not None:
                self.recover()
        except LedgerUnavailable as exc:
            internal_fault("ledger", exc)

    def hold_with(self, server: Server, ledger: Ledger) -> None:
        """Ask `server`, too, and keep sums in `ledger`, which goes on with those of the one before."""
        self.server, self.ledger = server, ledger
        self._memory = None  # No call is plain that a server has a word in.

    def move_to(self, ledger: Ledger, thread: StoreThread) -> None:
        """Keep the sums elsewhere from now on; whoever moved them has done so."""
        self.ledger, self.thread = ledger, thread
        self._later = thread.put
        self.inline = False
        self.end_taken = None

    def _over(self) -> Verdict | None:
        """The refusal of a run whose time is up."""
        for run in active_runs():
            run.ledger = run.ledger or self.ledger
            if run.is_over:
                return _over(run)
        return None

    def _plan(self, exchange: Exchange, model: str | None, demands: Sequence[Target]) -> Plan:
        asked, matches = self._asked(exchange, model)
        return plan_call(
            self.index,
            asked,
            self._bounds_of(exchange, matches),
            unknown=self.unknown,
            hindered=self._hindered(exchange),
            matches=matches,
            demands=demands,
        )

    def _asked(
        self, exchange: Exchange, model: str | None, *, caps: bool = True
    ) -> tuple[Asked, list[Match]]:
        """The call, and the budgets that it meets, those of its runs last."""
        # A call that has waited may have come into another window.
        at = exchange.started_at + exchange.throttled_s
        asked = Asked(exchange.metadata or EMPTY, exchange.call.vendor.id, model, at)
        matches = self.index.match(asked.attributes, asked.at)
        if caps and self.index.caps_output and exchange.money is not None:
            exchange.money.cap = cap_of(exchange, output_cap(matches))
        runs = active_runs()
        if any(run.counts_tokens for run in runs):
            usage = self._bound(exchange, model).usage
            most = 0 if usage is None else usage.total_tokens
            asked.tokens = (most, most)
        matches += [match for run in runs for match in run.matches]
        return asked, matches

    def _hindered(self, exchange: Exchange) -> Callable[[str], str | None]:
        return partial(exchange.settings.degrades.hindrance, exchange, by_policy=True)

    def _bounds_of(self, exchange: Exchange, matches: Sequence[Match]) -> Callable[[str | None], Any]:
        hard = any(match.terms.ladder.limit_held != NEVER for match in matches)
        return partial(self._bounds, exchange, hard)

    def _bounds(self, exchange: Exchange, hard: bool, model: str | None) -> Any:
        """`(hold, expected)` in nano-dollars, or which of price and size is not known."""
        bound = self._bound(exchange, model)
        if bound.usage is None:
            return "size"
        prices = self._prices_of(exchange, model, bound)
        feature = exchange.feature
        usual = None if hard else self._learned.output_quantile(model or "", feature)
        hold = hold_nano(prices, bound, hard, usual)
        if hold is None:
            return "price"
        about = -(-bound.usage.input_tokens // 4)
        if exchange.money is not None:
            exchange.money.about = about
            exchange.money.bases[model] = bound.basis
        likely = self._learned.expected_nano(prices, model or "", feature, about, bound)
        return hold, hold if likely is None else min(likely, hold)

    def _bound(self, exchange: Exchange, model: str | None) -> Bound:
        raw, body, money = exchange.wire.body, exchange.body, exchange.money
        if money is not None and money.cap is not None:
            body = with_cap(body, money.cap)
        return upper_usage(exchange.call, body, model, self._ceilings, raw=raw, seen=self._seen)

    def _prices_of(self, exchange: Exchange, model: str | None, bound: Bound) -> list[UnitPrices | None]:
        vendor, operation = exchange.call.vendor, exchange.call.operation
        provider = vendor.price_provider or vendor.id
        details = operation.read_request(exchange.body) if operation.read_request is not None else None
        find = partial(self._prices.find, provider, at=exchange.started_at, details=details)
        tiers = [find(model or "", service_tier=tier) for tier in bound.tiers]
        return [*tiers, *(find(other) for other in bound.models)]

    def _with_new_alerts(self, exchange: Exchange, verdict: Verdict) -> Verdict:
        """Each threshold is told of once in a window, by whoever sees it first. Left in the verdict are those
        that are to be told of here and now."""
        if not verdict.alerts:
            return verdict
        if exchange.settings.alert is None:  # Left to a process that has somebody to tell.
            return replace(verdict, alerts=())
        new: list[Alert] = []
        away = False
        for alert in verdict.alerts:
            try:
                is_new = not alert.key or (not away and self._is_new(alert))
                if is_new and not self._is_told_for_all(exchange, alert):
                    new.append(alert)
            except LedgerUnavailable as exc:
                # What is decided stands; the next call, or the settlement of this one, asks again.
                internal_fault("ledger", exc)
                away = True
        return replace(verdict, alerts=tuple(new))

    def _is_told_for_all(self, exchange: Exchange, alert: Alert) -> bool:
        """Whether the server sees to it that a new alert is told of once by all hosts."""
        if self.server is None or not alert.key or exchange.fixed is not None:
            return False
        # In the context of the call, whoever calls it: others have nobody told of what they do.
        context = copy_context()

        def tell() -> None:
            context.run(exchange.alert, alert.message, alert.level, alert.budget_id)

        return self.server.tell_once(self.ledger, alert, tell)

    def _is_new(self, alert: Alert) -> bool:
        """Raises: LedgerUnavailable; then the alert is still to be told of."""
        told = alert.key, alert.mark
        if told in self._told:
            return False
        is_new = self.ledger.mark_once(alert.key, alert.mark, expires_at=alert.expires_at)
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told.add(told)
        return is_new

    def _did_not_answer(self) -> Verdict:
        seconds = f"{self.timeout_s:g} s"
        return self._without_ledger(LedgerUnavailable(f"The ledger did not answer within {seconds}"))

    def _without_ledger(self, exc: LedgerUnavailable) -> Verdict:
        internal_fault("ledger", exc)
        said = self.index.policy.on_unknown.over(self.unknown).store
        return Verdict("refuse", "block", because=(_no_store(exc),)) if said == "block" else ALLOWED

    def _take_back(self, op_id: str, now: float) -> None:
        """A store that did not answer in time may have taken the hold all the same, or take it after the
        release: it is released twice."""
        self._later(partial(self.ledger.release, op_id))
        self._unanswered.append(op_id)
        self._sweep_at = min(self._sweep_at, now + UNANSWERED_S)

    def status(self, attributes: Mapping[str, Any]) -> list[BudgetStatus]:
        """What is left of the budgets that a call so attributed meets.

        Raises: LedgerUnavailable.
        """
        if self.begin is not None:
            self.begin()
        matches = self.index.match(attributes, self._wall())
        return [
            BudgetStatus(
                match.key,
                match.name or match.budget.name or match.budget.type,
                match.budget.type,
                match.terms.unit,
                match.terms.limit,
                sums.spent,
                sums.held,
                match.window.resets_at,
            )
            for match, sums in zip(matches, self.ledger.totals(_sums_of(matches)), strict=True)
        ]

    # -- after -------------------------------------------------------------------------------------

    def give_back(self, money: Money, record: Concluded | None = None) -> None:
        """End a hold without spending. `record`: of the call's event, where it has one."""
        if money.held:
            money.held = False
            self._end(money.op_id, None, record)
            # A store releases it later, perhaps when more is held for the call.
            money.op_id += "'"

    def charge(self, money: Money, amounts: Mapping[Unit, int], record: Concluded | None = None) -> None:
        """End a hold; what is not in `amounts` is taken at the hold."""
        if money.held:
            money.held = False
            if record is not None:
                record.plan = money.plan
            self._end(money.op_id, amounts, record)

    def _end(self, op_id: str, amounts: Mapping[Unit, int] | None, record: Concluded | None) -> None:
        if self.inline:
            if amounts is None:
                self.ledger.release(op_id)
            else:
                self.ledger.settle(op_id, amounts)
            return
        end = HoldEnd(self.ledger, op_id, amounts)
        if record is None or not self.spools:
            self._later(end)
        else:
            record.end = end  # Whoever emits the event does both.

    def tell_of_crossed(self, exchange: Exchange, money: Money, record: Concluded) -> None:
        """Tell of the alerts that a settlement has brought into force, once it is made."""
        plan = self._alerting(exchange, money)
        if plan is not None:
            self._tell_where_alerting(exchange, plan, record)

    def _tell_where_alerting(self, exchange: Exchange, plan: Plan, record: Concluded | None = None) -> None:
        if exchange.settings.alert is None:
            return
        if plan.alerts or any(match.terms.ladder.alerts for match in plan.matches):
            tell = partial(self._tell_of_crossed, exchange, plan)
            if record is not None and record.end is not None:
                record.end.tell = tell
            else:
                self._later(tell)

    def _alerting(self, exchange: Exchange, money: Money) -> Plan | None:
        """The plan whose alerts are in force."""
        return money.plan

    def _tell_of_crossed(self, exchange: Exchange, plan: Plan) -> None:
        for alert in crossed_alerts(plan, self.ledger.totals(_sums_of(plan.matches))):
            if self._is_new(alert) and not self._is_told_for_all(exchange, alert):
                exchange.alert(alert.message, alert.level, alert.budget_id)

    def keep(self, money: Money, ref: str) -> None:
        """Leave a hold open for work that goes on, under the vendor's id of it."""
        if money.held:
            money.held = False
            until = self._wall() + DEFERRED_S
            self._later(partial(self.ledger.defer, money.op_id, ref, expires_at=until))

    def charge_work(self, ref: str, amounts: Mapping[Unit, int]) -> bool:
        """End the hold of work that is over, whoever began it; whether there is one, which a store that does
        I/O is not waited for to say."""
        if self.inline:
            return self.ledger.settle_deferred(ref, amounts)
        self._later(partial(self.ledger.settle_deferred, ref, amounts))
        return True

    def learn(self, exchange: Exchange, about: int) -> None:
        """Take an answer's reported usage for what to expect of the next. `about`: tokens of the input as its
        bytes tell; 0 or less where nobody asks what calls probably cost."""
        reading = exchange.reading
        if reading is None or reading.usage is None:
            return
        if reading.response_id is not None and exchange.call.operation.name in REFERRED:
            self._seen.note(reading.response_id, reading.usage.total_tokens)
        if about > 0:
            self._learned.learn(exchange.sent_model or "", exchange.feature, about, reading.usage)


def _at_once(work: Callable[[], object]) -> None:
    work()


def _sums_of(matches: Sequence[Match]) -> list[Line]:
    """Lines that ask for nothing but sums."""
    return [Line(match.ledger_key, 0, 0, unit=match.terms.unit, also=older_keys(match)) for match in matches]


def _no_store(exc: LedgerUnavailable) -> Explanation:
    """Why a call is refused whose store does not answer."""
    remedy = 'give it more time (store_timeout_ms), or set on_unknown["store"] to "allow"'
    return Explanation("block", "store", detail=str(exc).rstrip(".")[:300], remedy=remedy)


def _over(run: budget) -> Verdict:
    detail = f"the {run.seconds:g} seconds of its run are over"
    why = Explanation("block", "limit", "run", "run", "context", "seconds", detail=detail)
    return Verdict("refuse", "block", because=(why,))
