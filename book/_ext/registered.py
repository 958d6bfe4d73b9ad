"""A table of checks, made from those that are registered: what the audit looks at stands once.

`.. registered:: companion.audit.layer:CHECKS` lists the code, which links to its text, the name and
the meaning of each.
"""

from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.rst import escape


class Registered(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].partition(":")
        rows = ["* - Code", "  - Check", "  - What is asked"]
        for check in getattr(import_module(module), name):
            rows.append(f"* - :ref:`{check.code} <{check.code.lower()}>`")
            rows += [f"  - {escape(check.name)}", f"  - {escape(check.meaning)}"]
        table = [
            ".. list-table::",
            "   :header-rows: 1",
            "",
            *(f"   {r}" for r in rows),
        ]
        return self.parse_text_to_nodes("\n".join(table))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("registered", Registered)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
