"""The whole core: wiring only."""

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Module,
    Mux,
    ResetInserter,
    ResetSignal,
    Signal,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .act_memory import ActMemory
from .config import Config
from .csr import CsrBank
from .dispatch import QUEUES, Dispatch, Queue
from .ecp5 import copies
from .engine import Engine
from .fifo import TwoPlaces
from .finish import Finisher
from .fire_sequencer import FireSequencer, PassCommand
from .gather import Gather
from .interfaces import Axi4, AxiLite, OutputProbe, ResultProbe
from .isa import COUNT, Error
from .loader import Loader
from .observe import Observer
from .pool import MaxPool
from .profile import UNITS, UnitState
from .read_arbiter import ReadArbiter
from .residual import ResidualReader
from .store import Store
from .supervisor import Supervisor
from .weight_ring import WeightRing

CLIENTS = ("residual", "load", "gather", "weights", "program")
"""Clients of the read arbiter."""
WRITERS = ("store", "gather", "load")
"""Writers of the activation memory by their number in faults."""


class PassFork(wiring.Component):
    """Gives a pass to every unit that needs it, each through a register; in order, none waits."""

    def __init__(self, config: Config, consumers: dict):
        """``consumers``: name to layout of the unit's command."""
        self.consumers = consumers
        super().__init__({
            "passes": In(stream.Signature(PassCommand)),
            **{name: Out(stream.Signature(layout)) for name, layout in consumers.items()},
        })

    def elaborate(self, platform):
        m = Module()
        everyone = 1
        queues = {}
        for name, layout in self.consumers.items():
            queue = m.submodules[name] = Queue(layout, 1)
            connect(m, queue.output, flipped(getattr(self, name)))
            everyone = everyone & queue.input.ready
            queues[name] = queue
        m.d.comb += self.passes.ready.eq(everyone)
        given = self.passes.valid & self.passes.ready
        work = self.passes.payload.work
        for name, queue in queues.items():
            m.d.comb += queue.input.valid.eq(
                given & work.finish.add if name == "residual" else given)
            self._fill(m, name, queue.input.payload)
        return m

    def _fill(self, m, name, to):
        given = self.passes.payload
        work = given.work
        groups = (("groups_a", work.walk.groups_a), ("groups_b", work.walk.groups_b))
        fields = {
            "engine": (("walk", work.walk), ("source", work.source),
                       ("rescale", work.finish.rescale), ("average", work.finish.average),
                       ("chained", given.chained), ("layer", given.layer)),
            "finisher": (("walk", work.walk), ("finish", work.finish)),
            "pool": (("pool", work.pool), *groups),
            "store": (("target", work.target), *groups, ("index", given.index)),
            "residual": (("residual", work.residual), ("walk", work.walk),
                         ("pixels", work.source.pixels), ("single", work.source.single)),
        }[name]
        m.d.comb += [getattr(to, field).eq(value) for field, value in fields]


class Core(wiring.Component):
    """A SqueezeNet accelerator: AXI4 manager for program, weights and maps, AXI4-Lite registers.

    ``interrupt`` is a level. ``probe`` shows every byte of every stage and, one cycle late, whether
    a run lasts, the layer of the array, and the ``hw.observe.Track`` of each unit of ``UNITS``; a
    board leaves it open. See docs/architecture.md for the units.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "axi": Out(Axi4()),
            "csr": In(AxiLite()),
            "interrupt": Out(1),
            "probe": Out(wiring.Signature({
                "result": Out(ResultProbe),
                "output": Out(OutputProbe),
                "running": Out(1),
                "layer": Out(COUNT),
                "states": Out(data.ArrayLayout(UnitState, len(UNITS))),
                "begin": Out(len(UNITS)),
                "end": Out(len(UNITS)),
            })),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.csr = csr = CsrBank(config)
        m.submodules.supervisor = supervisor = Supervisor(4)

        dispatch = Dispatch(config)
        arbiter = ReadArbiter(config, len(CLIENTS))
        memory = ActMemory(config)
        ring = WeightRing(config)
        load = Loader(config)
        gather = Gather(config)
        sequencer = FireSequencer()
        engine = Engine(config)
        finisher = Finisher(config)
        pool = MaxPool(config)
        store = Store(config)
        residual = ResidualReader(config)
        fork = PassFork(config, {
            name: unit.command.payload.shape() for name, unit in (
                ("engine", engine), ("finisher", finisher), ("pool", pool), ("store", store),
                ("residual", residual))})
        units = {"dispatch": dispatch, "arbiter": arbiter, "memory": memory, "ring": ring,
                 "load": load, "gather": gather, "sequencer": sequencer, "engine": engine,
                 "finisher": finisher, "pool": pool, "store": store, "residual": residual,
                 "fork": fork}
        links = [(finisher.output, pool.input), (pool.output, store.input)]
        if config.vendor == "ecp5":
            # What stalls a unit reaches no further than to the flip-flops before it.
            for source, sink in tuple(links):
                units[f"link{len(links)}"] = places = TwoPlaces(source.payload.shape())
                links.append((places.o, sink))
                links[links.index((source, sink))] = source, places.i
        m.submodules.inner = self._inner(m, units, supervisor.reset)

        # Registers and runs. The end comes from all units: a register parts the way.
        finished = Signal()
        m.d.sync += finished.eq(dispatch.finished)
        connect(m, flipped(self.csr), csr.bus)
        m.d.comb += [
            self.interrupt.eq(csr.interrupt),
            supervisor.start.eq(csr.start),
            supervisor.soft_reset.eq(csr.soft_reset),
            supervisor.watchdog.eq(csr.watchdog),
            supervisor.axi_idle.eq(arbiter.idle & store.idle),
            supervisor.finished.eq(finished),
            supervisor.progress.eq(
                arbiter.beats | store.beats | engine.issued | engine.read_done | store.done),
            supervisor.active_index.eq(dispatch.active[list(QUEUES).index("compute")]),
            csr.busy.eq(supervisor.busy),
            csr.done.eq(supervisor.done),
            csr.error.eq(supervisor.error),
            csr.error_code.eq(supervisor.error_code),
            csr.error_index.eq(supervisor.error_index),
            csr.clear.eq(supervisor.reset),
            arbiter.halt.eq(supervisor.halt),
            store.halt.eq(supervisor.halt),
        ]
        for unit in (arbiter, store):
            m.d.comb += [
                unit.window_base.eq(csr.window_base),
                unit.window_vectors.eq(csr.window_vectors),
            ]

        # Program and its queues. What a write stalls ends at a register.
        gathered = Signal()
        m.d.sync += gathered.eq(gather.done)
        m.d.comb += [
            dispatch.start.eq(supervisor.run_start),
            dispatch.program.eq(csr.program),
            dispatch.load_done.eq(load.done),
            dispatch.gather_done.eq(gathered),
            dispatch.read_done.eq(engine.read_done),
            dispatch.write_done.eq(store.done),
            dispatch.engines_idle.eq(
                ring.idle & load.idle & gather.idle & engine.idle & finisher.idle & store.idle
                & residual.idle),
        ]
        connect(m, dispatch.weights, ring.command)
        connect(m, dispatch.load, load.command)
        connect(m, dispatch.gather, gather.command)
        connect(m, dispatch.compute, sequencer.command)
        connect(m, sequencer.passes, fork.passes)
        for name, unit in (("engine", engine), ("finisher", finisher), ("pool", pool),
                           ("store", store), ("residual", residual)):
            connect(m, getattr(fork, name), unit.command)

        # External memory.
        for index, unit in enumerate((residual, load, gather, ring, dispatch)):
            connect(m, unit.client, arbiter.clients[index])
        for channel in (arbiter.axi, store.axi):
            for name, member in channel.signature.members.items():
                outer, unit = getattr(self.axi, name), getattr(channel, name)
                m.d.comb += outer.eq(unit) if member.flow is Out else unit.eq(outer)

        # Activations, weights, results.
        for index, unit in enumerate((store, gather)):
            connect(m, unit.write, memory.writers[index])
        connect(m, load.write, memory.load)
        m.d.comb += [
            load.spare.eq(memory.spare),
            memory.read_enable.eq(engine.read_enable),
            memory.read_address.eq(engine.read_address),
            engine.read_data.eq(memory.read_data),
            engine.ring_available.eq(ring.available),
            ring.read_offset.eq(engine.ring_offset),
            ring.read_enable.eq(engine.ring_enable),
            engine.ring_data.eq(ring.read_data),
            ring.release.eq(engine.ring_release),
            ring.release_count.eq(engine.ring_release_count),
            engine.group_done.eq(finisher.group_done),
            engine.written.eq(store.done),
        ]
        connect(m, engine.parameters, finisher.parameters)
        connect(m, engine.results, finisher.results)
        connect(m, residual.output, finisher.residual)
        for link in links:
            connect(m, *link)

        self._faults(m, supervisor, dispatch, arbiter, store, memory)

        # What the counters count, all one cycle late.
        observer = Observer(m, supervisor.running)
        tracks = observer.observe(
            dispatch, engine, ring, load, gather, finisher, pool, store, residual)
        m.d.comb += [
            csr.running.eq(observer.running),
            csr.read_beat.eq(observer.sampled(arbiter.beats)),
            csr.write_beat.eq(observer.sampled(store.beats)),
            *(state.eq(track.state) for state, track in zip(csr.states, tracks, strict=False)),
        ]
        self._probe(m, platform, observer, tracks, dispatch, engine, finisher, pool)
        return m

    def _inner(self, m, units, reset):
        """What ``reset`` resets too. On an ECP5 a cycle late: from a register with no other work,
        for its net may take a network of clocks."""
        inner = Module()
        if self.config.vendor != "ecp5":
            for name, unit in units.items():
                inner.submodules[name] = unit
            return ResetInserter(reset)(inner)
        domain = ClockDomain("inner", local=True)
        inner.domains += domain
        [late] = copies(m, "reset", reset | ResetSignal(), 1)
        inner.d.comb += [domain.clk.eq(ClockSignal("sync")), domain.rst.eq(late)]
        for name, unit in units.items():
            inner.submodules[name] = DomainRenamer(domain.name)(unit)
        return inner

    def _faults(self, m, supervisor, dispatch, arbiter, store, memory):
        """Gives each fault, a cycle late, the index of the instruction that its unit works on."""
        active = dict(zip(QUEUES, dispatch.active, strict=True))
        at_work = {"residual": active["compute"], "store": active["compute"],
                   "program": dispatch.fetch_index, **active}
        of_client, of_source = Signal(COUNT), Signal(COUNT)
        with m.Switch(arbiter.fault_client):
            for index, name in enumerate(CLIENTS):
                with m.Case(index):
                    m.d.comb += of_client.eq(at_work[name])
        with m.Switch(memory.fault_source):
            for index, name in enumerate(WRITERS):
                with m.Case(index):
                    m.d.comb += of_source.eq(at_work[name])
            with m.Default():
                m.d.comb += of_source.eq(active["compute"])
        for fault, (valid, code, index) in zip(supervisor.faults, (
            (dispatch.fault, dispatch.fault_code, dispatch.fault_index),
            (arbiter.fault, arbiter.fault_code, of_client),
            (store.fault, store.fault_code, store.fault_index),
            (memory.fault, Error.ACT_RANGE, of_source),
        ), strict=True):
            m.d.sync += [fault.valid.eq(valid), fault.code.eq(code), fault.index.eq(index)]

    def _probe(self, m, platform, observer, tracks, dispatch, engine, finisher, pool):
        # The layer at work, or else the one that waits to be, or else the last that did.
        compute = dispatch.compute
        waits = compute.valid
        if platform is None:  # nobody probes a chip, whose netlist has a known timing
            waits = waits | dispatch.gated[list(QUEUES).index("compute")]
        coming, layer = Signal.like(engine.layer), Signal.like(engine.layer)
        with m.If(waits):
            m.d.sync += coming.eq(compute.payload.layer)
        m.d.comb += layer.eq(Mux(engine.active, engine.layer, Mux(
            waits, compute.payload.layer, coming)))
        m.d.comb += [
            self.probe.running.eq(observer.running),
            self.probe.layer.eq(observer.sampled(layer, COUNT)),
            *(state.eq(track.state) for state, track in zip(
                self.probe.states, tracks, strict=True)),
            self.probe.begin.eq(Cat(track.begin for track in tracks)),
            self.probe.end.eq(Cat(track.end for track in tracks)),
            self.probe.result.eq(finisher.probe),
            self.probe.output.valid.eq(pool.output.valid & pool.output.ready),
            self.probe.output.branch.eq(pool.output.payload.branch),
            self.probe.output.data.eq(pool.output.payload.data),
        ]
