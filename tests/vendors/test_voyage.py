"""Voyage: a total, and what it was counted from."""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport.events import MetricEvent

from ..core.kit import CLASSIFIER, Bench, headers, wire
from .test_shapes import figures

HOST, EMBEDDINGS = "api.voyageai.com", "/v1/embeddings"


def answered(answer: Any, path: str = EMBEDDINGS, *, status: int = 200, **asked: Any) -> MetricEvent:
    request = wire({"model": "voyage-3-lite", **asked}, path, host=HOST)
    return Bench().answered(request, answer, status, headers(x_request_id="r"))


def listed(usage: Any, data: Any = ({},), model: str = "voyage-3-lite") -> dict[str, Any]:
    return {"object": "list", "data": list(data), "model": model, "usage": usage}


def test_the_total_is_the_input() -> None:
    event = answered(
        listed({"total_tokens": 18}, [{}, {}, {}]), output_dimension=512, encoding_format="base64"
    )
    assert figures(event.usage) == {"input_tokens": 18}
    assert (event.operation, event.response_model, event.request_id) == ("embeddings", "voyage-3-lite", "r")
    assert event.operation_details == {"dimensions": 512, "encoding_format": "base64", "embeddings": 3}
    assert event.cost == pytest.approx(18 * 0.02 / 1e6, rel=0.01)


def test_pictures_are_a_part_of_the_input() -> None:
    usage = {"text_tokens": 5, "image_pixels": 2_000_000, "total_tokens": 3576}
    event = answered(listed(usage, model="voyage-multimodal-3"), "/v1/multimodalembeddings")
    assert figures(event.usage) == {"input_tokens": 3576, "image_input_tokens": 3571}
    assert event.operation_details == {"text_tokens": 5, "image_pixels": 2_000_000, "embeddings": 1}


def test_how_many_of_the_tokens_are_pictures_is_unknown_beside_videos() -> None:
    usage = {"text_tokens": 5, "image_pixels": 1, "video_pixels": 1, "total_tokens": 100}
    assert figures(answered(listed(usage), "/v1/multimodalembeddings").usage) == {"input_tokens": 100}


def test_chunks_of_documents_are_counted_one_by_one() -> None:
    data: Any = [{"data": [{}, {}]}, {"data": [{}]}]
    event = answered(listed({"total_tokens": 9}, data), "/v1/contextualizedembeddings")
    assert event.operation_details == {"embeddings": 3}


def test_reranking() -> None:
    event = answered(listed({"total_tokens": 57}, model="rerank-2-lite"), "/v1/rerank")
    assert (event.operation, event.input_tokens, event.output_tokens) == ("rerank", 57, 0)


@pytest.mark.parametrize(("usage", "faults"), [(None, ()), ("none", ("usage.malformed",))])
def test_without_usage(usage: Any, faults: tuple[str, ...]) -> None:
    event = answered(listed(usage))
    assert (event.usage, event.faults) == (None, faults)


def test_an_error_is_in_detail() -> None:
    event = answered({"detail": "Model none is not supported."}, status=400)
    assert (event.error, event.error_type) == ("Model none is not supported.", "invalid_request_error")


@pytest.mark.parametrize("host", [HOST, "ai.mongodb.com"])
def test_hosts(host: str) -> None:
    call = CLASSIFIER.classify(wire({}, EMBEDDINGS, host=host))
    assert call is not None
    assert call.vendor.id == "voyage"
