"""Models, simulators and references of the accelerator."""
