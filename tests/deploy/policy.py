"""A whole SELinux policy around our module, so that it can be asked what it allows: compiled, never loaded."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_HEAD = "(handleunknown deny)\n(mls false)\n"
_CONVERTERS = ("/usr/libexec/selinux/hll/pp", "/usr/lib/selinux/hll/pp")


def compiled(folder: Path, module: str) -> Path:
    """Compile `<module>.pp` with a base that declares what the module requires, and nothing more.

    Args:
        folder: where `<module>.pp` and `<module>.te` are.
        module: its name.

    Returns:
        the binary policy, for sesearch and seinfo.
    """
    required = (folder / f"{module}.te").read_text().split("require {", 1)[1].split("\n}\n", 1)[0]
    classes = {name: perms.split() for name, perms in re.findall(r"class (\w+) \{([^}]*)\};", required)}
    types = re.findall(r"^\s*type (\w+);", required, re.MULTILINE)
    attributes = re.findall(r"^\s*attribute (\w+);", required, re.MULTILINE)
    base = [_HEAD]
    base += [f"(class {name} ({' '.join(perms)}))" for name, perms in classes.items()]
    base.append(f"(classorder ({' '.join(classes)}))")
    base += ["(sid kernel)", "(sidorder (kernel))", "(user system_u)", "(role object_r)", "(role system_r)"]
    base += ["(userrole system_u object_r)", "(userrole system_u system_r)"]
    # Without MLS a level still has to be written down
    base += ["(sensitivity s0)", "(sensitivityorder (s0))", "(level low (s0))", "(levelrange lowlow (low low))"]
    base += ["(userlevel system_u low)", "(userrange system_u lowlow)"]
    base += ["(roleattribute cil_gen_require)", "(typeattribute cil_gen_require)"]
    base += [f"(typeattribute {name})" for name in attributes]
    for name in types:
        base += [f"(type {name})", f"(roletype object_r {name})", f"(roletype system_r {name})"]
    base.append("(sidcontext kernel (system_u system_r kernel_t lowlow))")
    base.append("(typeattributeset domain (kernel_t init_t httpd_t syslogd_t))")
    base.append("(typeattributeset file_type (bin_t lib_t))\n(typeattributeset exec_type (bin_t))")
    (folder / "base.cil").write_text("\n".join(base) + "\n")
    converter = next(path for path in _CONVERTERS if Path(path).exists())
    with (folder / f"{module}.cil").open("w") as cil:
        subprocess.run([converter, str(folder / f"{module}.pp")], stdout=cil, check=True, timeout=60)
    policy = folder / "policy"
    command = ["secilc", "-M", "false", "-o", str(policy), "-f", "/dev/null", "base.cil", f"{module}.cil"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return policy


def allowed(policy: Path, source: str, target: str, kind: str) -> set[str]:
    """The permissions that one type has on another's objects of a class."""
    command = ["sesearch", "--allow", "-s", source, "-t", target, "-c", kind, str(policy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found: set[str] = set()
    for line in done.stdout.splitlines():
        inner = re.search(r":\S+ \{?([^};]*)\}?;", line)
        if inner:
            found |= set(inner.group(1).split())
    return found
