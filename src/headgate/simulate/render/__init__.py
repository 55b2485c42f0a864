"""A report for people and for machines: terminal, HTML, JUnit XML, Prometheus text."""
