"""The convolution engine: from passes to raw sums."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .accumulator import Accumulator
from .array import Array
from .config import VECTOR, Config
from .fifo import TwoPlaces
from .interfaces import Bytes, ParameterWrite, result_layout
from .isa import ACT_ADDRESS, COUNT
from .stepper import Blocked, Stepper
from .tile_loader import TileLoader
from .walker import TileCommand, TileWalker, tile_layout

RESULT_DEPTH = 64
"""Steps of finished sums that wait for the requantisers: the last tiles of two branches."""


class Engine(wiring.Component):
    """Walks the tiles of a pass, loads their weights, steps pixels past them, sums the products.

    One step (``pixels`` pixels x 16 input channels x ``co_lanes`` output channels) a cycle while
    weights and room for results are there. Reads the activation memory with its ``read_latency``
    and the weight ring with its ``ring_latency``. ``read_done`` pulses when a pass has read its
    last pixel; ``written`` must pulse when all results of a pass are in their place. ``walking``:
    some pass is under way before the end of its reads; ``active``: its first step has been reached;
    ``issued``: a step; ``ends``: the last of its pass; ``blocked``: why there is none. ``loading``:
    a tile is being loaded; ``loading_ends``: handed over, the last of its pass;
    ``loading_blocked``: why it stands still.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(TileCommand)),
            "ring_available": In(range(config.weight_vectors + 1)),
            "ring_offset": Out(range(config.weight_vectors)),
            "ring_enable": Out(1),
            "ring_data": In(Bytes),
            "ring_release": Out(1),
            "ring_release_count": Out(range(VECTOR + 1)),
            "read_enable": Out(config.pixels),
            "read_address": Out(data.ArrayLayout(ACT_ADDRESS, config.pixels)),
            "read_data": In(data.ArrayLayout(Bytes, config.pixels)),
            "parameters": Out(stream.Signature(ParameterWrite, always_ready=True)),
            "results": Out(stream.Signature(result_layout(config))),
            "group_done": In(1),
            "written": In(1),
            "read_done": Out(1),
            "idle": Out(1),
            "walking": Out(1),
            "active": Out(1),
            "issued": Out(1),
            "ends": Out(1),
            "blocked": Out(Blocked),
            "loading": Out(1),
            "loading_ends": Out(1),
            "loading_blocked": Out(Blocked),
            "layer": Out(COUNT),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.walker = walker = TileWalker(config)
        m.submodules.loader = loader = TileLoader(config)
        m.submodules.stepper = stepper = Stepper(config, RESULT_DEPTH)
        m.submodules.array = array = Array(config)
        m.submodules.accumulator = accumulator = Accumulator(config, RESULT_DEPTH)

        connect(m, flipped(self.command), walker.command)
        tiles = walker.tile
        if config.vendor == "ecp5":
            m.submodules.tiles = buffer = TwoPlaces(tile_layout(config))
            connect(m, tiles, buffer.i)
            tiles = buffer.o
        connect(m, tiles, loader.tile)
        connect(m, loader.loaded, stepper.tile)
        connect(m, loader.parameters, flipped(self.parameters))
        connect(m, accumulator.results, flipped(self.results))
        m.d.comb += [
            loader.available.eq(self.ring_available),
            self.ring_offset.eq(loader.read_offset),
            self.ring_enable.eq(loader.read_enable),
            loader.read_data.eq(self.ring_data),
            self.ring_release.eq(loader.release),
            self.ring_release_count.eq(loader.release_count),
            loader.group_done.eq(self.group_done),
            array.load.eq(loader.load),
            array.weights.eq(loader.weights),
            array.swap.eq(stepper.swap),
            array.x.eq(stepper.x),
            self.read_enable.eq(stepper.read_enable),
            self.read_address.eq(stepper.read_address),
            stepper.read_data.eq(self.read_data),
            stepper.credit.eq(accumulator.credit),
            stepper.written.eq(self.written),
            accumulator.step.eq(stepper.step),
            accumulator.sums.eq(array.sums),
            self.read_done.eq(stepper.read_done),
            self.walking.eq(stepper.active | tiles.valid | ~walker.idle),
            self.active.eq(stepper.active),
            self.issued.eq(stepper.issued),
            self.ends.eq(stepper.ends),
            self.loading.eq(tiles.valid),
            self.loading_ends.eq(
                loader.loaded.valid & loader.loaded.ready & loader.loaded.payload.ends),
            self.loading_blocked.eq(loader.blocked),
            self.blocked.eq(stepper.blocked),
            self.layer.eq(stepper.layer),
            self.idle.eq(walker.idle & ~tiles.valid & ~stepper.active & accumulator.idle),
        ]
        return m
