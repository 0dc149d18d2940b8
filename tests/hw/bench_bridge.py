"""What lies around the link bridge in its benches: three buses that stall at random, a host's ends
of the line, and what the bridge should do."""

from amaranth.hdl import Cat

from hw.bridge import LinkBridge
from hw.link import LINK_ID, MAX_WORDS, WORD, Space, Status
from sw.runtime.frames import FrameFinder, Request, Response, encode_response

from .streams import go, ticked

MEMORY_BYTES = 1 << 12
CORE_BYTES = 1 << 8
BROKEN = 0x40
"""Address of a register, on both buses, whose accesses fail."""


class Buses:
    """The spaces as bytes, and a log of accesses: (space, write, address) and the data written."""

    def __init__(self, rng, rate=1.0):
        self.rng, self.rate = rng, rate
        self.spaces = {Space.CORE: bytearray(rng.randbytes(CORE_BYTES)),
                       Space.CONTROLLER: bytearray(rng.randbytes(1 << 12)),
                       Space.MEMORY: bytearray(rng.randbytes(MEMORY_BYTES))}
        self.log = []
        self.dead = set()
        """Spaces that do not answer."""

    def go(self, space: Space) -> bool:
        return space not in self.dead and go(self.rng, self.rate)

    def access(self, space: Space, write: bool, address: int, size: int, data: int = 0) -> int:
        """Does it; returns what is read."""
        self.log.append((space, write, address, data if write else None))
        place = slice(address, address + size)
        if write and (space == Space.MEMORY or address != BROKEN):
            self.spaces[space][place] = data.to_bytes(size, "little")
        return int.from_bytes(self.spaces[space][place], "little")

    def axi(self, bus, space: Space, size: int):
        """A bench that answers AXI4 in bursts of one beat, or AXI4-Lite; checks that what is valid
        stays so, unless the space is dead, and that no answer is refused."""
        error = {BROKEN: 2} if space == Space.CORE else {}
        refused = (bus.rvalid & ~bus.rready) | (bus.bvalid & ~bus.bready)
        offered = bus.arvalid | bus.awvalid | bus.wvalid

        async def run(ctx):
            taken, shown = {}, {}
            if space == Space.MEMORY:
                ctx.set(bus.rlast, 1)
            while True:
                while not taken and not await ticked(ctx, offered):
                    pass
                for channel in ("ar", "aw", "w"):
                    ctx.set(getattr(bus, f"{channel}ready"),
                            channel not in taken and self.go(space))
                for channel, resp, ready in (("r", "rresp", "ar" in taken),
                                             ("b", "bresp", {"aw", "w"} <= set(taken))):
                    answers = ready and self.go(space)
                    ctx.set(getattr(bus, f"{channel}valid"), answers)
                    if answers:
                        address = taken.pop("ar" if channel == "r" else "aw")
                        ctx.set(getattr(bus, resp), error.get(address, 0))
                        data = 0 if channel == "r" else taken.pop("w")
                        value = self.access(space, channel == "b", address, size, data)
                        ctx.set(bus.rdata, value)
                names = {"ar": bus.araddr, "aw": bus.awaddr, "w": bus.wdata}
                sampled = await ticked(ctx, refused, *(
                    Cat(getattr(bus, f"{channel}valid"), getattr(bus, f"{channel}ready"), value)
                    for channel, value in names.items()))
                assert not sampled[0]
                for channel, value in zip(names, sampled[1:], strict=True):
                    valid, ready, payload = value & 1, value >> 1 & 1, value >> 2
                    if channel in shown:
                        assert valid and payload == shown[channel], f"{channel} changed"
                    shown.pop(channel, None)
                    if valid and ready:
                        taken[channel] = payload
                    elif valid and space not in self.dead:
                        shown[channel] = payload
                if not taken:
                    ctx.set(Cat(bus.arready, bus.awready, bus.wready, bus.rvalid, bus.bvalid), 0)
        return run

    def wishbone(self, bus):
        async def run(ctx):
            while True:
                asked, write, word, data = await ticked(
                    ctx, bus.cyc & bus.stb, bus.we, bus.adr, bus.dat_w)
                if asked and self.go(Space.CONTROLLER):
                    address = WORD * word
                    ctx.set(bus.dat_r, self.access(
                        Space.CONTROLLER, bool(write), address, WORD, data))
                    ctx.set(Cat(bus.ack, bus.err), 2 if address == BROKEN else 1)
                    await ctx.tick()
                    ctx.set(bus.dat_r, 0x0BAD0BAD)
                    ctx.set(Cat(bus.ack, bus.err), 0)
        return run

    def benches(self, dut: LinkBridge) -> list:
        return [self.axi(dut.bus, Space.CORE, WORD), self.axi(dut.memory, Space.MEMORY, 4 * WORD),
                self.wishbone(dut.control)]


class Line:
    """The host's ends of the line."""

    def __init__(self, dut: LinkBridge, rng=None, rate=1.0):
        self.dut, self.rng, self.rate = dut, rng, rate
        self.heard = bytearray()

    async def listen(self, ctx):
        port = self.dut.sent
        while True:
            ctx.set(port.ready, go(self.rng, self.rate))
            valid, byte = await ticked(ctx, port.valid & port.ready, port.payload)
            if valid:
                self.heard.append(byte)

    async def say(self, ctx, data: bytes):
        port = self.dut.received
        for byte in data:
            while not go(self.rng, self.rate):
                await ctx.tick()
            ctx.set(port.payload, byte)
            ctx.set(port.valid, 1)
            await ctx.tick()
            ctx.set(port.valid, 0)

    async def answer(self, ctx, silence: int = 60) -> bytes:
        """All that comes until the line is silent for so many cycles, and no frame is open."""
        quiet = 0
        while quiet < silence:
            before = len(self.heard)
            await ctx.tick()
            quiet = 0 if len(self.heard) != before else quiet + 1
        heard = bytes(self.heard)
        self.heard.clear()
        return heard

    async def ask(self, ctx, data: bytes, silence: int = 60) -> bytes:
        await self.say(ctx, data)
        return await self.answer(ctx, silence)


class Reference:
    """What the bridge should answer, and do to its own copy of the spaces."""

    def __init__(self, buses: Buses, ready: bool = True):
        self.spaces = {space: bytearray(data) for space, data in buses.spaces.items()}
        self.ready, self.dropped = ready, 0
        self.last = None

    def word(self, request: Request, address: int, data: bytes) -> bytes | None:
        """One word's access: what it reads, or None for an error."""
        space = request.space
        if space == Space.LINK:
            words = {0: LINK_ID, 4: self.dropped, 8: self.ready}
            return words[address].to_bytes(WORD, "little") if address in words else None
        if (address >= len(self.spaces[space]) or (space == Space.MEMORY and not self.ready)
                or (space != Space.MEMORY and address == BROKEN)):
            return None
        place = slice(address, address + WORD)
        if request.write:
            self.spaces[space][place] = data
        return bytes(self.spaces[space][place])

    def answer(self, request: Request) -> Response:
        """Data of words that are errors are as zeros."""
        unit = 4 if request.space == Space.MEMORY else 1
        if (not 1 <= request.words <= MAX_WORDS or request.words % unit
                or request.address % (WORD * unit)
                or (request.write and request.space == Space.LINK)):
            return Response(request.sequence, Status.BAD_REQUEST)
        if request.write and self.last and request.sequence == self.last.sequence != 0:
            return self.last
        words = [self.word(request, request.address + place,
                           request.data[place:place + WORD])
                 for place in range(0, WORD * request.words, WORD)]
        status = Status.BUS_ERROR if None in words else Status.OKAY
        if request.write:
            self.last = Response(request.sequence, status)
            return self.last
        return Response(request.sequence, status, b"".join(word or bytes(WORD) for word in words))

    def expect(self, heard: bytes, request: Request):
        """Asserts that the bridge's answer to ``request`` is right, byte for byte; what it reads
        where it fails may be anything."""
        response = self.answer(request)
        if response.status == Status.BUS_ERROR and response.data:
            bodies = FrameFinder().feed(heard)
            assert [body[:2] for body in bodies] == [bytes([response.sequence, response.status])]
            assert len(bodies[0]) == 2 + WORD * request.words
        else:
            assert heard == encode_response(response)
