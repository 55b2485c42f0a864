"""Certificates for tests, made by the openssl program."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """A certificate that vouches for itself, for localhost and 127.0.0.1."""

    cert: Path
    key: Path

    def client(self) -> ssl.SSLContext:
        """What a client needs that trusts only this one."""
        return ssl.create_default_context(cafile=str(self.cert))

    def replace_by(self, other: Certificate) -> None:
        """Put another's files in the place of these, as a renewal does: each at once, one after the other."""
        for ours, theirs in ((self.cert, other.cert), (self.key, other.key)):
            fresh = ours.with_suffix(".new")
            fresh.write_bytes(theirs.read_bytes())
            fresh.replace(ours)


def certificate(folder: Path, name: str = "server", password: str = "") -> Certificate:
    """Make one; with a password its key is encrypted."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "3"]
    words += ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    words += ["-keyout", str(made.key), "-out", str(made.cert)]
    words += ["-passout", f"pass:{password}"] if password else ["-nodes"]
    subprocess.run(words, check=True, capture_output=True, timeout=30)
    return made
