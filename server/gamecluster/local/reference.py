"""``python -m gamecluster.local.reference > docs/configuration.md``: the table of variables, made from the settings."""

from __future__ import annotations

from ..settings import variables
from .plan import OWN_FILES, OWN_VARIABLES

HEAD = """\
# Configuration of a node

`gamecluster serve` reads these variables once, at its start. A wrong value, or a variable with the prefix `GAMECLUSTER_` that is not
in this table, ends it with one line that names the variable and what would be valid.

On Kubernetes the operator sets them from the `GameCluster`. `gamecluster up` sees to those marked * itself, for each of its nodes,
and passes the others on.

| variable | default | meaning |
| --- | --- | --- |
"""
FOOT = """
This page is made by `python -m gamecluster.local.reference > docs/configuration.md`; a test compares them.
"""


def page() -> str:
    own = {f"GAMECLUSTER_{name}" for name in (*OWN_VARIABLES, *OWN_FILES)}
    rows = [
        f"| `{name}`{' *' if name in own else ''} | {f'`{default}`' if default else ''} | {meaning} |"
        for name, default, meaning in variables()
    ]
    return HEAD + "\n".join(rows) + "\n" + FOOT


if __name__ == "__main__":
    print(page(), end="")
