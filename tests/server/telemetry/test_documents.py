"""docs/metrics.md against what is exposed, and the alerts against docs/metrics.md."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter, Histogram
from prometheus_client.core import Metric
from ruamel.yaml import YAML

from server.telemetry.exposition import Shown
from server.telemetry.looks import Disk, Queue, Scene
from server.web.counting import counters
from workers.core.queue.census import Census, Entries
from workers.core.telemetry.status import WorkerState
from workers.core.telemetry.tallies import KNOWN

DOCS = Path(__file__).resolve().parents[3] / "docs"
ROW = re.compile(r"^\| `(ldiffusion_\w+)` \| *(.*?) *\| (.+) \|$", flags=re.MULTILINE)
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
THEIRS = {"up": {"job", "instance"}}
"""What Prometheus itself tells of whom it scrapes."""


def shown() -> Iterator[Metric]:
    state = WorkerState(device="cpu", busy_share=0.5, memory_bytes=1, memory_max_bytes=2, since=datetime.now(UTC))
    census = Census(
        queues=(Entries(queue="ldiffusion:control", tasks=0, oldest_s=0),),
        standings=(),
        workers={"0" * 32: state},
        webhooks=0,
    )
    sums = [(tally, tuple("x" for _ in tally.labels), 1.0) for tally in KNOWN.values()]
    return Shown(Scene(Queue(census, sums), Disk(1, 1), 0, 0), "0").collect()


EXPOSED = {each.name: each for each in shown() if not each.name.startswith("process_")}
DOCUMENTED = {
    name: (tuple(re.findall(r"`(\w+)`", labels)), about)
    for name, labels, about in ROW.findall((DOCS / "metrics.md").read_text())
}
RULES: dict[str, Any] = YAML(typ="safe").load((DOCS / "prometheus-rules.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]


def test_every_metric_is_documented_as_it_is() -> None:
    named = {f"{name}_total" if each.type == "counter" else name: each.documentation for name, each in EXPOSED.items()}
    assert {name: about for name, (_, about) in DOCUMENTED.items()} == named
    assert len(named) > 30


def test_every_label_is_documented() -> None:
    for name, each in EXPOSED.items():
        labels, _ = DOCUMENTED[f"{name}_total" if each.type == "counter" else name]
        for sample in each.samples:
            assert tuple(label for label in sample.labels if label != "le") == labels, name
    for counter in vars(counters).values():  # what was not counted yet has no samples
        if isinstance(counter, (Counter, Histogram)):
            family = next(iter(counter.describe()))
            assert DOCUMENTED[f"{family.name}_total" if family.type == "counter" else family.name][0] == tuple(
                counter._labelnames
            )


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"].endswith(".")
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "0m"))
    check_expression(rule["expr"])


def check_expression(expression: str) -> None:
    """Check that an expression names metrics and labels that there are."""
    names = {
        f"{name}{suffix}": {*DOCUMENTED[f"{name}_total" if each.type == "counter" else name][0], "le"}
        for name, each in EXPOSED.items()
        for suffix in SUFFIXES[each.type]
    } | THEIRS
    assert expression.count("(") == expression.count(")")
    selectors = re.findall(r"\b(ldiffusion_\w+|up\b)(?:\{([^}]*)\})?", expression)
    assert selectors
    known = {"instance", "job"}
    for name, selector in selectors:
        assert name in names, name
        assert set(re.findall(r"(\w+)\s*[!=]", selector)) <= names[name] | known, (name, selector)
        known |= names[name]
    for by in re.findall(r"\b(?:by|without|ignoring|on) \(([^)]*)\)", expression):
        assert set(re.findall(r"\w+", by)) <= known, by


def test_the_expressions_of_the_document_ask_for_what_there_is() -> None:
    table = (DOCS / "metrics.md").read_text().partition("| question |")[2].partition("\n\n")[0]
    expressions = re.findall(r"^\| [a-z][^|]+ \| `(.+)` \|$", table, flags=re.MULTILINE)
    assert len(expressions) >= 5
    for each in expressions:
        check_expression(each)


@pytest.mark.parametrize("expression", ["rate(ldiffusion_gone_total[5m])", 'ldiffusion_jobs{stat="queued"}', "sum(1"])
def test_an_expression_that_asks_for_what_is_not_there_is_found(expression: str) -> None:
    with pytest.raises(AssertionError):
        check_expression(expression)


def test_alerts_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(names) == len(set(names)) >= 10
