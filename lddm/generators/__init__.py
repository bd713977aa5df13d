"""Stage 2: p(z | x0) by diffusion (the method) and the baselines that it is compared with."""
