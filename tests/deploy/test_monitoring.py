"""Alert rules and the dashboard ask only for figures that exist, and each alert can be raised."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.test_metrics import families, rules

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
OF_THE_PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}  # of Prometheus' own client
FETCHED = ROOT / ".promtool/usr/bin"  # by `make alerts`
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=FETCHED)
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: make alerts fetches it")


def queries() -> list[str]:
    panels = json.loads((ROOT / "deploy/grafana/joinder.json").read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(found) > 20
    return found


def promtool(*arguments: str | Path) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_alert_is_raised_by_a_case_and_kept_quiet_by_another() -> None:
    cases = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    asked = [one for case in cases for one in case["alert_rule_test"]]
    names = {rule["alert"] for rule in rules()}
    assert {one["alertname"] for one in asked if one["exp_alerts"]} == names
    assert {one["alertname"] for one in asked if not one["exp_alerts"]} == names


@needs_promtool
def test_every_alert_is_raised() -> None:
    promtool("test", "rules", PROMETHEUS / "alerts_test.yml")


def test_every_alert_has_its_runbook() -> None:
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs/runbooks.md").read_text(), re.M)
    assert sorted(headings) == sorted(rule["alert"] for rule in rules())
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{rule['alert'].lower()}"


def test_the_dashboard_asks_for_figures_and_labels_that_exist() -> None:
    known = families()
    shown = set()
    for query in queries():
        names = set(re.findall(r"\b(?:joinder|process)_\w+", query))
        assert names <= set(known) | OF_THE_PROCESS, query
        shown |= names
        labels = {label for name in names & set(known) for label in known[name]} | {"le", "instance"}
        grouped = re.findall(r"by \(([^)]*)\)", query)
        assert {name.strip() for part in grouped for name in part.split(",")} <= labels, query
        for name, selector in re.findall(r"(joinder_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)(?:=~|!=|!~|=)\"", selector)) <= set(known[name]), query
    bare = {name.removesuffix("_bucket") for name in shown}
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in known}
    assert bare - OF_THE_PROCESS == ours, "each figure stands in the dashboard"


@needs_promtool
def test_prometheus_reads_every_query_of_the_dashboard(tmp_path: Path) -> None:
    plain = [query.replace("$__rate_interval", "5m").replace("$vendor", ".*") for query in queries()]
    group: dict[str, Any] = {"name": "dashboard"}
    group["rules"] = [{"record": f"panel:{index}", "expr": query} for index, query in enumerate(plain)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [group]}))
    promtool("check", "rules", tmp_path / "rules.yml")


def test_panels_do_not_lie_over_each_other() -> None:
    panels = json.loads((ROOT / "deploy/grafana/joinder.json").read_text())["panels"]
    places = [
        (x, y)
        for panel in panels
        for grid in [panel["gridPos"]]
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
