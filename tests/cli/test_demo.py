"""`aden-transport demo`: every scenario's figures, and sums that are those of the events."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import pytest

from aden_transport.cli.demo.scenarios import SCENARIOS

from .support import SECRETS, Finished, run_bare

SECRET = re.compile(r"sk-[\w-]{8,}|AIza\w{8,}|Bearer\s|x-api-key|authorization", re.IGNORECASE)
FIGURES = ("input_tokens", "output_tokens", "cached_tokens")
METERED = {
    # scenario: provider, operation, model asked for, input and output tokens of its last event
    "chat": ("openai", "chat", "gpt-4o", 21, 18),
    "chat-stream": ("openai", "chat", "gpt-4o", 21, 18),
    "chat-parse": ("openai", "chat", "gpt-4o", 48, 6),
    "responses": ("openai", "responses", "gpt-4o", 21, 82),
    "responses-stream": ("openai", "responses", "gpt-4o", 21, 18),
    "embeddings": ("openai", "embeddings", "text-embedding-3-small", 496, 0),
    "messages": ("anthropic", "chat", "claude-haiku-4-5", 21, 18),
    "messages-stream": ("anthropic", "chat", "claude-haiku-4-5", 21, 18),
    "messages-cache": ("anthropic", "chat", "claude-haiku-4-5", 2069, 18),
    "generate": ("gemini", "generate_content", "gemini-2.5-flash", 21, 18),
    "generate-stream": ("gemini", "generate_content", "gemini-2.5-flash", 21, 18),
    "generate-async": ("gemini", "generate_content", "gemini-2.5-flash", 21, 18),
    "retry": ("openai", "chat", "gpt-4o", 21, 18),
    "degraded": ("openai", "chat", "gpt-4o-mini", 160, 540),
    "throttled": ("openai", "chat", "gpt-4o", 21, 18),
    "alerted": ("openai", "chat", "gpt-4o", 21, 18),
}


@pytest.fixture(params=["text", "documents", "bare"])
def any_run(request: pytest.FixtureRequest) -> Finished:
    found: Finished = request.getfixturevalue(request.param)
    return found


def test_it_goes_as_promised_and_says_nothing_on_stderr(any_run: Finished) -> None:
    assert (any_run.code, any_run.stderr) == (0, "")


def test_no_secret_is_shown(any_run: Finished) -> None:
    assert SECRET.search(any_run.stdout) is None
    assert not any(secret in any_run.stdout for secret in SECRETS)


def test_piped_output_has_no_control_characters(any_run: Finished) -> None:
    assert all(line.isprintable() and line.isascii() for line in any_run.lines)


# -- events -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METERED)
def test_a_call_has_the_vendors_tokens_and_a_cost(name: str, documents: Finished) -> None:
    event = documents.of(name)[-1]
    usage = event["usage"]
    found = (event["provider"], event["operation"], event["request_model"])
    assert (*found, usage["input_tokens"], usage["output_tokens"]) == METERED[name]
    assert (event["status_code"], event["usage_source"]) == (200, "reported")
    assert event["cost_nano_usd"] > 0
    assert event["metadata"]["agent"]
    assert event["metadata"]["tenant"]


def test_every_scenario_is_shown_in_order(documents: Finished) -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert list(dict.fromkeys(event["scenario"] for event in documents.events)) == names
    assert documents.summary["scenarios"] == [{"name": name, "ok": True} for name in names]
    assert documents.summary["ok"] is True


def test_the_sdks_made_the_calls(documents: Finished) -> None:
    names = [name.split()[0] for name in documents.summary["drivers"]]
    assert names == ["openai", "anthropic", "google-genai"]
    assert documents.summary["notes"] == []


def test_streams_are_streams(documents: Finished) -> None:
    streamed = {event["scenario"] for event in documents.events if event["stream"]}
    assert streamed == {"chat-stream", "responses-stream", "messages-stream", "generate-stream", "abandoned"}


def test_tool_calls_are_figures(documents: Finished) -> None:
    calls = documents.of("chat-tools")[-1]["tool_calls"]
    assert [(call["name"], call["arguments_bytes"]) for call in calls] == [("get_weather", 17)]


def test_a_background_run_is_counted_when_it_ends(documents: Finished) -> None:
    begun, ended = documents.of("responses-background")
    assert "usage" not in begun
    assert "cost_nano_usd" not in begun
    assert (ended["usage"]["input_tokens"], ended["usage"]["output_tokens"]) == (35, 410)
    assert begun["response_id"] == ended["response_id"]


def test_a_cached_prompt_is_cheaper(documents: Finished) -> None:
    written, read = documents.of("messages-cache")
    assert (written["usage"]["cache_write_tokens"], read["usage"]["cached_tokens"]) == (2048, 2048)
    assert 0 < read["cost_nano_usd"] < written["cost_nano_usd"]


def test_a_retry_is_an_attempt_of_the_same_call(documents: Finished) -> None:
    first, second = documents.of("retry")
    assert (first["status_code"], first["error_type"]) == (429, "rate_limit_error")
    assert (first["attempt"], second["attempt"]) == (0, 1)
    assert (first["call_id"], first["trace_id"]) == (second["call_id"], second["trace_id"])


def test_an_error_has_its_type_and_no_cost(documents: Finished) -> None:
    (event,) = documents.of("error")
    assert (event["status_code"], event["error_type"]) == (400, "context_length_exceeded")
    assert "cost_nano_usd" not in event


def test_an_abandoned_stream_is_estimated(documents: Finished) -> None:
    (event,) = documents.of("abandoned")
    assert (event["usage_source"], event["faults"]) == ("estimated", ["stream.abandoned"])
    assert event["cost_nano_usd"] > 0


def test_a_blocked_call_has_no_answer(documents: Finished) -> None:
    (event,) = documents.of("blocked")
    assert (event["decision"]["action"], event["decision"]["source"]) == ("block", "hook")
    assert "status_code" not in event
    assert "usage" not in event


def test_decisions_are_on_the_events(documents: Finished) -> None:
    actions = {event["scenario"]: event["decision"]["action"] for event in documents.events}
    decided = {name: action for name, action in actions.items() if action != "allow"}
    assert decided == {
        "blocked": "block",
        "degraded": "degrade",
        "throttled": "throttle",
        "alerted": "alert",
        "ladder": "block",
    }
    assert documents.of("degraded")[0]["degraded_from"] == "gpt-4o"
    assert documents.of("throttled")[0]["throttle_ms"] >= 100.0


def test_a_budget_climbs_its_ladder(documents: Finished) -> None:
    climb = documents.of("ladder")
    rungs = [
        (event["decision"]["action"], event["request_model"], event["throttle_ms"] >= 300) for event in climb
    ]
    assert rungs == [
        *[("allow", "gpt-4o", False)] * 3,
        ("alert", "gpt-4o", False),
        ("degrade", "gpt-4o-mini", False),
        *[("degrade", "gpt-4o-mini", True)] * 3,
        ("block", "gpt-4o", False),
    ]
    spent = [event["budget"]["spent_usd"] for event in climb]
    assert spent == sorted(spent)
    assert spent[-1] == pytest.approx(sum(event.get("cost_usd", 0) for event in climb))
    assert 0.95 * 0.05 < spent[-1] <= 0.05
    assert {event["budget"]["limit_usd"] for event in climb} == {0.05}
    assert "status_code" not in climb[-1]


# -- sums ---------------------------------------------------------------------------------------


def usage_of(event: dict[str, Any], name: str) -> int:
    return int(event.get("usage", {}).get(name, 0))


def test_the_total_is_the_sum_of_the_events(documents: Finished) -> None:
    events, summary = documents.events, documents.summary
    assert summary["events"] == len(events)
    for name in FIGURES:
        assert summary[name] == sum(usage_of(event, name) for event in events)
    nano = sum(event.get("cost_nano_usd", 0) for event in events)
    assert (summary["cost_nano_usd"], summary["cost_usd"]) == (nano, nano / 1e9)


@pytest.mark.parametrize("table", ["by_model", "by_agent"])
def test_the_rows_of_a_table_sum_to_the_total(table: str, documents: Finished) -> None:
    for name in ("calls", *FIGURES, "cost_nano_usd"):
        rows = documents.summary[table]
        assert sum(row[name] for row in rows) == documents.summary[name]


def test_attempts_and_polls_of_one_call_count_once(documents: Finished) -> None:
    # Two messages and nine chapters are a scenario each; a retry and a background run have two events each.
    assert documents.summary["calls"] == len(SCENARIOS) + 1 + 8
    assert documents.summary["events"] == len(SCENARIOS) + 3 + 8


def test_agents_are_the_attribution_of_their_events(documents: Finished) -> None:
    costs: dict[tuple[str, str], int] = defaultdict(int)
    for event in documents.events:
        who = event["metadata"]["agent"], event["metadata"]["tenant"]
        costs[who] += event.get("cost_nano_usd", 0)
    rows = {(row["agent"], row["tenant"]): row["cost_nano_usd"] for row in documents.summary["by_agent"]}
    assert rows == costs


def test_what_decisions_did_is_counted(documents: Finished) -> None:
    names = ("blocked", "degraded", "throttled", "alerts", "retried", "estimated", "failed")
    assert [documents.summary[name] for name in names] == [2, 5, 4, 2, 1, 1, 2]
    # $2.50 and $10 a million at gpt-4o, $0.15 and $0.60 at gpt-4o-mini.
    degraded = [event for event in documents.events if "degraded_from" in event]
    assert documents.summary["saved_nano_usd"] == sum(
        usage_of(event, "input_tokens") * (2500 - 150) + usage_of(event, "output_tokens") * (10_000 - 600)
        for event in degraded
    )


# -- text ---------------------------------------------------------------------------------------


def test_each_call_begins_with_the_console_emitters_lines(text: Finished, documents: Finished) -> None:
    heads = [line for line in text.lines if re.match(r"[+!x] \[[0-9a-f]{8}\] ", line)]
    assert len(heads) == len(documents.events) - len(documents.of("ladder"))
    assert sum(line.startswith("!") for line in heads) == 2
    assert [line for line in heads if line.startswith("x")] == [next(h for h in heads if "blocked" in h)]
    assert any(
        line.startswith("  tokens: 21 in / 18 out  $0.000233  left: 499 requests") for line in text.lines
    )


@pytest.mark.parametrize(
    "words",
    [
        "2048 written to cache",
        "2048 cached",
        "64 reasoning",
        "calls get_weather",
        "attempt 2",
        "estimated",
        "0 bytes sent",
        "degraded from gpt-4o: drafter is at 82 % of its budget",
        "ms: batcher is at 96 % of its budget",
        "on_alert got: warning, 'support is at 51 % of its budget'",
        "+ allow gpt-4o $0.010030 of $0.05 20 %",
        "+ alert gpt-4o $0.036120 of $0.05 72 %",
        "+ degrade gpt-4o-mini $0.042122 of $0.05 84 %",
        "+ degrade gpt-4o-mini $0.047524 of $0.05 95 % after 3",
        "x block gpt-4o $0.048127 of $0.05 96 %",
        "caught BudgetExceededError: blocked by budget agent:novelist",
        "5 degraded, $0.193565 saved",
    ],
)
def test_the_text_says_what_was_special(words: str, text: Finished, bare: Finished) -> None:
    assert words in text.words
    assert words in bare.words


def test_the_tables_show_the_sums_of_the_lines_above(text: Finished, documents: Finished) -> None:
    tokens = [tuple(map(int, found)) for found in re.findall(r"tokens: (\d+) in / (\d+) out", text.stdout)]
    names = ("input_tokens", "output_tokens")
    tokens += [(usage_of(event, names[0]), usage_of(event, names[1])) for event in documents.of("ladder")]
    totals = [line.split() for line in text.lines if line.startswith("total ")]
    assert totals[0] == totals[1]
    inputs, outputs = (sum(column) for column in zip(*tokens, strict=True))
    assert totals[0][1:5] == [str(documents.summary["calls"]), str(inputs), str(outputs), "2048"]


def test_the_rows_of_the_text_are_those_of_json(text: Finished, documents: Finished) -> None:
    for row in documents.summary["by_model"]:
        name = f"{row['provider']} {row['model']} "
        shown = next(line for line in text.lines if line.startswith(name)).split()
        assert shown[2:4] == [str(row["calls"]), str(row["input_tokens"])]
        # What an abandoned stream is estimated at depends on how much had arrived.
        if row["model"] != "gpt-4o":
            assert shown[4:] == [
                str(row["output_tokens"]),
                str(row["cached_tokens"]),
                f"${row['cost_nano_usd'] / 1e9:.6f}",
            ]


def test_the_last_lines_are_what_to_type_next_and_can_be_run(text: Finished) -> None:
    typed = [line.strip() for line in text.lines[-2:]]
    assert typed[0].startswith("from aden_transport import ")
    compile("\n".join(typed), "typed", "exec")
    imported = typed[0].partition("import ")[2].split(", ")
    assert all(name in typed[1] for name in imported)


@pytest.mark.parametrize("columns", [80, 60])
def test_no_line_is_wider_than_the_terminal(columns: int, text: Finished, bare: Finished) -> None:
    runs = [text, bare] if columns == 80 else [run_bare("demo", COLUMNS=str(columns))]
    for done in runs:
        assert done.code == 0
        # What is to be typed is shown in one piece.
        assert [line for line in done.lines[:-2] if len(line) > columns] == []


# -- not as promised ----------------------------------------------------------------------------

NO_BLOCKING = "from aden_transport.cli.demo import scenarios; scenarios.RULES.pop('crawler')"


def test_what_is_not_as_promised_is_said_and_is_exit_code_1() -> None:
    done = run_bare("demo", before=NO_BLOCKING)
    assert (done.code, done.stderr) == (1, "")
    assert "NOT AS PROMISED: the application got None instead of RequestCancelledError" in done.words
    assert f"{len(SCENARIOS) - 1} of {len(SCENARIOS)} scenarios went as promised; not: blocked" in done.words


def test_json_says_what_was_not_as_promised() -> None:
    done = run_bare("demo", "--json", before=NO_BLOCKING)
    assert (done.code, done.stderr, done.summary["ok"]) == (1, "", False)
    (bad,) = (row for row in done.summary["scenarios"] if not row["ok"])
    assert bad == {
        "name": "blocked",
        "ok": False,
        "complaint": "the application got None instead of RequestCancelledError",
    }
