"""Consistency checks between sections of the settings; each error names the keys and a remedy."""

from __future__ import annotations

from lddm.errors import LddmError
from lddm.settings import Settings


def check_sampler(settings: Settings) -> None:
    """Check that the sampler is supported by the model, by its distillation and by the number of training timesteps."""
    wanted, taught = settings.synthesis, settings.diffusion.distillation
    samplers = {"lddm": ("diffusion", wanted.sampler), "pixel": ("pixel", settings.pixel.sampler or wanted.sampler)}
    for name, (section, sampler) in samplers.items():
        straight = getattr(settings, section).prediction_type == "flow_prediction"
        if name in wanted.generators and straight and sampler == "ddpm":
            raise LddmError(
                f"sampler 'ddpm' does not support {section}.prediction_type 'flow_prediction'",
                "set synthesis.sampler (and pixel.sampler) to ddim or unipc",
            )
    for section in ("diffusion", "pixel"):
        most = getattr(settings, section).num_train_timesteps
        own = settings.pixel.num_inference_steps if section == "pixel" else None
        steps, place = (own, "pixel") if own else (wanted.num_inference_steps, "synthesis")
        if steps > most:
            raise LddmError(
                f"{place}.num_inference_steps {steps} exceeds {section}.num_train_timesteps {most}",
                f"set it to {most} or less",
            )
    if taught is not None and taught.num_inference_steps > settings.diffusion.num_train_timesteps:
        raise LddmError(
            "diffusion.distillation.num_inference_steps exceeds diffusion.num_train_timesteps "
            f"{settings.diffusion.num_train_timesteps}",
            "set it to fewer steps",
        )
    if wanted.sampler != "distilled" or "lddm" not in wanted.generators:
        return
    if taught is None:
        raise LddmError(
            "synthesis.sampler 'distilled' needs diffusion.distillation, which is null",
            "set synthesis.sampler to unipc, or omit diffusion.distillation to use its defaults",
        )
    if not taught.supports(wanted.guidance_scale, wanted.guidance_target):
        raise LddmError(
            f"synthesis uses guidance scale {wanted.guidance_scale:g} on {wanted.guidance_target}, but diffusion.distillation "
            f"supports 1 to {taught.max_guidance_scale:g} on {taught.guidance_target}",
            "change one of the two, or set synthesis.sampler to unipc",
        )


def check_embedder(settings: Settings) -> None:
    """Check that a frozen embedding, which is a vector, is used only with a vector latent."""
    for section in ("diffusion", "cinn"):
        if getattr(settings, section).image_embedder is not None and settings.autoencoder.latent != "vector":
            raise LddmError(
                f"{section}.image_embedder embeds x0 as one vector; latent {settings.autoencoder.latent!r} needs features "
                "on a grid",
                f"set {section}.image_embedder to null, or autoencoder.latent to vector",
            )


def check_condition(settings: Settings) -> None:
    """Check that soft labels, which are single numbers predicted by `pseudo_labels`, are available for the task."""
    if settings.condition.attribute != "soft_label":
        return
    if settings.pseudo_labels.classifier is None:
        raise LddmError(
            "condition.attribute 'soft_label' needs pseudo-labels",
            "set pseudo_labels.classifier and split.max_labelled_videos, or another condition.attribute",
        )
    if settings.split.validation_labels == "within_budget":
        raise LddmError(
            "condition.attribute 'soft_label' needs labels of validation videos, which split.validation_labels 'within_budget' "
            "hides",
            "set split.validation_labels to extra, or take another condition.attribute, e.g. logit",
        )
    if settings.index.task in ("classes", "ordinal"):
        raise LddmError(
            f"condition.attribute 'soft_label' is one number; index.task {settings.index.task!r} has a probability for each of "
            f"{len(settings.index.classes)} classes",
            "use condition.attribute logit, with condition.component for the class",
        )
