"""Code that comes with the weights."""

ANSWER = 42
