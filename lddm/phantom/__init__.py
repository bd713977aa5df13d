"""A simulated breast: anatomy, how it moves under the probe, and how ultrasound sees it."""
