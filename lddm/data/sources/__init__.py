"""Where videos and still images come from: a module for each source, all with `rows` and `read`."""
