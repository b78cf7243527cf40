"""One call's life, without network, clock, thread or HTTP library."""
