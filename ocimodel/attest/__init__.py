"""The attestation documents: envelope, statement, bundle, and the manifest that attaches them. No I/O, no keys."""
