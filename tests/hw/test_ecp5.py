"""ECP5 primitives with models of them: the same benches as the generic hardware."""

import pytest
from amaranth.back import rtlil
from amaranth.hdl import signed, unsigned

from hw.act_memory import ActMemory
from hw.block_memory import BlockMemory
from hw.config import Config
from hw.ecp5 import BlockRams, Product
from hw.engine import Engine
from hw.multiplier import CarryBlock, Mult18Block
from tests.cocotb_run import run_bench
from tests.netlist import ECP5


@pytest.mark.parametrize("kind, channels", [
    (kind, channels) for kind in (Mult18Block, CarryBlock) for channels in kind.CHANNELS])
def test_multiplier(kind, channels, tmp_path):
    block = kind(Config(co_lanes=8, multiplier="mult18"), channels)
    run_bench(block, "tests.hw.bench_multiplier", tmp_path,
              {"channels": block.channels, "load_cycles": block.LOAD_CYCLES,
               "latency": block.LATENCY}, models=ECP5.cells)


@pytest.mark.parametrize("synthesised", [None, ECP5], ids=["rtl", "primitive"])
@pytest.mark.parametrize("a, b", [(signed(8), unsigned(9)), (unsigned(17), unsigned(17)),
                                  (signed(18), signed(18))])
def test_product(a, b, synthesised, tmp_path):
    run_bench(Product(a, b), "tests.hw.bench_product", tmp_path,
              {"a_width": a.width, "a_signed": int(a.signed),
               "b_width": b.width, "b_signed": int(b.signed)}, synthesised=synthesised)


@pytest.mark.parametrize("multiplier, width, depth", [
    ("mult18", 20, 1024), ("mult18", 9, 2048), ("mult18", 5, 4096), ("mult18", 3, 8192),
    ("mult18", 2, 1 << 14), ("mult18", 36, 500), ("generic", 36, 500)])
def test_memory(multiplier, width, depth, tmp_path):
    """Every width of a block RAM, in primitives and plain."""
    memory = BlockMemory(Config(multiplier=multiplier), width, depth)
    run_bench(memory, "tests.hw.bench_block_memory", tmp_path, {"width": width, "depth": depth},
              models=ECP5.cells if multiplier == "mult18" else ())


def test_engine(tmp_path):
    """The array of 256 lanes as on the 85F, exact results and cycles."""
    config = Config(multiplier="mult18", table_rows=9)
    run_bench(Engine(config), "tests.hw.bench_engine", tmp_path,
              {"co_lanes": 16, "pixels": 1, "table_rows": 9, "multiplier": "mult18"},
              models=ECP5.cells)


@pytest.mark.parametrize("width, depth, blocks", [
    (128, 8192, 64), (128, 1024, 8), (128, 16384, 128), (18, 1024, 1), (19, 1024, 2), (8, 2048, 1)])
def test_number_of_blocks(width, depth, blocks):
    """The widest block RAM of the depth, side by side."""
    text = rtlil.convert(BlockRams(width, depth), name="top")
    assert text.count("cell \\DP16KD") == blocks


def test_too_deep():
    with pytest.raises(ValueError, match="16385 words, supported: 2 to 16384"):
        BlockRams(8, 16385)
    with pytest.raises(ValueError, match="act_vectors is 32768, supported: up to 16384 with"):
        Config(multiplier="mult18", act_vectors=32768)
    ActMemory(Config(multiplier="mult18", pixels=2, act_vectors=32768))
