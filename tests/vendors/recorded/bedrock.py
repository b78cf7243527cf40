"""Amazon Bedrock."""

PROVIDERS: tuple[str, ...] = ()
