"""The serial port of a board as a line of bytes."""

from __future__ import annotations

import contextlib
import os
import termios
import time

from hw.link import BAUD
from sw.errors import UserError

from .link import LinkError

__all__ = ["SerialPort"]

SILENCE = 0.3
"""Seconds after which no answer is to be expected: a USB adapter may keep bytes for 16 ms."""


class SerialPort:
    """`sw.runtime.link.Transport` on a port of the machine, 8 bits, no parity, one stop bit.

    Raises `UserError` if the port cannot be opened, `LinkError` if it goes away.
    """

    def __init__(self, device: str, baud: int = BAUD) -> None:
        try:
            import serial
        except ImportError:
            raise UserError("a serial port needs the Python package 'pyserial': "
                            "pip install 'firecore[serial]'") from None
        self.name = f"{device} at {baud} baud"
        self._errors = (serial.SerialException, OSError, termios.error)
        self._bit = 1 / baud
        self._sent = 0.0  # when the last bit of what was sent leaves
        try:
            self._port = serial.Serial(device, baud, timeout=SILENCE)
            self._port.reset_input_buffer()
        except (ValueError, *self._errors) as error:
            raise UserError(f"serial port {self.name}: {_reason(error)}") from None
        # Linux only, and only some adapters: a millisecond in place of 16 for each answer
        with contextlib.suppress(Exception):
            self._port.set_low_latency_mode(True)

    @property
    def now(self) -> float:
        return time.monotonic()

    def send(self, data: bytes) -> None:
        start = max(self.now, self._sent)
        self._attempt(lambda: self._port.write(data))
        self._sent = start + 10 * len(data) * self._bit

    def receive(self) -> bytes:
        # what is still in buffers on its way out does not count as silence
        while not (data := self._attempt(self._read)):
            if self.now > self._sent + SILENCE:
                break
        return data

    def _read(self) -> bytes:
        return self._port.read(1) + self._port.read(self._port.in_waiting)

    def _attempt(self, work):
        try:
            return work()
        except self._errors as error:
            raise LinkError(f"serial port {self.name}: {_reason(error)}") from None

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        self._port.close()


def _reason(error: Exception) -> str:
    number = error.args[0] if isinstance(error, termios.error) else getattr(error, "errno", None)
    return os.strerror(number) if number else " ".join(str(error).split())
