"""One verb a file: the library's public functions. Each resolves a tag once and then works by digest only."""
