"""The noising process and the training loss, on diffusers' schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lddm.errors import LddmError
from lddm.generators.sampling import Rng, SamplingOptions
from lddm.settings.models import DenoiserSettings

Scheduler = Any  # one of diffusers', which name their tensors by types that no tensor has


def make_scheduler(settings: DenoiserSettings, sampler: str) -> Scheduler:
    """A diffusers scheduler for the settings' noise schedule.

    Args:
        settings: noise schedule and what the denoiser predicts.
        sampler: "ddim" (for flow matching its counterpart, Euler steps), "unipc" (Zhao et al. 2023), or "ddpm" (ancestral,
            Ho et al. 2020, algorithm 2, with the variance of q(z_t-1 | z_t, z_0)).

    Raises:
        LddmError: "ddpm" with flow matching, whose path has no noise schedule.
    """
    if sampler not in ("ddim", "ddpm", "unipc"):
        raise ValueError(f"unknown sampler '{sampler}'")
    straight = settings.prediction_type == "flow_prediction"
    if straight and sampler == "ddpm":
        raise LddmError(
            "sampler 'ddpm' does not sample models of prediction_type 'flow_prediction'", "take sampler ddim or unipc"
        )
    noised = {
        "beta_schedule": settings.beta_schedule,
        "prediction_type": settings.prediction_type,
        # Trailing steps start at pure noise (Lin et al. 2024, sec. 3.3), where predicted noise says nothing of z.
        "timestep_spacing": "leading" if settings.prediction_type == "epsilon" else "trailing",
    }
    # Each is imported where it is made: together they take longer to import than torch.
    if sampler == "unipc":
        from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

        path = (
            {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 1.0} if straight else noised
        )
        return UniPCMultistepScheduler(num_train_timesteps=settings.num_train_timesteps, solver_order=2, **path)
    if straight:
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=settings.num_train_timesteps)
    if sampler == "ddpm":
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        return DDPMScheduler(
            num_train_timesteps=settings.num_train_timesteps, clip_sample=False, variance_type="fixed_small", **noised
        )
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=settings.num_train_timesteps, clip_sample=False, set_alpha_to_one=True, **noised
    )


def _is_straight(scheduler: Scheduler) -> bool:
    """Whether its path is the straight one of flow matching, which has no noise schedule."""
    return not hasattr(scheduler, "alphas_cumprod")


def denoise(
    settings: DenoiserSettings,
    options: SamplingOptions,
    noise: Tensor,
    predict: Callable[[Tensor, Tensor, bool], Tensor],
    guidance_scale: Tensor | None = None,
    rng: Rng | None = None,
) -> Tensor:
    """From noise to a sample, with classifier-free guidance (Ho & Salimans 2022, eq. 6).

    Args:
        noise: float (B, ...), standard normal.
        predict: (noisy, timestep (B,), conditioned?) -> prediction; unconditioned, it knows what guidance does not sharpen.
        guidance_scale: scales that broadcast to `noise`, instead of the one of `options`.
        rng: source of the noise that ancestral sampling adds at each step; the other samplers add none.

    Returns:
        float, of the shape of `noise`.
    """
    if options.sampler == "ddpm" and rng is None:
        raise ValueError("sampler ddpm needs a source of noise")
    # A list of generators: each video draws its own noise, whatever batch it is in.
    added = (
        {"generator": rng if isinstance(rng, torch.Generator) else list(rng or ())} if options.sampler == "ddpm" else {}
    )
    scheduler = make_scheduler(settings, options.sampler)
    scheduler.set_timesteps(options.num_inference_steps)
    scale = options.guidance_scale if guidance_scale is None else guidance_scale
    sample = noise
    for timestep in scheduler.timesteps:
        each = timestep.to(noise.device).expand(len(noise))
        prediction = predict(sample, each, True)
        if guidance_scale is not None or options.guidance_scale != 1:
            free = predict(sample, each, False)
            prediction = free + scale * (prediction - free)
        sample = scheduler.step(prediction, timestep, sample, return_dict=False, **added)[0]
    return sample


def add_noise(scheduler: Scheduler, z: Tensor, noise: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
    """q(z_t | z_0) and what the denoiser has to predict.

    Args:
        scheduler: from `make_scheduler(settings, "ddim")`.
        z: float (B, ...), standardised.
        noise: the same shape, standard normal.
        timestep: int64 (B,).

    Returns:
        Noisy z and the target, of the shape of z: the noise, v (Salimans & Ho 2022, app. D), or the velocity noise - z of
        the straight path from z to the noise (Lipman et al. 2023).
    """
    if _is_straight(scheduler):
        sigma = timestep.reshape(-1, *[1] * (z.dim() - 1)) / scheduler.config.num_train_timesteps
        return (1 - sigma) * z + sigma * noise, noise - z
    noisy = scheduler.add_noise(z, noise, timestep)
    if scheduler.config.prediction_type == "v_prediction":
        return noisy, scheduler.get_velocity(z, noise, timestep)
    return noisy, noise


def loss_weights(scheduler: Scheduler, timestep: Tensor, gamma: float | None) -> Tensor:
    """Min-SNR weights (B,) (Hang et al. 2023, sec. 3.4): min(SNR, gamma) in z-space, divided by the target's own weight.

    Flow matching is left as published, with equal weights.
    """
    if gamma is None or _is_straight(scheduler):
        return torch.ones(timestep.shape, device=timestep.device)
    alpha = scheduler.alphas_cumprod.to(timestep.device)[timestep]
    snr = alpha / (1 - alpha)
    own = snr + 1 if scheduler.config.prediction_type == "v_prediction" else snr
    return snr.clamp_max(gamma) / own
