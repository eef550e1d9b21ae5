"""The OCI documents: digest, descriptor, reference, manifest, index, media types. No I/O."""
