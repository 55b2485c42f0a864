"""Rules on gunicorn's own settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from headgate.doctor.case import Case
from headgate.doctor.model import Change, Finding, Severity
from headgate.doctor.rules.registry import rule
from headgate.doctor.rules.work import long_work

_DOCS: Final = "https://docs.gunicorn.org/en/latest/settings.html"
_THREAD_STARTS: Final = (
    "threading.Thread().start",
    "threading.Timer().start",
    "apscheduler.schedulers.background.BackgroundScheduler().start",
    "concurrent.futures.ThreadPoolExecutor",
    "concurrent.futures.thread.ThreadPoolExecutor",
)


@rule(
    "gunicorn-eventlet",
    "The eventlet worker is gone from gunicorn 26",
    Severity.ERROR,
    why="gunicorn 26 removed the worker class, so the next upgrade does not start.",
    fix="Run the app with `headgate run`; or pin gunicorn below 26 until it can be moved.",
    source="https://docs.gunicorn.org/en/latest/news.html",
    rank=20,
)
def eventlet_worker(case: Case) -> Iterator[Finding]:
    package = case.packages.get("gunicorn")
    if package is not None and package.most is not None and package.most < 26:
        return
    for server in case.web("gunicorn"):
        if server.worker_class == "eventlet":
            known = "gunicorn without a pin"
            if package is not None and (package.version or package.said):
                known = f"gunicorn {package.version}" if package.version else f"gunicorn{package.said}"
            places = (server.where("worker_class"), *((package.place,) if package is not None else ()))
            yield Finding("gunicorn-eventlet", f"the eventlet worker with {known}", places)


@rule(
    "gunicorn-timeout",
    "gunicorn's timeout is shorter than the work",
    Severity.WARNING,
    why="sync workers, and green ones whose hub is blocked, are killed after `timeout` (30 s by default), with every "
    "request and socket that they hold.",
    fix="Move the long work into a job; raising timeout= only makes the stall longer.",
    source=f"{_DOCS}#timeout",
    rank=25,
)
def timeout(case: Case) -> Iterator[Finding]:
    work = next(long_work(case), None)
    waits = [
        (location.inherited("proxy_read_timeout"), location)
        for location in case.locations()
        if location.inherited("proxy_read_timeout") is not None
    ]
    for server in case.web("gunicorn"):
        limit = server.number("timeout", 30)
        if server.worker_class not in ("sync", "eventlet", "gevent") or not 0 < limit <= 30:
            continue
        longer = [found for found, _ in waits if found is not None and (found.value.seconds or 0) > limit]
        if work is not None:
            message = f"{server.worker_class} workers are killed after {limit} s, and {work.what}"
            yield Finding("gunicorn-timeout", message, (server.where("timeout"), work.place))
        elif longer:
            message = f"workers are killed after {limit} s, and nginx would wait {longer[0].args[0]}"
            yield Finding("gunicorn-timeout", message, (server.where("timeout"), longer[0].place))


@rule(
    "max-requests-sockets",
    "Workers that hold sockets are recycled",
    Severity.WARNING,
    why="with max_requests a worker ends after so many requests, and closes every socket that it holds.",
    fix="Remove max_requests from what holds sockets. Under Headgate app workers hold none.",
    source=f"{_DOCS}#max-requests",
)
def max_requests(case: Case) -> Iterator[Finding]:
    sockets = case.holds_sockets()
    for server in case.web():
        found = server.get("max_requests") or server.get("limit_max_requests")
        if sockets is not None and found is not None and (found.number or 0) > 0:
            message = f"after {found.text} requests a worker ends, with its sockets"
            yield Finding("max-requests-sockets", message, (found.place, sockets))


@rule(
    "preload-threads",
    "Threads are started before gunicorn forks",
    Severity.ERROR,
    why="with preload_app the module is imported in the master, and threads do not survive the fork: in the workers "
    "the thread is not there, and its locks may be held for ever.",
    fix="Start the thread in gunicorn's post_fork hook or at the first request, or make it a job or a cron.",
    source=f"{_DOCS}#preload-app",
)
def preload_threads(case: Case) -> Iterator[Finding]:
    for server in case.web("gunicorn"):
        preload = server.get("preload_app")
        if preload is None or not preload.on:
            continue
        for module, call in case.calls(*_THREAD_STARTS):
            if call.at_import:
                message = f"{call.name.removesuffix('.start').removesuffix('()')} runs at import, before the fork"
                yield Finding("preload-threads", message, (module.place(call.node), preload.place))


@rule(
    "forwarded-allow-all",
    "Anybody may say who the client is",
    Severity.ERROR,
    why="with forwarded_allow_ips = * any client can forge its address and scheme by a header, and so pass "
    "address limits and secure-cookie checks.",
    fix="Name the proxy's address, 127.0.0.1 for one on the same machine.",
    source=f"{_DOCS}#forwarded-allow-ips",
    rank=60,
)
def forwarded_allow(case: Case) -> Iterator[Finding]:
    for server in case.web():
        found = server.get("forwarded_allow_ips")
        if found is not None and found.text.strip() == "*":
            line = found.place.text
            change = Change(found.place, line, line.replace("*", "127.0.0.1")) if line.count("*") == 1 else None
            yield Finding("forwarded-allow-all", "forwarded_allow_ips is *", (found.place,), change=change)


@rule(
    "missing-proxyfix",
    "Behind a proxy, the app sees the proxy's address",
    Severity.WARNING,
    why="request.remote_addr is nginx's for every user, so address limits, audit logs and url_for(_external) are "
    "wrong.",
    fix="Wrap the app: app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1). Under Headgate it is not needed.",
    source="https://flask.palletsprojects.com/en/stable/deploying/proxy_fix/",
    rank=60,
)
def proxy_fix(case: Case) -> Iterator[Finding]:
    proxied = case.locations()
    fixed = any(True for _ in case.calls("werkzeug.middleware.proxy_fix.ProxyFix"))
    if not proxied or fixed or not case.web("gunicorn"):
        return
    for module, call in case.calls("flask.Flask"):
        places = (module.place(call.node), proxied[0].own("proxy_pass")[0].place)
        yield Finding("missing-proxyfix", "a Flask app behind nginx without ProxyFix", places)
        return


@rule(
    "backlog-somaxconn",
    "The listen backlog is larger than the kernel allows",
    Severity.INFO,
    why="the kernel cuts a backlog to net.core.somaxconn, so a burst of reconnecting clients is refused earlier than "
    "the setting promises.",
    fix="Set net.core.somaxconn to the backlog in /etc/sysctl.d, or lower the backlog.",
    source="https://man7.org/linux/man-pages/man2/listen.2.html",
)
def backlog(case: Case) -> Iterator[Finding]:
    limit = case.host.values.get("net.core.somaxconn") or case.sysctl.get("net.core.somaxconn")
    if limit is None or limit.number is None:
        return
    for server in case.web():
        wanted = server.get("backlog")
        number = (wanted.number if wanted is not None else None) or (2048 if server.kind != "flask" else 128)
        if number > limit.number:
            message = f"backlog {number}, and net.core.somaxconn is {limit.number}"
            yield Finding("backlog-somaxconn", message, (server.where("backlog"), limit.place))
