"""From the figures, as JSON, to a table and a plot. ``python -m benchmarks.report FILE DIR`` makes them anew."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MIB, GIB = 1024**2, 1024**3
_BLUE, _GREY, _RED = "#1f6feb", "#9aa4b2", "#cf222e"


def table(figures: Mapping[str, Any]) -> str:
    """Markdown: a line for each row, then the physical limits."""
    lines = [
        "| work | against | at least / at most | measured | | ours | peer |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        wanted = "" if row["wanted"] is None else f"{'≥' if row['better'] == 'more' else '≤'} {row['wanted']:g}"
        met = {True: "yes", False: "**no**", None: ""}[row["met"]]
        note = f" ({row['note']})" if row["note"] else ""
        lines.append(
            f"| {row['work']}{note} | {row['peer']} | {wanted} | {_number(row['value'])} {row['unit']} | {met} "
            f"| {_seconds(row['ours'])} | {_seconds(row['theirs'])} |"
        )
    lines += [f"| {row['name']} | | | not measured: {row['why']} | | | |" for row in figures["skipped"]]
    lines += ["", "| what this machine can do | MiB/s |", "|---|---|"]
    lines += [f"| {_LIMITS[name]} | {rate / MIB:,.0f} |" for name, rate in figures["limits"].items()]
    return "\n".join(lines) + "\n"


_LIMITS = {
    "sha256": "one pass of SHA-256, one core",
    "blake3": "one pass of BLAKE3, one core",
    "socket": "a copy through a socket on loopback, one connection",
    "write": "writing a file, into memory",
    "write and sync": "writing a file, down to the disk",
    "read": "reading a file, from memory",
    "registry takes": "the registry takes one blob, from a client that only sends",
    "registry gives": "the registry gives one blob, to a client that only receives",
}


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _seconds(side: Mapping[str, Any]) -> str:
    seconds = side["seconds"]
    return f"{statistics.median(seconds):.2f} s" if seconds else ""


def plot(figures: Mapping[str, Any], directory: Path) -> list[Path]:
    """Write speed.png and speed.svg. Needs matplotlib."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "ocimodel"  # the same figures give the same file
    mpl.rcParams["font.size"] = 9
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.6), width_ratios=(1.5, 1, 1), layout="constrained")
    rows = {row["name"]: row for row in figures["rows"]}
    _faster(axes[0], [row for row in figures["rows"] if row["unit"].endswith("as fast")])
    _rates(axes[1], rows, figures["limits"])
    _growth(axes[2], rows.get("linearity"))
    paths = [directory / "speed.png", directory / "speed.svg"]
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=150, metadata=metadata)
    pyplot.close(figure)
    return paths


def _faster(axis: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    names = [f"{row['work']}\n{row['peer']}" for row in rows]
    axis.barh(names, [row["value"] for row in rows], color=_BLUE, height=0.6)
    for position, row in enumerate(rows):
        axis.plot([row["wanted"]] * 2, [position - 0.4, position + 0.4], color=_RED, linewidth=1.5)
        axis.text(row["value"], position, f" {row['value']:.1f}", va="center")
    axis.axvline(1, color=_GREY, linewidth=1)
    axis.set_xscale("log")
    axis.invert_yaxis()
    axis.set_title("times as fast as the peer (red: what is wanted)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="y", labelsize=7)
    axis.margins(x=0.15)


def _rates(axis: Any, rows: Mapping[str, Mapping[str, Any]], limits: Mapping[str, float]) -> None:
    labels, ours, theirs = [], [], []
    for name, label in (
        ("push-one", "push\n1 file"),
        ("push-eight", "push\n8 files"),
        ("pull-one", "pull\n1 file"),
        ("verify-directory", "verify\nDIR"),
    ):
        if name in rows:
            labels.append(label)
            ours.append(_rate(rows[name], "ours"))
            theirs.append(_rate(rows[name], "theirs"))
    places = range(len(labels))
    axis.bar([place - 0.2 for place in places], ours, 0.38, color=_BLUE, label="ocimodel")
    axis.bar([place + 0.2 for place in places], theirs, 0.38, color=_GREY, label="peer")
    for name, style in (
        ("blake3", "-"),
        ("socket", ":"),
        ("sha256", "--"),
        ("write and sync", (0, (1, 4))),
        ("registry takes", "-."),
    ):
        if name in limits:
            axis.axhline(
                limits[name] / MIB, linestyle=style, color="black", linewidth=0.8, label=_LIMITS[name].split(",")[0]
            )
    axis.set_xticks(list(places), labels)
    axis.set_title("MiB/s, and what the machine can do")
    axis.set_yscale("log")
    axis.set_ylim(top=axis.get_ylim()[1] * 12)
    axis.legend(fontsize=6.5, loc="upper left", frameon=False)
    axis.spines[["top", "right"]].set_visible(False)


def _rate(row: Mapping[str, Any], side: str) -> float:
    return float(row["bytes"] / MIB / statistics.median(row[side]["seconds"]))


def _growth(axis: Any, row: Mapping[str, Any] | None) -> None:
    axis.set_title("seconds as the model grows")
    axis.spines[["top", "right"]].set_visible(False)
    if row is None:
        return
    sizes = [size / GIB for size in row["sizes"]]
    for name, color in (("push", _BLUE), ("pull", _RED)):
        seconds = row[f"{name}Seconds"]
        axis.plot(sizes, seconds, "o-", color=color, label=name)
        axis.plot([0, sizes[-1]], [0, seconds[-1]], linestyle=":", color=color, linewidth=0.8)
    axis.set_xlabel("GiB in one file (dotted: a straight line to the largest)")
    axis.legend(frameon=False)


def write(figures: Mapping[str, Any], directory: Path) -> list[Path]:
    """Write speed.json, speed.md and, where matplotlib is installed, the plots."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / "speed.json", directory / "speed.md"]
    paths[0].write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    paths[1].write_text(table(figures))
    try:
        return paths + plot(figures, directory)
    except ModuleNotFoundError:
        return paths


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:3])
    print(*write(json.loads(source.read_text()), target), sep="\n")
