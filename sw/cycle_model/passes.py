"""What the units do for one pass of the array, from the operand of its instruction."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from hw.config import Config
from hw.isa import Average, Opcode

__all__ = ["Pass", "passes_of"]

BRANCHES = ("a", "b")


@dataclass
class Pass:
    """`work` is the operand (`isa.Pass`); `waited` the event for which its instruction waited last,
    or nothing. Branches are 0 for A and 1 for B."""

    layer: int
    work: dict
    chained: bool
    waited: str = ""

    @property
    def pixels(self) -> int:
        return self.work["source"]["pixels"]

    @property
    def groups(self) -> int:
        return max(self.work["walk"]["groups_a"], self.work["walk"]["groups_b"])

    @property
    def external(self) -> bool:
        """Whether the results go to external memory."""
        return not self.work["target"]["to_act"]

    @property
    def averages(self) -> bool:
        return self.work["finish"]["average"] != Average.NONE.value

    @property
    def blocks(self) -> int:
        """Blocks of parameters before those of the first group."""
        finish, walk = self.work["finish"], self.work["walk"]
        branches = (walk["groups_a"] > 0) + (walk["groups_b"] > 0)
        return (branches if finish["rescale"] else 0) \
            + (finish["average"] == Average.QUANTISED.value)

    def branches(self, group: int) -> list[int]:
        """Those that take part in a group."""
        walk = self.work["walk"]
        return [code for code, name in enumerate(BRANCHES) if group < walk[f"groups_{name}"]]

    def tiles(self, branch: int) -> int:
        """Tiles of a branch that a strip meets, for each half."""
        walk = self.work["walk"]
        return walk["planes"] * (walk["kernel"] ** 2 if branch else 1)

    def strips(self, config: Config) -> list[tuple[int, int]]:
        """Steps and pixels of each strip."""
        walk = self.work["walk"]
        steps = [walk["steps"] + (n < walk["long_strips"]) for n in range(walk["strips"])]
        each = 1 if self.work["source"]["single"] else config.pixels
        edges = (min(each * count, self.pixels) for count in accumulate(steps, initial=0))
        return list(zip(steps, (end - first for first, end in pairwise(edges)), strict=True))

    def place(self, of: str, group: int, branch: int) -> int:
        """External address of a group of the target or of the residual."""
        fields = self.work[of]
        return fields[f"address_{BRANCHES[branch]}"] + group * fields["plane"]

    def emitted(self) -> np.ndarray:
        """Vectors that a group has given to the store after so many results, from 0 on."""
        average = self.work["finish"]["average"]
        gives = np.ones(self.pixels, np.int64)
        if average != Average.NONE.value:
            gives[:] = 0
            gives[-1] = 4 if average == Average.SUMS.value else 1
        elif self.work["pool"]["enable"]:
            gives = _pooled(self.work["pool"]).reshape(-1)
        return np.concatenate(([0], np.cumsum(gives)))


def _pooled(pool: dict[str, int]) -> np.ndarray:
    """int [rows, width]: 1 where a result closes a window in both directions."""
    columns = np.zeros(pool["width"], np.int64)
    for window in range(pool["out_width"]):
        end = window * pool["stride"] - pool["pad_left"] + pool["kernel"] - 1
        columns[min(end, pool["width"] - 1)] = 1
    rows = np.zeros(pool["rows"], np.int64)
    position = pool["phase"]
    for row in range(pool["rows"]):
        last = row == pool["rows"] - 1 and pool["close_bottom"]
        rows[row] = position == pool["kernel"] - 1 or last
        position = pool["kernel"] - pool["stride"] if rows[row] else position + 1
    return rows[:, None] * columns


def passes_of(opcode: Opcode, layer: int, operand: dict, waited: str) -> list[Pass]:
    """The passes of a CONV or FIRE."""
    main = operand["main"]
    if opcode == Opcode.CONV:
        return [Pass(layer, main, False, waited)]
    squeeze = operand["squeeze"]
    work = {"walk": squeeze["walk"], "source": squeeze["source"], "pool": {"enable": 0},
            "finish": {"rescale": 0, "add": 0, "average": Average.NONE.value},
            "target": {"to_act": 1}}
    return [Pass(layer, work, False, waited), Pass(layer, main, True, waited)]
