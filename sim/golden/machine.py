"""The golden machine: executes the instructions of a program as `hw.isa` describes them.

It shares no arithmetic with the hardware or the compiler, runs the instructions one after another,
and checks that their waits order every access that matters, so that any timing of the engines
gives the same result. See `order` for the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hw.config import VECTOR, Config
from hw.isa import INSTRUCTION_BYTES, PIXELS_PER_VECTOR, RECORD_VECTORS, Average, Opcode
from sw.assembler import Instruction, disassemble
from sw.program import Program

from .order import Clock, MachineError, Order, VectorMemory
from .passes import Pooler, Records, Windows, finish_branch, read_records, sums_of

__all__ = ["Machine", "MachineError", "Observation", "Result", "run_program"]


@dataclass(frozen=True)
class Observation:
    """Bytes of one pass: `stage` is CONV, RESCALE, ADD, AVERAGE, or STORE for the output stream.

    `index` counts passes from the start, over all images of a batch.
    `data` is uint8 [groups, vectors, 16] of branch 0 (A) or 1 (B).
    """

    index: int
    stage: str
    branch: int
    data: np.ndarray


Observer = Callable[[Observation], None]


@dataclass
class Result:
    """`images` has the outputs of each by tensor name; `memory` uint8 [vectors, 16] after the run.
    """

    images: list[dict[str, np.ndarray]]
    memory: np.ndarray
    passes: int

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        """Of the first image."""
        return self.images[0]


def run_program(program: Program, images: np.ndarray | Sequence[np.ndarray],
                observe: Observer | None = None) -> Result:
    """Run a program on integers (C, H, W) of its input tensor, one array or as many as its batch.

    Raises MachineError.
    """
    images = [images] if isinstance(images, np.ndarray) else list(images)
    if len(images) != program.batch:
        raise ValueError(f"{len(images)} images for a batch of {program.batch}")
    memory = program.memory_image()
    valid = np.zeros(len(memory), bool)
    constant = np.zeros(len(memory), bool)
    for address, data in ((program.code_address, program.code),
                          (program.constants_address, program.constants)):
        constant[address:address + len(data) // VECTOR] = True
    valid |= constant
    for number, values in enumerate(images):
        start = program.address(program.input, number)
        memory[start:start + program.input.vectors] = program.pack_input(values)
        valid[start:start + program.input.vectors] = True
    machine = Machine(program.config, memory, valid, observe)
    machine.external.frozen |= constant
    machine.run(program.code)
    return Result([_read_back(program, memory, valid, number) for number in range(len(images))],
                  memory, machine.order.count("writes"))


def _read_back(program: Program, memory: np.ndarray, valid: np.ndarray,
               number: int) -> dict[str, np.ndarray]:
    outputs = {}
    for output in program.outputs:
        start = program.address(output, number)
        if not valid[start:start + output.vectors].all():
            raise MachineError(f"output {output.tensor} was not written completely")
        outputs[output.tensor] = program.unpack_output(
            output, memory[start:start + output.vectors])
    return outputs


@dataclass
class _Image:
    """The image that a GATHER continues."""

    key: tuple = ()
    row: int = 0


@dataclass
class Machine:
    """The state of a core: `memory` is external, uint8 [vectors, 16], and changes in place."""

    config: Config
    memory: np.ndarray
    valid: np.ndarray | None = None
    observe: Observer | None = None
    external: VectorMemory = field(init=False)
    act: VectorMemory = field(init=False)

    def __post_init__(self) -> None:
        valid = np.ones(len(self.memory), bool) if self.valid is None else self.valid
        self.external = VectorMemory("external", self.memory, valid)
        count = self.config.act_vectors
        self.act = VectorMemory("activation", np.zeros((count, VECTOR), np.uint8),
                                np.zeros(count, bool))
        self.order = Order()
        self.pooler = Pooler()
        self.image = _Image()
        self.weights: list[np.ndarray] = []
        self.ahead: list[Instruction] = []
        self.taken_ahead = 0
        """How many of the WEIGHTS in `ahead`, right behind this instruction, are taken already."""

    def run(self, code: bytes) -> None:
        """Execute until END. Raises MachineError naming the instruction."""
        try:
            instructions = list(disassemble(code))
        except ValueError as error:
            raise MachineError(str(error)) from None
        for index, (opcode, header, operand) in enumerate(instructions):
            # Weights that come while an instruction is at work stand behind it.
            following = index + 1
            while following < len(instructions) and instructions[following][0] == Opcode.WEIGHTS:
                following += 1
            self.ahead = instructions[index + 1:following]
            try:
                if self.taken_ahead and opcode == Opcode.WEIGHTS:
                    self.taken_ahead -= 1
                    continue
                known = self.order.waited(header)
                if opcode == Opcode.END:
                    if self.weights:
                        raise MachineError("weights are left over")
                    return
                getattr(self, f"_{opcode.name.lower()}")(known, operand)
            except MachineError as error:
                raise MachineError(f"instruction {index} ({opcode.name}): {error}") from None
        raise MachineError(f"no END in {len(code) // INSTRUCTION_BYTES} instructions")

    # -- transfers

    def _weights(self, known: Clock, operand: dict[str, int]) -> None:
        addresses = operand["address"] + np.arange(operand["count"])
        self.weights.append(self.external.read(addresses, known, ("writes",)))

    def _take(self, count: int) -> np.ndarray:
        """The next vectors of the weight stream."""
        taken = []
        while count:
            if not self.weights:
                if self.taken_ahead == len(self.ahead):
                    raise MachineError("the weight stream ends too early")
                _, header, operand = self.ahead[self.taken_ahead]
                self._weights(self.order.waited(header), operand)
                self.taken_ahead += 1
            head = self.weights[0]
            taken.append(head[:count])
            count -= len(taken[-1])
            self.weights[0] = head[len(taken[-1]):]
            if not len(self.weights[0]):
                self.weights.pop(0)
        return np.concatenate(taken)

    def _load(self, known: Clock, operand: dict[str, int]) -> None:
        if not operand["count"] or not operand["planes"]:
            raise MachineError("an empty LOAD")
        known = self.order.transfer("loads", known)
        number = self.order.count("loads") + 1
        planes, run = np.arange(operand["planes"])[:, None], np.arange(operand["count"])
        source = operand["address"] + planes * operand["stride"] + run
        target = operand["target"] + planes * operand["target_stride"] + run
        vectors = self.external.read(source, known, ("writes",))
        self.external.mark(source, "loads", number)
        self.act.write(target, vectors, known, ("gathers", "reads", "writes"), "loads", number)
        self.order.transferred("loads", known)

    def _gather(self, known: Clock, operand: dict[str, int]) -> None:
        known = self.order.transfer("gathers", known)
        number = self.order.count("gathers") + 1
        height, width, kernel = operand["height"], operand["width"], operand["kernel"]
        if width > self.config.image_width or width > 4 * operand["row_vectors"]:
            raise MachineError(f"an image of {width} columns")
        key = tuple(operand[name] for name in (
            "address", "row_vectors", "width", "height", "out_width", "kernel", "stride",
            "pad_top", "pad_left", "pad_value"))
        if not operand["first"] and (key, operand["row"]) != (self.image.key, self.image.row):
            raise MachineError("a GATHER does not continue the image before it")
        self.image = _Image(key, operand["row"] + operand["rows"])
        top = operand["row"] * operand["stride"] - operand["pad_top"]
        bottom = top + (operand["rows"] - 1) * operand["stride"] + kernel
        used = np.arange(max(top, 0), min(bottom, height))
        addresses = operand["address"] + used[:, None] * operand["row_vectors"] \
            + np.arange(operand["row_vectors"])
        rows = self.external.read(addresses, known, ("writes",))
        self.external.mark(addresses, "gathers", number)
        pixels = rows.reshape(len(used), -1, 4)[:, :width, :3]
        vectors = _gathered(pixels, used, top, operand)
        target = (operand["target"] + np.arange(vectors.shape[1]) * operand["target_stride"]
                  + np.arange(vectors.shape[0])[:, None])
        self.act.write(target, vectors, known, ("loads", "reads", "writes"), "gathers", number)
        self.order.transferred("gathers", known)

    # -- passes

    def _conv(self, known: Clock, operand: dict) -> None:
        self._pass(known, operand["main"], chained=False)

    def _fire(self, known: Clock, operand: dict) -> None:
        squeeze = operand["squeeze"]
        if squeeze["walk"]["groups_a"] or squeeze["walk"]["kernel"] != 1:
            raise MachineError("a squeeze is branch B with a 1x1 kernel")
        nothing = {"enable": 0}
        self._pass(known, {
            "walk": squeeze["walk"], "source": squeeze["source"],
            "finish": {"zero_b": squeeze["zero"], "low_b": squeeze["low"], "rescale": 0, "add": 0,
                       "average": Average.NONE.value},
            "pool": nothing, "residual": {},
            "target": {"to_act": 1, "address_b": squeeze["target"], "plane": squeeze["plane"]},
        }, chained=False)
        self._pass(known, operand["main"], chained=True)

    def _pass(self, known: Clock, work: dict, chained: bool) -> None:
        known = self.order.begin_pass(known, chained)
        walk, source, finish, pool = work["walk"], work["source"], work["finish"], work["pool"]
        self._check_walk(walk, source)
        number = self.order.count("reads") + 1
        branches = [(code, walk[f"groups_{suffix}"], suffix)
                    for code, suffix in enumerate("ab") if walk[f"groups_{suffix}"]]
        if pool["enable"]:
            self.pooler.begin(pool, source["pixels"], sum(each[1] for each in branches),
                              self.config)
        rescale: dict[int, Records] = {}
        if finish["rescale"]:
            rescale = {code: self._records() for code, _, _ in branches}
        average = self._records() if finish["average"] == Average.QUANTISED.value else None
        columns = self._columns(known, walk, source, number)
        results: dict[int, list[np.ndarray]] = {code: [] for code, _, _ in branches}
        stages: dict[tuple[str, int], list[np.ndarray]] = {}
        for group in range(max(each[1] for each in branches)):
            present = [each for each in branches if group < each[1]]
            records = {code: self._records() for code, _, _ in present}
            tiles = self._tiles(walk, [code for code, _, _ in present])
            for code, _, suffix in present:
                taps = columns if code else [columns[self._centre(source, walk)]]
                sums = sums_of(taps, tiles[code], self.config)

                def keep(stage: str, data: np.ndarray, code: int = code) -> None:
                    stages.setdefault((stage, code), []).append(data)

                values = finish_branch(
                    sums, records[code], suffix, finish, rescale.get(code),
                    self._residual(known, work, group, suffix), average, keep)
                if pool["enable"]:
                    values = self.pooler.run(pool, (code, group), values)
                results[code].append(values)
        self._report(number - 1, stages, results)
        for code, _, suffix in branches:
            self._store(known, work["target"], suffix, np.stack(results[code]), number)
        self.order.end_pass(known)

    def _tiles(self, walk: dict[str, int], branches: list[int]) -> dict[int, np.ndarray]:
        """The tiles of each branch of a group; those that come again are the same."""
        sizes = {code: (walk["kernel"] ** 2 if code else 1) * walk["planes"] * VECTOR
                 for code in branches}
        tiles = {code: self._take(size) for code, size in sizes.items()}
        for _ in range(walk["strips"] - 1 if walk["refetch"] else 0):
            for code, size in sizes.items():
                if not np.array_equal(self._take(size), tiles[code]):
                    raise MachineError("the tiles of a strip are not those of the one before")
        return tiles

    def _records(self) -> Records:
        return read_records(self._take(RECORD_VECTORS))

    @staticmethod
    def _centre(source: dict[str, int], walk: dict[str, int]) -> int:
        """The tap of branch A among those of branch B (or the only one without B)."""
        return source["pad_top"] * walk["kernel"] + source["pad_left"] if walk["groups_b"] else 0

    def _columns(self, known: Clock, walk: dict, source: dict, number: int) -> list[np.ndarray]:
        windows = Windows(source, walk, self.config)

        def fetch(addresses: np.ndarray) -> np.ndarray:
            vectors = self.act.read(addresses, known, ("loads", "gathers", "writes"))
            self.act.mark(addresses, "reads", number)
            return vectors

        if not walk["groups_b"]:
            taps = [(source["pad_top"], source["pad_left"])]
        else:
            taps = [(ky, kx) for ky in range(walk["kernel"]) for kx in range(walk["kernel"])]
        return [windows.read(ky, kx, walk["planes"], fetch) for ky, kx in taps]

    def _residual(self, known: Clock, work: dict, group: int, suffix: str) -> np.ndarray | None:
        if not work["finish"]["add"]:
            return None
        residual = work["residual"]
        addresses = (residual[f"address_{suffix}"] + group * residual["plane"]
                     + np.arange(work["source"]["pixels"]))
        return self.external.read(addresses, known, ("writes",))

    def _store(self, known: Clock, target: dict, suffix: str, vectors: np.ndarray,
               number: int) -> None:
        addresses = (target[f"address_{suffix}"] + np.arange(len(vectors))[:, None]
                     * target["plane"] + np.arange(vectors.shape[1]))
        memory = self.act if target["to_act"] else self.external
        # Earlier passes read before this one's results come, and their results come before.
        memory.write(addresses, vectors, known, ("loads", "gathers"), "writes", number)

    def _report(self, index: int, stages: dict, results: dict) -> None:
        if self.observe is None:
            return
        for (stage, code), data in stages.items():
            self.observe(Observation(index, stage, code, np.stack(data)))
        for code, data in results.items():
            self.observe(Observation(index, "STORE", code, np.stack(data)))

    def _check_walk(self, walk: dict[str, int], source: dict[str, int]) -> None:
        config = self.config
        for struct, names in ((walk, ("planes", "kernel", "strips", "steps")),
                              (source, ("width", "height", "out_width", "pixels", "stride"))):
            for name in names:
                if struct[name] == 0:
                    raise MachineError(f"{name} is 0")
        if not walk["groups_a"] and not walk["groups_b"]:
            raise MachineError("a pass without groups")
        steps = walk["strips"] * walk["steps"] + walk["long_strips"]
        needed = -(-source["pixels"] // (1 if source["single"] else config.pixels))
        if steps != needed or walk["long_strips"] > walk["strips"]:
            raise MachineError(f"{steps} steps for {source['pixels']} pixels")
        if walk["steps"] + (walk["long_strips"] > 0) > config.strip_steps:
            raise MachineError(f"a strip is longer than {config.strip_steps} steps")
        taps = (walk["kernel"] ** 2 if walk["groups_b"] else 0) + (walk["groups_a"] > 0)
        if not walk["refetch"] and (walk["planes"] * taps + 1) * VECTOR > config.weight_vectors:
            raise MachineError("the weights of a group do not fit the ring")


def _gathered(pixels: np.ndarray, used: np.ndarray, top: int,
              operand: dict[str, int]) -> np.ndarray:
    """uint8 [windows, vectors, 16] from image rows `used`, uint8 [rows, width, 3]."""
    kernel, stride, width = operand["kernel"], operand["stride"], operand["width"]
    count = -(-kernel * kernel // PIXELS_PER_VECTOR)
    shape = operand["rows"], operand["out_width"]
    windows = np.zeros((*shape, count * PIXELS_PER_VECTOR, 3), np.uint8)
    columns = np.arange(shape[1]) * stride - operand["pad_left"]
    for tap in range(kernel * kernel):
        ky, kx = divmod(tap, kernel)
        for row in range(shape[0]):
            y = top + row * stride + ky
            values = np.full((shape[1], 3), operand["pad_value"], np.uint8)
            if 0 <= y < operand["height"]:
                inside = (columns + kx >= 0) & (columns + kx < width)
                values[inside] = pixels[y - used[0], columns[inside] + kx]
            windows[row, :, tap] = values
    vectors = np.zeros((shape[0] * shape[1], count, VECTOR), np.uint8)
    vectors[:, :, :3 * PIXELS_PER_VECTOR] = windows.reshape(shape[0] * shape[1], count, -1)
    return vectors
