"""A report as JUnit XML: each objective is a test case, so that a build server shows them."""

from __future__ import annotations

from xml.etree import ElementTree

from headgate.simulate.report import Report


def junit_xml(report: Report) -> str:
    """The objectives, the validity of the run and its problem, as one test suite."""
    suite = ElementTree.Element("testsuite", name="headgate simulate", timestamp=report.started)
    suite.set("time", f"{report.seconds:.3f}")
    failures = 0
    for judgement in report.objectives:
        case = _case(suite, judgement.objective)
        if not judgement.passed:
            failures += 1
            message = f"{judgement.objective}: measured {judgement.shown}"
            ElementTree.SubElement(case, "failure", message=message, type="objective")
    troubles = [("the run is valid", "invalid", "; ".join(report.invalid))]
    troubles.append(("the run was carried out", report.verdict, report.problem or ""))
    errors = 0
    for name, kind, text in troubles:
        case = _case(suite, name)
        if text:
            errors += 1
            ElementTree.SubElement(case, "error", message=_legal(text.splitlines()[0]), type=kind).text = _legal(text)
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(failures))
    suite.set("errors", str(errors))
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname="headgate.simulate", name=name, time="0")


def _legal(text: str) -> str:
    """XML 1.0 §2.2 allows no control characters but tab, newline and return."""
    return "".join(c for c in text if c in "\t\n\r" or c >= " ")
