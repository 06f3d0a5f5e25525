"""The Vega libraries as one piece of JavaScript, for a page that loads nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import Self

from markupsafe import Markup

from deploymark.bench.errors import DeploymarkError

# By way of Vega-Embed, as the bundles of vl-convert 1.9 set vega and vegaLite to null; and with a
# snippet of one name, as its default one takes half as long again.
_CHILD = """
import sys, vl_convert
library = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
sys.stdout.buffer.write(library.encode("utf-8"))
"""


class VegaBundle:
    """vl-convert bundling in a child process, from construction on. Use as a context manager.

    Bundling takes seconds of one core and holds the interpreter's lock, as does importing Altair to
    make the charts: beside each other the two take little longer than one.
    """

    def __init__(self) -> None:
        # "-P" keeps the working directory off the child's path.
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.returncode is None:
            self._child.kill()
            self._child.communicate()

    def script(self) -> Markup:
        """Wait for the script: it sets ``window.vegaEmbed``, holds no ``</script``. Call once.

        Raises DeploymarkError with the child's last words where it failed.
        """
        output, errors = self._child.communicate()
        if self._child.returncode != 0:
            words = errors.decode("utf-8", "replace").strip().splitlines()
            raise DeploymarkError(
                f"vl-convert could not bundle Vega for the charts: {words[-1] if words else '?'}",
                remedy="Install vl-convert-python anew beside Deploymark.",
            )
        # The same in a string, a template and a regular expression, where alone it can occur.
        text = output.decode("utf-8").replace("</script", "<\\/script")
        return Markup(text)  # noqa: S704 - made safe for a script element
