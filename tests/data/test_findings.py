"""Findings are counted without end and kept fairly."""

from __future__ import annotations

from embedctl.data.findings import Findings
from embedctl.reading.documents import Fault


def listed(findings: Findings) -> list[tuple[int, str]]:
    return [(found["line"], found["code"]) for found in findings.listed()]


def test_a_frequent_code_does_not_hide_a_rare_one():
    findings = Findings(4)
    for line in range(1, 1001):
        findings.add(line, Fault("neg", "frequent", "m"))
    findings.add(900, Fault("pos", "rare", "m"))
    assert findings.total == 1001
    assert findings.counts == {"frequent": 1000, "rare": 1}
    assert listed(findings) == [(1, "frequent"), (2, "frequent"), (3, "frequent"), (900, "rare")]


def test_the_first_lines_are_kept_in_whatever_order_they_come():
    findings = Findings(3)
    for line in (50, 7, 90, 3, 8, 60):
        findings.add(line, Fault("query", "code", "m"))
    assert listed(findings) == [(3, "code"), (7, "code"), (8, "code")]


def test_nothing_is_kept_at_limit_0():
    findings = Findings(0)
    findings.add(1, Fault("query", "code", "m"))
    assert (findings.total, listed(findings)) == (1, [])


def test_what_is_listed_says_all_of_a_fault():
    findings = Findings(1)
    findings.add(5, Fault("pos[2]", "empty", "the text is empty"))
    assert findings.listed() == [{"line": 5, "field": "pos[2]", "code": "empty", "message": "the text is empty"}]
