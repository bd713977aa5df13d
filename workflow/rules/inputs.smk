"""Inputs of rules that depend on wildcards and settings, and the options that name them in commands. No rules here.

Needs: what common.smk defines.
Makes: lists of paths and parts of commands. No files.
Settings: autoencoder, synthesis, classification, pseudo_labels, condition.
"""


def manifests(generator, sources, fold="{fold}"):
    """Manifests of all shards of synthetic videos by `generator` from these sources."""
    folder = f"{RESULTS}/fold-{fold}/synthetic/{generator}"
    return [f"{folder}/{source}/shard-{shard}.parquet" for source in sources for shard in SHARDS]


def bundle_of(wildcards):
    """Input: model package of the generator; `reconstruction` needs only the autoencoder and uses that of `static`."""
    name = "static" if wildcards.generator == "reconstruction" else wildcards.generator
    return [f"{RESULTS}/fold-{wildcards.fold}/generators/{name}/bundle/{part}" for part in BUNDLE]


def measured_motion(wildcards):
    """Input: measured motion of the clips, for a decoder that warps x0."""
    return [f"{RESULTS}/data/motion.safetensors"] if SETTINGS.autoencoder.decoder == "warp" else []


def motion_of_reconstructions(wildcards):
    """Input of `synthesize`: motion of real clips, needed only for reconstructions."""
    return measured_motion(wildcards) if wildcards.generator == "reconstruction" else []


def motion_option(wildcards, input):
    """Option --motion, if there is such an input."""
    motion = input.get("motion", [])
    return f"--motion {quote(str(motion if isinstance(motion, str) else motion[0]))}" if motion else ""


def scored_manifests(wildcards):
    """Input of `score`: synthetic videos to compare with real ones; none for `real`."""
    if wildcards.generator == "real":
        return []
    sources = ["heldout"] if wildcards.generator == "reconstruction" else SOURCES
    return manifests(wildcards.generator, sources, wildcards.fold)


def scored_bundle(wildcards):
    """Input of `score`: the model whose loss is attacked, and the autoencoder that the controls of memorisation pass."""
    return bundle_of(wildcards) if wildcards.generator in ("reconstruction", "lddm") else []


def motion_of_scores(wildcards):
    """Input of `score`: motion of real clips, for what encodes them."""
    return measured_motion(wildcards) if scored_bundle(wildcards) else []


def bundle_option(wildcards, input):
    """Option --bundle, if there is such an input."""
    bundle = input.get("bundle", [])
    return f"--bundle {quote(str(Path(bundle[0]).parent))}" if bundle else ""


def regime_manifests(wildcards):
    """Input: animated stills that a regime adds to the real training videos."""
    generator = build.REGIME_GENERATOR[wildcards.regime]
    return manifests(generator, ["stills"], wildcards.fold) if generator else []


def animated_test_clips(wildcards):
    """Input: animated test clips on which a classifier of real videos is also tested; none at other points of a sweep."""
    if wildcards.regime != "real" or hasattr(wildcards, "point"):
        return []
    return [path for name in SCORED[1:] for path in manifests(name, ["heldout"], wildcards.fold)]


def pseudo_labels(wildcards):
    """Input: pseudo-labels of unlabelled training videos, for the generators and for the regime `real+pseudo`."""
    regime = getattr(wildcards, "regime", None)  # generators have none
    wanted = SETTINGS.condition.attribute is None if regime is None else regime == "real+pseudo"
    found = [f"{RESULTS}/fold-{wildcards.fold}/pseudo_labels.parquet"]
    return found if wanted and SETTINGS.pseudo_labels.classifier else []


def regime_copies(wildcards):
    """Input: tables of copies of training videos, if these are excluded from the training of classifiers."""
    generator = build.REGIME_GENERATOR[wildcards.regime]
    if not SETTINGS.classification.exclude_copies or generator is None:
        return []
    return [f"{RESULTS}/fold-{wildcards.fold}/quality/{generator}_copies.csv"]


def option(name):
    """Param: command line option for the files of the input `name`; empty if there are none."""
    flag = f"--{name.replace('_', '-')}"
    return lambda wildcards, input: " ".join(f"{flag} {quote(str(path))}" for path in input.get(name, []))


def synthetic_option(wildcards, input):
    """Options for the folders of synthetic videos; their number does not grow with the shards."""
    return shard_folders("synthetic", input.synthetic)


def tested_on_option(wildcards, input):
    """Options for the folders of animated test clips."""
    return shard_folders("tested-on", input.tested_on)


def shard_folders(option, paths):
    """One option per folder of shards, and the number of shards per folder; empty without folders."""
    folders = dict.fromkeys(str(Path(path).parent) for path in paths)
    named = " ".join(f"--{option} {quote(folder)}" for folder in folders)
    return f"{named} --shards {len(SHARDS)}" if named else ""


def attribute(wildcards):
    """Input: measured attribute that generators are conditioned on instead of the label."""
    return [f"{RESULTS}/fold-{wildcards.fold}/attribute.json"] if SETTINGS.condition.attribute else []


def measured_from(attribute, path):
    """Input of `measure_attribute`: a file needed for one attribute, if it is the configured one."""
    return [path] if SETTINGS.condition.attribute == attribute else []
