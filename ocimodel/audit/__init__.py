"""What happened on this machine: one event for each decision or change, a JSON line that others can read.

Guarantees: an event carries no secret, no credential and no URL with a query; it has a bounded size; lines of
several processes never mix. Writing it never changes what a command decided.
"""
