"""The version of the package; part of the identity of every training and written into every file of weights."""

__version__ = "0.6.0"
