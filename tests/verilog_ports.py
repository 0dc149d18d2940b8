"""The ports of a module in Verilog that Yosys has written."""

import re
from typing import NamedTuple

PORT = re.compile(r"^  (input|output) (?:signed )?(?:\[(\d+):0\] )?(\w+);", re.MULTILINE)


class Port(NamedTuple):
    direction: str
    width: int
    name: str


def ports(text: str, module: str) -> list[Port]:
    """The ports of ``module``, which is one of those in ``text``."""
    start = re.search(rf"^module {module}\(", text, re.MULTILINE).start()
    return [Port(direction, int(high or 0) + 1, name)
            for direction, high, name in PORT.findall(text, start, text.index("endmodule", start))]
