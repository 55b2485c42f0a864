"""Every setting, declared once: key, type, default, help. Files, environment, flags and docs come from here.

A `Settings` is frozen data: making one opens, imports and logs nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from headgate.config.folder import DataFolder

Lane = Literal["fast", "slow"]
Role = Literal["broker", "gateway", "app", "jobs", "rq", "celery"]
AccessFormat = Literal["logfmt", "combined", "json"]
SlowClient = Literal["close", "drop"]
LogLevel = Literal["debug", "info", "warning", "error"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""In the order in which they are started."""
KIB: Final = 1024
MIB: Final = 1024 * KIB


class Topic(StrEnum):
    """The sections of the reference page, in its order."""

    BASICS = "Basics"
    PROCESSES = "Processes"
    LIFE = "Start, stop and health"
    HTTP = "Requests"
    LANES = "Lanes"
    SOCKETS = "WebSockets"
    JOBS = "Jobs and streams"
    SAFETY = "Addresses and secrets"
    LOGS = "Logs"
    WATCH = "Watch"


class Unit(StrEnum):
    """What a number counts; seconds and bytes may also be written as text ("30s", "64MiB")."""

    SECONDS = "seconds"
    BYTES = "bytes"
    MILLISECONDS = "milliseconds"


@dataclass(frozen=True)
class Option:
    """What a setting's type and default do not say.

    Args:
        topic: the section of the reference page.
        help: one line, without a full stop.
        unit: what a number counts.
        least: the smallest value allowed.
        most: the greatest.
        flag: the flag of `headgate run`; settings without one are for files and the environment.
        secret: never shown.
        shown_default: how to write a default that depends on the machine.
    """

    topic: Topic
    help: str
    unit: Unit | None = None
    least: float | None = None
    most: float | None = None
    flag: str | None = None
    secret: bool = False
    shown_default: str | None = None


def cores() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gateways() -> int:
    return max(1, cores() // 4)


def _workers() -> int:
    return max(1, cores() // 2)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one Headgate. `headgate.config.load.load` makes it from files, environment and flags."""

    # Basics
    app: Annotated[
        str, Option(Topic.BASICS, 'The app: "module:attribute", or "module:factory()" to call a factory')
    ] = ""
    bind: Annotated[
        tuple[str, ...],
        Option(Topic.BASICS, 'Where to listen: "host:port" or "unix:PATH"; several are allowed', flag="--bind"),
    ] = ("127.0.0.1:8000",)
    data: Annotated[str, Option(Topic.BASICS, "The data folder: sockets, spool, jobs", flag="--data")] = ".headgate"
    broker: Annotated[
        str,
        Option(
            Topic.BASICS,
            'The engine: "embedded", "memory" (nothing on disk), "unix:PATH" of a broker on this machine, or the URL '
            "of a Redis or Valkey for many machines",
            flag="--broker",
        ),
    ] = "embedded"
    rq_url: Annotated[
        str, Option(Topic.BASICS, 'The Redis of RQ, for jobs with engine="rq"; empty: that of `broker`', secret=True)
    ] = ""
    celery_app: Annotated[
        str, Option(Topic.BASICS, 'The Celery app, as "module:attribute", for jobs with engine="celery"')
    ] = ""
    wait_replicas: Annotated[
        int,
        Option(Topic.BASICS, "Redis replicas that must have a job before `enqueue` returns; 0 for none", least=0),
    ] = 0

    # Processes
    roles: Annotated[
        tuple[Role, ...], Option(Topic.PROCESSES, "The roles to run here; the others run elsewhere", flag="--roles")
    ] = ROLES
    gateways: Annotated[
        int,
        Option(
            Topic.PROCESSES,
            "Gateway processes, which hold the connections",
            least=1,
            flag="--gateways",
            shown_default="a quarter of the cores, at least 1",
        ),
    ] = msgspec.field(default_factory=_gateways)
    workers: Annotated[
        int,
        Option(
            Topic.PROCESSES,
            "App worker processes in the fast lane",
            least=1,
            flag="--workers",
            shown_default="half of the cores, at least 1",
        ),
    ] = msgspec.field(default_factory=_workers)
    slow_workers: Annotated[
        int, Option(Topic.PROCESSES, "App worker processes in the slow lane", least=0, flag="--slow-workers")
    ] = 1
    threads: Annotated[
        int, Option(Topic.PROCESSES, "Handlers that a fast app worker runs at once", least=1, flag="--threads")
    ] = 8
    slow_threads: Annotated[
        int, Option(Topic.PROCESSES, "Handlers that a slow app worker runs at once", least=1, flag="--slow-threads")
    ] = 40
    slow_threads_most: Annotated[
        int,
        Option(
            Topic.PROCESSES,
            "Handlers that a slow app worker runs at once while they wait rather than compute; 0 means slow_threads",
            least=0,
        ),
    ] = 160
    loop_threads: Annotated[
        int, Option(Topic.PROCESSES, "Sockets with a loop of their own (flask-sock) per app worker", least=1)
    ] = 1000
    jobs: Annotated[int, Option(Topic.PROCESSES, "Job worker processes: jobs run at once", least=0, flag="--jobs")] = 2
    rq_workers: Annotated[
        int, Option(Topic.PROCESSES, "Ordinary RQ workers to start and supervise here", least=0, flag="--rq-workers")
    ] = 0
    celery_workers: Annotated[
        int,
        Option(
            Topic.PROCESSES,
            "Processes of an ordinary Celery worker to start and supervise here; 0 for none",
            least=0,
            flag="--celery-workers",
        ),
    ] = 0
    job_nice: Annotated[
        int, Option(Topic.PROCESSES, "How much a job worker yields the CPU to the others (0 to 19)", least=0)
    ] = 5

    # Start, stop and health
    reload: Annotated[
        bool, Option(Topic.LIFE, "Start a new generation when a source file changes", flag="--reload")
    ] = False
    reload_dirs: Annotated[
        tuple[str, ...],
        Option(Topic.LIFE, "Folders watched by `reload`", shown_default="the folder of the app"),
    ] = ()
    boot_timeout: Annotated[
        float, Option(Topic.LIFE, "Time for a process to become ready", Unit.SECONDS, least=0.1)
    ] = 60.0
    stop_timeout: Annotated[
        float,
        Option(Topic.LIFE, "Time to finish what is under way at a stop", Unit.SECONDS, least=0, flag="--stop-timeout"),
    ] = 30.0
    reload_timeout: Annotated[
        float,
        Option(Topic.LIFE, "Time for the old generation to finish its requests and jobs", Unit.SECONDS, least=0),
    ] = 3600.0
    unready_time: Annotated[
        float,
        Option(
            Topic.LIFE,
            "How long, at a stop, `/-/ready` says no before nothing new is taken: for load balancers that look at it",
            Unit.SECONDS,
            least=0,
        ),
    ] = 0.0
    move_timeout: Annotated[
        float,
        Option(
            Topic.LIFE,
            "Time over which `headgate reload --gateways` moves the sockets of the old gateways",
            Unit.SECONDS,
            least=1,
        ),
    ] = 120.0
    heartbeat_timeout: Annotated[
        float, Option(Topic.LIFE, "Silence after which a process counts as stalled", Unit.SECONDS, least=3)
    ] = 15.0

    # Requests
    max_connections: Annotated[int, Option(Topic.HTTP, "Open client connections per gateway", least=1)] = 20_000
    max_target: Annotated[
        int, Option(Topic.HTTP, "The longest path and query of a request; beyond it 414", Unit.BYTES, least=256)
    ] = 16 * KIB
    max_head: Annotated[
        int, Option(Topic.HTTP, "All headers of a request together; beyond it 431", Unit.BYTES, least=1024)
    ] = 64 * KIB
    max_headers: Annotated[int, Option(Topic.HTTP, "How many headers a request has; beyond it 431", least=8)] = 200
    max_body: Annotated[int, Option(Topic.HTTP, "The largest request body; beyond it 413", Unit.BYTES, least=0)] = (
        64 * MIB
    )
    body_memory: Annotated[int, Option(Topic.HTTP, "Request bodies beyond this wait on disk", Unit.BYTES, least=0)] = (
        256 * KIB
    )
    request_timeout: Annotated[
        float, Option(Topic.HTTP, "Time for the app to begin its answer; 0 means no limit", Unit.SECONDS, least=0)
    ] = 0.0
    head_timeout: Annotated[
        float, Option(Topic.HTTP, "Time for the head of a request to be complete", Unit.SECONDS, least=1)
    ] = 20.0
    body_timeout: Annotated[
        float, Option(Topic.HTTP, "Silence in an upload after which it is given up", Unit.SECONDS, least=1)
    ] = 30.0
    body_rate: Annotated[
        float,
        Option(Topic.HTTP, "Bytes per second that a slow upload must average; 0 means no limit", least=0),
    ] = 100.0
    send_timeout: Annotated[
        float,
        Option(
            Topic.HTTP,
            "How long a client may take nothing of its response before it is cut off; 0 means no limit",
            Unit.SECONDS,
            least=0,
        ),
    ] = 60.0
    keepalive_timeout: Annotated[
        float, Option(Topic.HTTP, "How long an idle HTTP connection stays open", Unit.SECONDS, least=1)
    ] = 75.0
    root_path: Annotated[str, Option(Topic.HTTP, "The path prefix under which a proxy serves the app")] = ""
    offload: Annotated[
        tuple[str, ...],
        Option(Topic.HTTP, 'Handlers that may run as jobs for `Prefer: respond-async`, as "POST /reports/*"'),
    ] = ()

    # Lanes
    lanes: Annotated[bool, Option(Topic.LANES, "Keep slow handlers apart from fast ones")] = True
    lane: Annotated[dict[str, Lane], Option(Topic.LANES, "Handlers pinned to a lane: handler → fast or slow")] = {}
    fast_ms: Annotated[
        float, Option(Topic.LANES, "A handler whose p95 is below this is fast", Unit.MILLISECONDS, least=0)
    ] = 25.0
    queue_length: Annotated[int, Option(Topic.LANES, "Requests that wait per lane; beyond it 503", least=0)] = 512
    queue_age: Annotated[
        float, Option(Topic.LANES, "How long a request waits for the fast lane before 503", Unit.SECONDS, least=0)
    ] = 10.0
    slow_queue_age: Annotated[
        float, Option(Topic.LANES, "How long a request waits for the slow lane before 503", Unit.SECONDS, least=0)
    ] = 60.0

    # WebSockets
    max_message: Annotated[
        int, Option(Topic.SOCKETS, "The largest message from a client; beyond it close 1009", Unit.BYTES, least=1)
    ] = 1 * MIB
    deflate: Annotated[
        bool, Option(Topic.SOCKETS, "Offer permessage-deflate: fewer bytes for more CPU in the gateway")
    ] = False
    deflate_window: Annotated[
        int, Option(Topic.SOCKETS, "Bits of the windows of permessage-deflate (9 to 15)", least=9, most=15)
    ] = 12
    deflate_takeover: Annotated[
        bool, Option(Topic.SOCKETS, "Let clients refer back to earlier messages: a window of memory per socket")
    ] = True
    message_rate: Annotated[
        float, Option(Topic.SOCKETS, "Messages per second of one connection; 0 means no limit", least=0)
    ] = 0.0
    handshake_rate: Annotated[
        float, Option(Topic.SOCKETS, "New sockets per second and gateway; 0 means no limit", least=0)
    ] = 0.0
    handshakes: Annotated[
        int, Option(Topic.SOCKETS, "Handshakes under way per gateway; beyond it 503 with Retry-After", least=1)
    ] = 1000
    sockets_per_address: Annotated[
        int, Option(Topic.SOCKETS, "Sockets of one client address per gateway; 0 means no limit", least=0)
    ] = 0
    sockets_per_key: Annotated[
        int, Option(Topic.SOCKETS, "Sockets of one key (`sock.key`) per gateway; 0 means no limit", least=0)
    ] = 0
    inbox: Annotated[int, Option(Topic.SOCKETS, "Messages that wait per connection", least=1)] = 64
    outbox_bytes: Annotated[
        int, Option(Topic.SOCKETS, "What is kept for a client that does not read", Unit.BYTES, least=1024)
    ] = 1 * MIB
    outbox_age: Annotated[
        float, Option(Topic.SOCKETS, "How long a client may leave an answer unread", Unit.SECONDS, least=1)
    ] = 30.0
    origins: Annotated[
        tuple[str, ...],
        Option(Topic.SOCKETS, 'Origins whose pages may connect: "https://…", "self" for the same host, "*" for all'),
    ] = ("*",)
    ping_interval: Annotated[
        float, Option(Topic.SOCKETS, "Time between pings; 0 sends none", Unit.SECONDS, least=0)
    ] = 20.0
    ping_timeout: Annotated[
        float, Option(Topic.SOCKETS, "Time to answer a ping before the connection is closed", Unit.SECONDS, least=0)
    ] = 20.0
    event_field: Annotated[
        tuple[str, ...], Option(Topic.SOCKETS, "Fields of a JSON message that name its event, tried in order")
    ] = ("type", "event", "action")
    socketio_recovery: Annotated[
        float,
        Option(
            Topic.SOCKETS,
            "Time for which a Socket.IO client that was cut off may come back to its sid, rooms and missed events; "
            "0 turns that off. Events then carry an offset as a last argument, as with Socket.IO's own server",
            Unit.SECONDS,
            least=0,
        ),
    ] = 0.0
    socketio_slow_client: Annotated[
        SlowClient,
        Option(
            Topic.SOCKETS,
            'What happens to a Socket.IO client with more than outbox_bytes unread: "close", or "drop" the oldest of '
            "what was sent to its rooms",
        ),
    ] = "close"

    # Jobs and streams
    queues: Annotated[
        tuple[str, ...], Option(Topic.JOBS, 'Queues that the job workers serve, "*" being all', flag="--queues")
    ] = ("*",)
    rq_queues: Annotated[
        tuple[str, ...], Option(Topic.JOBS, "Queues of RQ that `rq_workers` serve, the first one first")
    ] = ("default",)
    celery_queues: Annotated[tuple[str, ...], Option(Topic.JOBS, "Queues of Celery that `celery_workers` serve")] = (
        "default",
        "celery",
    )
    job_max_jobs: Annotated[
        int, Option(Topic.JOBS, "A job worker is replaced after this many jobs; 0 means never", least=0)
    ] = 0
    job_max_memory: Annotated[
        int, Option(Topic.JOBS, "A job worker that holds more is replaced; 0 means never", Unit.BYTES, least=0)
    ] = 0
    queue_depth: Annotated[int, Option(Topic.JOBS, "Jobs that wait per queue; beyond it QueueFull", least=1)] = 100_000
    job_lease: Annotated[
        float, Option(Topic.JOBS, "A job worker's hold on a job unless renewed", Unit.SECONDS, least=1)
    ] = 15.0
    job_arguments_bytes: Annotated[
        int,
        Option(Topic.JOBS, "The largest arguments and checkpoint of a job", Unit.BYTES, least=0, most=8 * MIB),
    ] = 1 * MIB
    job_result_bytes: Annotated[
        int, Option(Topic.JOBS, "The largest result of a job", Unit.BYTES, least=0, most=16 * MIB)
    ] = 1 * MIB
    result_ttl: Annotated[
        float, Option(Topic.JOBS, "How long a finished job and its stream are kept", Unit.SECONDS, least=0)
    ] = 86_400.0
    stream_events: Annotated[
        int, Option(Topic.JOBS, "Events kept of a stream of user code or a channel's history", least=1)
    ] = 10_000
    stream_bytes: Annotated[
        int, Option(Topic.JOBS, "Bytes kept of such a stream; 0 means no limit", Unit.BYTES, least=0)
    ] = 64 * MIB
    stream_age: Annotated[
        float, Option(Topic.JOBS, "How long its events are kept; 0 means no limit", Unit.SECONDS, least=0)
    ] = 0.0
    stream_ttl: Annotated[
        float, Option(Topic.JOBS, "How long such a stream is kept after its last append", Unit.SECONDS, least=1)
    ] = 604_800.0
    job_stream_events: Annotated[int, Option(Topic.JOBS, "Events kept of a job's stream", least=100)] = 10_000
    job_stream_bytes: Annotated[
        int, Option(Topic.JOBS, "Bytes kept of a job's stream; 0 means no limit", Unit.BYTES, least=0)
    ] = 16 * MIB
    stream_heartbeat: Annotated[
        float, Option(Topic.JOBS, "An event stream (SSE) that is silent gets a comment", Unit.SECONDS, least=0.1)
    ] = 15.0
    stream_sse: Annotated[
        float,
        Option(Topic.JOBS, "An event stream (SSE) ends, and its client comes back", Unit.SECONDS, least=1),
    ] = 60.0
    stream_poll: Annotated[
        float, Option(Topic.JOBS, "A long-poll is answered, with or without news", Unit.SECONDS, least=0.1)
    ] = 20.0

    # Addresses and secrets
    secret: Annotated[
        str,
        Option(
            Topic.SAFETY,
            "Signs the addresses of jobs and streams",
            secret=True,
            shown_default="made at the first start, in the data folder",
        ),
    ] = ""
    tls_cert: Annotated[
        str, Option(Topic.SAFETY, "The certificate chain (PEM): every TCP address then speaks TLS", flag="--tls-cert")
    ] = ""
    tls_key: Annotated[
        str, Option(Topic.SAFETY, "The key of `tls_cert` (PEM), unless it is in the same file", flag="--tls-key")
    ] = ""
    tls_key_password: Annotated[str, Option(Topic.SAFETY, "Decrypts `tls_key`", secret=True)] = ""
    tls_ciphers: Annotated[
        str, Option(Topic.SAFETY, "Ciphers of TLS 1.2, in OpenSSL's words; empty means OpenSSL's defaults")
    ] = ""
    tls_client_ca: Annotated[
        str, Option(Topic.SAFETY, "Authorities (PEM) one of which must have signed each client's certificate")
    ] = ""
    proxy_protocol: Annotated[
        bool, Option(Topic.SAFETY, "Connections from `trusted_proxies` begin with a PROXY protocol header (v1 or v2)")
    ] = False
    trusted_proxies: Annotated[
        tuple[str, ...],
        Option(Topic.SAFETY, 'Peers whose X-Forwarded-* headers count: addresses, networks, "unix"'),
    ] = ("127.0.0.1", "::1", "unix")

    # Logs
    log_level: Annotated[LogLevel, Option(Topic.LOGS, "The least severe lines to log", flag="--log-level")] = "info"
    access_log: Annotated[bool, Option(Topic.LOGS, "Log a line per request and handshake", flag="--access-log")] = False
    access_log_format: Annotated[
        AccessFormat, Option(Topic.LOGS, "Its form: logfmt among the other lines; combined or json as bare lines")
    ] = "logfmt"
    metrics: Annotated[
        str,
        Option(Topic.LOGS, 'Where gateway 0 serves Prometheus metrics, "host:port"; the next ones on the next ports'),
    ] = ""

    # Watch
    watch: Annotated[bool, Option(Topic.WATCH, "Name what blocks loops and handlers, in the log and in status")] = True
    watch_threshold: Annotated[
        float, Option(Topic.WATCH, "How long a loop may be busy without turning", Unit.SECONDS, least=0.01)
    ] = 0.1
    watch_handler_threshold: Annotated[
        float, Option(Topic.WATCH, "How long a handler may run in its thread", Unit.SECONDS, least=0.01)
    ] = 2.0

    @property
    def folder(self) -> DataFolder:
        """The paths inside the data folder."""
        return DataFolder(self.data)


@dataclass(frozen=True)
class Declared:
    """One setting as declared: what every reader of the declarations works from."""

    key: str
    type: Any
    default: Any
    option: Option

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"HEADGATE_{self.key.upper()}"


def _declared(field: msgspec.structs.FieldInfo) -> Declared:
    kind, option = get_args(field.type)
    made = field.default_factory
    default = field.default if made is msgspec.NODEFAULT else made()
    return Declared(field.name, kind, default, option)


DECLARED: Final[dict[str, Declared]] = {field.name: _declared(field) for field in msgspec.structs.fields(Settings)}
"""Every setting by its key, in the order of declaration."""
