"""What recordings of each family of vendors say otherwise than our events, and why.

A family is a module with any of these names:

- `PROVIDERS`: the recordings' providers that belong to it.
- `NO_USE`: APIs of its recordings that the classifier must not take for a call, with the reason.
- `LISTED`: pattern of recording ids → field → why an event says something else there.
- `REPEATED`: recordings that make no event, with the reason.
- `ADJUST`: provider → function(expected, figures) that brings the vendor's counts into our convention.
"""
