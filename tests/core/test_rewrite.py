"""Changes to requests: what is changed, and that nothing else is."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aden_transport.core import rewrite
from aden_transport.core.wire import WireRequest

from .kit import ANTHROPIC, AZURE, GEMINI, OPENAI, VERTEX, call_of, wire

TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(['"model":"gpt-4o"', '"', "\\", '\\"model\\": \\"x\\"']),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["model", "stream", "metadata"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(st.text(max_size=5) | st.just("messages"), TREES, max_size=5)


# -- the model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "changed"),
    [
        ('{"model":"a"}', '{"model":"b"}'),
        ('{ "model"\t:\r\n"a" , "n": 1.50 }', '{ "model"\t:\r\n"b" , "n": 1.50 }'),
        ('{"x":{"model":"a"},"model":"a"}', '{"x":{"model":"a"},"model":"b"}'),
        ('{"model":"a","x":{"model":"a"}}', '{"model":"b","x":{"model":"a"}}'),
        ('{"x":[{"model":"a"}],"model":"a"}', '{"x":[{"model":"a"}],"model":"b"}'),
        (r'{"p":"\"model\":\"a\"","model":"a"}', r'{"p":"\"model\":\"a\"","model":"b"}'),
        (r'{"model":"a\"}\\","n":1}', '{"model":"b","n":1}'),
        ('{"model":"ä€😀","p":"ü"}', '{"model":"b","p":"ü"}'),
        (r'{"model":"\u0061"}', '{"model":"b"}'),
        ('{"model":"first","model":"a"}', '{"model":"first","model":"b"}'),
        (
            '{"big":123456789012345678901234567890,"model":"a"}',
            '{"big":123456789012345678901234567890,"model":"b"}',
        ),
        (r'{"p":"\ud800","model":"a"}', r'{"p":"\ud800","model":"b"}'),
    ],
)
def test_the_model_is_changed_and_no_other_byte(raw: str, changed: str) -> None:
    assert rewrite.with_model(raw.encode(), json.loads(raw), "b") == changed.encode()


def test_a_model_with_quotes_and_beyond_ascii_is_written_as_json() -> None:
    changed = rewrite.with_model(b'{"model":"a"}', {"model": "a"}, 'b"\\ä')
    assert json.loads(changed or b"") == {"model": 'b"\\ä'}


def test_a_key_that_is_spelled_with_escapes_is_changed_by_writing_anew() -> None:
    raw = b'{"mod\\u0065l": "a", "n": 1}'
    assert rewrite.with_model(raw, json.loads(raw), "b") == b'{"model":"b","n":1}'


def test_a_body_with_nan_keeps_it() -> None:
    raw = b'{"temperature": NaN, "model": "a"}'
    assert rewrite.with_model(raw, json.loads(raw), "b") == b'{"temperature": NaN, "model": "b"}'


LONG = b'"messages":[{"model":"a","content":"' + b"x" * rewrite.MAX_PARSED_REQUEST + b'"}]'


@pytest.mark.parametrize(
    ("before", "after"),
    [(b'{"model":"a",', b"}"), (b'{"n":{"model":"a"},', b',"n":[{"model":"a"}], "model" : "a"}')],
    ids=["at its beginning", "at its end"],
)
def test_the_model_of_a_huge_body_is_changed_at_its_edges(before: bytes, after: bytes) -> None:
    raw = before + LONG + after
    changed = rewrite.with_model(raw, {"model": "a"}, "bb")
    assert changed is not None
    assert len(changed) == len(raw) + 1
    assert json.loads(changed) == {**json.loads(raw), "model": "bb"}


def test_the_model_in_the_middle_of_a_huge_body_is_left() -> None:
    raw = b"{" + LONG + b',"model":"a","rest":"' + b"x" * (2 * rewrite.EDGE) + b'"}'
    assert rewrite.with_model(raw, {"model": "a"}, "b") is None


def test_a_huge_body_is_not_edited_but_for_its_model() -> None:
    raw = b"{" + LONG + b',"metadata":{"agent":"a"}}'
    body = {"metadata": {"agent": "a"}}
    assert rewrite.without_our_metadata(raw, call_of(PLACES["refused"]), body, forward="native") is None
    assert rewrite.with_usage(raw, body) is None


def test_many_other_models_do_not_take_long() -> None:
    raw = json.dumps({"x": [{"model": "a"}] * (rewrite.MAX_TRIED + 1), "model": "a", "p": "\ud800"}).encode()
    changed = json.loads(rewrite.with_model(raw, {"model": "a"}, "b") or b"")
    assert changed["model"] == "b"
    assert {entry["model"] for entry in changed["x"]} == {"a"}
    assert changed["p"] == "\ud800"


@pytest.mark.parametrize("body", [{}, {"model": None}, {"model": 7}, {"model": ["a"]}])
def test_a_body_without_a_model_of_text_is_left(body: dict[str, Any]) -> None:
    assert rewrite.with_model(json.dumps(body).encode(), body, "b") is None


@pytest.mark.parametrize("raw", [b"", b"{", b"[]"])
def test_what_is_no_json_is_left(raw: bytes) -> None:
    assert rewrite.with_model(raw, {"model": "a"}, "b") is None


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    body=BODIES,
    model=st.text(),
    new=st.text(),
    ascii_only=st.booleans(),
    indent=st.none() | st.integers(0, 2),
)
def test_a_changed_model_is_the_only_difference(
    body: dict[str, Any], model: str, new: str, ascii_only: bool, indent: int | None
) -> None:
    body = {**body, "model": model}
    raw = json.dumps(body, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    changed = rewrite.with_model(raw, body, new)
    assert changed is not None
    assert json.loads(changed) == {**body, "model": new}


# -- usage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "changed"),
    [
        (b'{"a":1}', b'{"a":1,"stream_options":{"include_usage":true}}'),
        (b' {"a" : 1 }\r\n', b' {"a" : 1 ,"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":null}', b'{"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":{}}', b'{"stream_options":{"include_usage":true}}'),
        (
            b'{"stream_options":{"include_usage":false,"x":1}}',
            b'{"stream_options":{"include_usage":true,"x":1}}',
        ),
        (b'{"stream_options":7}', None),
        (b'{"stream_options":[]}', None),
        (b"{}", None),
        (b"[1]", None),
    ],
)
def test_usage_is_asked_for(raw: bytes, changed: bytes | None) -> None:
    body = json.loads(raw)
    assert rewrite.with_usage(raw, body if isinstance(body, dict) else {}) == changed


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(body=BODIES)
def test_asking_for_usage_is_the_only_difference(body: dict[str, Any]) -> None:
    body = {**body, "stream": True}
    changed = rewrite.with_usage(json.dumps(body).encode(), body)
    assert json.loads(changed or b"") == {**body, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("options", "asks"),
    [
        ({"include_usage": True}, True),
        ({"include_usage": 1}, True),
        ({"include_usage": False}, False),
        ({}, False),
        (None, False),
        (7, False),
    ],
)
def test_who_asked_for_usage_is_seen(options: Any, asks: bool) -> None:
    assert rewrite.asks_for_usage({"stream_options": options}) is asks
    assert not rewrite.asks_for_usage({})


IN_DEPLOYMENT = "/openai/deployments/d/chat/completions"


@pytest.mark.parametrize(
    ("request_", "body", "may"),
    [
        (wire(), {}, True),
        (wire(path="/v1/completions"), {}, True),
        (wire(path="/v1/responses"), {}, False),
        (wire(path="/v1/embeddings"), {}, False),
        (wire(host="llm.example.com"), {}, False),
        (wire(path="/v1/messages", host=ANTHROPIC), {}, False),
        (wire(path=IN_DEPLOYMENT, host=AZURE), {}, True),
        (wire(path=IN_DEPLOYMENT + "?api-version=2024-10-21", host=AZURE), {}, True),
        (wire(path=IN_DEPLOYMENT + "?api-version=2025-01-01-preview", host=AZURE), {}, True),
        (wire(path=IN_DEPLOYMENT + "?api-version=preview", host=AZURE), {}, True),
        (wire(path=IN_DEPLOYMENT + "?api-version=2024-09-01-preview", host=AZURE), {}, False),
        (wire(path=IN_DEPLOYMENT + "?api-version=2023-05-15", host=AZURE), {}, False),
        (wire(path=IN_DEPLOYMENT, host=AZURE), {"data_sources": []}, False),
    ],
)
def test_usage_may_be_asked_for_where_the_vendor_is_known_to_accept_it(
    request_: WireRequest, body: dict[str, Any], may: bool
) -> None:
    assert rewrite.may_ask_for_usage(call_of(request_), request_, body) is may


def test_a_quirk_without_a_date_holds_for_every_version() -> None:
    request = wire(path=IN_DEPLOYMENT + "?api-version=2023-05-15", host=AZURE)
    call = call_of(request)
    call.vendor = dataclasses.replace(call.vendor, quirks={"stream_options_not_with": "data_sources"})
    assert rewrite.may_ask_for_usage(call, request, {})


# -- metadata ----------------------------------------------------------------------------------------

OURS = {"agent": "a", "tenant_id": "t", "tags": ["x"]}
MIXED = {**OURS, "order": "7", "user_id": "u"}
PLACES = {
    "refused": wire(path="/v1/embeddings"),
    "native": wire(path="/v1/responses"),
    "when_stored": wire(),
    "user_id": wire(path="/v1/messages", host=ANTHROPIC),
}
GONE = "gone"
CASES: list[tuple[str, str, dict[str, Any], Any, Any]] = [
    # place, forward_metadata, other members, metadata, what is left (None: the body is not touched)
    ("refused", "native", {}, OURS, GONE),
    ("refused", "native", {}, MIXED, {"order": "7", "user_id": "u"}),
    ("refused", "native", {}, {"order": "7"}, None),
    ("refused", "never", {}, {"order": "7"}, GONE),
    ("refused", "always", {}, OURS, None),
    ("native", "native", {}, MIXED, None),
    ("native", "never", {}, MIXED, GONE),
    ("native", "always", {}, MIXED, None),
    ("when_stored", "native", {}, OURS, GONE),
    ("when_stored", "native", {"store": True}, OURS, None),
    ("when_stored", "native", {"store": "true"}, OURS, GONE),
    ("when_stored", "never", {"store": True}, OURS, GONE),
    ("when_stored", "native", {}, {"order": "7"}, None),
    ("user_id", "native", {}, MIXED, {"user_id": "u"}),
    ("user_id", "native", {}, OURS, GONE),
    ("user_id", "native", {}, {"user_id": "u"}, None),
    ("user_id", "native", {}, {"user_id": "u", "order": "7"}, None),
    ("user_id", "never", {}, {"user_id": "u"}, GONE),
    ("user_id", "always", {}, MIXED, None),
    ("refused", "native", {}, {}, None),
    ("refused", "never", {}, {}, None),
    ("refused", "native", {}, "agent", None),
    ("refused", "never", {}, None, None),
]


@pytest.mark.parametrize(("place", "forward", "more", "metadata", "left"), CASES)
def test_metadata_leaves_as_the_vendor_and_the_option_say(
    place: str, forward: str, more: dict[str, Any], metadata: Any, left: Any
) -> None:
    call = call_of(PLACES[place])
    assert call.operation.metadata == place
    body = {"model": "m", "metadata": metadata, **more}
    changed = rewrite.without_our_metadata(json.dumps(body).encode(), call, body, forward=forward)
    if left is None:
        assert changed is None
        return
    wanted = {"model": "m", **more} if left is GONE else {**body, "metadata": left}
    assert json.loads(changed or b"") == wanted


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(body=BODIES)
def test_taking_metadata_out_is_the_only_difference(body: dict[str, Any]) -> None:
    call = call_of(PLACES["refused"])
    whole = {**body, "metadata": MIXED}
    changed = rewrite.without_our_metadata(json.dumps(whole).encode(), call, whole, forward="native")
    assert json.loads(changed or b"") == {**whole, "metadata": {"order": "7", "user_id": "u"}}


@pytest.mark.parametrize("raw", [b"{", b"[1]", b"[" * 100_000])
def test_a_body_that_cannot_be_edited_is_left(raw: bytes) -> None:
    body = {"metadata": OURS}
    assert rewrite.without_our_metadata(raw, call_of(PLACES["refused"]), body, forward="native") is None


@pytest.mark.parametrize(
    ("forward", "dropped"),
    [
        ("always", []),
        ("native", ["metadata[agent]", "metadata[tags]"]),
        ("never", ["metadata[agent]", "metadata[tags]", "metadata[order]"]),
    ],
)
def test_form_fields_are_dropped(forward: str, dropped: list[str]) -> None:
    form: dict[str, Any] = dict.fromkeys(
        ("model", "metadata", "metadata[agent]", "metadata[tags]", "metadata[order]"), "x"
    )
    assert rewrite.form_fields_to_drop(form, forward=forward) == dropped


def test_our_headers_are_told() -> None:
    given = {b"x-aden-agent": b"a", b"x-aden-": b"", b"x-adenagent": b"", b"accept": b"*/*"}
    request = WireRequest("POST", "h", b"/", [(name, name, value) for name, value in given.items()])
    assert request.known.ours == {b"x-aden-agent", b"x-aden-"}
    assert request.our_headers == {b"x-aden-agent": b"a", b"x-aden-": b""}


# -- the path ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "target", "model", "changed"),
    [
        (GEMINI, "/v1beta/models/a:generateContent", "b", "/v1beta/models/b:generateContent"),
        (
            GEMINI,
            "/v1beta/models/a:streamGenerateContent?alt=sse&key=models/a:",
            "b",
            "/v1beta/models/b:streamGenerateContent?alt=sse&key=models/a:",
        ),
        (GEMINI, "/v1beta/models/a%2Fb:embedContent", "c/d e", "/v1beta/models/c%2Fd%20e:embedContent"),
        (
            VERTEX,
            "/v1/projects/models/locations/l/publishers/google/models/a:generateContent",
            "b",
            "/v1/projects/models/locations/l/publishers/google/models/b:generateContent",
        ),
        (
            VERTEX,
            "/v1/publishers/anthropic/models/claude@1:rawPredict",
            "claude@2",
            "/v1/publishers/anthropic/models/claude%402:rawPredict",
        ),
        (
            AZURE,
            "/openai/deployments/d/chat/completions?api-version=1",
            "ä",
            "/openai/deployments/%C3%A4/chat/completions?api-version=1",
        ),
        (AZURE, "/openai/v1/chat/completions", "b", None),
        (OPENAI, "/v1/chat/completions", "b", None),
    ],
)
def test_a_model_in_the_path_is_changed_there_and_nowhere_else(
    host: str, target: str, model: str, changed: str | None
) -> None:
    call = call_of(wire(None, target, host=host))
    found = rewrite.with_model_in_target(target.encode(), call, model)
    assert found == (None if changed is None else changed.encode())
    if found is not None:
        assert call_of(wire(None, found.decode(), host=host)).model == model
