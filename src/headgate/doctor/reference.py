"""The rules as the reference page: `headgate doctor --reference > docs/reference/doctor-rules.md`."""

from __future__ import annotations

from typing import Final

from headgate.doctor.rules import RULES

_HEAD: Final = """# Doctor's rules

What [`headgate doctor`](../how-to/examine-a-deployment.md) looks for. Made from the rules themselves, by
`headgate doctor --reference`.

| rule | severity | finds |
|---|---|---|
"""


_NAMES: Final = ("request.", "psycopg", "cffi", "gunicorn", "nginx", "fapolicyd")
"""What keeps its small letter at the beginning of a sentence."""


def reference() -> str:
    """The page."""
    rows = "".join(f"| [`{rule.id}`](#{rule.id}) | {rule.severity} | {rule.title} |\n" for rule in RULES.values())
    parts = [
        f"\n## {rule.id}\n\n**{rule.title}** ({rule.severity}).\n\n{_sentence(rule.why)}\n\n*Fix:* {rule.fix}\n\n"
        f"*Source:* {_source(rule.source)}\n"
        for rule in RULES.values()
    ]
    return _HEAD + rows + "".join(parts)


def _sentence(text: str) -> str:
    return text if text.startswith(_NAMES) else text[0].upper() + text[1:]


def _source(source: str) -> str:
    return f"<{source}>" if "://" in source else f"[{source}](../../{source})"
