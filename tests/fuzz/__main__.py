"""``python -m tests.fuzz [TARGET…] [--seconds N]``: each target for so long, with atheris (the extra ``fuzz``)."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"


def main() -> int:
    """Returns 1 where a target failed; its input is then in ``build/fuzz``."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return fuzz(arguments.child, arguments.seconds)
    names = arguments.targets or sorted(path.name for path in SEEDS.iterdir())
    bad = []
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz", "--child", name, "--seconds", str(arguments.seconds)]
        done = subprocess.run(command, check=False)
        bad += [name] if done.returncode else []
    sys.stderr.write(f"failed: {', '.join(bad)}\n" if bad else "nothing was found\n")
    return bool(bad)


def fuzz(name: str, seconds: int) -> int:
    """Fuzz one target in this process, which atheris ends."""
    import atheris

    with atheris.instrument_imports(include=["ocimodel"]):
        from tests.fuzz.targets import TARGETS

    found = Path("build/fuzz") / name
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        limits = [
            f"-max_total_time={seconds}",
            "-max_len=8192",
            "-timeout=10",
            "-rss_limit_mb=1024",
            f"-artifact_prefix={found}{os.sep}",
            "-verbosity=1",
            "-print_final_stats=1",
        ]
        atheris.Setup([name, *limits, corpus, str(SEEDS / name)], TARGETS[name])
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
