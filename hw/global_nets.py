"""Resets and enables of an ECP5 netlist that take the networks of clocks.

nextpnr gives these networks to clocks alone, of which a design has two or three. The few resets and
enables with loads all over the device are then what its ordinary wires are short of.
"""

from collections import Counter, defaultdict

NETWORKS = 5
"""How many are taken: eight of the sixteen reach resets and enables, and clocks take some first."""
LEAST = 300
"""Loads from which on a net gets a network of its own."""
LOADS = "CE", "LSR"
NETWORK_NS = 4
"""What must be left of a cycle at a buffer: nextpnr counts nothing for the way from there."""


def promote(module: dict) -> dict[str, int]:
    """Gives the nets with the most resets and enables of flip-flops a network each, in a module of
    Yosys' JSON, in place; returns the buffers by name, with the loads of each.

    Only nets that a flip-flop drives: the way to the buffer takes a part of the cycle. What else
    such a net drives stays on ordinary wires.
    """
    cells = module["cells"]
    loads, drivers = defaultdict(list), {}
    for name, cell in cells.items():
        if cell["type"] == "TRELLIS_FF":
            drivers[cell["connections"]["Q"][0]] = name
            for port in LOADS:
                for bit in cell["connections"].get(port, ()):
                    loads[bit].append(cell["connections"][port])
    counts = Counter({bit: len(pins) for bit, pins in loads.items()
                      if bit in drivers and len(pins) >= LEAST})
    free = 1 + max((bit for cell in cells.values() for bits in cell["connections"].values()
                    for bit in bits if isinstance(bit, int)), default=0)
    made = {}
    for bit, count in counts.most_common(NETWORKS):
        for pin in loads[bit]:
            pin[:] = [free]
        name = f"{drivers[bit]}_network"
        made[name] = count
        cells[name] = {
            "hide_name": 0, "type": "DCCA", "parameters": {}, "attributes": {},
            "port_directions": {"CLKI": "input", "CE": "input", "CLKO": "output"},
            "connections": {"CLKI": [bit], "CE": ["1"], "CLKO": [free]},
        }
        free += 1
    return made


def arrivals(report: dict) -> dict[str, float]:
    """For each buffer when the last change comes to it: ns from the clock, of nextpnr's report."""
    return {net["driver"]: max(max(end["delay"]) for end in net["endpoints"])
            for net in report["detailed_net_timings"] if net["port"] == "CLKO" and net["endpoints"]}
