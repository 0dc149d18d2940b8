"""What a host needs to use a firecore: `Accelerator`, and the ways to reach the chip."""

from .accelerator import Accelerator, CoreError, Inference
from .link import LinkError

__all__ = ["Accelerator", "CoreError", "Inference", "LinkError"]
