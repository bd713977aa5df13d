"""What the other files share: the settings, the folders, and helpers for params, code inputs and resources.

Needs: the config (config/config.yaml, overridden by --configfile and --config).
Makes: SETTINGS (validated before anything else), the lists that span the DAG, and the helpers below. No rules here.
"""

import sys
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError

try:
    import lddm
    from lddm.errors import LddmError
    from lddm.settings import build
    from lddm.synthesis import generators
except ImportError as missing:
    raise WorkflowError(
        f"the package lddm cannot be imported by the Python that runs Snakemake: {missing}\n"
        "Hint: use `make run`, or `pip install --no-deps -r requirements.lock` and `pip install --no-deps -e .`"
    )

try:
    SETTINGS = build.load(config)
except LddmError as error:
    raise WorkflowError(str(error))

RESULTS = f"results/{SETTINGS.experiment}"
FOLD = f"{RESULTS}/fold-{{fold}}"
FRAMES = f"{RESULTS}/data/frames"
LOGS = f"{RESULTS}/logs"
RECORDS = f"{RESULTS}/records"

FOLDS = range(SETTINGS.split.run_folds)
GENERATORS = SETTINGS.synthesis.generators
SOURCES = [source for source, samples in SETTINGS.synthesis.samples.items() if samples > 0]
SHARDS = range(SETTINGS.synthesis.shards)
SEEDS = range(SETTINGS.classification.seeds)
# `real` is scored against real videos (the upper bound), `reconstruction` is the autoencoder alone.
POINTS = build.sweep_points(SETTINGS)
SCORED = ["real", "reconstruction", *GENERATORS]

# `lddm` of an activated environment (--use-conda) goes first, the one beside this Snakemake is the fallback.
shell.prefix(
    "set -euo pipefail; "
    f'export PATH="$PATH":{quote(str(Path(sys.executable).parent))} '
    f"LDDM_PIPELINE={build.identity(SETTINGS)} LDDM_EXPERIMENT={quote(SETTINGS.experiment)}"
    f" LDDM_TRACKING={quote((SETTINGS.tracking.uri or '') if SETTINGS.tracking.enabled else 'off')}; "
)


wildcard_constraints:
    fold=r"\d+",
    shard=r"\d+",
    generator="|".join(["real", "reconstruction", *generators.GENERATORS]),
    source="heldout|stills",
    classifier="[a-z0-9_]+",
    regime=r"[a-z_+]+",
    point=r"videos-\d+_share-[0-9.]+",


def stage(*sections):
    """Params that hold the seed and these sections only, so that no other change in the config reruns a job.

    A function, since Snakemake would take the braces of the JSON in a plain string for wildcards.
    """
    text = build.stage_json(SETTINGS, *sections)
    return lambda wildcards: text


def generator_stage(wildcards):
    """The section of the generator's own training, so that a change of one does not retrain the other."""
    return build.stage_json(SETTINGS, *generator_section(wildcards))


def processes(*sections):
    """How many processes train together; each wants a GPU."""
    return getattr(SETTINGS, sections[0]).training.processes if sections else 1


def launcher(*sections):
    """What comes before `lddm` where several processes train together: it holds their GPUs and starts them."""
    count = processes(*sections)
    return "" if count == 1 else f"lddm with-gpus {count} torchrun --standalone --nproc-per-node {count} --no-python "


def generator_section(wildcards):
    """The section of the generator's own training; baselines without training have none."""
    section = generators.GENERATORS[wildcards.generator].section
    return [section] if section else []


def code(*rooms):
    """Modules of these rooms of the package, as input, so that cheap jobs rerun when their code changes.

    Training rules do not list theirs: a comment must not cost a night on a GPU. --forcerun is for them.
    """
    package = Path(lddm.__file__).parent
    return sorted(str(path) for room in rooms for path in (package / room).rglob("*.py"))


def frames_folder(wildcards, input):
    """The folder of the frame store, whose files are the input `frames`."""
    return str(Path(input.frames[0]).parent)


def results_folder(wildcards, input):
    """results/<experiment>, two levels above a table."""
    return str(Path(input.tables[0]).parents[1])


def output_folder(wildcards, output):
    """Where all outputs of a job lie."""
    return str(Path(output[0]).parent)


def memory(megabytes):
    """mem_mb that grows with each attempt; retries are the profile's."""
    return lambda wildcards, attempt: megabytes * attempt


def minutes(count):
    """runtime that grows with each attempt, for the clusters that stop a job when its time is over."""
    return lambda wildcards, attempt: count * attempt


def manifests(generator, sources, fold="{fold}"):
    """Manifests of all shards of what `generator` made from these sources."""
    folder = f"{RESULTS}/fold-{fold}/synthetic/{generator}"
    return [f"{folder}/{source}/shard-{shard}.parquet" for source in sources for shard in SHARDS]


def bundle_of(wildcards):
    """The bundle that animates; the autoencoder alone is in each, so `reconstruction` takes the one without training."""
    name = "static" if wildcards.generator == "reconstruction" else wildcards.generator
    return f"{RESULTS}/fold-{wildcards.fold}/generators/{name}/bundle/bundle.json"


def scored_manifests(wildcards):
    """What `score` compares with the real videos: nothing for `real` itself."""
    if wildcards.generator == "real":
        return []
    sources = ["heldout"] if wildcards.generator == "reconstruction" else SOURCES
    return manifests(wildcards.generator, sources, wildcards.fold)


def regime_manifests(wildcards):
    """The animated stills that a regime adds to the real training videos."""
    generator = build.REGIME_GENERATOR[wildcards.regime]
    return manifests(generator, ["stills"], wildcards.fold) if generator else []


def guessed_labels(wildcards):
    """Labels of unlabelled training videos, for the generators and for the regime that adds these videos themselves."""
    regime = getattr(wildcards, "regime", "real+guessed")
    wanted = SETTINGS.guess.classifier is not None and regime == "real+guessed"
    return [f"{RESULTS}/fold-{wildcards.fold}/guessed_labels.parquet"] if wanted else []


def regime_copies(wildcards):
    """Which animated stills copy training videos, where those are kept out of the training of classifiers."""
    generator = build.REGIME_GENERATOR[wildcards.regime]
    if not SETTINGS.classification.exclude_copies or generator is None:
        return []
    return [f"{RESULTS}/fold-{wildcards.fold}/quality/{generator}_copies.csv"]


def whole_config(wildcards):
    """All settings but where data lie and how runs are tracked, as JSON."""
    return build.whole_json(SETTINGS)


def cell_stage(wildcards):
    """Settings of one cell of the ablation, with the amounts of its point of the sweep if it has one."""
    settings = build.at_point(SETTINGS, wildcards.point) if hasattr(wildcards, "point") else SETTINGS
    return build.stage_json(build.at_cell(settings, wildcards.classifier, wildcards.regime), "classification")


def flag(name, values):
    """A command line option, once for each value."""
    return " ".join(f"--{name} '{value}'" for value in values)


def before_first_job():
    """Stop while nothing is lost if raw data are missing; make the MLflow store before jobs race for it."""
    try:
        build.check_data_folders(SETTINGS)
    except LddmError as error:
        raise WorkflowError(str(error))
    shell("lddm track init")


def after_last_job():
    """Send what a tracking server missed; the records on disk stay the truth, so this never fails a run."""
    shell("lddm track sync {RESULTS:q} || true")
