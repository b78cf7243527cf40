"""Which budgets a call meets: as a scan would say, whatever their number."""

from __future__ import annotations

import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aden_transport.policy import Budget, Index, Policy, Terms, load
from aden_transport.policy.distinct import Distinct
from aden_transport.policy.values import ATTRIBUTES, TEMPLATE

from .kit import NOON

DAY = 86_400


def keys(index: Index, at: float = NOON, **attributes: Any) -> list[str]:
    return [match.key for match in index.match(attributes, at)]


def test_budgets_are_matched_by_type_and_name() -> None:
    kinds = ("agent", "tenant", "customer", "feature", "tag")
    index = Index(load([{"limit": 1}, *({"type": kind, "name": "a", "limit": 1} for kind in kinds)]))
    assert keys(index) == ["global"]
    assert keys(index, agent="a", tenant="b") == ["global", "agent:a"]
    assert keys(index, agent="a", tenant="a", customer="a", feature="a", tags=("x", "a"), other="a") == [
        "global",
        *(f"{kind}:a" for kind in kinds),
    ]
    assert keys(index, agent=7, tags="a") == ["global", "tag:a"]


def test_a_budget_is_matched_by_its_id_and_tags_and_counts_once() -> None:
    index = Index(load([{"id": "t", "type": "tag", "name": "n", "tags": ["a", "b"], "limit": 1}]))
    assert keys(index, tags=("a", "b", "n", "t")) == ["t"]
    assert keys(index, tags=("t",)) == ["t"]
    assert keys(index, tags=("c",)) == []


def test_a_context_budget_is_for_its_context() -> None:
    index = Index(load([{"context_id": "u1", "limit_usd": 1}]))
    assert keys(index, context_id="u1") == ["context:u1"]
    assert keys(index, context_id="u2") == []


def test_a_template_makes_a_budget_for_each_name() -> None:
    index = Index(load({"type": "customer", "name": "*", "limit": 10, "period": "daily"}))
    (match,) = index.match({"customer": "acme"}, NOON)
    assert (match.key, match.name, match.ledger_key) == ("customer:acme", "acme", "2025-11-22|customer:acme")
    assert keys(index) == []
    assert keys(index, customer="\ud800é") == [r"customer:\ud800é"]


def test_each_tag_of_a_call_has_its_own_budget_of_a_template() -> None:
    index = Index(load({"type": "tag", "name": "*", "limit": 10}))
    assert keys(index, tags=("a", "b", "a")) == ["tag:a", "tag:b"]


def test_a_budget_with_the_exact_name_overrides_templates() -> None:
    index = Index(
        load(
            [
                {"type": "customer", "name": "*", "limit": 10, "period": "daily"},
                {"id": "month", "type": "customer", "name": "*", "limit": 100, "period": "monthly"},
                {"type": "customer", "name": "acme", "limit": 50},
            ]
        )
    )
    assert keys(index, customer="other") == ["customer:other", "month:other"]
    assert keys(index, customer="acme") == ["customer:acme"]


def test_names_beyond_the_cap_share_one_limited_budget() -> None:
    index = Index(load({"type": "customer", "name": "*", "limit": 10, "period": "daily"}), max_names=2)
    assert keys(index, customer="a") == ["customer:a"]
    assert keys(index, customer="b") == ["customer:b"]
    assert keys(index, customer="c") == keys(index, customer="d") == ["customer:*overflow"]
    assert keys(index, customer="a") == ["customer:a"]
    assert keys(index, customer="d", at=NOON + DAY) == ["customer:d"]


def test_the_window_is_part_of_the_key_and_changes_with_time() -> None:
    index = Index(
        load(
            [{"limit": 1, "period": "daily"}, {"type": "agent", "name": "a", "limit": 1, "period": "hourly"}]
        )
    )
    found = [match.ledger_key for match in index.match({"agent": "a"}, NOON)]
    assert found == ["2025-11-22|global", "2025-11-22T12Z|agent:a"]
    later = [match.ledger_key for match in index.match({"agent": "a"}, NOON + DAY)]
    assert later == ["2025-11-23|global", "2025-11-23T12Z|agent:a"]
    assert [match.ledger_key for match in index.match({"agent": "a"}, NOON)] == found


def test_no_name_can_pass_for_another_window() -> None:
    index = Index(load({"type": "customer", "name": "*", "limit": 1}))
    (match,) = index.match({"customer": "x|2025-11-22"}, NOON)
    assert match.ledger_key.partition("|") == ("-", "|", "customer:x|2025-11-22")


def test_a_reset_opens_a_new_generation() -> None:
    index = Index(load({"limit": 1, "period": "monthly", "generation": 2}))
    assert index.match({}, NOON)[0].ledger_key == "2025-11#2|global"


def test_changed_terms_keep_the_key() -> None:
    index = Index(load({"type": "agent", "name": "a", "limit": 1}))
    before = index.match({"agent": "a"}, NOON)
    index.put(load({"type": "agent", "name": "a", "limit": 5}).budgets[0])
    after = index.match({"agent": "a"}, NOON)
    assert [match.ledger_key for match in before] == [match.ledger_key for match in after]
    assert after[0].budget.terms.limit == 5_000_000_000


def test_put_and_remove_work_for_every_type_and_when_the_type_or_names_change() -> None:
    index = Index(load([{"id": "x", "limit": 1}, {"type": "agent", "name": "*", "limit": 1}]))
    assert keys(index, agent="a") == ["x", "agent:a"]

    def put(**budget: Any) -> None:
        index.put(load([{"id": "x", "limit": 1, **budget}]).budgets[0])

    put(type="agent", name="a")
    assert keys(index, agent="a") == ["x"]
    put(type="agent", name="b")
    assert keys(index, agent="a") == ["agent:a"]
    assert keys(index, agent="b") == ["x"]
    put(type="agent", name="*")
    assert keys(index, agent="b") == ["agent:b", "x:b"]
    put(type="tenant", name="t")
    assert keys(index, agent="b", tenant="t") == ["agent:b", "x"]
    put(name="all")
    assert keys(index, tenant="t") == ["x"]
    found = index.get("x")
    assert found is not None
    assert found.type == "global"
    for key in ("x", "agent:*", "nothing"):
        index.remove(key)
    assert keys(index, agent="b", tenant="t") == []
    assert index.get("agent:*") is None


def test_two_budgets_of_one_name_are_both_met_and_removed_one_by_one() -> None:
    index = Index(load([{"id": i, "type": "agent", "name": "a", "limit": 1} for i in "xy"]))
    assert keys(index, agent="a") == ["x", "y"]
    index.remove("x")
    assert keys(index, agent="a") == ["y"]


def test_what_all_calls_meet_is_known_until_a_budget_changes_or_a_window_ends() -> None:
    index = Index(load({"type": "global", "limit": 5, "period": "daily"}))
    version, start, end, found = index.common
    assert version is not index.version
    known = index.common_at(NOON)
    assert known is not None
    assert known == index.takes({"customer": "a"}, NOON)
    version, start, end, found = index.common
    assert (version, found) == (index.version, known)
    assert (start, end) == (NOON - 43_200, NOON + 43_200)
    index.put(Budget("global:", "global", "", Terms(7_000_000_000)))
    assert version is not index.version
    assert index.common_at(NOON) != known


def test_where_calls_name_their_budgets_not_all_meet_the_same() -> None:
    index = Index(load([{"type": "global", "limit": 5}, {"type": "customer", "name": "a", "limit": 5}]))
    assert index.common_at(NOON) is None
    assert index.common[0] is index.version
    index.remove("customer:a")
    assert index.common_at(NOON) == index.takes(None, NOON) is not None


def test_hot_names_are_bounded() -> None:
    index = Index(load({"type": "customer", "name": "*", "limit": 1}))
    for number in range(10_050):
        index.match({"customer": str(number)}, NOON)
    assert len(index._tables["customer"]._hot) <= 10_000


def test_distinct_counts_up_to_its_cap() -> None:
    names = Distinct(1_000)
    assert all(names.admits(f"n{number}") for number in range(1_000))
    assert not names.admits("one more")
    assert names.admits("n0")
    assert len(names) == 1_000


NAMES = st.sampled_from(["a", "b", "c", TEMPLATE])
KINDS = st.sampled_from(["global", *ATTRIBUTES])
TERMS = Terms(1)


@given(
    st.dictionaries(st.sampled_from("12345678"), st.tuples(KINDS, NAMES)),
    st.dictionaries(st.sampled_from([*ATTRIBUTES.values()]), st.sampled_from("abcd")),
    st.lists(st.tuples(st.sampled_from("12345678"), st.one_of(st.none(), st.tuples(KINDS, NAMES)))),
)
def test_as_a_scan(
    budgets: dict[str, tuple[Any, str]],
    attributes: dict[str, str],
    changes: list[tuple[str, tuple[Any, str] | None]],
) -> None:
    def made(key: str, kind: Any, name: str) -> Budget:
        return Budget(key, kind, "" if kind == "global" else name, TERMS, id=key)

    here = {key: made(key, *what) for key, what in budgets.items()}
    index = Index(Policy(tuple(here.values())))
    assert met(index, attributes) == scan(here, attributes)
    for key, what in changes:
        if what is None:
            here.pop(key, None)
            index.remove(key)
        else:
            here[key] = made(key, *what)
            index.put(here[key])
        assert met(index, attributes) == scan(here, attributes)


def met(index: Index, attributes: dict[str, str]) -> list[str]:
    return sorted(match.key for match in index.match(attributes, NOON))


def scan(budgets: dict[str, Budget], attributes: dict[str, str]) -> list[str]:
    found = [key for key, budget in budgets.items() if budget.type == "global"]
    for kind, attribute in ATTRIBUTES.items():
        own = [budget for budget in budgets.values() if budget.type == kind]
        name = attributes.get(attribute)
        if name is None:
            continue
        exact = [budget.key for budget in own if name in (budget.name, budget.id) and not budget.is_template]
        found += exact or [f"{budget.key}:{name}" for budget in own if budget.is_template]
    return sorted(found)


def test_changes_while_calls_are_matched_never_leave_a_call_without_its_budget() -> None:
    index = Index(load({"type": "agent", "name": "a", "limit": 1}))
    budgets = [load({"type": "agent", "name": "a", "limit": limit}).budgets[0] for limit in (2, 3)]
    missed: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            if len(index.match({"agent": "a"}, NOON)) != 1:
                missed.append(1)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(2_000):
        index.put(budgets[number % 2])
    over.set()
    for thread in threads:
        thread.join()
    assert not missed
    assert index.match({"agent": "a"}, NOON)[0].terms.limit == 3_000_000_000
