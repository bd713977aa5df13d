"""Forward noising process, samplers and loss weights, built on the schedulers of diffusers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lddm.errors import LddmError
from lddm.generators.sampling import Rng, SamplingOptions
from lddm.settings.models import DenoiserSettings

Scheduler = Any  # a diffusers scheduler; its type annotations name tensor types that do not exist at run time


def make_scheduler(settings: DenoiserSettings, sampler: str) -> Scheduler:
    """Build the diffusers scheduler for a noise schedule and a sampler.

    Args:
        settings: noise schedule and prediction type.
        sampler: "ddim" (for flow matching: Euler steps), "unipc" (Zhao et al. 2023), or "ddpm" (ancestral sampling,
            Ho et al. 2020, algorithm 2, with the variance of q(z_t-1 | z_t, z_0)).

    Raises:
        LddmError: unknown sampler, or "ddpm" with flow matching, whose path has no noise schedule.
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
        # "trailing" spacing starts at pure noise (Lin et al. 2024, sec. 3.3), where a noise prediction is uninformative.
        "timestep_spacing": "leading" if settings.prediction_type == "epsilon" else "trailing",
    }
    # Local imports: together, the schedulers take longer to import than torch.
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
    """Whether the scheduler uses the straight path of flow matching, which has no noise schedule."""
    return not hasattr(scheduler, "alphas_cumprod")


def denoise(
    settings: DenoiserSettings,
    options: SamplingOptions,
    noise: Tensor,
    predict: Callable[[Tensor, Tensor, bool], Tensor],
    guidance_scale: Tensor | None = None,
    rng: Rng | None = None,
) -> Tensor:
    """Run the reverse process from noise to a sample, with classifier-free guidance (Ho & Salimans 2022, eq. 6).

    Args:
        noise: float (B, ...), standard normal.
        predict: (noisy, timestep (B,), conditional: bool) -> prediction. The unconditional prediction keeps the conditions
            that guidance does not strengthen.
        guidance_scale: float, broadcastable to `noise`; overrides the scale of `options`.
        rng: source of the noise that ancestral sampling adds at each step; the other samplers add none.

    Returns:
        float, shape of `noise`.
    """
    if options.sampler == "ddpm" and rng is None:
        raise ValueError("sampler ddpm needs a source of noise")
    # With one generator per video, the noise of a video does not depend on its batch.
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
    """Sample q(z_t | z_0) and return the prediction target of the denoiser.

    Args:
        scheduler: from `make_scheduler(settings, "ddim")`.
        z: float (B, ...), standardised.
        noise: standard normal, shape of z.
        timestep: int64 (B,).

    Returns:
        Noisy z and the target, both with the shape of z. The target is the noise, v (Salimans & Ho 2022, app. D), or the
        velocity noise - z of the straight path from z to the noise (Lipman et al. 2023).
    """
    if _is_straight(scheduler):
        sigma = timestep.reshape(-1, *[1] * (z.dim() - 1)) / scheduler.config.num_train_timesteps
        return (1 - sigma) * z + sigma * noise, noise - z
    noisy = scheduler.add_noise(z, noise, timestep)
    if scheduler.config.prediction_type == "v_prediction":
        return noisy, scheduler.get_velocity(z, noise, timestep)
    return noisy, noise


def loss_weights(scheduler: Scheduler, timestep: Tensor, gamma: float | None) -> Tensor:
    """Min-SNR-gamma weights (B,) (Hang et al. 2023, sec. 3.4): min(SNR, gamma) in z-space, divided by the target's weight.

    Flow matching uses equal weights, as published.
    """
    if gamma is None or _is_straight(scheduler):
        return torch.ones(timestep.shape, device=timestep.device)
    alpha = scheduler.alphas_cumprod.to(timestep.device)[timestep]
    snr = alpha / (1 - alpha)
    own = snr + 1 if scheduler.config.prediction_type == "v_prediction" else snr
    return snr.clamp_max(gamma) / own
