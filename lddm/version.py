"""Version of the package; part of the identity of every training and stored in every weight file."""

__version__ = "0.6.0"
