"""Stage 2, the method: p(z | x0) by diffusion on standardised latents."""
