"""Motion of tissue: measured, reduced to a few maps, applied to images and checked. No networks."""
