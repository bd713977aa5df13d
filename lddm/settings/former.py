"""Keys and values of earlier versions, and what to write instead; named before any guess by spelling.

A key that is renamed or dropped gets a line here, in the same commit.
"""

from __future__ import annotations

# Key path -> what took its place.
KEYS: dict[str, str] = {
    "preprocess.cut_threshold": "replaced by preprocess.cut_likeness, on another scale (a correlation, 1 = the same)",
    "autoencoder.flow_weight": "renamed autoencoder.teacher_weight",
    "autoencoder.energy_weight": "removed, nothing takes its place: leave it out",
}
# Key path -> former value -> what took its place.
VALUES: dict[str, dict[str, str]] = {
    "synthesis.sampler": {"dpmsolver++": "replaced by 'unipc'"},
}
