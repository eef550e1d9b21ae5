"""Real registries and real tools of other projects, as fixtures.

Everything listens on loopback, keeps its files in a temporary directory, and ends with the test
session. What is not to be had is a skip; where ``CI=true`` it is a failure.
"""
