"""The suite. It mirrors the package; `tests.real` holds the real registries and peers."""
