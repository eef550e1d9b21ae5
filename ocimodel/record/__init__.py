"""Where a model comes from: what its makers wrote down, read from files, as one SLSA provenance."""
