"""The core as processes in large steps; `sw.perf` runs it."""
