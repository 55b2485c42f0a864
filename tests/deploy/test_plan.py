"""Plans: what is derived from what, what differs between the systems, and what cannot be used."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from headgate.base.errors import ConfigError
from headgate.config.load import load
from headgate.config.settings import Settings
from headgate.deploy.plan import Plan, make
from headgate.deploy.releases import RELEASES, release
from headgate.deploy.render import render
from headgate.deploy.takeover import Old, read, settings_with

REDIS = Settings(broker="rediss://user:p%40ss@queue:6379/0")


def plan(system: str = "el9", **more: object) -> Plan:
    return make("shop:app", "shop.example.com", release(system), Settings(gateways=2), **more)  # type: ignore[arg-type]


def files(of: Plan) -> dict[str, str]:
    return {str(file.path): file.text for file in render(of)}


def unit(of: Plan, name: str) -> str:
    return files(of)[f"root/etc/systemd/system/{name}"]


@pytest.mark.parametrize("system", RELEASES)
def test_times_and_sizes_hang_together(system: str) -> None:
    settings = Settings(gateways=2, stop_timeout=120.0, ping_interval=50.0, max_body=30 << 20, max_connections=5000)
    chosen = make("shop:app", "shop.example.com", release(system), settings)
    made = files(chosen)
    web, nginx = made["root/etc/systemd/system/shop-web.service"], made["root/etc/nginx/conf.d/shop.conf"]
    assert "TimeoutStopSec=135" in web
    assert "LimitNOFILE=24096" in web
    assert "client_max_body_size 30721k;" in nginx
    assert chosen.read_seconds >= 2 * settings.ping_interval
    assert f"proxy_read_timeout {chosen.request_seconds}s;" in nginx
    assert chosen.request_seconds >= chosen.read_seconds
    assert "gateways = 2" in made["root/etc/shop/headgate.toml"]


def test_what_differs_between_the_systems() -> None:
    assert "Type=notify\n" in unit(plan("el8"), "shop-web.service")
    assert "Type=notify\n" in unit(plan("el9"), "shop-web.service")
    assert "Type=notify-reload\n" in unit(plan("el10"), "shop-web.service")
    assert "ExecReload=" not in unit(plan("el10"), "shop-web.service")
    assert "ExecReload=" in unit(plan("el9"), "shop-web.service")
    secret = {"secrets": ("database",)}
    assert "LoadCredential=database:" in unit(plan("el9", **secret), "shop-web.service")
    old = unit(plan("el8", **secret), "shop-web.service")
    assert "LoadCredential" not in old
    assert "EnvironmentFile=-/etc/shop/environment" in old
    assert "ProtectProc" not in old
    assert "http2 on;" in files(plan("el10"))["root/etc/nginx/conf.d/shop.conf"]
    assert "listen 443 ssl http2;" in files(plan("el9"))["root/etc/nginx/conf.d/shop.conf"]
    debian = files(plan("debian"))
    assert not [path for path in debian if "selinux" in path or "firewalld" in path]
    assert "PROFILE=SYSTEM" not in debian["root/etc/nginx/conf.d/shop.conf"]
    assert "SocketGroup=www-data" in debian["root/etc/systemd/system/shop.socket"]
    assert "valkey" in release("el10").queue


def test_jobs_have_a_slice_of_their_own_and_find_the_broker() -> None:
    jobs = unit(plan(), "shop-jobs.service")
    assert "--roles jobs,rq,celery --data /var/lib/shop/jobs --broker unix:/var/lib/shop/run/broker.sock" in jobs
    assert "Slice=shop-jobs.slice" in jobs
    weights = [int(unit(plan(), f"shop-{each}.slice").split("CPUWeight=")[1].split()[0]) for each in ("web", "jobs")]
    assert weights[0] >= 10 * weights[1]
    redis = make("shop:app", "a.example", release("el9"), Settings(broker="redis://queue:6379/0"))
    assert "--broker" not in unit(redis, "shop-jobs.service"), "its address may hold a password; it is in headgate.toml"
    assert 'broker = "redis://queue:6379/0"' in files(redis)["root/etc/shop/headgate.toml"]
    assert "--roles gateway,app" in unit(redis, "shop-web.service")
    assert not [path for path in files(redis) if "backup" in path]


def test_an_app_that_needs_write_and_execute() -> None:
    assert "MemoryDenyWriteExecute=yes" in unit(plan(), "shop-web.service")
    allowed = plan(write_execute=True)
    assert "MemoryDenyWriteExecute" not in unit(allowed, "shop-web.service")
    assert "execmem" in files(allowed)["selinux/shop.te"].split("self:process")[1].split(";")[0]


def test_no_secret_setting_is_written() -> None:
    settings = Settings(secret="s" * 40, tls_key_password="geheim")
    made = files(make("shop:app", "a.example", release("el9"), settings))
    assert not [path for path, text in made.items() if "s" * 40 in text or "geheim" in text]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"app": "shop.py"}, "is a file"),
        ({"domain": "https://shop.example.com"}, "is no host name"),
        ({"domain": "shop example"}, "is no host name"),
        ({"name": "Shop"}, "cannot be the name"),
        ({"name": "root"}, "cannot be the name"),
        ({"static": {"static": "/x"}}, "write it as"),
        ({"static": {"/static": "/opt/shop/static"}}, "with a slash at both"),  # would let /static../ out
        ({"static": {"/static/": "/opt/shop static;"}}, "write it as"),
        ({"environment": {"A": "x\nExecStartPre=/bin/sh"}}, "a line break"),
        ({"secrets": ("a:/etc/shadow",)}, "no name of a credential"),
        ({"name": "a--b"}, "cannot be the name"),
        ({"name": "shop-"}, "cannot be the name"),
        ({"environment": {"A B": "x"}}, "no name of an environment variable"),
    ],
)
def test_what_cannot_be_used_is_told(change: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"app": "shop:app", "domain": "a.example", **change}
    app, domain = str(given.pop("app")), str(given.pop("domain"))
    with pytest.raises(ConfigError, match=message):
        make(app, domain, release("el9"), Settings(), **given)  # type: ignore[arg-type]


def test_an_unknown_system_is_told() -> None:
    with pytest.raises(ConfigError, match="no system 'el7'; it knows rhel"):
        release("el7")


def test_an_old_deployment_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("workers = 5\nthreads = 16\ngraceful_timeout = 90\nmax_requests = 100\n")
    (tmp_path / "shop.service").write_text(
        "[Service]\nEnvironment=LANG=C.UTF-8 API_TOKEN=abc\nExecStart=/srv/venv/bin/gunicorn -k eventlet shop:app\n"
    )
    (tmp_path / "nginx.conf").write_text(
        "server {\nclient_max_body_size 30m;\nlocation /static/ { alias /srv/static/; }\n"
        "location / { auth_basic x; proxy_pass http://127.0.0.1:8000; }\n}\n"
    )
    old = read([tmp_path / each for each in ("gunicorn.conf.py", "shop.service", "nginx.conf")])
    settings = settings_with(load(folder=tmp_path, environ={}), old)
    assert (settings.workers, settings.slow_workers, settings.slow_threads) == (3, 2, 16)
    assert (settings.stop_timeout, settings.max_body) == (90.0, 30 << 20)
    assert old.environment == {"LANG": "C.UTF-8"}
    assert old.secrets == ("api_token",)
    assert old.static == {"/static/": "/srv/static"}
    notes = "\n".join(old.notes)
    for word in ("max_requests; app workers hold no sockets", "worker_class; Headgate finds out", "auth_basic; add it"):
        assert word in notes
    assert "abc" not in notes


def site(names: str, *lines: str) -> str:
    return "server {\n" + f"server_name {names};\n" + "\n".join(lines) + "\nlocation / { proxy_pass http://a; }\n}\n"


def pair(name: str) -> tuple[str, str]:
    return f"ssl_certificate {name}.pem;", f"ssl_certificate_key {name}.key;"


def certificates(folder: Path, text: str, domain: str = "shop.example.com") -> tuple[Old, tuple[tuple[str, str], ...]]:
    (folder / "nginx.conf").write_text(text)
    old = read([folder / "nginx.conf"])
    return old, old.certificates(domain)


def test_the_certificate_of_the_old_site_is_taken_over(tmp_path: Path) -> None:
    two = site("shop.example.com", *pair("/live/shop/rsa"), *pair("ssl/ecdsa")) + site("other.example", *pair("/other"))
    _, found = certificates(tmp_path, two)
    assert found == (
        ("/live/shop/rsa.pem", "/live/shop/rsa.key"),
        ("/etc/nginx/ssl/ecdsa.pem", "/etc/nginx/ssl/ecdsa.key"),
    )
    made = files(plan(certificates=found))
    nginx = made["root/etc/nginx/conf.d/shop.conf"]
    for path, key in found:
        assert f"    ssl_certificate     {path};\n    ssl_certificate_key {key};\n" in nginx
    assert "/etc/pki" not in nginx
    assert "ls /live/shop/rsa.pem /live/shop/rsa.key" in made["README.md"]
    assert (
        "ssl_certificate     /etc/pki/tls/certs/shop.example.com.crt;"
        in files(plan())["root/etc/nginx/conf.d/shop.conf"]
    )


def test_a_deployment_that_is_repeated_with_its_own_site_is_the_same(tmp_path: Path) -> None:
    """Where ours has taken the old one's place, `--from` reads ours."""
    before = "client_max_body_size 30m;\nlocation /static/ { alias /srv/static/; }"
    path = tmp_path / "orders.conf"
    path.write_text(site("shop.example.com", *pair("/live"), before))
    made = []
    for _ in range(3):
        old = read([path])
        settings = settings_with(load(folder=tmp_path, environ={}), old)
        found = old.certificates("shop.example.com")
        chosen = make("shop:app", "shop.example.com", release("el9"), settings, static=old.static, certificates=found)
        made.append(files(chosen)["root/etc/nginx/conf.d/shop.conf"])
        path.write_text(made[-1])
    assert made[0] == made[1] == made[2]
    assert "client_max_body_size 30721k;" in made[0]
    assert read([path]).notes == []


@pytest.mark.parametrize("names", ["*.example.com", ".example.com", "a.example shop.example.com", "_"])
def test_the_certificate_is_that_of_the_site_that_serves_the_domain(names: str, tmp_path: Path) -> None:
    others = "" if names == "_" else site("example.com", *pair("/x"))
    _, found = certificates(tmp_path, others + site(names, *pair("/live")))
    assert found == (("/live.pem", "/live.key"),)


def test_a_certificate_of_the_block_around_counts(tmp_path: Path) -> None:
    _, found = certificates(tmp_path, "http {\n" + "\n".join(pair("/all")) + site("shop.example.com") + "}\n")
    assert found == (("/all.pem", "/all.key"),)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (site("a.example", *pair("/a")) + site("b.example", *pair("/b")), "nginx.conf:3: ssl_certificate of a.example"),
        (site("shop.example.com", *pair("/live/$ssl_server_name")), "ssl_certificate is no plain path"),
        (site("shop.example.com", *pair("'/live/x;y'")), "ssl_certificate is no plain path"),
        (site("shop.example.com", *pair("/a"), "ssl_password_file /p;"), "ssl_password_file; add it"),
    ],
)
def test_a_certificate_that_is_not_taken_over_is_noted(text: str, note: str, tmp_path: Path) -> None:
    old, found = certificates(tmp_path, text)
    assert bool(found) == ("password" in note)
    assert any(note in each for each in old.notes), old.notes


def test_both_services_find_the_secret_whichever_starts_first() -> None:
    """Jobs come after web where both start, and the key lies there before either."""
    for broker in ("embedded", "redis://queue:6379/0"):
        chosen = make("shop:app", "a.example", release("el9"), Settings(broker=broker))
        after = next(line for line in unit(chosen, "shop-jobs.service").splitlines() if line.startswith("After="))
        assert "shop-web.service" in after
        made = files(chosen)
        readme = made["README.md"]
        assert readme.index("systemd-tmpfiles --create") < readme.index("openssl rand -hex -out /var/lib/shop/secret")
        assert readme.index("openssl rand") < readme.index("restorecon") < readme.index("systemctl enable")
        for path in ("rpm/shop.spec", "ansible/roles/shop/tasks/main.yml"):
            assert "openssl rand -hex -out /var/lib/shop/secret 32" in made[path]
    given = files(make("shop:app", "a.example", release("el9"), Settings(secret="s" * 40)))
    assert not [path for path, text in given.items() if "openssl rand" in text]


def test_the_readme_makes_what_its_lines_need() -> None:
    redis = files(make("shop:app", "a.example", release("el9"), Settings(broker="redis://queue:6379/0")))["README.md"]
    assert "pip install 'HEADGATE[flask,redis]'" in redis
    assert "dnf module enable -y nginx:1.24 redis:7  #" in redis
    assert redis.index("mkdir -p /opt/shop/app") < redis.index("rsync -a")
    old = files(plan("el8", secrets=("database_url",)))["README.md"]
    assert "install -m 600 /dev/stdin /etc/shop/environment  # type a line for each, as DATABASE_URL=" in old
    assert 'os.environ["DATABASE_URL"]' in old
    new = files(plan("el9", secrets=("database_url",)))["README.md"]
    assert "install -m 600 /dev/stdin /etc/shop/credentials/database_url" in new
    assert 'os.environ["CREDENTIALS_DIRECTORY"] + "/database_url"' in new
    assert "systemctl disable --now shop-backup.timer shop-jobs.service shop-web.service shop.socket" in new
    assert "dnf module enable -y nginx:1.24  #" in new
    assert "redis" not in new.lower()
    assert "dnf module" not in files(plan("el10"))["README.md"]
    assert "The app's folder is read-only; what the app writes belongs into /var/lib/shop." in new
    assert "\n/opt/shop/venv/bin/headgate deploy el9 --uninstall --name shop --root /\n" in new
    assert "/etc/shop/credentials with its secrets" in new


def test_what_somebody_has_set_counts_more_than_the_old_deployment(tmp_path: Path) -> None:
    found = load({"workers": "7"}, folder=tmp_path, environ={})
    assert settings_with(found, Old(settings={"workers": 2, "stop_timeout": 9.0})).workers == 7
    assert msgspec.structs.asdict(settings_with(found, Old()))["workers"] == 7


def test_a_file_of_another_kind_is_noted(tmp_path: Path) -> None:
    (tmp_path / "strange.conf").write_text("some words;\n")
    assert "neither gunicorn" in read([tmp_path / "strange.conf"]).notes[0]


def test_a_brokers_password_is_read_by_the_service_alone() -> None:
    made = {str(file.path): file for file in render(make("shop:app", "a.example", release("el9"), REDIS))}
    assert [path for path, file in made.items() if "p%40ss" in file.text] == ["root/etc/shop/headgate.toml"]
    assert made["root/etc/shop/headgate.toml"].mode == 0o640
    tmpfiles = made["root/etc/tmpfiles.d/shop.conf"].text
    assert "z /etc/shop/headgate.toml 0640 root shop" in tmpfiles
    for shared in ("offload", "secret"):
        assert f"L /var/lib/shop/jobs/{shared} - - - - /var/lib/shop/{shared}" in tmpfiles


def test_values_of_variables_reach_the_process_as_they_are() -> None:
    value = 'say "hi" 100% \\o/'
    web = unit(plan(environment={"GREETING": value}), "shop-web.service")
    line = next(line for line in web.splitlines() if "GREETING" in line)
    assert line == 'Environment="GREETING=say \\"hi\\" 100%% \\\\o/"'


@pytest.mark.parametrize(
    "variable",
    ["DB_URI=postgresql://u:hunter2@db/shop", "MAIL_PASS=hunter2", "AWS_CREDENTIALS=hunter2", "Q=redis://:hunter2@q/0"],
)
def test_no_password_is_taken_over(variable: str, tmp_path: Path) -> None:
    (tmp_path / "s.service").write_text(f"[Service]\nEnvironment={variable}\nExecStart=/usr/bin/gunicorn shop:app\n")
    old = read([tmp_path / "s.service"])
    assert (old.environment, len(old.secrets)) == ({}, 1)
    assert "hunter2" not in "".join(old.notes)


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("UPLOADS=/srv/shop/uploads", "/srv/shop/uploads"),
        ("DATABASE_URL=sqlite:////srv/shop/shop.db?timeout=5", "/srv/shop/shop.db"),
        ("STORE=sqlite+pysqlite:////srv/shop.db", "/srv/shop.db"),
        ("UPLOADS=/var/lib/shop/uploads", ""),
        ("CA=/etc/pki/tls/cert.pem", ""),
        ("DATABASE_URL=postgresql://db/shop", ""),
        ("STORE=sqlite:///shop.db", ""),
        ("SECRET_KEY=/hunter2", ""),
    ],
)
def test_a_variable_that_names_what_the_service_may_not_write_is_noted(
    variable: str, path: str, tmp_path: Path
) -> None:
    (tmp_path / "s.service").write_text(f"[Service]\nEnvironment={variable}\nExecStart=/usr/bin/gunicorn shop:app\n")
    old = read([tmp_path / "s.service"])
    old.note_paths("shop")
    told = [note for note in old.notes if "may not write" in note]
    name = variable.partition("=")[0]
    note = (
        f"s.service:2: {name} names {path}, which the service may not write: move it to /var/lib/shop, or add "
        "ReadWritePaths= and a file context"
    )
    assert told == ([note] if path else [])
    assert "hunter2" not in "".join(old.notes)


def test_what_is_given_anew_is_not_noted(tmp_path: Path) -> None:
    unit = "Environment=UPLOADS=/srv/up SECRET_KEY=hunter2\nEnvironment=DATABASE_URL=sqlite:////srv/shop.db\n"
    (tmp_path / "s.service").write_text(f"[Service]\n{unit}ExecStart=/usr/bin/gunicorn shop:app\n")

    def notes(*given: str) -> tuple[tuple[str, ...], str]:
        old = read([tmp_path / "s.service"])
        old.give(given)
        old.note_secrets()
        old.note_paths("shop")
        return old.secrets, " ".join(old.notes)

    secrets, told = notes()
    assert secrets == ("secret_key", "database_url")
    assert told.count("is a secret") == told.count("may not write") == 2
    secrets, told = notes("UPLOADS", "DATABASE_URL")
    assert secrets == ("secret_key",)
    assert "SECRET_KEY is a secret" in told
    assert "UPLOADS" not in told
    assert "DATABASE_URL" not in told


def test_a_secret_setting_is_told() -> None:
    told = make("shop:app", "a.example", release("el9"), Settings(secret="s" * 40)).notes
    assert "set HEADGATE_SECRET for both services" in told[0]


def test_selinux_allows_the_transition_under_no_new_privileges() -> None:
    policy = files(plan())["selinux/shop.te"]
    assert "NoNewPrivileges=yes" in unit(plan(), "shop-web.service")
    assert "allow init_t shop_t:process2 { nnp_transition nosuid_transition };" in policy
