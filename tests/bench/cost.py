#!/usr/bin/env python3
"""What `hoopoe cost` says at several loads, as target/bench/cost.json for the report. Takes a second; nothing is measured.

Examples:
  make bench-cost
  tests/bench/cost.py target/debug/hoopoe
  tests/bench/cost.py target/debug/hoopoe --counts measured.toml
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "target/bench/cost.json"
# Messages a day; the fourth is a million a month.
MILLION_A_MONTH = 32877
LOADS = [0, 100, 1000, 10_000, MILLION_A_MONTH, 100_000, 1_000_000, 10_000_000]


def cost(command: Path, counts: Path | None, messages: int, *options: str) -> dict:
    chosen = [] if counts is None else ["--counts", counts]
    call = [command, "--json", "cost", "--messages-per-day", str(messages), *chosen, *options]
    return json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)


def usd(number: float) -> str:
    return "-" if number == 0 else "< 0.01" if 0 < abs(number) < 0.005 else f"{number:.2f}"


def months(reports: list[dict]) -> dict:
    names = [other["name"] for other in reports[0]["others"]]
    rows = []
    for report in reports:
        inference, deliver = report["bill"]["batches"]
        others = [usd(other["month_usd"]) for other in report["others"]]
        rows.append(
            [
                f"{report['messages_per_day']:,.0f}",
                usd(report["bill"]["month_usd"]),
                *others,
                usd(report["bill"]["per_million_usd"]),
                f"{inference:.1f}, {deliver:.1f}",
            ]
        )
    talking = [report for report in reports if report["messages_per_day"] > 0]
    series = {"Hoopoe": [[report["messages_per_day"], report["bill"]["month_usd"]] for report in talking]}
    for index, name in enumerate(names):
        series[name] = [[report["messages_per_day"], report["others"][index]["month_usd"]] for report in talking]
    return {
        "title": "What a month costs",
        "text": f"US dollars by the list prices of {reports[0]['region']} as looked up on {reports[0]['prices_of']}, without "
        f"free tier. Calls for a message are {reports[0]['counts']}; a machine is counted once, whether or not it is enough. "
        "Where all pollers are busy, batches fill: then a slower function makes fewer requests, which can outweigh its time.",
        "columns": ["messages a day", "Hoopoe", *names, "a million messages", "in a batch (inference, deliver)"],
        "rows": rows,
        "goals": [],
        "plots": [
            {
                "file": "cost-month",
                "title": "A month by list prices",
                "kind": "line",
                "x_label": "messages a day",
                "y_label": "USD a month",
                "log_x": True,
                "log_y": True,
                "series": series,
            }
        ],
    }


def services(report: dict) -> dict:
    sums: dict[str, list[float]] = {}
    for line in report["bill"]["lines"]:
        kind = line["item"].split(",")[0]
        values = sums.setdefault(f"{line['service']}: {kind}", [0.0, 0.0])
        values[0] += line["idle_usd"]
        values[1] += line["per_million_usd"]
    ordered = sorted(sums.items(), key=lambda item: -sum(item[1]))
    rows = [[name, usd(idle), usd(million)] for name, (idle, million) in ordered if idle or million]
    rows.append(["sum", usd(report["bill"]["idle_usd"]), usd(report["bill"]["per_million_usd"])])
    return {
        "title": "By service",
        "text": f"At a million messages a month. {report['notes'][1]} The million would be "
        f"{usd(report['per_million_in_batches_of_1_usd'])} USD in batches of 1 and "
        f"{usd(report['per_million_in_batches_of_10_usd'])} USD in batches of 10.",
        "columns": ["service", "idle, USD a month", "USD for a million messages"],
        "rows": rows,
        "goals": report["goals"],
        "plots": [
            {
                "file": "cost-services",
                "title": "A million messages by service",
                "kind": "bar",
                "x_label": "",
                "y_label": "USD",
                "log_x": False,
                "log_y": False,
                "series": {"Hoopoe": [[name, round(value, 4)] for name, value in report["services"] if value > 0]},
            }
        ],
    }


def levers(report: dict) -> dict:
    rows = [
        [lever["what"], "parameter" if lever["setting"] else "code", usd(-lever["idle_usd"]), usd(-lever["per_million_usd"])]
        for lever in report["levers"]
    ]
    for name, after in (("with the parameters", "with_settings"), ("with all", "with_all")):
        rows.append([name, "", usd(report[after]["idle_usd"]), usd(report[after]["per_million_usd"])])
    return {
        "title": "What would lower it",
        "text": "What each change would save by itself, at a million messages a month, and what is left with them.",
        "columns": ["change", "of", "idle, USD a month", "USD for a million messages"],
        "rows": rows,
        "goals": [],
        "plots": [],
    }


def model(command: Path, counts: Path | None, base: dict) -> dict:
    rows = []
    for share in ("0", "0.1", "0.5", "1"):
        report = cost(command, counts, MILLION_A_MONTH, "--llm-share", share)
        added = report["bill"]["per_million_usd"] - base["bill"]["per_million_usd"]
        rows.append([f"{float(share):.0%}", usd(added), usd(report["bill"]["per_million_usd"])])
    return {
        "title": "What a language model would add",
        "text": f"An estimate: no function asks a model yet. {base['notes'][3]}",
        "columns": ["answers by a model", "adds for a million messages, USD", "USD for a million messages"],
        "rows": rows,
        "goals": [],
        "plots": [],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", type=Path, help="the hoopoe command")
    parser.add_argument("--counts", type=Path, help="other counts than those that come with the command")
    arguments = parser.parse_args()
    reports = [cost(arguments.command, arguments.counts, messages) for messages in LOADS]
    million = reports[LOADS.index(MILLION_A_MONTH)]
    result = {
        "name": "cost",
        "title": "Cost",
        "command": "make bench-cost",
        "sections": [
            months(reports),
            services(million),
            levers(million),
            model(arguments.command, arguments.counts, million),
        ],
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    print(OUT.relative_to(ROOT))


if __name__ == "__main__":
    main()
