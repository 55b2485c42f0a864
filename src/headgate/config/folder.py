"""The data folder: where each thing in it is. Only names; making and reading is its user's work."""

from __future__ import annotations

from pathlib import Path


class DataFolder:
    """The paths inside a data folder.

    Args:
        root: the folder itself, as in the `data` setting.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @property
    def run(self) -> Path:
        """Sockets and pid; only the owner may enter it (0700)."""
        return self.root / "run"

    @property
    def spool(self) -> Path:
        """Request bodies that are too large for memory."""
        return self.root / "spool"

    @property
    def offload(self) -> Path:
        """Large bodies of requests that run as jobs, each under its job's id."""
        return self.root / "offload"

    @property
    def marks(self) -> Path:
        """What each job worker is running, for whoever sees it die."""
        return self.run / "marks"

    @property
    def watch(self) -> Path:
        """The boards and incidents of `headgate watch`."""
        return self.run / "watch"

    @property
    def database(self) -> Path:
        """The embedded broker's SQLite file."""
        return self.root / "broker.db"

    @property
    def secret(self) -> Path:
        """The key that signs job and stream addresses (0600), made at the first start."""
        return self.root / "secret"

    @property
    def lock(self) -> Path:
        """Held by the supervisor while it lives."""
        return self.root / "supervisor.lock"

    @property
    def pid(self) -> Path:
        return self.run / "supervisor.pid"

    @property
    def control(self) -> Path:
        """Where the supervisor answers `headgate status`, `reload` and `stop`."""
        return self.run / "control.sock"

    @property
    def broker(self) -> Path:
        """Where the embedded broker is dialled."""
        return self.run / "broker.sock"

    def link(self, gateway: int, number: int = 1) -> Path:
        """The link socket of a gateway; the second and later ones are those of gateways that take over."""
        return self.run / (f"gateway.{gateway}.sock" if number == 1 else f"gateway.{gateway}.{number}.sock")

    def admin(self, gateway: int) -> Path:
        """Where a gateway serves its metrics."""
        return self.run / f"admin.{gateway}.sock"
