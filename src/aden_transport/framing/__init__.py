"""Bytes of a body to messages: fed in pieces of any size, bounded in memory, never raising.

Every parser takes `receive_data(bytes)` and `receive_eof()`, gives the same messages however the
bytes were cut, and says in `faults` what it could not read.
"""
