"""Attributes of training videos that stand for the label as the condition of generators."""
