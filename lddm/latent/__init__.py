"""The latent z: its structure, its standardisation, and the latent files that stage 2 is trained on."""
