"""Tissue motion without networks: optical flow, low-rank codes, warping and invertibility."""
