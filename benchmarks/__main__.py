"""Measure, and write JSON, a table and a plot.

python -m benchmarks            small: a quarter of the sizes, under ten minutes on two cores
python -m benchmarks --full     the sizes that the requirements name
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.copies import COPIES
from benchmarks.files import MIB
from benchmarks.limits import limits
from benchmarks.rows import RATE, SETTINGS, Bench, MissingError, Row, memory
from benchmarks.rows import ROWS as TRANSFERS
from benchmarks.servers import program, proxy, registry

ROWS = {**TRANSFERS, **COPIES}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 even where a figure falls short; that is for a reader to judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    for name in SETTINGS:
        size.add_argument(f"--{name}", action="store_const", const=name, dest="setting", default="small")
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="where the results go")
    parser.add_argument("--scratch", type=Path, help="a directory to work in; it decides which disk is measured")
    options = parser.parse_args(arguments)
    figures = measure(options.setting, options.only or list(ROWS), options.scratch)
    paths = report.write(figures, options.out)
    print(report.table(figures))
    print(*paths, sep="\n")
    return 0


def measure(name: str, wanted: Sequence[str], scratch: Path | None = None) -> dict[str, Any]:
    """Run the rows ``wanted`` in the setting ``name``."""
    setting = SETTINGS[name]
    began = time.monotonic()
    rows: list[Row] = []
    skipped: list[dict[str, str]] = []
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ocimodel-bench-", dir=scratch)))
        server, nginx = program("docker-registry"), program("nginx")
        if server is None or nginx is None:
            raise SystemExit("docker-registry and nginx are needed: run make peers")
        storage = stack.enter_context(registry(root / "registry", server))
        throttled = stack.enter_context(proxy(root / "throttled", nginx, storage.host, RATE))
        counted = stack.enter_context(proxy(root / "counted", nginx, storage.host))
        bench = Bench(root, storage, setting, throttled, counted)
        found = limits(root, storage, min(setting.unit, 512 * MIB))
        (root / "written").unlink()
        storage.forget()
        for key in wanted:
            print(f"{time.monotonic() - began:6.0f} s  {key}", file=sys.stderr, flush=True)
            try:
                rows.append(ROWS[key](bench))
            except MissingError as missing:
                skipped.append({"name": key, "why": str(missing)})
            else:
                print(f"         {rows[-1].value:.4g} {rows[-1].unit}", file=sys.stderr, flush=True)
            bench.without(root / "model")
    if rows:
        rows.append(memory(rows))
    return {
        "setting": setting.name,
        "machine": {"cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()},
        "seconds": round(time.monotonic() - began),
        "limits": found,
        "rows": [row.to_dict() for row in rows],
        "skipped": skipped,
    }


if __name__ == "__main__":
    sys.exit(main())
