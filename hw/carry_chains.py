"""Carry chains of an ECP5 netlist that start and end by themselves.

nextpnr puts a slice before every chain, for a carry-in that is a constant too, and one behind every
chain, for a carry-out that nobody reads too; and the constant is wired to all of them over the
device. A design of many short adders grows by a fifth. Here the first LUT of a chain makes the
constant carry, whatever comes into it, and the last one gives the carry to those who read it.
"""

from collections import defaultdict
from itertools import count

INPUTS = "ABCD"
CONSTANT_CARRY = {"0": "0" * 16, "x": "0" * 16, "1": "0" * 12 + "1" * 4}
"""Contents of a LUT by the carry that it makes: its sum is 0, so the carry into it does not count,
and the lowest four are the carry out of it."""
SEES_CARRY = "0" * 16
"""Contents of a LUT whose sum is the carry into it."""


def idle(init: str, total: int | None = None) -> dict:
    """Half a CCU2C without inputs: constants of this kind take no wire."""
    return {"init": init, "inject": "NO", "inputs": dict.fromkeys(INPUTS, "1"), "total": total}


def halves_of(cell: dict, read: set) -> list[dict]:
    """The two bits of a CCU2C; ``read`` are the nets that somebody reads."""
    parameters, nets = cell["parameters"], cell["connections"]
    return [{
        "init": parameters[f"INIT{n}"], "inject": parameters[f"INJECT1_{n}"],
        "inputs": {port: nets[f"{port}{n}"][0] for port in INPUTS},
        "total": next((bit for bit in nets.get(f"S{n}", ()) if bit in read), None),
    } for n in range(2)]


def cell_of(halves: list[dict], carry_in: list, carry_out: list, like: dict) -> dict:
    """A CCU2C of two bits."""
    cell = {**like, "parameters": {}, "connections": {"CIN": carry_in, "COUT": carry_out}}
    for n, half in enumerate(halves):
        cell["parameters"] |= {f"INIT{n}": half["init"], f"INJECT1_{n}": half["inject"]}
        cell["connections"] |= {f"{port}{n}": [bit] for port, bit in half["inputs"].items()}
        cell["connections"][f"S{n}"] = ["x" if half["total"] is None else half["total"]]
    return cell


def rebuild(module: dict):
    """Changes all chains with a constant carry-in in a module of Yosys' JSON, in place.

    A chain whose carry-out is read by a chain and by something else stays as it is.
    """
    cells, readers = module["cells"], defaultdict(list)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            for bit in bits if cell["port_directions"][port] == "input" else ():
                readers[bit].append((name, port))
    for constant in CONSTANT_CARRY:
        readers.pop(constant, None)
    read = set(readers) | {bit for port in module["ports"].values() for bit in port["bits"]}
    used = {bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits}
    nets = count(1 + max((bit for bit in used if isinstance(bit, int)), default=0))

    def carry_out(name):
        return next(iter(cells[name]["connections"].get("COUT", ())), None)

    for first, cell in list(cells.items()):
        if cell["type"] != "CCU2C":
            continue
        carry_in = next(iter(cell["connections"].get("CIN", ())), "x")
        if carry_in not in CONSTANT_CARRY:
            continue
        chain = [first]
        while [port for _, port in readers[carry_out(chain[-1])]] == ["CIN"]:
            chain.append(readers[carry_out(chain[-1])][0][0])
        last = carry_out(chain[-1])
        if any(port == "CIN" for _, port in readers[last]):
            continue
        halves = [idle(CONSTANT_CARRY[carry_in])]
        for name in chain:
            halves += halves_of(cells[name], read)
        if last in read:
            halves.append(idle(SEES_CARRY, last))
        while len(halves) > 1 and halves[-1]["total"] is None:
            halves.pop()
        if len(halves) % 2:
            halves.append(idle(SEES_CARRY))
        old = [cells.pop(name) for name in chain]
        into = ["x"]
        for i in range(0, len(halves), 2):
            out = [next(nets) if i + 2 < len(halves) else "x"]
            name = chain[i // 2] if i // 2 < len(chain) else f"{chain[-1]}_end"
            cells[name] = cell_of(halves[i:i + 2], into, out, old[min(i // 2, len(old) - 1)])
            into = out
