"""OpenAI audio: transcriptions, translations and speech.

https://platform.openai.com/docs/api-reference/audio
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..answers import Answer, Call, ProviderError, compact, drop_omitted, sse
from ..plan import Asked, Plan, count_tokens, make_plan
from .multipart import Form, read_form

__all__ = ["speak", "transcribe"]

# 16 kHz, 16 bit, one channel: what a second of WAV takes.
_BYTES_PER_SECOND = 32_000
_TOKENS_PER_SECOND = 10
_FRAME = b"\xff\xf3\x14\xc4" + bytes(60)


def transcribe(call: Call, path: Mapping[str, str]) -> Answer:
    """POST …/audio/{transcriptions,translations}."""
    form = read_form(call.request)
    if "file" not in form.files:
        raise ProviderError("invalid_request", "Missing required parameter: 'file'.", param="file")
    model = form.fields.get("model") or path.get("deployment") or ""
    plan = make_plan(call.reply, Asked(prompt_tokens=0))
    seconds = max(1, math.ceil(len(form.files["file"]) / _BYTES_PER_SECOND))
    shape = form.fields.get("response_format", "json")
    if shape in {"text", "srt", "vtt"}:
        return Answer(200, "text/plain; charset=utf-8", (_subtitles(plan.text, seconds, shape).encode(),))
    if path["kind"] == "translations":
        return Answer(200, "application/json", (compact({"text": plan.text}),))
    usage = call.usage(_usage(call, model, plan, seconds))
    if form.fields.get("stream") == "true" and not model.startswith("whisper"):
        events = sse(_events(plan, usage), done=True)
        return Answer(200, "text/event-stream; charset=utf-8", events, stream=True)
    body = {**_verbose(form, plan, seconds), "text": plan.text, "usage": usage}
    return Answer(200, "application/json", (compact(drop_omitted(body)),))


def _usage(call: Call, model: str, plan: Plan, seconds: int) -> dict[str, Any]:
    """Whisper is billed by the second, the later models by the token."""
    if model.startswith("whisper"):
        return {"type": "duration", "seconds": seconds}
    heard = call.reply.input_tokens or seconds * _TOKENS_PER_SECOND
    return {
        "type": "tokens",
        "total_tokens": heard + plan.output_tokens,
        "input_tokens": heard,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": plan.output_tokens,
    }


def _verbose(form: Form, plan: Plan, seconds: int) -> dict[str, Any]:
    if form.fields.get("response_format") != "verbose_json":
        return {}
    segment = {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": float(seconds),
        "text": plan.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": -0.2,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.01,
    }
    return {"task": "transcribe", "language": "english", "duration": float(seconds), "segments": [segment]}


def _subtitles(text: str, seconds: int, shape: str) -> str:
    if shape == "text":
        return text + "\n"
    mark = "," if shape == "srt" else "."
    times = f"00:00:00{mark}000 --> {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}000"
    opening = "1\n" if shape == "srt" else "WEBVTT\n\n"
    return f"{opening}{times}\n{text}\n\n"


def _events(plan: Plan, usage: Any) -> Iterator[dict[str, Any]]:
    for piece in plan.pieces:
        yield {"type": "transcript.text.delta", "delta": piece}
    yield drop_omitted({"type": "transcript.text.done", "text": plan.text, "usage": usage})


def speak(call: Call, path: Mapping[str, str]) -> Answer:
    """POST …/audio/speech: MP3 frames of silence, one per word, or events with `stream_format: "sse"`."""
    text = call.body.get("input")
    if not isinstance(text, str) or not text:
        raise ProviderError("invalid_request", "Missing required parameter: 'input'.", param="input")
    words = len(text.split()) or 1
    if call.body.get("stream_format") != "sse":
        return Answer(200, "audio/mpeg", (_FRAME for _ in range(words)), stream=True)
    read, made = count_tokens(text), words * 8
    usage = call.usage({"input_tokens": read, "output_tokens": made, "total_tokens": read + made})
    events = sse(_speech_events(words, usage))
    return Answer(200, "text/event-stream; charset=utf-8", events, stream=True, tokens=read + made)


def _speech_events(words: int, usage: Any) -> Iterator[dict[str, Any]]:
    for _ in range(words):
        yield {"type": "speech.audio.delta", "audio": base64.b64encode(_FRAME).decode()}
    yield drop_omitted({"type": "speech.audio.done", "usage": usage})
