"""Stage 1: encoder E compresses the dynamics of a clip into z, decoder D reconstructs the clip from (x0, z)."""
