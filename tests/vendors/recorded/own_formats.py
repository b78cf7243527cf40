"""Cohere, Mistral, Ollama, Voyage and Hugging Face."""

PROVIDERS: tuple[str, ...] = ()
