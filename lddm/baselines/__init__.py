"""What the diffusion model is compared with: the same stage 1, another way to z."""
