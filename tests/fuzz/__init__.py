"""Fuzzing of what reads strangers' bytes: ``make fuzz``, or ``python -m tests.fuzz gguf --seconds 300``.

`targets` has one function for each reader, which may raise what the reader promises to raise and nothing else.
``seeds/`` has small inputs to begin with, made by `make_seeds`; what a fuzzer finds becomes one of them. The
suite runs the same targets over the seeds and over damaged copies of them (`tests/test_fuzz.py`).
"""
