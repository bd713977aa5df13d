"""Stage 1: E squeezes the dynamics of a clip into z, D rebuilds the clip from (x0, z)."""
