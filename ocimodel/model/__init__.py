"""What a model is: its files and their roles, its headers, its config and its provenance."""
