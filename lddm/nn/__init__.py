"""Blocks that the networks share; nothing here knows of training, data files or settings."""
