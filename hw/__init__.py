"""Amaranth hardware of the firecore accelerator."""
