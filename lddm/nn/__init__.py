"""Building blocks shared by the networks, independent of training, data files and settings."""
