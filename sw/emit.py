"""Pass `emit`: a schedule becomes instructions, constants and the tables of a `Program`."""

from __future__ import annotations

from typing import Any

import numpy as np

from hw.config import VECTOR, Config
from hw.isa import ACT_ADDRESS, EXTERNAL_ADDRESS, Average, Opcode

from .assembler import assemble
from .branches import MAX_IMAGE_WIDTH
from .errors import UserError
from .estimate import Strips, divide, is_single, pass_cycles, pass_strips
from .graph import Graph
from .hazards import Waits
from .layers import Branch, FeatureMap, Layer, Network, ceil_div, image_row_vectors
from .memory import ALIGNMENT, consecutive_addresses, external_addresses
from .program import InputPlacement, LayerInfo, OutputPlacement, Program, TensorInfo
from .steps import ComputeStep, GatherStep, LoadStep, Schedule
from .trace import compute_trace
from .weights import instruction_runs, is_refetched, layer_stream

__all__ = ["emit"]


def emit(graph: Graph, network: Network, schedule: Schedule, config: Config,
         batch: int = 1) -> Program:
    """The program of a schedule of `batch` images. Raises UserError if the memory or an image
    exceeds what an instruction can say."""
    return _Emitter(graph, network, schedule, config, batch).run()


class _Emitter:
    def __init__(self, graph: Graph, network: Network, schedule: Schedule, config: Config,
                 batch: int):
        self.graph, self.network, self.schedule, self.config = graph, network, schedule, config
        self.batch = batch
        self.streams = [layer_stream(layer, config) for layer in network.layers]
        runs = sum(len(instruction_runs(step.layer, step.band, config))
                   for step in schedule.steps if isinstance(step, ComputeStep))
        self.code_vectors = (len(schedule.steps) + runs + 1) * 8
        self.constants_address = _aligned(self.code_vectors)
        lengths = [len(stream) for stream in self.streams]
        self.stream_address = [self.constants_address + sum(lengths[:i])
                               for i in range(len(lengths))]
        base = _aligned(self.constants_address + sum(lengths))
        self.addresses, end = external_addresses(self._lifetimes(), base)
        # Each image has its own place for what the host writes and reads; all share the rest.
        self.images, self.image_vectors = consecutive_addresses(self._host_maps(), end)
        self.memory_vectors = end + batch * self.image_vectors

    def run(self) -> Program:
        config, code, trace = self.config, [], []
        self._check_memory()
        fetches: list[bytes] = []
        for step in self.schedule.steps:
            match step:
                case LoadStep():
                    fetches.append(self._load(step))
                case GatherStep():
                    fetches.append(self._gather(step))
                case ComputeStep():
                    first, *others = [
                        self._weights(step.layer, run)
                        for run in instruction_runs(step.layer, step.band, config)]
                    # Weights before the loads, which may fill their queue: the ring prefetches.
                    # Those that have no room in it come while the instruction is at work.
                    code += [first, *fetches, self._compute(step), *others]
                    fetches = []
                    if step.image == 0:
                        trace += compute_trace(step, self.graph)
        code.append(assemble(Opcode.END))
        return Program(
            config=config, code=b"".join(code),
            constants=np.concatenate(self.streams).tobytes(),
            code_address=0, constants_address=self.constants_address,
            memory_vectors=self.memory_vectors, input=self._input(), outputs=self._outputs(),
            tensors=self._tensors(trace), layers=[self._info(each) for each in
                                                  self.network.layers],
            trace=trace, estimate=self.schedule.cycles, source=self.graph.source,
            batch=self.batch, image_vectors=self.image_vectors)

    # -- memory

    def _host_maps(self) -> list[FeatureMap]:
        maps = {self.network.input.name: self.network.input}
        maps |= {output.place.map.name: output.place.map for output in self.network.outputs}
        return list(maps.values())

    def _lifetimes(self) -> list[tuple[FeatureMap, int, int]]:
        """Layers over which the maps between layers live in external memory."""
        last: dict[str, int] = {}
        for layer in self.network.layers:
            last[layer.source.map.name] = layer.index
            if layer.addition:
                last[layer.addition.operand.map.name] = layer.index
        elsewhere = {each.name for each in self._host_maps()} | self.schedule.resident.keys()
        first: dict[str, tuple[FeatureMap, int]] = {}
        for layer in self.network.layers:
            if layer.output.map.name not in elsewhere:
                first.setdefault(layer.output.map.name, (layer.output.map, layer.index))
        return [(region, start, max(start, last.get(name, start)))
                for name, (region, start) in first.items()]

    def _check_memory(self) -> None:
        limit = 1 << EXTERNAL_ADDRESS
        if self.memory_vectors <= limit:
            return
        each = self.image_vectors + self.code_vectors / self.batch
        largest = int(self.batch - (self.memory_vectors + ALIGNMENT - limit) / each)
        what = f"the program needs {self.memory_vectors * VECTOR} bytes of memory; " \
               f"{limit * VECTOR} are supported"
        raise UserError(f"a batch of {self.batch} images: {what}, which hold a batch of {largest}"
                        if self.batch > 1 and largest > 0 else what)

    def _external(self, name: str, image: int) -> int:
        """The address of a map of an image."""
        if name in self.images:
            return self.images[name] + image * self.image_vectors
        return self.addresses[name]

    # -- instructions

    def _header(self, layer: Layer, waits: Waits) -> dict[str, int]:
        return {"layer": layer.index, "loads": waits.loads, "gathers": waits.gathers,
                "reads": waits.reads, "writes": waits.writes}

    def _weights(self, layer: Layer, run: tuple[int, int]) -> bytes:
        """`run`: first and number of the vectors of the layer's stream."""
        return assemble(Opcode.WEIGHTS, {"layer": layer.index}, {
            "address": self.stream_address[layer.index] + run[0], "count": run[1]})

    def _load(self, step: LoadStep) -> bytes:
        place, width = step.layer.source, step.layer.source.map.shape[2]
        first, end = step.rows
        return assemble(Opcode.LOAD, self._header(step.layer, step.waits), {
            "address": self._external(place.map.name, step.image)
            + place.plane * place.map.plane_vectors + first * width,
            "stride": place.map.plane_vectors,
            "target": step.target,
            "target_stride": step.stride,
            "count": (end - first) * width,
            "planes": (step.layer.squeeze or step.layer).planes})

    def _gather(self, step: GatherStep) -> bytes:
        layer, window = step.layer, step.layer.gather
        _, height, width = layer.source.map.shape
        limit = min(self.config.image_width, MAX_IMAGE_WIDTH)
        if width > limit:
            raise UserError(f"layer '{layer.name}': the image has {width} columns, the gather of "
                            f"this configuration takes {limit}")
        first, end = step.rows
        return assemble(Opcode.GATHER, self._header(layer, step.waits), {
            "address": self._external(layer.source.map.name, step.image),
            "row_vectors": image_row_vectors(width), "width": width, "height": height,
            "out_width": layer.conv_shape[2], "row": first, "rows": end - first,
            "kernel": window.kernel, "stride": window.stride,
            "pad_top": window.pad_top, "pad_left": window.pad_left, "pad_value": layer.in_zero,
            "first": int(first == 0), "target": step.target, "target_stride": step.stride})

    def _compute(self, step: ComputeStep) -> bytes:
        layer, band = step.layer, step.band
        header = self._header(layer, step.waits)
        if not layer.squeeze:
            return assemble(Opcode.CONV, header,
                            {"main": self._main(step, step.source, step.source_stride)})
        width = layer.in_shape[2]
        first, end = band.squeeze
        pixels = (end - first) * width
        squeeze = {
            "walk": self._walk([layer.squeeze], None, layer.squeeze, 1,
                               divide(pixels, False, self.config)),
            "source": {
                "address": _act(step.source + first * width), "plane": step.source_stride,
                "width": width, "height": layer.in_shape[1], "out_width": width, "row": first,
                "pixels": pixels, "stride": 1},
            "zero": layer.squeeze.zero, "low": layer.squeeze.low,
            "target": step.squeeze + first * width, "plane": step.squeeze_stride}
        return assemble(Opcode.FIRE, header, {
            "main": self._main(step, step.squeeze, step.squeeze_stride), "squeeze": squeeze})

    def _walk(self, branches: list[Branch], a: Branch | None, b: Branch | None, kernel: int,
              strips: Strips) -> dict[str, int]:
        return {"groups_a": a.groups if a else 0, "groups_b": b.groups if b else 0,
                "planes": (a or b).planes, "kernel": kernel, "strips": strips.count,
                "long_strips": strips.long, "steps": strips.steps,
                "refetch": int(is_refetched(branches, self.config))}

    def _main(self, step: ComputeStep, origin: int, plane: int) -> dict[str, Any]:
        layer, (first, end) = step.layer, step.band.rows
        width, out_width = layer.in_shape[2], layer.conv_shape[2]
        single = is_single(layer, step.band.rows, self.config)
        pixels = (end - first) * out_width
        top = first * layer.row_stride - layer.pad_top
        row, pad_top = first, layer.pad_top
        if layer.row_stride != layer.stride:
            # The same window in multiples of the only stride there is.
            row = max(0, ceil_div(top, layer.stride))
            pad_top = row * layer.stride - top
        return {
            "walk": self._walk(layer.main, layer.a, layer.b, layer.kernel,
                               divide(pixels, single, self.config)),
            "source": {
                "address": _act(origin + top * width - layer.pad_left), "plane": plane,
                "width": width, "height": layer.in_shape[1], "out_width": out_width, "row": row,
                "pixels": pixels, "stride": layer.stride, "pad_top": pad_top,
                "pad_left": layer.pad_left, "pad_value": layer.in_zero, "single": int(single)},
            "finish": self._finish(layer),
            "pool": self._pool(layer, first, end),
            "target": self._target(step),
            "residual": self._residual(step)}

    def _finish(self, layer: Layer) -> dict[str, Any]:
        finish: dict[str, Any] = {}
        for branch, suffix in ((layer.a, "a"), (layer.b, "b")):
            if branch:
                finish |= {f"zero_{suffix}": branch.zero, f"low_{suffix}": branch.low}
        if layer.rescale_zero is not None:
            finish |= {"rescale": 1, "zero_c": layer.rescale_zero, "low_c": 0}
        if layer.addition:
            add = layer.addition
            finish |= {"add": 1, "low_d": add.low, "add_a": add.add_a, "add_b": add.add_b,
                       "add_c": add.add_c, "corrections": [
                           {"valid": 1, "up": int(up), "a": a, "b": b}
                           for a, b, up in add.corrections]}
        if layer.average:
            record = layer.average.record
            finish |= {"average": Average.SUMS if record is None else Average.QUANTISED,
                       "zero_g": layer.average.zero, "low_g": 0}
        return finish

    def _pool(self, layer: Layer, first: int, end: int) -> dict[str, int]:
        pool = layer.pooling
        if pool is None:
            return {}
        out_width = pool.out_shape[1]
        lines = sum(branch.groups for branch in layer.main) * out_width
        if lines > self.config.line_vectors:
            raise UserError(f"{pool.name}: {lines // out_width} groups of 16 channels x "
                            f"{out_width} columns take {lines} vectors of line buffer; this "
                            f"configuration has {self.config.line_vectors}")
        # The last band ends with the last row that a window reads, so nothing is closed wrongly.
        return {"enable": 1, "kernel": pool.kernel, "stride": pool.stride,
                "pad_left": pool.pad_left, "phase": pool.phase(first),
                "width": pool.width, "rows": end - first, "out_width": out_width,
                "close_right": pool.close_right, "close_bottom": int(end == layer.conv_rows)}

    def _target(self, step: ComputeStep) -> dict[str, int]:
        layer, output = step.layer, step.layer.output
        base = step.target if step.target is not None \
            else self._external(output.map.name, step.image)
        row = 0 if layer.average else \
            layer.output_rows(*step.band.rows)[0] * output.map.shape[2]
        target = {"to_act": int(step.target is not None), "plane": output.map.plane_vectors}
        for branch, name in ((layer.a, "address_a"), (layer.b, "address_b")):
            if branch:
                plane = output.plane + branch.channel // VECTOR
                target[name] = base + plane * output.map.plane_vectors + row
        return target

    def _residual(self, step: ComputeStep) -> dict[str, int]:
        layer = step.layer
        if not layer.addition:
            return {}
        place = layer.addition.operand
        base = self._external(place.map.name, step.image) \
            + step.band.rows[0] * place.map.shape[2]
        residual = {"plane": place.map.plane_vectors}
        for branch, name in ((layer.a, "address_a"), (layer.b, "address_b")):
            if branch:
                plane = place.plane + branch.channel // VECTOR
                residual[name] = base + plane * place.map.plane_vectors
        return residual

    # -- tables

    def _input(self) -> InputPlacement:
        region = self.network.input
        return InputPlacement(
            self.network.input_tensor, self.graph.input_node.float_name,
            self.images[region.name], region.vectors, "image" if region.image else "planes",
            image_row_vectors(region.shape[2]) if region.image else 0)

    def _outputs(self) -> list[OutputPlacement]:
        outputs = []
        for output in self.network.outputs:
            region = output.place.map
            planes = ceil_div(self._channels(output), VECTOR)
            outputs.append(OutputPlacement(
                output.tensor,
                self.images[region.name] + output.place.plane * region.plane_vectors,
                planes * region.plane_vectors, "sums" if region.sums else "planes",
                output.summed))
        return outputs

    def _channels(self, output) -> int:
        return self.graph.tensors[output.summed or output.tensor].shape[0]

    def _tensors(self, trace: list[dict[str, Any]]) -> dict[str, TensorInfo]:
        names = {self.network.input_tensor}
        for output in self.network.outputs:
            names.add(output.summed or output.tensor)
        for entry in trace:
            names |= {each["tensor"] for each in entry["stages"] + entry["outputs"]}
        tensors = {}
        for name in sorted(names):
            tensor = self.graph.tensors[name]
            tensors[name] = TensorInfo(tensor.shape, float(tensor.quant.scale),
                                       int(tensor.quant.zero_point), tensor.quant.signed)
        return tensors

    def _info(self, layer: Layer) -> LayerInfo:
        cycles = bands = strips = 0
        for step in self.schedule.steps:
            if not isinstance(step, ComputeStep) or step.layer is not layer or step.image:
                continue
            bands += 1
            passes = [[layer.squeeze]] * bool(layer.squeeze) + [layer.main]
            for branches, division in zip(
                    passes, pass_strips(layer, step.band, self.config), strict=True):
                strips += division.count
                cycles += pass_cycles(branches, division, self.config)[0]
        return LayerInfo(layer.name, layer.macs, cycles, bands, strips,
                         layer.output.map.name in self.schedule.resident)


def _aligned(vectors: int) -> int:
    return ceil_div(vectors, ALIGNMENT) * ALIGNMENT


def _act(address: int) -> int:
    return address % (1 << ACT_ADDRESS)
