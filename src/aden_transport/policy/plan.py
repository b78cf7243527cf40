"""What a call may use and what it would touch: its candidates, each with the lines that a ledger judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, overload

from ..ledger.base import NEVER, Line
from .index import NO_RULES, Index, Match, Rules
from .ladder import DegradeStep, Ladder, Target, degrade_at
from .money import MAX_NANO, share
from .values import NOT_SAID, AlertRule, DegradeRule, OnUnknown, Scope, ThrottleRule, Unknown

__all__ = [
    "Bound",
    "Bounds",
    "Call",
    "Candidate",
    "CandidateLines",
    "Plan",
    "Stop",
    "output_cap",
    "plan_call",
]

Bound: TypeAlias = tuple[int, int] | Literal["price", "size"] | None
"""`(hold, expected)` in nano-dollars, or which of the two is not known; None: the price."""
Bounds: TypeAlias = Callable[[str | None], Bound]

_Missing: TypeAlias = Literal["price", "size"] | None
_Amounts: TypeAlias = list[tuple[int, int]]

MINUTE = 60


@dataclass(slots=True)
class Call:
    """What a decision is about."""

    attributes: Mapping[str, Any]
    """As `attributes.normalized` gives them, `context_id` among them."""
    provider: str
    model: str | None
    at: float
    """Seconds since the epoch."""
    rate_limited: bool = False
    """Whether the vendor has just said that its limit is reached."""
    tokens: tuple[int, int] = (0, 0)
    """Upper bound and expectation of its tokens, for budgets that count tokens."""


class Candidate:
    """A model that the call may use. Its lines are made when they are first asked for: most calls never
    come to their second candidate."""

    __slots__ = ("_amounts", "_draft", "_lines", "model", "unknown")

    def __init__(self, draft: _Draft, model: str | None, unknown: _Missing, amounts: _Amounts | None) -> None:
        self.model = model
        self.unknown = unknown
        """What of its cost is not known; its holds are then what `on_unknown` takes for it."""
        self._draft = draft
        self._amounts = amounts
        self._lines: tuple[Line, ...] | None = None

    @property
    def lines(self) -> tuple[Line, ...]:
        """First those of the budgets, then those of the throttle rules, in the order of the plan."""
        if self._lines is None:
            amounts = self._amounts
            if amounts is None:
                self.unknown, found = self._draft.amounts(self.model)
                amounts = found if isinstance(found, list) else []
            self._lines = self._draft.lines(self.model, amounts)
        return self._lines


class CandidateLines(Sequence[Sequence[Line]]):
    """The candidates of a plan, for `Ledger.reserve`."""

    __slots__ = ("_candidates",)

    def __init__(self, candidates: tuple[Candidate, ...]) -> None:
        self._candidates = candidates

    def __len__(self) -> int:
        return len(self._candidates)

    @overload
    def __getitem__(self, index: int) -> Sequence[Line]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sequence[Line]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return CandidateLines(self._candidates[index])
        return self._candidates[index].lines


@dataclass(slots=True)
class Stop:
    """Why a call is refused without asking a ledger."""

    reason: Literal["rule", "limit", "price", "size"]
    text: str
    """The reason of a block rule."""
    match: int = NEVER
    """The index of the budget that demands it."""


@dataclass(slots=True)
class Plan:
    """Nothing of it is changed after it is made."""

    call: Call
    matches: Sequence[Match]
    candidates: tuple[Candidate, ...] = ()
    """The asked model first, then what it may be degraded to. Empty where `stop` says why."""
    throttles: tuple[ThrottleRule, ...] = ()
    alerts: tuple[AlertRule, ...] = ()
    steps: Sequence[tuple[DegradeStep, ...]] = ()
    """Per budget: where it degrades this call to."""
    forced: Target | None = None
    """What a rule or the control server degrades this call to, whatever is spent."""
    demanded: bool = False
    """Whether `forced` is what the control server asks for."""
    hindered: Mapping[str, str] = field(default_factory=dict)
    """Models that a degrade asks for and that this call cannot use, with the reasons."""
    stop: Stop | None = None

    @property
    def is_free(self) -> bool:
        """Whether there is nothing to ask a ledger for, and nothing to say."""
        return self.stop is None and not self.candidates[0].lines and not self.alerts and not self.hindered

    def lines(self, *, waited: bool = False) -> Sequence[Sequence[Line]]:
        """What to reserve. `waited`: the call has been delayed, and is not delayed again."""
        if not waited:
            return CandidateLines(self.candidates)
        return [
            tuple([replace(line, throttle_at=NEVER) for line in candidate.lines])
            for candidate in self.candidates
        ]


def plan_call(
    index: Index,
    call: Call,
    bounds: Bounds,
    *,
    unknown: OnUnknown = NOT_SAID,
    hindered: Callable[[str], str | None] | None = None,
    matches: Sequence[Match] | None = None,
    demands: Sequence[Target] = (),
) -> Plan:
    """The plan of a call.

    `bounds` is asked once per candidate, where a budget of dollars matches. `unknown` is the option; what the
    policy and a budget say goes before it, and where nobody says anything, the call is allowed. `hindered`
    says why a call cannot be rewritten to a model, or None. `matches`: what `index.match` gave, if it was
    asked, with the budgets of the run (`match_of`) beside them.

    `demands`: what a control server asks to degrade this very call to. The cheapest of them, as far as prices
    are known, takes the place of what the policy degrades to, unless that is known to be cheaper still.
    """
    found = list(index.match(call.attributes, call.at) if matches is None else matches)
    rules = index.rules(call.provider, call.model)
    for rule in rules.blocks:
        if rule.scope.holds(call.attributes):
            return Plan(call, found, stop=Stop("rule", rule.reason))
    said = index.policy.on_unknown.over(unknown) if index.policy.on_unknown is not NOT_SAID else unknown
    if rules is not NO_RULES:
        rules = _holding(rules, call.attributes)
    draft = _Draft(call, found, rules, bounds, said, hindered, demands)
    if draft.stop is not None:
        return Plan(call, found, stop=draft.stop)
    candidates, stop = _candidates(draft)
    return Plan(
        call,
        found,
        candidates,
        draft.rules.throttles,
        draft.rules.alerts,
        draft.steps,
        draft.forced,
        draft.demanded is not None,
        draft.hindered,
        stop,
    )


def output_cap(matches: Sequence[Match]) -> int | None:
    """The least `max_output_tokens` of a call's budgets: what to set where the call names none."""
    return min([cap for match in matches if (cap := match.terms.max_output_tokens) is not None], default=None)


def _holding(rules: Rules, attributes: Mapping[str, Any]) -> Rules:
    """The rules that the call's attributes meet, too."""

    def holds(rule: ThrottleRule | DegradeRule | AlertRule) -> bool:
        scope: Scope = rule.scope
        return scope.holds(attributes)

    return Rules(
        (),
        tuple([rule for rule in rules.throttles if holds(rule)]),
        tuple([rule for rule in rules.degradations if holds(rule)]),
        tuple([rule for rule in rules.alerts if holds(rule)]),
    )


class _Draft:
    """A plan without lines: the models, and where each budget degrades."""

    __slots__ = (
        "_bounds",
        "_priced",
        "_throttles",
        "_unknown",
        "_why",
        "call",
        "demanded",
        "forced",
        "hindered",
        "matches",
        "may_drop",
        "models",
        "rules",
        "steps",
        "stop",
        "usable",
    )

    def __init__(
        self,
        call: Call,
        matches: list[Match],
        rules: Rules,
        bounds: Bounds,
        unknown: OnUnknown,
        why: Callable[[str], str | None] | None,
        demands: Sequence[Target] = (),
    ) -> None:
        self.call = call
        self.matches = matches
        self.rules = rules
        self.models: list[str | None] = [call.model]
        self.forced: Target | None = None
        self.demanded: Target | None = None
        self.hindered: dict[str, str] = {}
        self.stop: Stop | None = None
        self.may_drop = unknown is not NOT_SAID
        """Whether a model may drop out because its cost is not known."""
        self._bounds = bounds
        self._unknown = unknown
        self._why = why
        self._priced = 0
        self._throttles: tuple[Line, ...] = ()
        if rules.degradations:
            self._force()
        if demands:
            self._demand(demands)
        if rules.throttles:
            self._throttles = tuple([_throttle_line(rule, call.at) for rule in rules.throttles])
        self.steps = self._steps()
        """What each budget asks for."""
        self.usable = self.steps
        """The same, without the models that the call cannot use."""

    def _steps(self) -> list[tuple[DegradeStep, ...]]:
        """One look at each budget: whether it stops all, what it counts, what it degrades to."""
        found: list[tuple[DegradeStep, ...]] = []
        models, with_rules = self.models, bool(self.rules.degradations)
        for index, match in enumerate(self.matches):
            terms = match.terms
            ladder = terms.ladder
            if ladder.stops_all and self.stop is None:
                self.stop = Stop("limit", "", index)
            if terms.unit == "usd":
                self._priced += 1
            if terms.on_unknown is not NOT_SAID:
                self.may_drop = True
            steps = self._with_rules(match) if with_rules else ladder.degrades
            if self.demanded is not None:
                steps = tuple([step._replace(target=self._in_place_of(step.target)) for step in steps])
            found.append(steps)
            for step in steps:
                if step.target.model not in models:
                    self._add(step.target)
        return found

    def amounts(self, model: str | None) -> tuple[_Missing, _Amounts | int]:
        """Hold and expectation on each budget; or the index of one that does not let the unknown pass."""
        bound = self._bounds(model) if self._priced else (0, 0)
        missing: _Missing = None
        known: tuple[int, int] | None = None
        if bound is None or isinstance(bound, str):
            missing = bound or "price"
        else:
            hold, expected = bound
            hold = hold if hold < MAX_NANO else MAX_NANO
            known = hold, (expected if expected < hold else hold)
            if self._priced == len(self.matches):
                return None, [known] * self._priced
        out: _Amounts = []
        for index, match in enumerate(self.matches):
            terms = match.terms
            if terms.unit != "usd":
                out.append((1, 1) if terms.unit == "calls" else self.call.tokens)
            elif known is not None:
                out.append(known)
            else:
                said = _said(terms.on_unknown, missing)
                said = _said(self._unknown, missing) if said is None else said
                if said == "block":
                    return missing, index
                out.append((said, said) if isinstance(said, int) else (0, 0))
        return missing, out

    def lines(self, model: str | None, amounts: _Amounts) -> tuple[Line, ...]:
        lines: list[Line] = []
        for match, (hold, expected), steps in zip(self.matches, amounts, self.usable, strict=True):
            terms = match.terms
            ladder, window = terms.ladder, match.window
            line = Line(
                match.ledger_key,
                hold,
                expected,
                ladder.limit_held if ladder.relief is None else self._limit_held(ladder, model),
                ladder.limit_expected,
                degrade_at(steps, model) if steps else NEVER,
                ladder.throttle_at,
                terms.unit,
                older_keys(match) if window.older else (),
                window.expires_at,
            )
            lines.append(line)
        return (*lines, *self._throttles)

    def _limit_held(self, ladder: Ladder, model: str | None) -> int:
        # A limit that degrades stops nothing else: neither its own model nor a call that cannot use it.
        relief = ladder.relief and self._in_place_of(ladder.relief)
        if relief is not None and (model == relief.model or relief.model not in self.models):
            return NEVER
        return ladder.limit_held

    def _force(self) -> None:
        """Rules that degrade whatever is spent: the first whose model the call can use."""
        for rule in self.rules.degradations:
            if rule.trigger == "always" or (rule.trigger == "rate_limit" and self.call.rate_limited):
                if rule.target.model == self.call.model:
                    continue
                self._add(rule.target)
                if rule.target.model in self.models:
                    self.forced = rule.target
                    self.models.remove(self.call.model)
                    return

    def _demand(self, targets: Sequence[Target]) -> None:
        """Degrade to the cheapest of these that the call can use, unless a rule has something cheaper."""
        by_rule = list(self.models)
        own = Target(self.call.model or "")
        for target in targets:
            if self._is_cheaper(own, target) and target.model != own.model:
                self.hindered.setdefault(target.model, f"it costs more than {own.model}")
            else:
                self._add(target)
        usable = [target for target in targets if target.model in self.models and target.model != own.model]
        self.models = by_rule
        if not usable:
            return
        chosen = usable[0]
        for target in usable[1:]:
            chosen = target if self._is_cheaper(target, chosen) else chosen
        if self.forced is None or not self._is_cheaper(self.forced, chosen):
            self.forced = self.demanded = chosen
            self.models = [chosen.model]

    def _in_place_of(self, target: Target) -> Target:
        """What is asked for, where `target` is not known to be cheaper."""
        demanded = self.demanded
        return target if demanded is None or self._is_cheaper(target, demanded) else demanded

    def _is_cheaper(self, one: Target, other: Target) -> bool:
        """Whether this call is known to cost less at most with `one`."""
        mine, its = self._bounds(one.model), self._bounds(other.model)
        return isinstance(mine, tuple) and isinstance(its, tuple) and mine[0] < its[0]

    def _with_rules(self, match: Match) -> tuple[DegradeStep, ...]:
        """A budget's own steps and those that rules add to every budget of the call."""
        terms = match.terms
        added = [
            DegradeStep(
                share(terms.limit, rule.threshold_percent), float(rule.threshold_percent), rule.target
            )
            for rule in self.rules.degradations
            if rule.trigger == "budget_threshold"
        ]
        if not added:
            return terms.ladder.degrades
        return tuple(sorted([*terms.ladder.degrades, *added], key=lambda step: (step.at, step.percent)))

    def _add(self, target: Target) -> None:
        model = target.model
        if model in self.models or model == self.call.model or model in self.hindered:
            return
        if target.provider is not None and target.provider.casefold() != self.call.provider.casefold():
            self.hindered[model] = f"it is of {target.provider}, the call goes to {self.call.provider}"
            return
        reason = self._why(model) if self._why is not None else None
        if reason is None:
            self.models.append(model)
        else:
            self.hindered[model] = reason


def _candidates(draft: _Draft) -> tuple[tuple[Candidate, ...], Stop | None]:
    """The candidates whose cost is known, or need not be. A call whose first model is none is stopped."""
    first, *others = draft.models
    missing, amounts = draft.amounts(first)
    if isinstance(amounts, int):
        return (), Stop(missing or "price", "", amounts)
    found = [Candidate(draft, first, missing, amounts)]
    for model in others:
        if draft.may_drop:
            missing, known = draft.amounts(model)
            if isinstance(known, int):
                draft.hindered[model or ""] = f"its {missing} is not known"
                draft.models.remove(model)
                continue
            found.append(Candidate(draft, model, missing, known))
        else:
            found.append(Candidate(draft, model, None, None))
    if draft.hindered:
        usable = {*draft.models, draft.call.model}
        draft.usable = [tuple([step for step in own if step.target.model in usable]) for own in draft.steps]
    return tuple(found), None


def _said(unknown: OnUnknown, missing: _Missing) -> Unknown | None:
    return unknown.size if missing == "size" else unknown.price


def older_keys(match: Match) -> tuple[str, ...]:
    rest = match.ledger_key[len(match.window.name) :]
    return tuple([name + rest for name in match.window.older])


def _throttle_line(rule: ThrottleRule, at: float) -> Line:
    """Calls of a minute, counted by the ledger, so that all processes count together."""
    minute = int(at // MINUTE)
    return Line(
        f"m{minute}|{rule.key}",
        1,
        1,
        throttle_at=0 if rule.requests_per_minute is None else rule.requests_per_minute + 1,
        unit="calls",
        expires_at=float((minute + 2) * MINUTE),
    )
