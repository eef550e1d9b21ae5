"""The attestation documents: envelope, statement, bundle. No I/O, no keys."""
