"""``python -m ocimodel`` is ``ocimodel``."""

from ocimodel.cli import main

if __name__ == "__main__":
    main()
