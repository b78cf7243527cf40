"""What `operation_details` may say: a closed list of figures, never content.

A vendor's reader may set the keys of this table and no others; a test reads every recording and every
request and compares. Whoever reads one more figure adds its line here first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["DETAILS", "Detail"]


@dataclass(frozen=True, slots=True)
class Detail:
    """One figure."""

    kind: type | tuple[type, ...]
    """Of its value. Lists hold strings: names of a vendor's own, closed list."""
    operations: tuple[str, ...]
    """Those that may have it."""
    meaning: str
    """What it counts, and in which unit."""


def _detail(kind: type | tuple[type, ...], operations: str, meaning: str) -> Detail:
    return Detail(kind, tuple(operations.split()), meaning)


NUMBER = (int, float)

DETAILS: Mapping[str, Detail] = {
    # What was asked for, and what came.
    "n": _detail(int, "chat image_generation video", "choices, images or videos asked for"),
    "size": _detail(str, "image_generation video", "width x height in pixels, or the vendor's word"),
    "quality": _detail(str, "image_generation", "the vendor's word: `hd`, `low`, …"),
    "style": _detail(str, "image_generation", "`vivid` or `natural`"),
    "background": _detail(
        (bool, str), "responses image_generation", "work that runs on by itself; of an image, its backdrop"
    ),
    "output_format": _detail(str, "image_generation", "`png`, `jpeg`, `webp`"),
    "images": _detail(int, "image_generation predict chat", "images that came"),
    "revised_prompts": _detail(int, "image_generation", "images whose prompt the vendor changed"),
    "inference_geo": _detail(str, "chat batch", "where the vendor says that it computed"),
    "traffic_type": _detail(str, "generate_content batch", "the vendor's word for how capacity was bought"),
    "block_reason": _detail(str, "generate_content", "why a prompt was not answered"),
    # Tools that the vendor runs.
    "server_tool_calls": _detail(
        int, "responses run conversation", "calls of tools that the vendor runs, of all kinds"
    ),
    "web_search_calls": _detail(
        int, "responses generate_content interactions", "searches of the web; pages opened are not counted"
    ),
    "file_search_calls": _detail(int, "responses run", "searches of vector stores"),
    "code_interpreter_calls": _detail(int, "responses run", "pieces of code that the vendor ran"),
    "image_generation_calls": _detail(int, "responses", "images made as a tool"),
    "computer_calls": _detail(int, "responses", "actions on a computer that were asked for"),
    "shell_calls": _detail(int, "responses", "commands that were asked for"),
    "mcp_calls": _detail(int, "responses", "calls of tools of MCP servers"),
    # Embeddings.
    "dimensions": _detail(int, "embeddings", "numbers of a vector, as asked for"),
    "encoding_format": _detail(str, "embeddings", "`float` or `base64`"),
    "embeddings": _detail(int, "embeddings predict chat", "vectors that came"),
    # Audio.
    "audio_seconds": _detail(NUMBER, "transcription speech chat", "seconds of audio"),
    "characters": _detail(int, "speech", "characters that were spoken"),
    "language": _detail(str, "transcription", "as the vendor names what it heard"),
    "segments_count": _detail(int, "transcription", "timed segments that came"),
    "words_count": _detail(int, "transcription", "timed words that came"),
    # Moderation.
    "inputs": _detail(int, "moderation", "texts and pictures that were judged"),
    "flagged": _detail(bool, "moderation", "whether any input was"),
    "categories": _detail(list, "moderation", "names of the categories that were found, of all inputs"),
    "categories_scores_max": _detail(NUMBER, "moderation", "the highest score of any category, 0 to 1"),
    "category_applied_input_types": _detail(
        list, "moderation", "kinds of input that were found: `text`, `image`"
    ),
    # Fine-tuning.
    "training_status": _detail(str, "fine_tuning", "`queued`, `running`, `succeeded`, …"),
    "training_method": _detail(str, "fine_tuning", "`supervised`, `dpo`, `reinforcement`"),
    "trained_tokens": _detail(int, "fine_tuning", "tokens billed: those of the file, times epochs"),
    "epochs": _detail(int, "fine_tuning", "passes over the training file"),
    "training_step": _detail(int, "fine_tuning", "the step that the losses are of"),
    "train_loss": _detail(NUMBER, "fine_tuning", "loss on the training file"),
    "train_mean_token_accuracy": _detail(NUMBER, "fine_tuning", "0 to 1, on the training file"),
    "valid_loss": _detail(NUMBER, "fine_tuning", "loss on a sample of the validation file"),
    "valid_mean_token_accuracy": _detail(NUMBER, "fine_tuning", "0 to 1, on that sample"),
    "full_valid_loss": _detail(NUMBER, "fine_tuning", "loss on the whole validation file"),
    "full_valid_mean_token_accuracy": _detail(NUMBER, "fine_tuning", "0 to 1, on the whole validation file"),
    # Batches.
    "batch_status": _detail(str, "batch", "the vendor's word"),
    "request_counts_total": _detail(int, "batch", "requests of the batch"),
    "request_counts_completed": _detail(int, "batch", "requests answered"),
    "request_counts_failed": _detail(int, "batch", "requests that failed, were cancelled or expired"),
    "output_file_id": _detail(str, "batch", "file of the answers"),
    "error_file_id": _detail(str, "batch", "file of the errors"),
    # Assistants.
    "run_status": _detail(str, "run", "the vendor's word"),
    "run_steps": _detail(int, "run", "steps of the run that were seen in its stream"),
    "max_prompt_tokens": _detail(int, "run", "bound that the run was given"),
    "max_completion_tokens": _detail(int, "run", "bound that the run was given"),
    # Files and vector stores.
    "vector_store_bytes": _detail(int, "vector_store", "size of the store"),
    "usage_bytes": _detail(int, "vector_store_file", "bytes stored"),
    "file_counts_total": _detail(int, "vector_store vector_store_file_batch", "files of the store or batch"),
    "file_counts_completed": _detail(
        int, "vector_store vector_store_file_batch", "files ready to be searched"
    ),
    "file_counts_failed": _detail(
        int, "vector_store vector_store_file_batch", "files that could not be read"
    ),
    "chunk_count": _detail(int, "vector_store_file", "chunks of the file, where the vendor counts them"),
    "search_results": _detail(int, "vector_store_search", "passages that came"),
    # Video.
    "video_seconds": _detail(NUMBER, "video", "length in seconds"),
    "video_status": _detail(str, "video", "`queued`, `in_progress`, `completed`, `failed`"),
    # Work that is billed otherwise than it is counted (Cohere), or whose parts are told (Voyage).
    "processed_input_tokens": _detail(int, "chat", "tokens that the model read, billed or not"),
    "processed_output_tokens": _detail(int, "chat", "tokens that the model wrote, billed or not"),
    "processed_cached_tokens": _detail(int, "chat", "of those read, found in the cache"),
    "classifications": _detail(int, "classification", "texts that were classified"),
    "text_tokens": _detail(int, "embeddings", "tokens of text"),
    "image_pixels": _detail(int, "embeddings", "pixels of pictures"),
    "video_pixels": _detail(int, "embeddings", "pixels of videos"),
    "doc_size_bytes": _detail(int, "ocr", "size of the document"),
    # Where a model runs (Ollama, Hugging Face).
    "total_duration_ms": _detail(NUMBER, "chat text_completion embeddings", "all of the call, by the server"),
    "load_duration_ms": _detail(NUMBER, "chat text_completion embeddings", "loading the model"),
    "prompt_eval_duration_ms": _detail(NUMBER, "chat text_completion embeddings", "reading the prompt"),
    "eval_duration_ms": _detail(NUMBER, "chat text_completion embeddings", "writing the answer"),
    "compute_time_ms": _detail(
        NUMBER,
        "chat text_completion embeddings inference rerank image_generation",
        "computing, by the server",
    ),
    "inference_provider": _detail(
        str,
        "chat text_completion embeddings inference rerank image_generation",
        "the router's name of the vendor that answered",
    ),
}
