"""One call's life: from the request's bytes to its one event. Adapters drive it, it does no I/O.

::

    step = exchange.start()          # Ask, Wait, Send or Refuse; see steps.py
    exchange.receive_response(...)   # status and headers
    exchange.feed(data)              # each piece of the body, as it passes
    exchange.receive_eof()           # or close(), or fail(exc): whatever comes first ends it
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from .._guard import internal_fault
from .._json import loads, parse
from ..attributes import current_attributes, current_source, from_headers, normalized
from ..errors import RequestCancelledError
from ..events import ALLOW, AlertEvent, Decision
from ..framing.content_encoding import decoder_for
from ..framing.json_body import JsonBody
from ..policy import Verdict
from ..policy.verdict import ALLOWED
from ..vendors import Reading
from . import attempts, params, rewrite
from .attempts import LogicalCall, left, unfinished_call
from .capped import written_with_cap
from .classify import Call
from .conclude import CLOSED, COMPLETE, EOF, FAILED, REFUSED, Ending, conclude
from .decide import decided, decision_from_hook, refusal
from .header_figures import AnswerHeaders
from .hook_context import context_of, timestamp, unread_context_of
from .observe import BodyObserver, StreamObserver, ignore
from .reserve import Money, Plain
from .rewrite import MAX_PARSED_REQUEST
from .runs import active_runs
from .settings import Settings
from .steps import SEND, Ask, Modify, Refuse, Send, Step, Wait
from .usage_event import UsageEventFilter
from .wire import ModifiedRequest, Rewrite, WireRequest

if TYPE_CHECKING:
    from .pacing import Pace

__all__ = ["ENDED", "TRANSITIONS", "Exchange"]

NEW, MODIFYING, RESERVING, ASKING, WAITING = "new", "modifying", "reserving", "asking", "waiting"
PACING = "pacing"
SENT, RECEIVING, ENDED = "sent", "receiving", "ended"

TRANSITIONS: Mapping[str, frozenset[str]] = {
    NEW: frozenset({MODIFYING, RESERVING, ASKING, WAITING, PACING, SENT, ENDED}),
    MODIFYING: frozenset({RESERVING, ASKING, PACING, SENT, ENDED}),
    RESERVING: frozenset({ASKING, WAITING, PACING, SENT, ENDED}),
    ASKING: frozenset({RESERVING, WAITING, PACING, SENT, ENDED}),
    WAITING: frozenset({RESERVING, PACING, SENT, ENDED}),
    PACING: frozenset({RESERVING, WAITING, SENT, ENDED}),
    SENT: frozenset({RESERVING, PACING, RECEIVING, ENDED}),  # the first two where it cannot be changed
    RECEIVING: frozenset({ENDED}),
    ENDED: frozenset(),
}
"""Every way out of every state. A call ends once, from wherever it is."""

PATIENCE_S, LONG_PATIENCE_S = 0.02, 0.1
"""Between two looks at whether holds of other calls have been settled: a quarter of the time waited so far,
of these at least and at most. 64 callers who wait for two seconds take 0.2 s of the processor in all."""
EMPTY: Mapping[str, Any] = {}
NO_REQUEST = WireRequest("", "", b"", ())
NO_HEADERS = AnswerHeaders(())
JSON = b"application/json"
"""What nearly all answers come as that are no streams."""


class Exchange:
    """One HTTP attempt of one call.

    Defaults that few calls read stand on the class; what every call reads is set on the instance, where
    CPython reads it four times as fast. Above 30 attributes an instance would need a dictionary.
    """

    decision: Decision = ALLOW
    degraded_from: str | None = None
    throttled_s = 0.0
    sent_at = 0.0
    status: int | None = None
    headers: AnswerHeaders = NO_HEADERS
    first_byte_at: float | None = None
    feed: Callable[[bytes], None] = staticmethod(ignore)
    """Takes each piece of the response body as it passes. Synchronous and bounded."""
    attempt = 0
    held: Money | Plain | None = None
    """As it was taken; see `money`."""
    pace: Pace | None = None
    fixed: str | None = None
    """Why it is sent with the application's own model and parameters, whatever is decided."""
    _known_logical: LogicalCall | None = None

    def __init__(self, settings: Settings, call: Call, wire: WireRequest, rank: int = 0) -> None:
        self.settings = settings
        self.call = call
        self.wire = wire
        self.rank = rank
        """Of the meter, where several see the call; for adapters."""
        self.state = NEW
        self.started_at = settings.wall()
        self.number = settings.bits(64)
        known = wire.known
        retries_at = known.retries_at
        # What `attempts.begin` would find out.
        first = retries_at is None or wire.pairs[retries_at][2] == b"0"
        if first and not left and unfinished_call() is None:
            self._call_number = settings.bits(192)
            self._known_logical = None
        else:
            self._known_logical = attempts.begin(wire, settings.bits, settings.clock)
            self.attempt = self._known_logical.attempt
        raw = wire.body
        body: Mapping[str, Any]
        if raw is None or len(raw) > MAX_PARSED_REQUEST:
            body = read_request(wire)
        else:
            try:
                body = parse(raw)
            except ValueError:
                body = read_request(wire)
            if body.__class__ is not dict:
                body = EMPTY
        self.body = body
        operation = call.operation
        model = call.model
        if model is None:
            model = body.get("model")
            if model.__class__ is not str:
                model = None
        self.model: str | None = model
        self.sent_model: str | None = model
        streams = operation.streams
        self.stream = operation.always_streams or (streams is not None and streams(body))
        self.source = current_source()
        self.metadata: Mapping[str, Any] | None = None
        self._may_change = "metadata" in body or wire.form is not None or len(known.ours) > 0
        if self._may_change or settings.gives_metadata or current_attributes():
            self.metadata = self._gather_metadata()
        self.held = self.pace = self.degraded_from = None
        self.usage_filter: UsageEventFilter | None = None
        self.reading: Reading | None = None
        self.body_observer: BodyObserver | None = None
        self.stream_observer: StreamObserver | None = None
        self.at_eof = False
        """Whether the body has been read to its end."""
        self.hop: Callable[[], bool] | None = None
        """Of a redirect: whether the client has gone on to the next hop."""
        settings.open[id(self)] = self

    @property
    def logical(self) -> LogicalCall:
        """What the attempts of this call share."""
        found = self._known_logical
        if found is None:
            found = self._known_logical = LogicalCall(self._call_number, 0)
        return found

    @property
    def money(self) -> Money | None:
        """What is held, and why; None where no budget was asked."""
        held = self.held
        if isinstance(held, tuple):
            held = self.held = held[0].named(self, held)
        return held

    @money.setter
    def money(self, money: Money | None) -> None:
        self.held = money

    @property
    def feature(self) -> str | None:
        """What the call is attributed to, as expectations are learned."""
        return None if self.metadata is None else self.metadata.get("feature")

    @property
    def span_id(self) -> str:
        """16 hex digits."""
        return f"{self.number:016x}"

    def forget(self) -> None:
        """Let go of the request and the answer, which may be large and are nobody else's."""
        self.wire = NO_REQUEST
        self.body = EMPTY
        self.body_observer = self.stream_observer = None

    def _move(self, state: str) -> None:
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"exchange went from {self.state} to {state}")
        self.state = state

    def _gather_metadata(self) -> Mapping[str, Any] | None:
        """What the channels say, the more trusted one last so that it wins."""
        settings = self.settings
        found: dict[str, Any] | None = None
        if "metadata" in self.body:
            carried = self.body["metadata"]
            if carried.__class__ is dict:
                found = normalized(carried)
        elif self.wire.form is not None:
            found = normalized(form_metadata(self.wire.form)) or None
        if settings.gives_metadata:
            found = found or {}
            _add_given(found, settings)
        if self.wire.known.ours:
            found = (found or {}) | from_headers(self.wire.our_headers)
        inside = current_attributes()
        if inside:
            found = {**(found or {}), **inside}
        return found

    # -- before the request leaves ---------------------------------------------------------------

    def start(self, *, judged: bool = True) -> Step:
        """The first step. `judged=False` for calls made inside a hook: metered, never asked about."""
        settings = self.settings
        # A poll uses nothing, and what it asks for has been decided about.
        judged = judged and not self.call.operation.deferred
        if settings.modify is not None and judged and self.state == NEW:
            step = self._ask_to_modify()
            if step is not None:
                return step
        if settings.pacer is not None and judged:
            self.pace = settings.pacer.pace(self._known_logical)
        budgets = settings.budgets
        if budgets is None and active_runs():
            budgets = settings.run_budgets()
        if budgets is not None and judged and self.held is None:
            logical = self._known_logical
            if logical is None or not isinstance(logical.money, Money):
                if logical is None or (not logical.waited_s and logical.decision is None):
                    self.held = budgets.hold_plain(self)
                    if self.held is not None:
                        return self._begin(judged)
                money = Money(budgets, f"{self.span_id}{settings.bits(64):016x}", self.model)
                if logical is not None:
                    money.carry_on(logical)
                return self._consult(money)
            self.money, logical.money = logical.money, None
            self._may_change = self._may_change or self.money.cap is not None
        return self._begin(judged)

    def _begin(self, judged: bool = True) -> Step:
        """Go on once the money is there, or none is needed."""
        if self._known_logical is not None and (known := self._known_logical.decision) is not None:
            if known.action != "allow" and self.degraded_from is None:
                self.decision = self._over_policy(known)
                self._adopt_model(known)
            return self._send()
        settings = self.settings
        if not settings.has_hook or not judged:
            changes = self.stream or self._may_change or self.degraded_from is not None
            if changes or self.pace is not None or self.state not in (NEW, RESERVING):
                return self._send()
            self.state = SENT
            self.sent_at = settings.clock()
            return SEND
        self._move(ASKING)
        return Ask(dict(self.body), unread_context_of(self))

    def _consult(self, money: Money) -> Step:
        budgets = money.budgets
        self._move(RESERVING)
        self.money = money
        if budgets.inline or budgets.asks_nothing(self):
            return self.consulted(budgets.ask(self, money))
        return budgets.consult(self, money)

    def consulted(self, verdict: Verdict) -> Step:
        """What the policy says, now that its budgets have been looked at."""
        if self.state != RESERVING:
            self._release()  # the call was cancelled while a store was asked
            raise AssertionError(f"exchange went from {self.state} to a verdict")
        money = self.money
        assert money is not None
        if money.cap is not None:
            self._may_change = True
        for alert in verdict.alerts:
            if self.fixed is None or not alert.mark.startswith("hindered"):  # told of already
                self.alert(alert.message, alert.level, alert.budget_id)
        if verdict.kind == "wait":
            money.waits = True
            money.waited_s += verdict.delay_s
            self.logical.waited_s = money.waited_s
            self._move(WAITING)
            return Wait(verdict.delay_s)
        if verdict.kind == "refuse":
            if verdict.again_s:
                money.waits = True
                self._move(WAITING)
                return Wait(verdict.again_s)
            if money.tried_s < verdict.wait_s:
                pause = min(max(PATIENCE_S, money.tried_s / 4), LONG_PATIENCE_S)
                money.waits = True
                money.tried_s += pause
                self._move(WAITING)
                return Wait(pause)
            return self._refuse(decided(verdict), verdict)
        # What a hook has said stands, but for a model that it has asked for and that is too dear.
        stands = self.decision.source == "hook" and verdict.__class__ is Verdict and verdict.to_model is None
        if verdict is not ALLOWED and not stands:
            self.decision = decided(verdict, self.decision)
            self._adopt_model(self.decision)
        return self._send() if money.after_hook else self._begin()

    def _ask_to_modify(self) -> Step | None:
        """The step that has the request's parameters changed; None where they cannot be, or are already."""
        raw = self.wire.body
        if not raw or len(raw) > MAX_PARSED_REQUEST or not self.body:
            return None
        known = self.logical.modified
        if known is not False:
            if known is not None:
                self._take_body(known)
            return None
        self._move(MODIFYING)
        return Modify(params.read(raw), context_of(self))

    def modify(self, result: object) -> Step:
        """What `modify_params` returned. What cannot be sent counts as a failed hook."""
        try:
            changed = params.changed(self.wire.body or b"", result)
        except (TypeError, ValueError, RecursionError) as exc:
            return self.modify_failed(exc)
        if changed is not None and self.wire.signed:
            internal_fault("modify_params", RuntimeWarning("a signed request is sent as it is"))
            changed = None
        self.logical.modified = changed
        if changed is not None:
            self._take_body(changed)
        return self.start()

    def modify_failed(self, exc: BaseException) -> Step:
        """`modify_params` raised or took too long: `fail_open` says whether the call goes on, as it is."""
        internal_fault("modify_params", exc)
        if self.settings.fail_open:
            self.logical.modified = None
            return self.start()
        return self._refuse(Decision("block", f"modify_params failed: {type(exc).__name__}", "hook"))

    def _take_body(self, raw: bytes) -> None:
        self._take_wire(ModifiedRequest(self.wire, raw))

    def _take_wire(self, wire: WireRequest) -> None:
        self.wire = wire
        self.body = read_request(wire)
        if self.call.model is None:
            model = self.body.get("model")
            self.model = self.sent_model = model if isinstance(model, str) else None
        self._may_change = True
        self.metadata = self._gather_metadata()

    def _release(self) -> None:
        money, self.money = self.money, None
        if money is not None:
            money.budgets.give_back(money)

    def decide_failed(self, exc: BaseException) -> Step:
        """Deciding raised, which it must not: `fail_open` says whether the request leaves, as it is."""
        internal_fault("decide", exc)
        self.decision, self.degraded_from, self.sent_model = ALLOW, None, self.model
        self.usage_filter = None
        if self.settings.fail_open:
            self.state = SENT
            self.sent_at = self.settings.clock()
            return SEND
        return self._refuse(Decision("block", f"deciding failed: {type(exc).__name__}", "policy"))

    def rewrite_failed(self, exc: BaseException) -> Step:
        """The changes could not be made: the request has not left.

        What is held for another model, a cap or changed parameters does not cover the request as it is:
        `fail_open` says whether that may leave, and then it is judged and held as such.
        """
        internal_fault("rewrite", exc)
        self.usage_filter = None
        held, modified = self.held, isinstance(self.wire, ModifiedRequest)
        capped = isinstance(held, Money) and held.cap is not None
        if not (modified or capped or self.degraded_from is not None):
            self.sent_at = self.settings.clock()
            return SEND
        if not self.settings.fail_open:
            self.sent_at, self.degraded_from, self.sent_model = 0.0, None, self.model
            by_hook = modified or self.decision.source == "hook"
            why = f"rewriting failed: {type(exc).__name__}"
            return self._refuse(Decision("block", why, "hook" if by_hook else "policy"))
        if isinstance(self.wire, ModifiedRequest):
            self.logical.modified = None
            self._take_wire(self.wire.original)
        if self.degraded_from is not None:
            self._hinder("rewrite failed")
        return self._judge_as_it_is("rewrite failed")

    def _judge_as_it_is(self, why: str) -> Step:
        """Begin anew with a request whose model and parameters cannot be changed."""
        self.sent_at = 0.0
        self.fixed = why
        pace, money = self.pace, self.money
        if pace is not None:
            pace.restart(self)
        if money is not None:
            money.model, money.cap, money.after_hook = self.model, None, True
            return self._consult(money)
        return self._leave() if pace is None else self._take_turn(pace)

    def answer(self, result: object) -> Step:
        """The hook's result. A result that is none counts as a failed hook."""
        try:
            decision = decision_from_hook(result)
        except (TypeError, ValueError, OverflowError) as exc:
            return self.answer_failed(exc)
        return self._decide(decision)

    def answer_failed(self, exc: BaseException) -> Step:
        """The hook raised or took too long: `fail_open` says whether the call goes on."""
        internal_fault("before_request", exc)
        if self.settings.fail_open:
            return self._decide(ALLOW)
        return self._decide(Decision("block", f"before_request failed: {type(exc).__name__}", "hook"))

    def _decide(self, decision: Decision) -> Step:
        """The hook's decision, over that of the policy, which stands where the hook has nothing to say."""
        self.logical.decision = decision
        self.decision = self._over_policy(decision)
        if decision.action == "block":
            return self._refuse(decision)
        if decision.action == "degrade":
            self._adopt_model(decision)
            self.logical.decision = self.decision
        elif decision.action == "alert":
            self.alert(decision.reason or "", decision.level)
        money = self.money
        # A call waits once, and the longest delay counts: what a policy has delayed it by is part of it.
        delay_s = decision.delay_s - (0.0 if money is None else money.waited_s)
        if money is not None:
            money.after_hook = True
            if delay_s > 0 or decision.action == "degrade":
                # Nothing is held through a wait, and another model is held at its own price.
                money.model, money.waits = self.sent_model, delay_s > 0
                if not money.waits:
                    return self._consult(money)
        if delay_s > 0:
            if money is not None:
                money.delayed = True
                money.budgets.give_back(money)
            self._move(WAITING)
            return Wait(delay_s)
        return self._send()

    def _over_policy(self, decision: Decision) -> Decision:
        before = self.decision
        if decision.action == "allow":
            return before
        if before.shadow is None or decision.action == "block":
            return decision
        return replace(decision, shadow=before.shadow)

    def waited(self, seconds: float) -> Step:
        """The wait is over; `seconds` is how long it was."""
        self.throttled_s += seconds
        pace, money = self.pace, self.money
        if pace is not None and pace.waits:
            pace.waited(seconds)
            self.logical.paced_s += seconds
            return self._take_turn(pace)
        if money is not None and money.waits:
            money.waits = False
            return self._consult(money)
        return self._send()

    def _refuse(self, decision: Decision, verdict: Verdict | None = None) -> Step:
        """Refuse the call. What a framework tries again has had its event and is refused once more."""
        self.decision = decision
        context = context_of(self)
        reason = decision.reason or "refused"
        error = (
            RequestCancelledError(reason, context, decision=decision)
            if verdict is None
            else refusal(verdict, reason, context, decision)
        )
        logical = self.logical
        told = logical.refusal is not None
        noted = attempts.note_refused(logical, self.wire, self.settings.clock())
        if told:
            self.withdraw()
        else:
            self._end(REFUSED)
            if self.settings.blocked is not None:
                self.settings.blocked(error)
        return Refuse(error, noted)

    def alert(self, message: str, level: Any, budget_id: str | None = None) -> None:
        """Tell people, where they asked for it."""
        if self.settings.alert is None:
            return
        context_id = (self.metadata or EMPTY).get("context_id")
        event = AlertEvent(
            level=level,
            message=message,
            reason=self.decision.reason or message,
            provider=self.call.vendor.id,
            model=self.model,
            timestamp=timestamp(self),
            context_id=None if context_id is None else str(context_id),
            budget_id=budget_id,
        )
        self.settings.alert(event)

    def _adopt_model(self, decision: Decision) -> None:
        if decision.action != "degrade" or decision.to_model == self.model:
            return
        model = decision.to_model
        assert model is not None
        # Of a policy's verdict the plan has asked already.
        if decision.source == "hook":
            why = self.settings.degrades.hindrance(self, model, by_policy=False)
            if why is not None:
                self._hinder(why)
                return
        self.degraded_from = self.model
        self.sent_model = model

    def _take_turn(self, pace: Pace) -> Step:
        """Under the vendor's rate limits: the last thing before the request leaves."""
        self._move(PACING)
        ask = partial(pace.ask, self)
        return self.paced(ask()) if pace.inline else pace.pacer.consult(ask, self.paced)

    def paced(self, wait: float) -> Step:
        """In how many seconds the next look at the pace is due; 0: the request may leave."""
        pace = self.pace
        if self.state != PACING or pace is None:
            raise AssertionError(f"exchange went from {self.state} to its turn")
        if wait > 0:
            money = self.money
            if money is not None and money.held:
                money.budgets.give_back(money)  # nothing is held through a wait
                money.given_back = True
            pace.wait(wait)
            self._move(WAITING)
            return Wait(wait)
        pace.done = True
        held = self.held
        if isinstance(held, Money) and held.given_back:
            held.given_back, held.after_hook = False, True
            return self._consult(held)
        return self._send()

    def _send(self) -> Step:
        pace = self.pace
        if pace is not None:
            if not pace.done:
                return self._take_turn(pace)
            if pace.waited_s:
                self.decision = pace.described(self.decision)
        self._move(SENT)
        return self._leave()

    def _leave(self) -> Step:
        change = None
        if self.stream or self._may_change or self.degraded_from:
            wanted = self.degraded_from
            try:
                change = self._rewrite()
            except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
                return self.rewrite_failed(exc)
            if wanted is not None and self.degraded_from is None:
                return self._judge_as_it_is(self.decision.hindered or "")
        self.sent_at = self.settings.clock()
        return SEND if change is None else Send(change)

    def _rewrite(self) -> Rewrite | None:
        """The changes that are wanted and possible, or None where the request leaves as it is."""
        wire, body = self.wire, self.body
        wants_usage = self.stream and self._wants_usage()
        ours = wire.known.ours
        carries = "metadata" in body or (wire.form is not None and bool(form_metadata(wire.form)))
        cap = self.held.cap if isinstance(self.held, Money) else None
        modified = wire.__class__ is ModifiedRequest
        if not (wants_usage or ours or carries or cap or modified or self.degraded_from is not None):
            return None
        if wire.signed:
            if self.degraded_from is not None:
                self._hinder("signed")
            return None
        change = Rewrite()
        if modified:
            change.body = wire.body
        if ours:
            change.drop_headers = ours
        if self.degraded_from is not None:
            self._rewrite_model(change)
        if wants_usage:
            self._ask_for_usage(change)
        self._strip_metadata(change)
        if cap is not None:
            # Its hold counts on it, so that a fault here is one of deciding.
            change.body = written_with_cap(change.body or wire.body or b"", body, cap)
        return change if change else None

    def _wants_usage(self) -> bool:
        """Whether the stream's usage has to be asked for, and may be."""
        wire, body = self.wire, self.body
        return (
            self.settings.stream_usage
            and self.call.operation.asks_usage
            and wire.body is not None
            and wire.hides_events
            and not rewrite.asks_for_usage(body)
            and rewrite.may_ask_for_usage(self.call, wire, body)
        )

    def _rewrite_model(self, change: Rewrite) -> None:
        wire, model, before = self.wire, self.sent_model, change.body
        assert model is not None
        if self.call.model is not None:
            change.target = rewrite.with_model_in_target(wire.target, self.call, model)
        if wire.form is not None:
            change.form = {"model": model}
        elif wire.body is not None and isinstance(self.body.get("model"), str):
            change.body = rewrite.with_model(wire.body, self.body, model) or before
        if change.target is None and change.body is before and change.form is None:
            self._hinder("stream body" if wire.body is None else "no model in the request")

    def _ask_for_usage(self, change: Rewrite) -> None:
        raw = change.body or self.wire.body
        assert raw is not None
        asked = rewrite.with_usage(raw, self.body)
        if asked is not None:
            change.body = asked
            # So that the extra event can be taken out of plain text.
            change.set_headers[b"accept-encoding"] = b"identity"
            self.usage_filter = UsageEventFilter()

    def _strip_metadata(self, change: Rewrite) -> None:
        forward = self.settings.forward_metadata
        if self.wire.form is not None:
            gone = rewrite.form_fields_to_drop(self.wire.form, forward=forward)
            if gone:
                change.form = {**(change.form or {}), **dict.fromkeys(gone)}
            return
        raw = change.body or self.wire.body
        if raw is None or "metadata" not in self.body:
            return
        stripped = rewrite.without_our_metadata(raw, self.call, self.body, forward=forward)
        if stripped is not None:
            change.body = stripped

    def _hinder(self, why: str) -> None:
        """A degrade that cannot be carried out becomes an alert, and the event says why."""
        decision = self.decision
        self.sent_model, self.degraded_from = self.model, None
        self.decision = replace(decision, action="alert", delay_s=0.0, hindered=why, budget_id=None)
        if self.logical.decision is decision:
            self.logical.decision = self.decision
        self.alert(f"not degraded to {decision.to_model}: {why}", "warning")

    # -- after it has left -----------------------------------------------------------------------

    def receive_response(
        self, status: int, headers: AnswerHeaders, hop: Callable[[], bool] | None = None
    ) -> None:
        """Status and headers of the answer; afterwards `feed` takes its body.

        `hop`, of a redirect, says at the body's end whether the client has gone on to the next hop.
        """
        if self.state != SENT:
            self._move(RECEIVING)
        self.state = RECEIVING
        self.status = status
        self.headers = headers
        self.hop = hop
        self.reading = reading = Reading()
        if self.pace is not None:
            self.pace.learn(self, status, headers)
        encoding = headers.content_encoding
        if headers.content_type == JSON and status < 400 and not self.stream and encoding is None:
            self.body_observer = plain = BodyObserver(None)
            self.feed = plain.receive_data
            return
        if status >= 400 and (status >= 500 or status in attempts.RETRYABLE):
            attempts.note_unfinished(self.logical, self.wire, self.settings.clock())
        operation = self.call.operation
        content_type = headers.content_type
        decoder = None if encoding is None else decoder_for(encoding.decode("latin-1"))
        if decoder is not None and not decoder.supported:
            reading.faults.append("encoding.unsupported")
            return
        streamed = content_type.startswith((b"text/event-stream", b"application/x-ndjson"))
        if (streamed or self.stream) and status < 400 and operation.stream is not None:
            self.stream_observer = StreamObserver(
                operation.stream,
                reading,
                decoder,
                full=not streamed or self._reads_every_event(),
                on_first=self._receive_first,
                on_terminal=self._receive_terminal,
            )
            self.feed = self.stream_observer.receive_data
        elif b"json" in content_type or not content_type or status >= 400:
            self.body_observer = observer = BodyObserver(decoder)
            self.feed = observer.receive_data

    def _reads_every_event(self) -> bool:
        body = self.body
        if body.get("tools") or body.get("functions"):
            return True
        n = body.get("n")
        return n is not None and n != 1

    def _receive_first(self) -> None:
        self.first_byte_at = self.settings.clock()

    def _receive_terminal(self) -> None:
        self._end(COMPLETE)

    def expect_decoded(self) -> None:
        """What `feed` is given from here on has no content coding any more."""
        for observer in (self.body_observer, self.stream_observer):
            if observer is not None:
                observer.expect_decoded()

    def observe_failed(self, exc: BaseException) -> Callable[[bytes], None]:
        """Observing raised, which it must not: count it, and let the bytes pass unseen."""
        internal_fault("observe", exc)
        if self.reading is not None:
            self.reading.faults.append("observe.failed")
        self.body_observer = self.stream_observer = None
        self.feed = ignore
        return ignore

    def receive_eof(self) -> None:
        """The body has ended by itself."""
        self.at_eof = True
        if self.hop is not None and self.hop():
            attempts.note_unfinished(self.logical, self.wire, self.settings.clock(), redirected=True)
            if self.held is not None:
                # The hop is of the request as the application made it, with the model that it asked for.
                self.logical.decision = self.decision
            self.logical.money, self.money = self.money, None
            self.withdraw()
            return
        self._end(EOF)

    def close(self) -> None:
        """The application closed the answer, perhaps before its end."""
        if self.state != ENDED:
            self._end(CLOSED)

    def fail(self, exc: BaseException) -> None:
        """An exception ended the attempt: the transport's, a cancellation, or one thrown into the body."""
        if self.state == SENT and not isinstance(exc, (KeyboardInterrupt, SystemExit)):
            attempts.note_unfinished(self.logical, self.wire, self.settings.clock())
        self._end(FAILED, exc)

    def withdraw(self) -> None:
        """Another meter, closer to the wire, takes this call over: no event."""
        self.settings.open.pop(id(self), None)
        self.state = ENDED
        self.feed = ignore
        if self.pace is not None:
            self.pace.end(self)
        self._release()

    def _end(self, ending: Ending, exc: BaseException | None = None) -> None:
        """The one way out. Taking the exchange from the open ones is atomic, so it ends once."""
        if self.settings.open.pop(id(self), None) is None:
            return
        self.state = ENDED
        self.feed = ignore
        try:
            event = conclude(self, ending, exc, self.settings.clock())
        except Exception as fault:  # noqa: BLE001 - a fault of ours is not the application's
            internal_fault("conclude", fault)
            if self.money is not None:
                self.money.budgets.charge(self.money, {})
            return
        self.held = None
        if event is not None:
            self.settings.emit(event)


def read_request(wire: WireRequest) -> Mapping[str, Any]:
    """The members of a JSON or multipart request body; empty where there are none to read."""
    raw = wire.body
    if raw is None:
        return wire.form or EMPTY
    if len(raw) > MAX_PARSED_REQUEST:
        return _edges_of(raw)
    try:
        value = loads(raw)
    except ValueError:
        return EMPTY
    return value if value.__class__ is dict else EMPTY


def _edges_of(raw: bytes) -> Mapping[str, Any]:
    body = JsonBody()
    body.receive_data(raw)
    names: Iterable[str] = ("model", "stream", "stream_options", "n", "max_tokens", "metadata")
    return {name: value for name in names if (value := body.member(name)) is not None}


def form_metadata(form: Mapping[str, Any]) -> dict[str, Any]:
    """The `metadata[agent]` fields of a multipart body, as a mapping."""
    return {name[9:-1]: value for name, value in form.items() if name.startswith("metadata[")}


def _add_given(found: dict[str, Any], settings: Settings) -> None:
    """The options' metadata and context id; a callable that raises is counted, not felt."""
    given = settings.metadata
    try:
        values = given() if callable(given) else given
        if values:
            found.update(normalized(values))
        if settings.context_id is not None and (context_id := settings.context_id()) is not None:
            found["context_id"] = str(context_id)
    except Exception as exc:  # noqa: BLE001 - a user's callable
        internal_fault("request_metadata", exc)
