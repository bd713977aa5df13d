"""Sources of videos and still images: one module per source, each with `rows` and `read`."""
