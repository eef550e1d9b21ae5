"""Where artifacts live: the Store protocol and its implementations (memory, layout, registry)."""
