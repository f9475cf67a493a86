"""A report as JUnit XML: a suite a model, a case a check.

A case is a check and not a row: a check may hold though some rows fail it, and CI tools take every
failed case for a failed build. The rows stand in the case's text.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree as Xml

from swath.evals.golden.report import Report
from swath.evals.golden.text import check_text, interval

# What XML 1.0 cannot hold, even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report) -> bytes:
    root = Xml.Element("testsuites", name=_plain(report.name))
    tests = failures = 0
    for model in report.models:
        suite = Xml.SubElement(root, "testsuite", name=_plain(f"{report.name} [{model}]"))
        cases = _cases(report, model)
        for name, broken, text in cases:
            case = Xml.SubElement(
                suite, "testcase", classname=_plain(f"{report.name}.{model}"), name=_plain(name)
            )
            case.set("time", "0")
            if broken and report.status == "stopped":
                Xml.SubElement(case, "skipped", message="stopped at the budget")
                Xml.SubElement(case, "system-out").text = _plain(text)
            elif broken:
                failure = Xml.SubElement(case, "failure", message=_plain(broken), type="check")
                failure.text = _plain(text)
            elif text:
                Xml.SubElement(case, "system-out").text = _plain(text)
        stopped = report.status == "stopped"
        failed = 0 if stopped else sum(bool(broken) for _, broken, _ in cases)
        when = datetime.fromtimestamp(report.at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        for key, value in (
            ("tests", str(len(cases))),
            ("failures", str(failed)),
            ("errors", "0"),
            ("skipped", str(len(cases) if stopped else 0)),
            ("time", f"{report.metrics.seconds / len(report.models):.3f}"),
            ("timestamp", when),
        ):
            suite.set(key, value)
        tests, failures = tests + len(cases), failures + failed
    root.set("tests", str(tests))
    root.set("failures", str(failures))
    root.set("errors", "0")
    Xml.indent(root)
    data: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _cases(report: Report, model: str) -> list[tuple[str, str, str]]:
    """(name, what broke, text) of each check and each comparison with before."""
    found = [
        (
            c.check,
            "" if c.ok else f"{interval(c.score)}, needs {c.needs}",
            check_text(report, c),
        )
        for c in report.checks
        if c.model == model
    ]
    found += [
        (f"{r.check} against {r.against}", r.sentence if r.regressed else "", r.sentence)
        for r in report.regressions
        if r.model == model
    ]
    return found


def _plain(text: str) -> str:
    return _FORBIDDEN.sub("�", text)
