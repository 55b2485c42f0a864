"""Put on PYTHONPATH by `headgate watch run`: watches the interpreter that is starting, then makes way.

The folder that this file is copied to holds a link to the package and nothing else.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _watch() -> None:
    from headgate.watch import install

    install.from_environment()


def _next_one() -> None:
    """Run the sitecustomize that this one stands before, if there is one."""
    import importlib.machinery

    others = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        import importlib.util

        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if os.environ.get("HEADGATE_WATCHED_FOLDER"):
    try:
        _watch()
    except Exception as exc:
        sys.stderr.write(f"headgate watch: this process cannot be watched ({exc!r})\n")
# Nobody else is to find our package, or this file, by the service's path.
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]
_next_one()
