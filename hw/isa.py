"""Instruction formats, parameter records and their meaning: the one source for every tool.

An instruction is ``INSTRUCTION_BYTES`` long: a ``Header`` and one operand struct, both
little-endian, lowest bit first. The decoder views the bits, the assembler builds them, the
disassembler and the golden machine read them back.

Units: an *external address* counts vectors of 16 bytes from the start of the memory window; an
*activation address* counts vectors in the on-chip activation memory; a *plane* is 16 channels.
"""

from amaranth.hdl import signed
from amaranth.lib import data, enum

INSTRUCTION_BYTES = 128
HEADER_BITS = 128
OPERAND_BITS = INSTRUCTION_BYTES * 8 - HEADER_BITS

EXTERNAL_ADDRESS = 28
ACT_ADDRESS = 16
COUNT = 16

MANTISSA = 24
SHIFT = 5
POINT = 48
"""A requantisation scale is ``mantissa * 2**(shift - POINT)``."""
ADD_POINT = 23
"""Scales of the bypass add are ``mantissa * 2**-ADD_POINT``."""
CORRECTIONS = 1


class Opcode(enum.Enum, shape=8):
    """What an instruction does. Any other value ends the run with an error."""

    END = 1
    """Wait until every engine is idle and every write acknowledged, then finish."""
    WEIGHTS = 2
    """Stream parameters and weight tiles from external memory into the weight ring."""
    LOAD = 3
    """Copy planes of a feature map from external memory to the activation memory."""
    GATHER = 4
    """Turn windows of a three-channel image into vectors of the activation memory."""
    CONV = 5
    """One convolution pass, or two branches (1x1 and KxK) over the same input."""
    FIRE = 6
    """A squeeze pass into the activation memory, then both expands in one pass."""


class Header(data.Struct):
    """Opcode and dependencies.

    An engine starts an instruction when all four counters have reached the values here:
    loads done, gathers done, compute passes that have read their last input, and compute passes
    whose results are all written (external writes acknowledged). FIRE counts as two passes.
    """

    opcode: 8
    reserved0: 8
    layer: 16
    loads: COUNT
    gathers: COUNT
    reads: COUNT
    writes: COUNT
    reserved1: 32


class Weights(data.Struct):
    """Operand of WEIGHTS: ``count`` vectors from ``address``."""

    address: EXTERNAL_ADDRESS
    count: 24


class Load(data.Struct):
    """Operand of LOAD: ``planes`` runs of ``count`` vectors, with a stride on each side."""

    address: EXTERNAL_ADDRESS
    stride: 24
    target: ACT_ADDRESS
    target_stride: ACT_ADDRESS
    count: 16
    planes: 8


class Gather(data.Struct):
    """Operand of GATHER: output rows ``row .. row+rows-1`` of a first layer.

    The image is stored as rows of 4-byte pixels (three channels, one byte unused), each row padded
    to whole vectors. A KxK window becomes ``ceil(K*K / 5)`` vectors: five pixels (ky outer, kx
    inner) of three bytes each, the sixteenth byte and unused pixels zero. Vector ``v`` of pixel
    ``i`` (counted from ``row``) goes to ``target + v * target_stride + i``. Image rows are read
    once, in order; ``first`` starts a new image.
    """

    address: EXTERNAL_ADDRESS
    row_vectors: 8
    width: 11
    height: 11
    out_width: 11
    row: 11
    rows: 11
    kernel: 3
    stride: 2
    pad_top: 3
    pad_left: 3
    pad_value: 8
    first: 1
    target: ACT_ADDRESS
    target_stride: ACT_ADDRESS


PIXELS_PER_VECTOR = 5
"""Image pixels in one gathered vector."""


class Walk(data.Struct):
    """The loops of a pass: for group, strip, branch (A then B), half, tap, plane, step.

    Branch A is a 1x1 kernel with ``groups_a`` groups of 16 output channels, branch B a
    ``kernel`` x ``kernel`` one with ``groups_b``; a branch takes part while ``group`` is below its
    count. The first ``long_strips`` strips have ``steps + 1`` steps, the others ``steps``.
    Weight stream of a pass: rescale parameters of A and of B if ``Finish.rescale`` (for each branch
    with groups), average parameters if ``Finish.average`` is QUANTISED, then for each group its
    parameters A, B, its tiles A, its tiles B. With ``refetch`` the tiles of a group come once for
    each strip, so that the weight ring need not hold them.
    """

    groups_a: 8
    groups_b: 8
    planes: 8
    kernel: 4
    strips: 12
    long_strips: 12
    steps: 7
    refetch: 1


class Source(data.Struct):
    """Where a pass reads: a map in the activation memory, row-major planes.

    ``address`` is that of the window origin of the first output pixel: pixel
    (row * stride - pad_top, -pad_left) of plane 0, modulo 2**16 (it may lie outside the map).
    Output pixels are ``pixels`` in raster order from column 0 of output row ``row``. Positions
    outside ``width`` x ``height`` read as ``pad_value``. Branch A reads at tap (pad_top, pad_left).
    ``single`` makes a step one pixel instead of ``Config.pixels``.
    """

    address: ACT_ADDRESS
    plane: ACT_ADDRESS
    width: 11
    height: 11
    out_width: 11
    row: 11
    pixels: 16
    stride: 3
    pad_top: 3
    pad_left: 3
    pad_value: 8
    single: 1


class Average(enum.Enum, shape=2):
    """What becomes of the results of a group before the store."""

    NONE = 0
    SUMS = 1
    """The sum over all pixels, sixteen int32: four vectors."""
    QUANTISED = 2
    """The sum, requantised with the average parameters: one vector."""


class Correction(data.Struct):
    """A pair (a, b) whose bypass sum is one more (``up``) or one less than the exact rule says."""

    valid: 1
    up: 1
    a: 8
    b: 8


class Finish(data.Struct):
    """From sums to bytes: zero point and lower clamp of each stage (the upper clamp is 255).

    Stage CONV: ``clamp(zero + requantise(sum + bias), low, 255)`` with the branch's group
    parameters. Stage RESCALE (if set): the same on the byte, with the branch's rescale parameters,
    ``zero_c`` and ``low_c``. Stage ADD (if set): ``a`` the byte so far, ``b`` the residual:
    ``clamp(round((a * add_a + b * add_b + add_c) * 2**-ADD_POINT) + correction, low_d, 255)``.
    Stage AVERAGE: sums of a group; if QUANTISED requantised with ``zero_g``, ``low_g``.
    Requantise: |x| * mantissa * 2**(shift - POINT) rounded to 24 significant bits, then to an
    integer, both half to even, with the sign of x; ADD rounds in the same two steps.
    """

    zero_a: 8
    low_a: 8
    zero_b: 8
    low_b: 8
    rescale: 1
    zero_c: 8
    low_c: 8
    add: 1
    low_d: 8
    add_a: MANTISSA
    add_b: MANTISSA
    add_c: signed(36)
    average: Average
    zero_g: 8
    low_g: 8
    corrections: data.ArrayLayout(Correction, CORRECTIONS)


class Pool(data.Struct):
    """Max pooling of the results on their way out; ``kernel`` is ``stride`` or ``stride + 1``.

    ``width`` columns come in, ``out_width`` go out. ``pad_left`` and ``phase`` are the positions in
    their windows of the first column and of the first row of this pass; ``close_right`` and
    ``close_bottom`` end the windows open at the last column and row (partial windows of ceil mode
    or padding). ``rows`` rows come in. Windows open at the end continue in the next pass.
    """

    enable: 1
    kernel: 3
    stride: 3
    pad_left: 2
    phase: 2
    width: 11
    rows: 11
    out_width: 11
    close_right: 1
    close_bottom: 1


class Target(data.Struct):
    """Where results go: group ``g`` of a branch to ``address_x + g * plane``, in order.

    ``to_act`` selects the activation memory, else external memory.
    """

    to_act: 1
    address_a: EXTERNAL_ADDRESS
    address_b: EXTERNAL_ADDRESS
    plane: 24


class Residual(data.Struct):
    """External addresses of the bypass operand, laid out like the target before pooling."""

    address_a: EXTERNAL_ADDRESS
    address_b: EXTERNAL_ADDRESS
    plane: 24


class Pass(data.Struct):
    """One pass of the array over a band."""

    walk: Walk
    source: Source
    finish: Finish
    pool: Pool
    target: Target
    residual: Residual


class Squeeze(data.Struct):
    """The first pass of FIRE: a 1x1 convolution (branch B) into the activation memory."""

    walk: Walk
    source: Source
    zero: 8
    low: 8
    target: ACT_ADDRESS
    plane: ACT_ADDRESS


class Conv(data.Struct):
    """Operand of CONV."""

    main: Pass


class Fire(data.Struct):
    """Operand of FIRE: ``squeeze`` runs first; ``main`` starts when its results are written."""

    main: Pass
    squeeze: Squeeze


OPERANDS = {
    Opcode.WEIGHTS: Weights,
    Opcode.LOAD: Load,
    Opcode.GATHER: Gather,
    Opcode.CONV: Conv,
    Opcode.FIRE: Fire,
}


class ParameterKind(enum.Enum, shape=3):
    """Which parameters a record block of the weight stream holds."""

    BRANCH_A = 0
    BRANCH_B = 1
    RESCALE_A = 2
    RESCALE_B = 3
    AVERAGE = 4


class Record(data.Struct):
    """Requantisation parameters of one output channel, eight bytes; 16 make a block."""

    bias: 32
    mantissa: MANTISSA
    shift: SHIFT
    reserved: 3


RECORD_VECTORS = 8
"""Vectors of one block of parameters: 16 records of 8 bytes, two a vector."""


class Error(enum.Enum, shape=8):
    """Error codes of the status register."""

    NONE = 0
    OPCODE = 1
    """Unknown opcode."""
    WINDOW = 2
    """An external address outside the window."""
    ACT_RANGE = 3
    """An address outside the activation memory."""
    READ = 4
    """An AXI error response to a read."""
    WRITE = 5
    """An AXI error response to a write."""
    TIMEOUT = 6
    """No engine made progress for the number of cycles in the watchdog register."""
    OPERAND = 7
    """A field of an instruction outside the range of this configuration."""
