"""Simulated breast ultrasound: anatomy, tissue motion under the probe, and image formation."""
