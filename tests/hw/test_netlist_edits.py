"""The edits of an ECP5 netlist, and files that are none."""

import json

import pytest

from hw.global_nets import LEAST
from hw.netlist_edits import main

MEMORY = "core.memory.bank0_0_0.blocks.block0"


def netlist():
    """A block RAM of the activation memory, an adder, and a wide enable."""
    directions = {**{f"{port}{n}": "input" for port in "ABCD" for n in range(2)},
                  "CIN": "input", "COUT": "output", "S0": "output", "S1": "output"}
    adder = {"type": "CCU2C", "attributes": {}, "port_directions": directions, "parameters": {
        f"{name}{n}": value for n in range(2)
        for name, value in (("INIT", "1001011010101010"), ("INJECT1_", "NO"))}, "connections": {
            port: ["0" if port == "CIN" else 2] for port in directions}}
    adder["connections"] |= {"S0": [3], "S1": [4], "COUT": [5]}
    pins = {"CE": "input", "DI": "input", "Q": "output"}
    flip_flops = {f"ff{i}": {"type": "TRELLIS_FF", "attributes": {}, "port_directions": pins,
                             "connections": {"CE": [10], "DI": [3], "Q": [10 + i]}}
                  for i in range(LEAST)}
    return {"modules": {"top": {"ports": {}, "cells": {
        MEMORY: {"type": "DP16KD", "attributes": {}, "port_directions": {}, "connections": {}},
        "adder": adder, **flip_flops}}}}


@pytest.mark.parametrize("device, place", [
    ("LFE5U-85F", "X31/Y22/EBR0"), ("LFE5U-45F", "X4/Y34/EBR0"), ("LFE5U-25F", None)])
def test_all_edits(tmp_path, device, place):
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps(netlist()))
    assert main([str(path), "--top", "top", "--device", device]) == 0
    cells = json.loads(path.read_text())["modules"]["top"]["cells"]
    assert cells["adder"]["connections"]["CIN"] == ["x"]
    buffer = cells["ff0_network"]["connections"]
    assert buffer["CLKI"] == [10] and cells["ff7"]["connections"]["CE"] == buffer["CLKO"]
    assert cells[MEMORY]["attributes"].get("BEL") == place


@pytest.mark.parametrize("text, found", [
    ("no JSON", "Expecting value"), ("[]", "list indices"), ('{"modules": {}}', "'top'")])
def test_bad_input(tmp_path, capsys, text, found):
    path = tmp_path / "netlist.json"
    path.write_text(text)
    assert main([str(path), "--top", "top", "--device", "LFE5U-85F"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: no module 'top' in Yosys' JSON: ")
    assert found in error and error.count("\n") == 1
    assert path.read_text() == text
