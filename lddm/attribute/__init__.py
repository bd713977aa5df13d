"""Measured attributes of training videos, which replace the label as condition of generators."""
