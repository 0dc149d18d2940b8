"""What benches of several units share."""

import pytest
from amaranth.hdl import Module, Signal

from hw.ecp5 import Copy


@pytest.fixture
def plain_copies(monkeypatch):
    """Copies in the vendor's flip-flops, which Amaranth does not simulate, as plain ones."""
    def elaborate(self, platform):
        m = Module()
        copy = Signal(self.width, reset_less=True)
        m.d.sync += copy.eq(self.value)
        m.d.comb += self.copy.eq(copy)
        return m

    monkeypatch.setattr(Copy, "elaborate", elaborate)
