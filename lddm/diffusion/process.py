"""The noising process and the training loss, on diffusers' schedules."""

from __future__ import annotations

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from lddm.settings.models import DiffusionSettings

Scheduler = DDIMScheduler | DPMSolverMultistepScheduler


def make_scheduler(settings: DiffusionSettings, sampler: str) -> Scheduler:
    """A diffusers scheduler for the settings' noise schedule; `sampler` is "ddim" or "dpmsolver++"."""
    common = {
        "num_train_timesteps": settings.noise_steps,
        "beta_schedule": settings.schedule,
        "prediction_type": settings.prediction,
        "timestep_spacing": "trailing",  # starts at pure noise (Lin et al. 2024, sec. 3.3)
    }
    if sampler == "ddim":
        return DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=True)
    if sampler == "dpmsolver++":
        return DPMSolverMultistepScheduler(**common, algorithm_type="dpmsolver++", solver_order=2)
    raise ValueError(f"unknown sampler '{sampler}'")


def add_noise(scheduler: DDIMScheduler, z: Tensor, noise: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
    """q(z_t | z_0) and what the denoiser has to predict.

    Args:
        z: float (B, D), standardised.
        noise: float (B, D), standard normal.
        timestep: int64 (B,).

    Returns:
        Noisy z (B, D) and the target (B, D): the noise or v (Salimans & Ho 2022, app. D).
    """
    noisy = scheduler.add_noise(z, noise, timestep)
    if scheduler.config.prediction_type == "v_prediction":
        return noisy, scheduler.get_velocity(z, noise, timestep)
    return noisy, noise


def loss_weights(scheduler: DDIMScheduler, timestep: Tensor, gamma: float | None) -> Tensor:
    """Min-SNR weights (B,) (Hang et al. 2023, sec. 3.4): min(SNR, gamma) in z-space, divided by the target's own weight."""
    if gamma is None:
        return torch.ones(timestep.shape, device=timestep.device)
    alpha = scheduler.alphas_cumprod.to(timestep.device)[timestep]
    snr = alpha / (1 - alpha)
    own = snr + 1 if scheduler.config.prediction_type == "v_prediction" else snr
    return snr.clamp_max(gamma) / own
