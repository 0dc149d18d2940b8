"""A compiled network: instructions, constants, and what the host must know. Saved in a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hw.config import VECTOR, Config
from hw.isa import INSTRUCTION_BYTES

from .errors import UserError
from .graph import Quant

__all__ = ["FORMAT", "InputPlacement", "LayerInfo", "OutputPlacement", "Program", "TensorInfo"]

FORMAT = 2
MANIFEST, CODE, CONSTANTS = "manifest.json", "program.bin", "weights.bin"


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as the host sees it: (C, H, W) integers; int8 ones are stored as value + 128."""

    shape: tuple[int, ...]
    scale: float
    zero_point: int
    signed: bool

    @property
    def quant(self) -> Quant:
        return Quant(np.float32(self.scale), self.zero_point, self.signed)


@dataclass(frozen=True)
class InputPlacement:
    """`layout`: `image` is rows of 4-byte pixels (channels, then zeros), each padded to whole
    vectors; `planes` is [C/16][y][x][16] with missing channels of any value."""

    tensor: str
    float_name: str
    address: int
    vectors: int
    layout: str
    row_vectors: int = 0


@dataclass(frozen=True)
class OutputPlacement:
    """`layout`: `planes` as for inputs; `sums` is little-endian int32 [C/16][16], the sum of the
    stored bytes of tensor `summed` over its rows and columns, whose mean is tensor `tensor`. With
    `summed` and layout `planes` the planes are those of `summed`, and the host sums them."""

    tensor: str
    address: int
    vectors: int
    layout: str
    summed: str | None = None


@dataclass(frozen=True)
class LayerInfo:
    """`cycles` are those of the array without any stall; `bands` and `strips` count instructions
    and strips of all passes; `on_chip` tells that the result stays in the activation memory."""

    name: str
    macs: int
    cycles: int
    bands: int
    strips: int
    on_chip: bool


@dataclass
class Program:
    """Everything about a compiled network; addresses count vectors from the window's start.

    A run processes `batch` images. `input` and `outputs` are those of the first image; those of
    image i stand `i * image_vectors` further, see `address`.

    `trace` has an entry for each pass of an image in order, the same for all images:
    {"layer", "squeeze", "rows": [first, end], "stages": [{"stage": CONV, RESCALE, ADD or AVERAGE,
    "branch": 0 or 1, "tensor", "channel", "channels", "rows"}],
    "outputs": [{"branch", "tensor", "channel", "channels", "rows"}]}.
    A stage or output gives `channels` channels from `channel` on of the rows of a tensor, group by
    group; with "sums" true the int32 sums over them. `outputs` is after pooling, and empty where
    the tensor has no name of its own.
    """

    config: Config
    code: bytes
    constants: bytes
    code_address: int
    constants_address: int
    memory_vectors: int
    input: InputPlacement
    outputs: list[OutputPlacement]
    tensors: dict[str, TensorInfo]
    layers: list[LayerInfo]
    trace: list[dict[str, Any]]
    batch: int = 1
    image_vectors: int = 0
    estimate: int = 0
    """Estimated cycles of a run, of all its images."""
    source: str = ""
    clock_hz: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def instructions(self) -> list[bytes]:
        return [self.code[i:i + INSTRUCTION_BYTES]
                for i in range(0, len(self.code), INSTRUCTION_BYTES)]

    @property
    def digest(self) -> int:
        """Number of the configuration that the program was made for."""
        return self.config.digest

    def address(self, placement: InputPlacement | OutputPlacement, image: int = 0) -> int:
        """Where an input or output of an image of the batch is."""
        return placement.address + image * self.image_vectors

    @property
    def macs(self) -> int:
        """Of one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def ideal_cycles(self) -> int:
        """Of one image."""
        return sum(layer.cycles for layer in self.layers)

    def memory_image(self) -> np.ndarray:
        """uint8 [memory_vectors, 16]: the initial memory, with code and constants."""
        memory = np.zeros((self.memory_vectors, VECTOR), np.uint8)
        for address, data in ((self.code_address, self.code),
                              (self.constants_address, self.constants)):
            vectors = np.frombuffer(data, np.uint8).reshape(-1, VECTOR)
            memory[address:address + len(vectors)] = vectors
        return memory

    def pack_input(self, values: np.ndarray) -> np.ndarray:
        """Integers (C, H, W) of the input tensor to uint8 [vectors, 16] for the input's region."""
        info = self.tensors[self.input.tensor]
        values = np.asarray(values)
        if values.shape != tuple(info.shape) or values.dtype != info.quant.dtype:
            raise UserError(f"input {self.input.tensor}: {values.dtype} {values.shape} given, "
                            f"{info.quant.dtype} {tuple(info.shape)} needed")
        stored = _stored(values, info)
        channels, height, width = info.shape
        if self.input.layout == "image":
            rows = np.zeros((height, self.input.row_vectors * VECTOR // 4, 4), np.uint8)
            rows[:, :width, :channels] = stored.transpose(1, 2, 0)
            return rows.reshape(-1, VECTOR)
        planes = -(-channels // VECTOR)
        padded = np.zeros((planes * VECTOR, height, width), np.uint8)
        padded[:channels] = stored
        return np.ascontiguousarray(
            padded.reshape(planes, VECTOR, height, width).transpose(0, 2, 3, 1)
        ).reshape(-1, VECTOR)

    def unpack_output(self, output: OutputPlacement, vectors: np.ndarray) -> np.ndarray:
        """uint8 [vectors, 16] of an output's region to its tensor.

        Integers (C, H, W); for sums the float32 mean (C, 1, 1) of the summed tensor.
        """
        if output.summed:
            info = self.tensors[output.summed]
            channels, height, width = info.shape
            if output.layout == "sums":
                sums = np.ascontiguousarray(vectors).reshape(-1).view("<i4")[:channels]
            else:
                planes = vectors.reshape(-1, height * width, VECTOR)
                sums = planes.sum(axis=1, dtype=np.int64).reshape(-1)[:channels]
            zero = info.zero_point + 128 * info.signed
            centred = (sums.astype(np.int64) - height * width * zero).astype(np.float64)
            mean = centred * np.float64(info.scale) / (height * width)
            return mean.astype(np.float32).reshape(channels, 1, 1)
        info = self.tensors[output.tensor]
        channels, height, width = info.shape
        stored = vectors.reshape(-1, height, width, VECTOR).transpose(0, 3, 1, 2)
        stored = stored.reshape(-1, height, width)[:channels]
        return (stored ^ 0x80).view(np.int8) if info.signed else stored.copy()

    def save(self, folder: str | Path) -> None:
        """Write the folder; its manifest comes last, so a broken save cannot be loaded."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MANIFEST).unlink(missing_ok=True)
            for name, data in ((CODE, self.code), (CONSTANTS, self.constants),
                               (MANIFEST, self._manifest())):
                part = folder / f".{name}.part"
                part.write_bytes(data)
                os.replace(part, folder / name)
        except OSError as error:
            raise UserError(f"{folder}: cannot write the program: {error.strerror}") from None

    @classmethod
    def load(cls, folder: str | Path, config: Config | None = None) -> Program:
        """Raises UserError if a file is missing or damaged, or made for another configuration."""
        folder = Path(folder)
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            code = (folder / CODE).read_bytes()
            constants = (folder / CONSTANTS).read_bytes()
        except OSError as error:
            raise UserError(f"{error.filename}: cannot read: {error.strerror}; a compiled program "
                            f"is a folder with {CODE}, {CONSTANTS} and {MANIFEST}") from None
        except ValueError:
            raise UserError(f"{folder / MANIFEST}: not a manifest") from None
        try:
            if manifest["format"] != FORMAT:
                raise UserError(f"{folder / MANIFEST}: format {manifest['format']}; {FORMAT} is "
                                "supported; compile again")
            for name, data in ((CODE, code), (CONSTANTS, constants)):
                if manifest["files"][name] != _fingerprint(data):
                    raise UserError(f"{folder / name}: {len(data)} bytes do not match the "
                                    f"manifest ({manifest['files'][name]['bytes']} bytes)")
            program = cls(
                config=Config(**manifest["config"]), code=code, constants=constants,
                input=InputPlacement(**manifest["input"]),
                outputs=[OutputPlacement(**each) for each in manifest["outputs"]],
                tensors={name: TensorInfo(tuple(each.pop("shape")), **each)
                         for name, each in manifest["tensors"].items()},
                layers=[LayerInfo(**each) for each in manifest["layers"]],
                **{name: manifest[name] for name in _PLAIN})
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(f"{folder / MANIFEST}: damaged; compile again") from None
        if manifest.get("digest") != program.digest:
            raise UserError(f"{folder / MANIFEST}: its digest does not match its configuration")
        if config is not None and config.digest != program.digest:
            raise UserError(f"{folder}: compiled for configuration {program.digest:08x}, this core "
                            f"is {config.digest:08x}; compile again for this board")
        return program

    def _manifest(self) -> bytes:
        manifest = {
            "format": FORMAT,
            "digest": self.digest,
            "config": dataclasses.asdict(self.config),
            "files": {CODE: _fingerprint(self.code), CONSTANTS: _fingerprint(self.constants)},
            **{name: getattr(self, name) for name in _PLAIN},
            "input": dataclasses.asdict(self.input),
            "outputs": [dataclasses.asdict(each) for each in self.outputs],
            "tensors": {name: dataclasses.asdict(each) for name, each in self.tensors.items()},
            "layers": [dataclasses.asdict(each) for each in self.layers],
        }
        return (json.dumps(manifest, indent=1) + "\n").encode()


_PLAIN = ("code_address", "constants_address", "memory_vectors", "trace", "batch",
          "image_vectors", "estimate", "source", "clock_hz", "extra")


def _stored(values: np.ndarray, info: TensorInfo) -> np.ndarray:
    return values.view(np.uint8) ^ 0x80 if info.signed else values


def _fingerprint(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
