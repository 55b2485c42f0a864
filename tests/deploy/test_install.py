"""Installing below a folder: planned first, idempotent, careful with what somebody has changed, and taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from headgate.base.errors import ConfigError
from headgate.config.settings import Settings
from headgate.deploy.folder import write
from headgate.deploy.install import Action, Step, carry_out, changes, steps, uninstall
from headgate.deploy.labels import afterwards, labels
from headgate.deploy.plan import make
from headgate.deploy.record import load
from headgate.deploy.releases import release
from headgate.deploy.render import File, render

UNIT = "etc/systemd/system/shop-web.service"
UNIT_IN_FOLDER = f"root/{UNIT}"


def files(**settings: int) -> list[File]:
    return render(make("shop:app", "shop.example.com", release("el9"), Settings(gateways=1, **settings)))  # type: ignore[arg-type]


def actions(planned: list[Step]) -> Counter[Action]:
    return Counter(step.action for step in planned)


def there(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_install_again_change_and_take_back(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_text("mine\n")
    planned = steps(files(), "shop", tmp_path)
    assert set(actions(planned)) == {Action.CREATE}
    assert there(tmp_path) == {"etc/fstab"}, "a plan changes nothing"
    carry_out(planned, "shop", tmp_path)
    assert UNIT in there(tmp_path)
    assert os.access(tmp_path / "opt/shop/bin/backup.py", os.X_OK)
    assert set(actions(steps(files(), "shop", tmp_path))) == {Action.KEEP}

    again = steps(files(max_connections=500), "shop", tmp_path)
    assert actions(again)[Action.REPLACE] >= 2
    carry_out(again, "shop", tmp_path)
    assert "LimitNOFILE=5096" in (tmp_path / UNIT).read_text()

    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert there(tmp_path) == {"etc/fstab"}
    with pytest.raises(ConfigError, match="No deployment named shop was installed"):
        uninstall("shop", tmp_path)


def test_what_somebody_has_changed_is_spared_without_force(tmp_path: Path) -> None:
    carry_out(steps(files(), "shop", tmp_path), "shop", tmp_path)
    unit = tmp_path / UNIT
    unit.write_text(unit.read_text() + "Environment=MINE=1\n")
    planned = steps(files(max_connections=500), "shop", tmp_path)
    assert [step.path for step in planned if step.action is Action.SPARE] == [unit]
    carry_out(planned, "shop", tmp_path)
    assert "MINE=1" in unit.read_text()
    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert there(tmp_path) == {UNIT, "var/lib/headgate-deploy/shop.json"}
    carry_out(uninstall("shop", tmp_path, force=True), "shop", tmp_path)
    assert there(tmp_path) == set()


def test_a_file_that_is_not_ours_is_spared(tmp_path: Path) -> None:
    unit = tmp_path / UNIT
    unit.parent.mkdir(parents=True)
    unit.write_text("somebody else's\n")
    carry_out(steps(files(), "shop", tmp_path), "shop", tmp_path)
    assert unit.read_text() == "somebody else's\n"
    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert there(tmp_path) == {UNIT}


def everything(root: Path) -> set[str]:
    """Files and folders."""
    return {str(path.relative_to(root)) for path in root.rglob("*")}


SITE = "etc/nginx/conf.d/shop.conf"


def stranger(root: Path, path: str = SITE, text: str = "# somebody else's\n") -> Path:
    file = root / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    file.chmod(0o604)
    return file


def test_the_plan_says_that_a_file_is_not_ours_and_what_force_does(tmp_path: Path) -> None:
    site = stranger(tmp_path)
    (spared,) = (step for step in steps(files(), "shop", tmp_path) if step.path == site)
    assert spared.action is Action.SPARE
    assert spared.note == "not ours; --force keeps it as shop.conf.before-headgate and puts ours in its place"
    (replaced,) = (step for step in steps(files(), "shop", tmp_path, force=True) if step.path == site)
    assert (replaced.action, replaced.note) == (Action.REPLACE, "not ours; it is kept as shop.conf.before-headgate")


def test_a_file_that_is_not_ours_is_kept_and_comes_back(tmp_path: Path) -> None:
    site = stranger(tmp_path)
    carry_out(steps(files(), "shop", tmp_path, force=True), "shop", tmp_path)
    kept = site.with_name("shop.conf.before-headgate")
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("# somebody else's\n", 0o604)
    assert "headgate deploy" in site.read_text()
    carry_out(steps(files(max_connections=500), "shop", tmp_path, force=True), "shop", tmp_path)
    assert kept.read_text() == "# somebody else's\n", "ours does not take the place of what was there before"
    back = uninstall("shop", tmp_path)
    assert [step.note for step in back if step.action is Action.RESTORE] == ["from shop.conf.before-headgate"]
    carry_out(back, "shop", tmp_path)
    assert there(tmp_path) == {SITE}
    assert (site.read_text(), site.stat().st_mode & 0o777) == ("# somebody else's\n", 0o604)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("recorded", [True, False], ids=["", "by an earlier version"])
def test_a_file_that_was_moved_back_by_hand_stays(recorded: bool, force: bool, tmp_path: Path) -> None:
    site = stranger(tmp_path)
    carry_out(steps(files(), "shop", tmp_path, force=True), "shop", tmp_path)
    record = tmp_path / "var/lib/headgate-deploy/shop.json"
    if not recorded:
        known = json.loads(record.read_text())
        assert known.pop("originals")
        record.write_text(json.dumps(known))
    site.with_name("shop.conf.before-headgate").rename(site)
    back = uninstall("shop", tmp_path, force=force)
    assert [step.action for step in back if step.path == site] == [Action.FORGET]
    carry_out(back, "shop", tmp_path)
    assert site.read_text() == "# somebody else's\n"
    assert there(tmp_path) == {SITE}, "the record is gone too"


def test_a_file_that_was_copied_back_by_hand_comes_back_without_force(tmp_path: Path) -> None:
    site = stranger(tmp_path)
    carry_out(steps(files(), "shop", tmp_path, force=True), "shop", tmp_path)
    site.write_text("# somebody else's\n")
    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert (there(tmp_path), site.read_text()) == ({SITE}, "# somebody else's\n")


@pytest.mark.parametrize("moved", [True, False])
def test_a_file_that_was_brought_back_by_hand_is_kept_again(moved: bool, tmp_path: Path) -> None:
    site = stranger(tmp_path)
    carry_out(steps(files(), "shop", tmp_path, force=True), "shop", tmp_path)
    kept = site.with_name("shop.conf.before-headgate")
    site.write_text(kept.read_text())
    if moved:
        kept.unlink()
    (spared,) = (step for step in steps(files(), "shop", tmp_path) if step.path == site)
    assert spared.note == "not ours; --force keeps it as shop.conf.before-headgate and puts ours in its place"
    carry_out(steps(files(), "shop", tmp_path, force=True), "shop", tmp_path)
    assert (kept.read_text(), "headgate deploy" in site.read_text()) == ("# somebody else's\n", True)
    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert (there(tmp_path), site.read_text()) == ({SITE}, "# somebody else's\n")


def test_a_copy_that_is_there_already_is_not_overwritten(tmp_path: Path) -> None:
    site = stranger(tmp_path)
    older = site.with_name("shop.conf.before-headgate")
    older.write_text("older\n")
    carry_out(steps(files(), "shop", tmp_path, force=True), "shop", tmp_path)
    assert older.read_text() == "older\n"
    assert site.with_name("shop.conf.before-headgate.1").read_text() == "# somebody else's\n"
    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert (site.read_text(), older.read_text()) == ("# somebody else's\n", "older\n")


def test_a_copy_in_a_folder_whose_every_file_is_read_is_not_read(tmp_path: Path) -> None:
    stranger(tmp_path, "etc/logrotate.d/shop")
    carry_out(steps(files(), "shop", tmp_path, force=True), "shop", tmp_path)
    assert (tmp_path / "etc/logrotate.d/shop.before-headgate~").exists()


def test_an_installation_that_was_cut_off_after_the_copy_goes_on(tmp_path: Path) -> None:
    site = stranger(tmp_path)
    os.link(site, site.with_name("shop.conf.before-headgate"))
    carry_out(steps(files(), "shop", tmp_path, force=True), "shop", tmp_path)
    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert there(tmp_path) == {SITE}


def test_a_link_that_leads_nowhere_is_not_ours_either(tmp_path: Path) -> None:
    site = stranger(tmp_path)
    site.unlink()
    site.symlink_to("nowhere")
    (step,) = (step for step in steps(files(), "shop", tmp_path) if step.path == site)
    assert step.action is Action.SPARE
    carry_out(steps(files(), "shop", tmp_path, force=True), "shop", tmp_path)
    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert os.readlink(site) == "nowhere"


def test_empty_folders_that_we_made_are_removed_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    carry_out(steps(files(), "shop", tmp_path), "shop", tmp_path)
    (tmp_path / "opt/shop/app").mkdir()
    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert everything(tmp_path) == {"etc", "etc/sysctl.d", "opt", "opt/shop", "opt/shop/app"}


LABELLED = ["/opt/shop", "/etc/shop", "/var/lib/shop", "/run/shop"]


@pytest.mark.parametrize("system", ["el8", "el9", "el10"])
def test_what_the_module_labels_is_what_its_file_contexts_say(system: str) -> None:
    made = render(make("shop:app", "shop.example.com", release(system), Settings(gateways=1)))
    assert labels(made) == {"shop": LABELLED}
    command = f"semodule -r shop && restorecon -RFi {' '.join(LABELLED)}"
    assert afterwards(labels(made)) == [command]
    texts = {str(file.path): file.text for file in made}
    back = texts["README.md"].partition("## To take it back")[2]
    assert back.index("--uninstall") < back.index(f"\n{command}\n"), "the module goes when its files have gone"
    gone = texts["rpm/shop.spec"].partition("%postun")[2].partition("%files")[0]
    assert f"semodule -n -r shop && load_policy && restorecon -RFi {' '.join(LABELLED)} || :" in gone
    assert labels(render(make("shop:app", "a.example", release("debian12"), Settings()))) == {}


def test_contexts_that_somebody_has_added_count() -> None:
    more = (
        "# /srv/remark(/.*)? gen_context(system_u:object_r:shop_state_t,s0)\n"
        "/srv/up\\.loads(/.*)? -- gen_context(system_u:object_r:shop_state_t,s0)\n"
        "/srv/[ab](/.*)? gen_context(system_u:object_r:shop_state_t,s0)\n"
        "/srv/one -d system_u:object_r:shop_state_t:s0\n"
    )
    edited = [replace(file, text=file.text + more) if file.path.suffix == ".fc" else file for file in files()]
    assert labels(edited) == {"shop": [*LABELLED, "/srv/up.loads", "/srv/one"]}


def test_an_uninstall_knows_what_was_labelled(tmp_path: Path) -> None:
    carry_out(steps(files(), "shop", tmp_path), "shop", tmp_path, labels(files()))
    edit(tmp_path / UNIT, "# mine\n")
    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert there(tmp_path) == {UNIT, "var/lib/headgate-deploy/shop.json"}
    assert load(tmp_path, "shop").labels == {"shop": LABELLED}, "for the next one, which takes the edited file"
    carry_out(uninstall("shop", tmp_path, force=True), "shop", tmp_path)
    assert there(tmp_path) == set()


def test_folders_may_be_entered_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        carry_out(steps(files(), "shop", tmp_path), "shop", tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "opt/shop/bin").stat().st_mode & 0o777 == 0o755


def test_a_record_of_the_first_versions_is_read(tmp_path: Path) -> None:
    carry_out(steps(files(), "shop", tmp_path), "shop", tmp_path)
    record = tmp_path / "var/lib/headgate-deploy/shop.json"
    record.write_text(json.dumps(json.loads(record.read_text())["files"]))
    assert set(actions(steps(files(), "shop", tmp_path))) == {Action.KEEP}
    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert there(tmp_path) == set()


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    carry_out(steps(files(), "shop", tmp_path), "shop", tmp_path)
    (tmp_path / "var/lib/headgate-deploy/shop.json").write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        steps(files(), "shop", tmp_path)


def test_files_that_were_copied_by_hand_become_ours(tmp_path: Path) -> None:
    write(files(), tmp_path / "d")
    planned = steps(files(), "shop", tmp_path / "d/root")
    assert set(actions(planned)) == {Action.ADOPT}
    assert changes(planned)
    carry_out(planned, "shop", tmp_path / "d/root")
    assert not changes(steps(files(), "shop", tmp_path / "d/root"))
    carry_out(uninstall("shop", tmp_path / "d/root"), "shop", tmp_path / "d/root")
    assert there(tmp_path / "d/root") == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_replaced_file_keeps_the_group_that_may_read_it(tmp_path: Path) -> None:
    carry_out(steps(files(), "shop", tmp_path), "shop", tmp_path)
    settings = tmp_path / "etc/shop/headgate.toml"
    os.chown(settings, 0, 12345)
    carry_out(steps(files(max_connections=500), "shop", tmp_path), "shop", tmp_path)
    assert "max_connections = 500" in settings.read_text()
    assert (settings.stat().st_gid, settings.stat().st_mode & 0o777) == (12345, 0o640)


def test_a_file_that_a_new_version_has_no_more_is_removed(tmp_path: Path) -> None:
    carry_out(steps(files(), "shop", tmp_path), "shop", tmp_path)
    fewer = [file for file in files() if "backup" not in str(file.path)]
    planned = steps(fewer, "shop", tmp_path)
    assert actions(planned)[Action.REMOVE] == 3
    carry_out(planned, "shop", tmp_path)
    assert not [path for path in there(tmp_path) if "backup" in path]


def test_a_folder_that_is_not_ours_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty, and no deployment of ours"):
        write(files(), tmp_path)
    assert there(tmp_path) == {"notes.txt"}
    write(files(), tmp_path / "new")
    write(files(), tmp_path / "new")  # again is no trouble


TOML = "root/etc/shop/headgate.toml"


def edit(path: Path, more: str = "# mine \udce4\r\n") -> str:
    text = path.read_bytes().decode("utf-8", "surrogateescape") + more
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return text


def test_an_edited_file_of_the_folder_is_kept_and_installed(tmp_path: Path) -> None:
    """As dpkg and rpm do: kept, and what is new lies beside, where there is something new."""
    folder, root = tmp_path / "d", tmp_path / "system"
    root.mkdir()
    assert write(files(), folder).edited == []
    mine = edit(folder / TOML)
    same = write(files(), folder)
    assert (same.edited, same.beside) == ([TOML], [])
    assert there(folder) == {str(file.path) for file in files()} | {"generated.sha256"}

    fresh = files(max_connections=500)
    changed = write(fresh, folder)
    assert (changed.edited, changed.beside) == ([TOML], [TOML])
    assert (folder / TOML).read_bytes() == mine.encode("utf-8", "surrogateescape")
    assert "max_connections = 500" in (folder / f"{TOML}.new").read_text()
    carry_out(steps(changed.files, "shop", root), "shop", root)
    assert (root / "etc/shop/headgate.toml").read_bytes() == mine.encode("utf-8", "surrogateescape")

    assert write(fresh, folder).beside == [], "the new version was shown once"
    assert (folder / f"{TOML}.new").exists()
    (folder / f"{TOML}.new").replace(folder / TOML)
    assert write(fresh, folder).edited == []


def test_an_edited_file_is_overwritten_when_that_is_said(tmp_path: Path) -> None:
    write(files(), tmp_path)
    edit(tmp_path / TOML)
    write(files(max_connections=500), tmp_path)
    assert write(files(), tmp_path, overwrite=True).edited == []
    assert "mine" not in (tmp_path / TOML).read_text()
    assert not (tmp_path / f"{TOML}.new").exists(), "it is of no use any more"


def test_a_folder_without_checksums_loses_nothing(tmp_path: Path) -> None:
    """One that an earlier version wrote: what differs may be an edit."""
    write(files(), tmp_path)
    (tmp_path / "generated.sha256").unlink()
    edit(tmp_path / TOML)
    assert write(files(), tmp_path).edited == [TOML]


def test_what_is_generated_no_more_is_removed_from_the_folder(tmp_path: Path) -> None:
    write(files(), tmp_path)
    timer, program = "root/etc/systemd/system/shop-backup.timer", "root/opt/shop/bin/backup.py"
    edit(tmp_path / timer, "# mine\n")
    fewer = [file for file in files() if "backup" not in str(file.path)]
    assert write(fewer, tmp_path).edited == [timer]
    assert (tmp_path / timer).exists()
    assert not (tmp_path / program).exists()


def test_the_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    write(files(), tmp_path)
    check = ["sha256sum", "-c", "--quiet", "generated.sha256"]
    subprocess.run(check, cwd=tmp_path, check=True, timeout=30)
    edit(tmp_path / TOML)
    told = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert told.stdout == f"{TOML}: FAILED\n"


def test_what_a_folder_was_made_from_and_is_not_given_again_is_told(tmp_path: Path) -> None:
    assert write(files(), tmp_path, sources=["gunicorn.conf.py", "shop.service"]).missing == []
    for _ in range(2):
        assert write(files(), tmp_path, sources=["gunicorn.conf.py"]).missing == ["shop.service"]
    subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "generated.sha256"], cwd=tmp_path, check=True, timeout=30)
    assert write(files(), tmp_path, overwrite=True).missing == []
    assert write(files(), tmp_path).missing == []


def test_the_command_says_which_file_is_not_given_again(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("workers = 3\n")
    given = ("rhel", "shop:app", "--domain", "shop.example.com")
    assert "given before" not in command(*given, "--from", "gunicorn.conf.py", cwd=tmp_path).stdout
    told = " ".join(command(*given, cwd=tmp_path).stdout.split())
    assert "given before, and not this time: --from gunicorn.conf.py; what it said is left out" in told


def command(*arguments: str, cwd: Path, answer: str = "") -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "headgate", "deploy", *arguments]
    return subprocess.run(line, cwd=cwd, input=answer, capture_output=True, text=True, timeout=60, check=False)


def test_the_command(tmp_path: Path) -> None:
    root = tmp_path / "system"
    root.mkdir()
    given = ("rhel", "shop:app", "--domain", "shop.example.com", "--root", str(root))
    refused = command(*given, cwd=tmp_path, answer="n\n")
    assert refused.returncode == 1
    assert "create" in refused.stdout
    assert there(root) == set()
    assert (tmp_path / "deploy-el9/README.md").exists()
    assert command(*given, cwd=tmp_path, answer="y\n").returncode == 0
    assert UNIT in there(root)
    again = command(*given, cwd=tmp_path)
    assert again.returncode == 0, "nothing is asked where nothing is to do"
    assert "Nothing changes." in again.stdout
    back = command("rhel", "--uninstall", "--name", "shop", "--root", str(root), "--yes", cwd=tmp_path)
    assert back.returncode == 0, back.stderr
    assert back.stdout.endswith(f"\n  semodule -r shop && restorecon -RFi {' '.join(LABELLED)}\n")
    assert everything(root) == set()


def test_the_command_says_what_it_spares_and_what_was_edited(tmp_path: Path) -> None:
    root = tmp_path / "system"
    stranger(root)
    given = ("rhel", "shop:app", "--domain", "shop.example.com", "--root", str(root), "--yes")
    told = " ".join(command(*given, cwd=tmp_path).stdout.split())
    assert "not ours; --force keeps it as shop.conf.before-headgate and puts ours in its place" in told
    assert "Installed, but for 1 file that was spared." in told
    again = command(*given[:-1], cwd=tmp_path)
    assert (again.returncode, "and what is spared stays as it is" in again.stdout) == (0, True)
    edit(tmp_path / "deploy-el9" / UNIT_IN_FOLDER, "# mine\n")
    told = " ".join(command(*given, "--force", "--env", "A=b", cwd=tmp_path).stdout.split())
    assert f"edited, and kept: {UNIT_IN_FOLDER}; the new version is {UNIT_IN_FOLDER}.new" in told
    assert "--overwrite writes edited files anew" in told
    assert "# mine" in (root / UNIT).read_text()
    assert (root / "etc/nginx/conf.d/shop.conf.before-headgate").read_text() == "# somebody else's\n"
    told = command(*given, "--env", "A=b", "--overwrite", cwd=tmp_path).stdout
    assert "edited" not in told
    assert "# mine" not in (root / UNIT).read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rhel",), "Write headgate deploy SYSTEM APP --domain NAME"),
        (("rhel", "shop:app", "--domain", "a.example", "--env", "A"), "write it as NAME=VALUE"),
        (("el7", "shop:app", "--domain", "a.example"), "no system 'el7'"),
        (("rhel", "--uninstall"), "--uninstall --name NAME --root /"),
    ],
)
def test_what_is_missing_is_told(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
