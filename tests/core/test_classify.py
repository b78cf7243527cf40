"""Which vendor and operation a request is."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from aden_transport.core.classify import CALL_TAILS, MAX_HOSTS, MAX_TARGETS, Classifier
from aden_transport.errors import ConfigurationError
from aden_transport.vendors import VENDORS

from .kit import ANTHROPIC, AZURE, CLASSIFIER, GEMINI, OPENAI, VERTEX, wire

PROJECT = "/v1/projects/p/locations/us-central1"
GOOGLE = PROJECT + "/publishers/google/models"
CLAUDE = PROJECT + "/publishers/anthropic/models"

Row = tuple[str, str, str, str | None]

ROUTES: Iterable[Row] = [
    # what is a call, and what it is
    ("POST", OPENAI, "/v1/chat/completions", "openai chat"),
    ("POST", OPENAI, "/v1/responses", "openai responses"),
    ("POST", OPENAI, "/v1/responses/compact", "openai responses_compact"),
    ("GET", OPENAI, "/v1/responses/resp_1", "openai responses"),
    ("POST", OPENAI, "/v1/completions", "openai text_completion"),
    ("POST", OPENAI, "/v1/embeddings", "openai embeddings"),
    ("POST", OPENAI, "/v1/images/generations", "openai image_generation"),
    ("POST", OPENAI, "/v1/images/edits", "openai image_generation"),
    ("POST", OPENAI, "/v1/images/variations", "openai image_generation"),
    ("POST", OPENAI, "/v1/audio/transcriptions", "openai transcription"),
    ("POST", OPENAI, "/v1/audio/translations", "openai transcription"),
    ("POST", OPENAI, "/v1/audio/speech", "openai speech"),
    ("POST", OPENAI, "/v1/moderations", "openai moderation"),
    ("POST", "eu.api.openai.com", "/v1/responses", "openai responses"),
    ("POST", AZURE, "/openai/deployments/gpt4/chat/completions", "azure chat gpt4"),
    ("POST", AZURE, "/openai/deployments/my%20gpt/embeddings", "azure embeddings my gpt"),
    ("POST", AZURE, "//openai/deployments/d/completions", "azure text_completion d"),
    ("POST", AZURE, "/openai/deployments/dalle/images/generations", "azure image_generation dalle"),
    ("POST", AZURE, "/openai/deployments/w/audio/transcriptions", "azure transcription w"),
    ("POST", AZURE, "/openai/v1/chat/completions", "azure chat"),
    ("POST", AZURE, "/openai/v1/responses", "azure responses"),
    ("POST", AZURE, "/openai/responses", "azure responses"),
    ("GET", AZURE, "/openai/v1/responses/resp_1", "azure responses"),
    ("POST", "res.services.ai.azure.com", "/models/chat/completions", "azure chat"),
    ("POST", "res.cognitiveservices.azure.com", "/openai/v1/embeddings", "azure embeddings"),
    ("POST", ANTHROPIC, "/v1/messages", "anthropic chat"),
    ("POST", ANTHROPIC, "/v1/complete", "anthropic text_completion"),
    ("POST", ANTHROPIC, "/v1/messages/batches", "anthropic batch"),
    ("GET", ANTHROPIC, "/v1/messages/batches/b/results", "anthropic batch"),
    ("POST", "claude.googleapis.com", "/v1/messages", "anthropic chat"),
    (
        "POST",
        GEMINI,
        "/v1beta/models/gemini-2.5-pro:generateContent",
        "gemini generate_content gemini-2.5-pro",
    ),
    ("POST", GEMINI, "/v1beta/models/g:streamGenerateContent", "gemini generate_content g"),
    ("POST", GEMINI, "/v1beta/tunedModels/mine:generateContent", "gemini generate_content mine"),
    ("POST", GEMINI, "/v1beta/models/e:embedContent", "gemini embeddings e"),
    ("POST", GEMINI, "/v1beta/models/e:batchEmbedContents", "gemini embeddings e"),
    ("POST", GEMINI, "/v1beta/models/g:batchGenerateContent", "gemini batch g"),
    ("POST", GEMINI, "/v1beta/models/veo:predictLongRunning", "gemini video veo"),
    ("POST", GEMINI, "/v1beta/openai/chat/completions", "gemini chat"),
    ("POST", GEMINI, "/v1beta/openai/embeddings", "gemini embeddings"),
    ("POST", VERTEX, GOOGLE + "/gemini-2.5-pro:generateContent", "vertex generate_content gemini-2.5-pro"),
    ("POST", VERTEX, GOOGLE + "/g:streamGenerateContent", "vertex generate_content g"),
    ("POST", VERTEX, PROJECT + "/endpoints/123:generateContent", "vertex generate_content 123"),
    ("POST", VERTEX, PROJECT + "/endpoints/openapi/chat/completions", "vertex chat"),
    ("POST", VERTEX, GOOGLE + "/e:predict", "vertex predict e"),
    ("POST", VERTEX, CLAUDE + "/claude-sonnet-4@20250514:rawPredict", "vertex chat claude-sonnet-4@20250514"),
    ("POST", VERTEX, CLAUDE + "/claude:streamRawPredict", "vertex chat claude"),
    ("POST", "aiplatform.googleapis.com", GOOGLE + "/g:generateContent", "vertex generate_content g"),
    ("POST", "aiplatform.eu.rep.googleapis.com", GOOGLE + "/g:generateContent", "vertex generate_content g"),
    ("POST", "eu-aiplatform.mtls.googleapis.com", GOOGLE + "/g:generateContent", "vertex generate_content g"),
    # work that goes on after its answer
    ("POST", OPENAI, "/v1/responses/resp_1/cancel", "openai responses"),
    ("POST", OPENAI, "/v1/threads/runs", "openai run"),
    ("POST", OPENAI, "/v1/threads/t/runs", "openai run"),
    ("POST", OPENAI, "/v1/threads/t/runs/r/submit_tool_outputs", "openai run"),
    ("POST", OPENAI, "/v1/threads/t/runs/r/cancel", "openai run"),
    ("GET", OPENAI, "/v1/threads/t/runs/r", "openai run"),
    ("POST", OPENAI, "/v1/batches", "openai batch"),
    ("GET", OPENAI, "/v1/batches/b", "openai batch"),
    ("POST", OPENAI, "/v1/batches/b/cancel", "openai batch"),
    ("POST", AZURE, "/openai/batches", "azure batch"),
    ("POST", OPENAI, "/v1/fine_tuning/jobs", "openai fine_tuning"),
    ("GET", OPENAI, "/v1/fine_tuning/jobs/j", "openai fine_tuning"),
    ("POST", OPENAI, "/v1/fine_tuning/jobs/j/cancel", "openai fine_tuning"),
    ("GET", OPENAI, "/v1/fine_tuning/jobs/j/checkpoints", "openai fine_tuning"),
    ("POST", OPENAI, "/v1/vector_stores", "openai vector_store"),
    ("GET", OPENAI, "/v1/vector_stores/v", "openai vector_store"),
    ("POST", OPENAI, "/v1/vector_stores/v/search", "openai vector_store_search"),
    ("POST", OPENAI, "/v1/vector_stores/v/files", "openai vector_store_file"),
    ("GET", OPENAI, "/v1/vector_stores/v/files/f", "openai vector_store_file"),
    ("POST", OPENAI, "/v1/vector_stores/v/file_batches", "openai vector_store_file_batch"),
    ("GET", OPENAI, "/v1/vector_stores/v/file_batches/b", "openai vector_store_file_batch"),
    ("POST", OPENAI, "/v1/vector_stores/v/file_batches/b/cancel", "openai vector_store_file_batch"),
    ("POST", OPENAI, "/v1/videos", "openai video"),
    ("POST", OPENAI, "/v1/videos/v/remix", "openai video"),
    ("POST", OPENAI, "/v1/videos/extensions", "openai video"),
    ("GET", OPENAI, "/v1/videos/v", "openai video"),
    # what is no use of a model
    ("GET", OPENAI, "/v1/threads/t/runs", None),
    ("POST", OPENAI, "/v1/threads/t/runs/r", None),
    ("GET", OPENAI, "/v1/threads/t/runs/r/steps", None),
    ("GET", OPENAI, "/v1/batches", None),
    ("GET", OPENAI, "/v1/fine_tuning/jobs", None),
    ("GET", OPENAI, "/v1/fine_tuning/jobs/j/events", None),
    ("POST", OPENAI, "/v1/fine_tuning/jobs/j/pause", None),
    ("GET", OPENAI, "/v1/vector_stores", None),
    ("POST", OPENAI, "/v1/vector_stores/v", None),
    ("GET", OPENAI, "/v1/vector_stores/v/files", None),
    ("GET", OPENAI, "/v1/vector_stores/v/file_batches/b/files", None),
    ("GET", OPENAI, "/v1/videos", None),
    ("GET", OPENAI, "/v1/videos/v/content", None),
    ("POST", OPENAI, "/v1/threads", None),
    ("POST", OPENAI, "/v1/threads/t/messages", None),
    ("POST", OPENAI, "/v1/containers", None),
    ("POST", OPENAI, "/v1/evals/e/runs", None),
    ("POST", OPENAI, "/v1/conversations", None),
    ("POST", OPENAI, "/v1/skills", None),
    ("POST", OPENAI, "/v1/responses/input_tokens", None),
    ("GET", OPENAI, "/v1/responses/resp_1/input_items", None),
    ("DELETE", OPENAI, "/v1/responses/resp_1", None),
    ("GET", OPENAI, "/v1/chat/completions", None),
    ("GET", OPENAI, "/v1/chat/completions/chatcmpl-1", None),
    ("GET", OPENAI, "/v1/models", None),
    ("GET", OPENAI, "/v1/models/gpt-4o", None),
    ("POST", OPENAI, "/v1/files", None),
    ("GET", OPENAI, "/v1/files/file-1/content", None),
    ("POST", OPENAI, "/v1/assistants", None),
    ("POST", OPENAI, "/v1/realtime/sessions", None),
    ("GET", OPENAI, "/v1/organization/usage/completions", None),
    ("POST", OPENAI, "/v1/uploads", None),
    ("POST", ANTHROPIC, "/v1/messages/count_tokens", None),
    ("POST", ANTHROPIC, "/v1/messages/batches/b/cancel", None),
    ("GET", ANTHROPIC, "/v1/models", None),
    ("POST", ANTHROPIC, "/v1/files", None),
    ("POST", GEMINI, "/v1beta/models/g:countTokens", None),
    ("POST", GEMINI, "/v1beta/cachedContents", None),
    ("GET", GEMINI, "/v1beta/models", None),
    ("POST", VERTEX, GOOGLE + "/g:computeTokens", None),
    ("POST", VERTEX, CLAUDE + "/count-tokens:rawPredict", None),
    ("POST", AZURE, "/openai/deployments/d/chat", None),
    ("POST", OPENAI, "/", None),
    # hosts that nobody has heard of: only a path that nothing else has
    ("POST", "llm.example.com", "/v1/chat/completions", "openai chat"),
    ("POST", "llm.example.com", "/openai/deployments/d/chat/completions", "openai chat"),
    ("POST", "llm.example.com", "/v1/messages", "anthropic chat"),
    ("POST", "llm.example.com", "/v1/models/g:generateContent", "gemini generate_content g"),
    ("POST", "llm.example.com", "/x/models/claude:rawPredict", "vertex chat claude"),
    ("POST", "llm.example.com", "/v1/embeddings", None),
    ("POST", "llm.example.com", "/v1/responses", None),
    ("POST", "llm.example.com", "/v1/completions", None),
    ("POST", "llm.example.com", "/v1/complete", None),
    ("POST", "llm.example.com", "/v1/images/generations", None),
    ("POST", "shop.example.com", "/orders", None),
    ("GET", "shop.example.com", "/responses/7", None),
]


@pytest.mark.parametrize(("method", "host", "path", "wanted"), ROUTES)
def test_a_request_is_what_its_method_host_and_path_say(
    method: str, host: str, path: str, wanted: str | None
) -> None:
    call = CLASSIFIER.classify(wire(None, path + "?api-version=2024-10-21", host=host, method=method))
    if wanted is None:
        assert call is None
        return
    assert call is not None
    assert " ".join(filter(None, (call.vendor.id, call.operation.name, call.model))) == wanted
    assert call.known_host == (host != "llm.example.com")
    assert CLASSIFIER.may_be_call(host, path)


@pytest.mark.parametrize(
    ("agent", "path", "wanted"),
    [
        ("OpenAI/Python 1.109.1", "/v1/responses", "openai responses"),
        ("AsyncOpenAI/Python 1.109.1", "/v1/embeddings", "openai embeddings"),
        ("AzureOpenAI/Python 1.109.1", "/openai/deployments/d/embeddings", "azure embeddings"),
        ("AsyncAzureOpenAI/Python 2", "/openai/deployments/d/chat/completions", "azure chat"),
        ("Anthropic/Python 0.71", "/v1/complete", "anthropic text_completion"),
        ("AsyncAnthropic/Python 0.71", "/v1/messages", "anthropic chat"),
        ("google-genai-sdk/1.75 gl-python/3.11", "/v1/models/g:embedContent", "gemini embeddings"),
        ("MyApp/1 google-genai-sdk/1.75", "/v1/models/g:predict", "gemini predict"),
        ("Anthropic/Python 0.71", "/v1/chat/completions", None),
        ("OpenAI/Python 1.109.1", "/v1/models", None),
        ("MyApp/1 OpenAI/Python", "/v1/embeddings", None),
        ("python-httpx/0.28", "/v1/embeddings", None),
    ],
)
def test_on_an_unknown_host_the_sdk_says_whose_format_it_speaks(
    agent: str, path: str, wanted: str | None
) -> None:
    call = CLASSIFIER.classify(wire(None, path, host="localhost:4000", names={"User-Agent": agent}))
    assert (None if call is None else f"{call.vendor.id} {call.operation.name}") == wanted
    assert call is None or not call.known_host


def test_an_agent_of_a_known_host_does_not_matter() -> None:
    call = CLASSIFIER.classify(
        wire(None, "/v1/messages", host=ANTHROPIC, names={"User-Agent": "OpenAI/Python"})
    )
    assert call is not None
    assert call.vendor.id == "anthropic"


@pytest.mark.parametrize(
    ("host", "vendor"),
    [
        ("api.openai.com:443", "openai"),
        ("API.OpenAI.com", "openai"),
        ("Res.OpenAI.Azure.COM:8443", "azure"),
        ("[::1]:8000", None),
        ("[2001:db8::1]", None),
        ("127.0.0.1:8000", None),
        ("api.openai.com.evil.example", None),
        ("notapi.openai.com", None),
        ("openai.azure.com", None),
        ("evilapi.openai.com", None),
        ("", None),
    ],
)
def test_hosts_are_told_with_ports_and_in_any_case(host: str, vendor: str | None) -> None:
    classifier = Classifier()
    assert classifier.may_be_call(host, "/v1/models") == (vendor is not None)
    call = classifier.classify(wire(None, "/openai/v1/embeddings", host=host))
    assert (None if call is None else call.vendor.id) == vendor


@pytest.mark.parametrize("tail", CALL_TAILS)
def test_the_gate_lets_the_ends_of_calls_through(tail: str) -> None:
    assert Classifier().may_be_call("shop.example.com", "/x" + tail)


@pytest.mark.parametrize(
    ("path", "may"), [("/", False), ("/orders", False), ("/v1/chats", False), ("/v1/responses/r", True)]
)
def test_the_gate_keeps_everything_else_out(path: str, may: bool) -> None:
    classifier = Classifier()
    assert classifier.may_be_call("shop.example.com", path) is may
    assert classifier.may_be_call("shop.example.com", path) is may
    assert classifier.may_be_call(OPENAI, path)


def test_every_path_that_is_a_call_passes_the_gate() -> None:
    for method, host, path, wanted in ROUTES:
        if wanted is not None:
            assert Classifier().may_be_call("gateway.example.com", path), (method, host, path)


# -- registering -------------------------------------------------------------------------------------


def test_a_registered_host_speaks_its_format_and_is_known() -> None:
    classifier = Classifier()
    hosts = ("llm.example.com", "127.0.0.1:8000", "[::1]:8000")
    assert not classifier.may_be_call("llm.example.com", "/v1/models")
    vendor = classifier.register("mine", hosts=hosts, accepts_stream_options=True)
    assert (vendor.id, vendor.hosts, vendor.host_suffixes, vendor.user_agents) == ("mine", hosts, (), ())
    assert (vendor.accepts_stream_options, vendor.price_provider) == (True, None)
    for host in (*hosts, "LLM.example.com:8443"):
        call = classifier.classify(wire(None, "/v1/embeddings", host=host))
        assert call is not None
        assert (call.vendor, call.known_host) == (vendor, True)
    assert classifier.vendors == (*VENDORS, vendor)
    classifier.unregister(vendor)
    assert classifier.vendors == VENDORS
    assert classifier.classify(wire(None, "/v1/embeddings", host="llm.example.com")) is None


def test_registering_forgets_what_was_said_of_the_host() -> None:
    classifier = Classifier()
    request = wire(None, "/v1/messages", host="llm.example.com")
    before = classifier.classify(request)
    assert before is not None
    assert not before.known_host
    classifier.register("mine", hosts=["llm.example.com"], like="anthropic")
    after = classifier.classify(request)
    assert after is not None
    assert (after.vendor.id, after.known_host) == ("mine", True)


@pytest.mark.parametrize(
    ("name", "like", "price_provider", "wanted"),
    [
        ("mine", "openai", None, None),
        ("mine", "openai", "groq", "groq"),
        ("openai", "openai", None, "openai"),
        ("anthropic", "anthropic", None, "anthropic"),
    ],
)
def test_a_registered_host_has_the_prices_that_are_named(
    name: str, like: str, price_provider: str | None, wanted: str | None
) -> None:
    vendor = Classifier().register(name, hosts=["h"], like=like, price_provider=price_provider)
    assert vendor.price_provider == wanted


def test_a_registered_vendor_may_be_the_pattern_of_another() -> None:
    classifier = Classifier()
    classifier.register("mine", hosts=["a"])
    assert classifier.register("yours", hosts=["b"], like="mine").routes == VENDORS[0].routes


def test_registering_like_nobody_says_who_is_there() -> None:
    with pytest.raises(ConfigurationError, match="use one of openai, azure, anthropic, gemini, vertex"):
        Classifier().register("mine", hosts=["h"], like="grok")


@pytest.mark.parametrize("hosts", [(), [""], ["https://llm.example.com"], ["llm.example.com/v1"], [7]])
def test_registering_without_a_host_says_what_one_is(hosts: Iterable[str]) -> None:
    with pytest.raises(ConfigurationError, match="host names without scheme or path"):
        Classifier().register("mine", hosts=hosts)


# -- bounds ------------------------------------------------------------------------------------------


def test_what_is_remembered_is_bounded() -> None:
    classifier = Classifier()
    for number in range(MAX_HOSTS + 10):
        classifier.may_be_call(f"h{number}.example.com", "/")
    assert len(classifier._hosts) <= MAX_HOSTS
    assert classifier.may_be_call(OPENAI, "/")
    for number in range(MAX_TARGETS + 10):
        classifier.classify(wire(None, f"/v1/{number}/chat/completions"))
        classifier.classify(wire(None, f"/v1/{number}/chat/completions", host="h.example.com"))
        assert len(classifier._targets) <= MAX_TARGETS
        assert len(classifier._guesses) <= MAX_TARGETS


def test_a_verdict_is_remembered_per_method_target_and_agent() -> None:
    request = wire(None, "/v1/responses/r", method="GET")
    assert CLASSIFIER.classify(request) is CLASSIFIER.classify(request)
    assert CLASSIFIER.classify(wire(None, "/v1/responses/r", method="DELETE")) is None
