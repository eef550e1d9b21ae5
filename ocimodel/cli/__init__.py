"""The command line: parse, one library call, print.

Rooms: `process` is where a process begins and ends (signals, streams, exit code), `app` knows the commands and
runs one, `command` is what all commands have in common, `options` and `values` read what was typed, `console`
writes. Each other module is one group of commands. The answer goes to stdout and nothing else does.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import NoReturn

from ocimodel import __version__


def main() -> NoReturn:
    """The console script. Never returns."""
    # What scripts ask first and often: no import is worth it, unless it cannot be written.
    if sys.argv[1:] == ["--version"] and sys.stdout is not None:
        with suppress(OSError):
            sys.stdout.write(f"ocimodel {__version__}\n")
            sys.stdout.flush()
            sys.exit(0)
    from ocimodel.cli.process import start

    start(sys.argv[1:])
