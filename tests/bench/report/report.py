#!/usr/bin/env python3
"""The report of `make bench`: what the benchmarks left in target/bench, as Markdown, JSON and plots.

Each benchmark writes `<name>.json`:

    {"name", "title", "command", "sections": [{"title", "text", "columns", "rows", "goals", "plots"}]}

A section may come without goals and plots. A goal is `{"goal", "measured", "met", "why"}`, a plot `{"file", "title",
"kind": "line" | "bar", "x_label", "y_label", "log_x", "log_y", "series": {"name": [[x, y], ...]}}`.

Examples:
  tests/bench/report/report.py                     all that is there
  tests/bench/report/report.py encoder start       only these, in this order
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import matplotlib

matplotlib.use("svg")
# Text stays text, and the same numbers make the same file.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "hoopoe", "figure.figsize": (8, 4.5)})
from matplotlib import pyplot

FOLDER = Path("target/bench")
ORDER = ["encoder", "start", "path", "peers", "cost"]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("benchmarks", nargs="*", help="such as encoder or start")
    wanted = arguments.parse_args().benchmarks or ORDER
    missing = [name for name in wanted if not (FOLDER / f"{name}.json").exists()]
    if missing:
        print(f"no results of {', '.join(missing)} in {FOLDER}: run make bench-{missing[0]}", file=sys.stderr)
        return 1
    benchmarks = [json.loads((FOLDER / f"{name}.json").read_text()) for name in wanted]
    report = {"machine": machine(), "benchmarks": benchmarks}
    (FOLDER / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    (FOLDER / "report.md").write_text(markdown(report))
    for plot in (plot for benchmark in benchmarks for section in benchmark["sections"] for plot in section.get("plots", [])):
        draw(plot)
    goals = [goal for benchmark in benchmarks for section in benchmark["sections"] for goal in section.get("goals", [])]
    print(f"{FOLDER}/report.md: {sum(goal['met'] for goal in goals)} of {len(goals)} goals are met", file=sys.stderr)
    return 0


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    processor = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("model name", "flags"))]
    fields = dict(line.split(":", 1) for line in reversed(processor))
    flags = fields.get("flags\t\t", "").split()
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1_048_576
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": fields.get("model name\t", platform.machine()).strip(),
        "instructions": ", ".join(flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni") if flag in flags),
        "cores": str(os.cpu_count()),
        "memory": f"{memory} GB",
        "kernel": platform.release().split("-")[0],
        "commit": commit,
    }


def markdown(report: dict) -> str:
    """The report for a person: first the goals, then what they rest on."""
    machine = report["machine"]
    lines = [
        "# Benchmarks",
        "",
        f"Measured on {machine['date']} at commit {machine['commit']}: {machine['processor']} ({machine['instructions']}), "
        f"{machine['cores']} cores, {machine['memory']}, Linux {machine['kernel']}. `make bench` repeats it.",
        "",
        "| goal | measured | met |",
        "|---|---|---|",
    ]
    sections = [(benchmark, section) for benchmark in report["benchmarks"] for section in benchmark["sections"]]
    for _, section in sections:
        for goal in section.get("goals", []):
            why = f"<br>{goal['why']}" if goal["why"] else ""
            lines.append(f"| {cell(goal['goal'])} | {cell(goal['measured'])}{cell(why)} | {'yes' if goal['met'] else '**no**'} |")
    for benchmark in report["benchmarks"]:
        lines += ["", f"## {benchmark['title']}", "", f"`{benchmark['command']}`"]
        for section in benchmark["sections"]:
            lines += ["", f"### {section['title']}", "", section["text"]]
            if section["rows"]:
                lines += ["", row(section["columns"]), row(["---"] * len(section["columns"]))]
                lines += [row(cells) for cells in section["rows"]]
            for plot in section.get("plots", []):
                lines += ["", f"![{plot['title']}]({plot['file']}.svg)"]
    return "\n".join(lines) + "\n"


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cell(text) for text in cells)} |"


def cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", "<br>")


def draw(plot: dict) -> None:
    """One plot as SVG."""
    figure, axes = pyplot.subplots()
    if plot["kind"] == "bar":
        labels = list(dict.fromkeys(x for points in plot["series"].values() for x, _ in points))
        width = 0.8 / len(plot["series"])
        for at, (name, points) in enumerate(plot["series"].items()):
            places = [labels.index(x) - 0.4 + width * (at + 0.5) for x, _ in points]
            axes.bar(places, [y for _, y in points], width, label=name)
        axes.set_xticks(range(len(labels)), labels, rotation=20, ha="right")
    else:
        for name, points in plot["series"].items():
            axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name)
        if plot.get("log_x"):
            axes.set_xscale("log", base=2)
    if plot.get("log_y"):
        axes.set_yscale("log")
    axes.set(title=plot["title"], xlabel=plot["x_label"], ylabel=plot["y_label"])
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(FOLDER / f"{plot['file']}.svg", metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
