"""For each rule a deployment that it is about, and one in which all is well: file → text."""

from __future__ import annotations

from typing import Final

Files = dict[str, str]

SOCK: Final = "from flask import Flask\nfrom flask_sock import Sock\napp = Flask(__name__)\nsock = Sock(app)\n"
SOCKETIO: Final = "from flask import Flask\nfrom flask_socketio import SocketIO\nsocketio = SocketIO(Flask(__name__))\n"
ENGINE: Final = "from sqlalchemy import create_engine\nengine = create_engine({})\n"
CELERY: Final = "from celery import Celery\napp = Celery('t', broker='redis://localhost')\n{}"


def unit(command: str, *lines: str) -> str:
    return "\n".join(["[Service]", f"ExecStart=/opt/shop/venv/bin/{command}", *lines, ""])


def nginx(*lines: str, before: str = "", main: str = "") -> str:
    inner = "\n".join(lines)
    return (
        f"{main}events {{}}\nhttp {{\n{before}\nserver {{\nlocation /ws {{\nproxy_pass http://127.0.0.1:8000;\n"
        f"{inner}\n}}\n}}\n}}\n"
    )


UPGRADE: Final = (
    "proxy_http_version 1.1;",
    "proxy_set_header Upgrade $http_upgrade;",
    "proxy_set_header Connection upgrade;",
)
LOOP: Final = (
    "def update(connection):\n    for row in range(4000):\n        connection.execute('UPDATE prices SET x = 1')\n"
)
WORK: Final = f"{SOCK}{LOOP}\n@sock.route('/ws')\ndef desk(ws):\n    update(None)\n"


def process(pid: int, command: str, **files: str) -> Files:
    """A process as /proc shows it."""
    folder = f"root/proc/{pid}"
    return {
        f"{folder}/cmdline": command.replace(" ", "\0"),
        f"{folder}/stat": f"{pid} (python) S 1 1 1",
        **{f"{folder}/{name.replace('__', '/')}": text for name, text in files.items()},
    }


GUNICORN: Final = "/opt/shop/venv/bin/gunicorn app:app"
OS10: Final = {"root/etc/os-release": 'ID="rhel"\nVERSION_ID="10.1"\n'}
OS9: Final = {"root/etc/os-release": 'ID="rhel"\nVERSION_ID="9.6"\n'}
DESK: Final = "@sock.route('/ws')\ndef desk(ws):\n    clients.add(ws)\n    ws.receive()\n"
TELL: Final = "def tell():\n    for client in list(clients):\n        client.send('new')\n"

HITS_AND_MISSES: Final[dict[str, tuple[Files, Files]]] = {
    "psycopg3-eventlet": (
        {"app.py": "import psycopg\n", "s.service": unit("gunicorn -k eventlet app:app")},
        {"app.py": "import psycopg\n", "s.service": unit("gunicorn -k gthread app:app")},
    ),
    "psycopg2-unpatched": (
        {"app.py": "import psycopg2\n", "s.service": unit("gunicorn --worker-class gevent app:app")},
        {
            "app.py": "import psycopg2\nfrom psycogreen.gevent import patch_psycopg\n",
            "s.service": unit("gunicorn --worker-class gevent app:app"),
        },
    ),
    "import-before-patch": (
        {"app.py": "import requests\nimport eventlet\neventlet.monkey_patch()\n"},
        {"app.py": "import eventlet\neventlet.monkey_patch()\nimport requests\n"},
    ),
    "gunicorn-eventlet": (
        {"requirements.txt": "gunicorn==27.0.1\n", "Procfile": "web: gunicorn -k eventlet app:app\n"},
        {"requirements.txt": "gunicorn==23.0.0\n", "Procfile": "web: gunicorn -k eventlet app:app\n"},
    ),
    "gunicorn-timeout": (
        {"app.py": WORK, "s.service": unit("gunicorn -k gevent app:app")},
        {"app.py": WORK, "s.service": unit("gunicorn -k gevent --timeout 300 app:app")},
    ),
    "max-requests-sockets": (
        {"app.py": SOCK, "gunicorn.conf.py": "max_requests = 1000\n"},
        {"app.py": "import flask\n", "gunicorn.conf.py": "max_requests = 1000\n"},
    ),
    "preload-threads": (
        {
            "app.py": "import threading\nt = threading.Thread(target=print)\nt.start()\n",
            "gunicorn.conf.py": "preload_app = True\n",
        },
        {
            "app.py": "import threading\ndef go():\n    t = threading.Thread(target=print)\n    t.start()\n",
            "gunicorn.conf.py": "preload_app = True\n",
        },
    ),
    "forwarded-allow-all": (
        {"gunicorn.conf.py": "forwarded_allow_ips = '*'\n"},
        {"gunicorn.conf.py": "forwarded_allow_ips = '127.0.0.1'\n"},
    ),
    "missing-proxyfix": (
        {
            "app.py": "from flask import Flask\napp = Flask(__name__)\n",
            "nginx.conf": nginx(),
            "gunicorn.conf.py": "workers = 2\n",
        },
        {
            "app.py": "from flask import Flask\nfrom werkzeug.middleware.proxy_fix import ProxyFix\n"
            "app = Flask(__name__)\n"
            "app.wsgi_app = ProxyFix(app.wsgi_app)\n",
            "nginx.conf": nginx(),
            "gunicorn.conf.py": "workers = 2\n",
        },
    ),
    "backlog-somaxconn": (
        {"gunicorn.conf.py": "backlog = 4096\n", "root/proc/sys/net/core/somaxconn": "128\n"},
        {"gunicorn.conf.py": "backlog = 4096\n", "root/proc/sys/net/core/somaxconn": "4096\n"},
    ),
    "work-in-socket-handler": (
        {"app.py": WORK},
        {"app.py": WORK.replace("    update(None)", "    ws.send('x')")},
    ),
    "socketio-workers": (
        {
            "app.py": SOCKETIO,
            "gunicorn.conf.py": "import multiprocessing\nworkers = multiprocessing.cpu_count() * 2 + 1\n",
        },
        {"app.py": SOCKETIO, "gunicorn.conf.py": "workers = 1\n"},
    ),
    "socketio-no-queue": (
        {
            "app.py": SOCKETIO,
            "nginx.conf": nginx(before="upstream app { server 127.0.0.1:8000; server 127.0.0.1:8001; }"),
        },
        {
            "app.py": SOCKETIO.replace("Flask(__name__)", "Flask(__name__), message_queue='redis://'"),
            "nginx.conf": nginx(before="upstream app { server 127.0.0.1:8000; server 127.0.0.1:8001; }"),
        },
    ),
    "sockets-few-threads": (
        {"app.py": SOCK, "s.service": unit("gunicorn --threads 8 app:app")},
        {"app.py": SOCK, "s.service": unit("gunicorn --threads 200 app:app")},
    ),
    "engine-before-fork": (
        {
            "app.py": ENGINE.format("'postgresql://db/shop'") + "connection = engine.connect()\n",
            "gunicorn.conf.py": "preload_app = True\n",
        },
        {
            "app.py": ENGINE.format("'postgresql://db/shop'") + "connection = engine.connect()\n",
            "gunicorn.conf.py": "preload_app = False\n",
        },
    ),
    "pool-over-limit": (
        {
            "app.py": ENGINE.format("'postgresql://db/shop', pool_size=20"),
            "gunicorn.conf.py": "workers = 4\n",
            "postgresql.conf": "max_connections = 100\n",
        },
        {
            "app.py": ENGINE.format("'postgresql://db/shop', pool_size=5, max_overflow=0"),
            "gunicorn.conf.py": "workers = 4\n",
            "postgresql.conf": "max_connections = 100\n",
        },
    ),
    "no-pre-ping": (
        {"app.py": ENGINE.format("'mysql+pymysql://db/shop'")},
        {"app.py": ENGINE.format("'mysql+pymysql://db/shop', pool_pre_ping=True")},
    ),
    "session-shared": (
        {
            "app.py": "from sqlalchemy.orm import sessionmaker\nSession = sessionmaker()\nsession = Session()\n"
            "def view():\n    return session.query(1)\n"
        },
        {
            "app.py": "from sqlalchemy.orm import sessionmaker\nSession = sessionmaker()\n"
            "def view():\n    with Session() as session:\n        return session.query(1)\n"
        },
    ),
    "nginx-no-upgrade": (
        {"app.py": SOCK, "nginx.conf": nginx("proxy_http_version 1.1;", "proxy_set_header Host $host;")},
        {"app.py": SOCK, "nginx.conf": nginx(*UPGRADE)},
    ),
    "nginx-http10": (
        {"app.py": SOCK, "nginx.conf": nginx(*UPGRADE[1:])},
        {"app.py": SOCK, "nginx.conf": nginx(*UPGRADE)},
    ),
    "nginx-read-timeout": (
        {"app.py": SOCK, "nginx.conf": nginx(*UPGRADE, "proxy_read_timeout 20s;")},
        {"app.py": SOCK, "nginx.conf": nginx(*UPGRADE, "proxy_read_timeout 1h;")},
    ),
    "nginx-descriptors": (
        {"nginx.conf": nginx().replace("events {}", "events { worker_connections 4096; }")},
        {
            "nginx.conf": nginx(main="worker_rlimit_nofile 16384;\n").replace(
                "events {}", "events { worker_connections 4096; }"
            )
        },
    ),
    "time-wait": (
        {
            "root/proc/sys/net/ipv4/ip_local_port_range": "60000\t60009\n",
            "root/proc/net/tcp": "  sl\n" + "  0: 0100007F:EA60 0100007F:1F40 06 0\n" * 9,
        },
        {
            "root/proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
            "root/proc/net/tcp": "  sl\n" + "  0: 0100007F:EA60 0100007F:1F40 06 0\n" * 9,
        },
    ),
    "upstream-permission": (
        {
            "root/var/log/nginx/error.log": "2026/11/01 [crit] 1#1: *1 connect() to unix:/run/a.sock failed "
            "(13: Permission denied) while connecting to upstream\n"
        },
        {"root/var/log/nginx/error.log": "2026/11/01 [error] 1#1: *1 connect() failed (111: Connection refused)\n"},
    ),
    "redis-evicts": (
        {
            "app.py": "import rq\n",
            "redis.conf": "maxmemory 256mb\nmaxmemory-policy allkeys-lru\n",
        },
        {
            "app.py": "import rq\n",
            "redis.conf": "maxmemory 256mb\nmaxmemory-policy noeviction\n",
        },
    ),
    "redis-blocking-timeout": (
        {
            "app.py": "import redis\nr = redis.Redis()\ndef work():\n    r.blpop('jobs', timeout=60)\n",
            "requirements.txt": "redis==8.1.0\n",
        },
        {
            "app.py": "import redis\nr = redis.Redis(socket_timeout=None)\n"
            "def work():\n    r.blpop('jobs', timeout=60)\n",
            "requirements.txt": "redis==8.1.0\n",
        },
    ),
    "redis-pool-size": (
        {
            "app.py": "import redis\nr = redis.Redis(max_connections=10)\n",
            "s.service": unit("gunicorn --threads 40 app:app"),
        },
        {
            "app.py": "import redis\nr = redis.Redis(max_connections=50)\n",
            "s.service": unit("gunicorn --threads 40 app:app"),
        },
    ),
    "celery-visibility": (
        {"tasks.py": CELERY.format("@app.task(acks_late=True, time_limit=7200)\ndef long(): pass\n")},
        {"tasks.py": CELERY.format("@app.task(acks_late=True, time_limit=600)\ndef long(): pass\n")},
    ),
    "celery-prefetch": (
        {"tasks.py": CELERY.format("@app.task(time_limit=600)\ndef long(): pass\n")},
        {
            "tasks.py": CELERY.format(
                "app.conf.worker_prefetch_multiplier = 1\n@app.task(time_limit=600)\ndef long(): pass\n"
            )
        },
    ),
    "celery-acks-early": (
        {"tasks.py": CELERY.format("@app.task\ndef send(): pass\n")},
        {"tasks.py": CELERY.format("app.conf.update(task_acks_late=True)\n@app.task\ndef send(): pass\n")},
    ),
    "rq-default-timeout": (
        {"app.py": "import rq\nqueue = rq.Queue()\ndef go():\n    queue.enqueue(print)\n"},
        {"app.py": "import rq\nqueue = rq.Queue(default_timeout=3600)\ndef go():\n    queue.enqueue(print)\n"},
    ),
    "stop-timeout": (
        {"s.service": unit("gunicorn --graceful-timeout 60 app:app", "TimeoutStopSec=1min")},
        {"s.service": unit("gunicorn --graceful-timeout 60 app:app", "TimeoutStopSec=1min 15s")},
    ),
    "gunicorn-watchdog": (
        {"s.service": unit("gunicorn app:app", "Type=notify", "WatchdogSec=30")},
        {"s.service": unit("gunicorn app:app", "Type=notify")},
    ),
    "limit-nofile": (
        {"app.py": SOCK, "s.service": unit("gunicorn app:app")},
        {"app.py": SOCK, "s.service": unit("gunicorn app:app", "LimitNOFILE=65536")},
    ),
    "mdwe-cffi": (
        {"app.py": "import gevent\n", "s.service": unit("gunicorn app:app", "MemoryDenyWriteExecute=yes")},
        {"app.py": "import flask\n", "s.service": unit("gunicorn app:app", "MemoryDenyWriteExecute=yes")},
    ),
    "shared-slice": (
        {"web.service": unit("gunicorn app:app"), "jobs.service": unit("celery -A app worker")},
        {"web.service": unit("gunicorn app:app"), "jobs.service": unit("celery -A app worker", "Slice=jobs.slice")},
    ),
    "secret-in-unit": (
        {"s.service": unit("gunicorn app:app", "Environment=SECRET_KEY=abc123 LANG=C")},
        {"s.service": unit("gunicorn app:app", "LoadCredential=secret:/etc/shop/secret", "Environment=LANG=C")},
    ),
    "unconfined-domain": (
        process(70, GUNICORN, attr__current="system_u:system_r:unconfined_service_t:s0"),
        process(70, GUNICORN, attr__current="system_u:system_r:headgate_t:s0"),
    ),
    "avc-denials": (
        {
            "root/var/log/audit/audit.log": "type=AVC msg=audit(1): avc:  denied  { name_connect } for  pid=7 "
            'comm="gunicorn"\n'
        },
        {"root/var/log/audit/audit.log": 'type=AVC msg=audit(1): avc:  denied  { read } for  pid=7 comm="cupsd"\n'},
    ),
    "fips-md5": (
        {"app.py": "import hashlib\nhashlib.md5(b'')\n", "root/proc/sys/crypto/fips_enabled": "1\n"},
        {
            "app.py": "import hashlib\nhashlib.md5(b'', usedforsecurity=False)\n",
            "root/proc/sys/crypto/fips_enabled": "1\n",
        },
    ),
    "fapolicyd-venv": (
        {**process(5, "/usr/sbin/fapolicyd"), "s.service": unit("gunicorn app:app")},
        {**process(5, "/usr/sbin/sshd"), "s.service": unit("gunicorn app:app")},
    ),
    "redis-on-el10": (
        {**OS10, "setup.sh": "dnf -y install redis nginx\n"},
        {**OS9, "setup.sh": "dnf -y install redis nginx\n"},
    ),
    "blocking-in-async": (
        {"app.py": "import time\nasync def handler():\n    time.sleep(1)\n"},
        {"app.py": "import asyncio, time\nasync def handler():\n    await asyncio.to_thread(time.sleep, 1)\n"},
    ),
    "shared-in-memory": (
        {"app.py": f"{SOCK}clients = set()\n{DESK}{TELL}@app.post('/orders')\ndef new():\n    tell()\n    return ''\n"},
        {"app.py": f"{SOCK}PRICES = {{'tea': 3}}\n{DESK.replace('clients', 'PRICES').replace('.add(ws)', '.get(ws)')}"},
    ),
    "debug-on": (
        {"app.py": "from flask import Flask\napp = Flask(__name__)\napp.run(debug=True)\n"},
        {
            "app.py": "from flask import Flask\napp = Flask(__name__)\n"
            "if __name__ == '__main__':\n    app.run(debug=True)\n"
        },
    ),
}
