"""Vendors that speak OpenAI's format on hosts of their own."""

PROVIDERS: tuple[str, ...] = ()
