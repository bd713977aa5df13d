"""Shared settings, folders, and helper functions for inputs, params and resources.

Needs: the config (config/config.yaml if it exists, overridden by --configfile and --config).
Makes: SETTINGS (validated first), the lists that span the DAG, and the helpers below. No rules.

A job reads its settings from a small file, whose content Snakemake compares. Params that depend on `input` or `output` do not
trigger a rerun: file locations, tracking, and folders below the results, which follow the prefix of a module.
"""

import os
import sys
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError

try:
    import lddm
    from lddm.errors import LddmError
    from lddm.metrics import present
    from lddm.settings import build, planned, stages
    from lddm.generators import registry as generators
except ImportError as missing:
    raise WorkflowError(
        f"the package lddm cannot be imported by the Python that runs Snakemake: {missing}\n"
        "Hint: use `make run`, or `pip install --no-deps -r requirements.lock` and `pip install --no-deps -e .`"
    )

try:
    SETTINGS = build.load(config)
except LddmError as error:
    raise WorkflowError(str(error))

MAIN = workflow.modifier.is_main_snakefile()  # false in a module of another workflow, whose `onstart` is not called

RESULTS = f"results/{SETTINGS.experiment}"
FOLD = f"{RESULTS}/fold-{{fold}}"
FRAMES = f"{RESULTS}/data/frames"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"

FOLDS = range(SETTINGS.split.folds_to_run)
GENERATORS = SETTINGS.synthesis.generators
SOURCES = [source for source, samples in SETTINGS.synthesis.samples.items() if samples > 0]
SHARDS = range(SETTINGS.synthesis.shards)
SEEDS = range(SETTINGS.classification.seeds)
POINTS = build.sweep_points(SETTINGS)
SEVERAL_CLASSES = SETTINGS.index.task in ("classes", "ordinal")  # neither binary nor regression
# `real` is scored against real videos (the reference), `reconstruction` is the autoencoder alone.
SCORED = planned.scored(SETTINGS)

# The files of a model package (lddm/synthesis/bundle.py).
BUNDLE = ["bundle.json", "generator.safetensors", "autoencoder.safetensors", "MODEL_CARD.md"]

PIPELINE = build.identity(SETTINGS)
# The address may contain a password, so jobs read it from this variable instead of their command line.
TRACKING = f"LDDM_TRACKING_{PIPELINE}"
os.environ[TRACKING] = (SETTINGS.tracking.uri or "") if SETTINGS.tracking.enabled else "off"
# Waiting threads release their core: on a machine with other work, spinning threads make training ten times slower.
# `lddm` of an activated environment (--use-conda) takes precedence over the one beside this Snakemake.
JOB = (
    f'env PATH="$PATH":{quote(str(Path(sys.executable).parent))} LDDM_EXPERIMENT={SETTINGS.experiment}'
    f' LDDM_PIPELINE={PIPELINE} LDDM_TRACKING="${TRACKING}"'
    ' OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"'
)


# The image of all jobs with `--sdm apptainer`; `make container` builds it.
container: os.environ.get("LDDM_CONTAINER", "build/lddm.sif")


wildcard_constraints:
    fold=r"\d+",
    shard=r"\d+",
    generator="|".join(["real", "reconstruction", *generators.GENERATORS]),
    source="heldout|stills",
    classifier="[a-z0-9_]+",
    regime=r"[a-z_+]+",
    point=r"videos-\d+_share-[0-9.]+",
    stage=r"[A-Za-z0-9_.-]+",


def settings_file(stage):
    """Input: the settings of a stage."""
    return f"{RESULTS}/settings/{stage}.yaml"


def settings_text(stage):
    """Content of a settings file. Names for classifiers are e.g. classification-strain-videos-16_share-0.5."""
    name, *parts = stage.split("-", 2)
    section = SETTINGS.classification
    if len(parts) == 2:
        section = build.at_point(section, parts[1])
    if parts:
        section = build.at_classifier(section, parts[0])
    return stages.stage_text(SETTINGS.model_copy(update={"classification": section}), name)


def generator_section(wildcards):
    """Settings section of a generator; none for baselines without training."""
    section = generators.GENERATORS[wildcards.generator].section
    return [section] if section else []


def generator_settings(wildcards):
    """Input: settings of the generator's section, so that a change of one generator does not retrain another."""
    return settings_file(*(generator_section(wildcards) or ["seed"]))


def classifier_settings(wildcards):
    """Input: settings of one classifier, at its sweep point if there is one."""
    return settings_file("-".join(["classification", wildcards.classifier, *wildcards.get("point", "").split()]))


def job(wildcards, input):
    """Prefix of an `lddm` command: its search path, the identity of the job, and the digest of its settings."""
    if "settings" not in input.keys():
        return JOB
    planned_text = settings_text(Path(input.settings).name.removesuffix(".yaml"))
    return f"{JOB} LDDM_SETTINGS={stages.digest(planned_text)}"


def launcher(*sections):
    """Prefix of an `lddm` command for multi-process training: leases the GPUs and starts the processes."""
    count = processes(*sections)
    return "" if count == 1 else f"lddm with-gpus {count} torchrun --standalone --nproc-per-node {count} --no-python "


def processes(*sections):
    """Number of training processes, each with one GPU. Generators without a training loop have no section `training`."""
    training = getattr(getattr(SETTINGS, sections[0]), "training", None) if sections else None
    return training.processes if training else 1


def motion_threads(wildcards):
    """All cores of this machine, up to 16: most jobs wait for the motion. On a cluster four, or the value of set-threads."""
    cores = workflow.resource_settings.cores
    return 4 if cores is None else min(16, cores)


def stage1_threads(wildcards):
    """Two threads, or one if that would take all cores: real-video classifiers and the domain network train in parallel."""
    cores = workflow.resource_settings.cores
    return 1 if cores is not None and cores < 4 else 2


def results_folder(wildcards, input):
    """results/<experiment>, including the prefix of a module."""
    return str(Path(input.settings).parents[1])


def below(path):
    """Param: a path below the results folder; wildcards are filled in."""
    return lambda wildcards, input: str(Path(results_folder(wildcards, input), path.format(**dict(wildcards.items()))))


def frames_folder(wildcards, input):
    """Folder of the frame store, whose files are the input `frames`."""
    return str(Path(input.frames[0]).parent)


def output_folder(wildcards, output):
    """Folder of all outputs of a job."""
    return str(Path(output[0]).parent)


def data_root(wildcards, input):
    """Folder of the raw data, whose content is tracked by the checksums of the index."""
    return SETTINGS.data_root


def patients_digests(wildcards):
    """Param of `index`: digests of the patients CSVs, so that a corrected one reruns the index."""
    return build.patients_digests(SETTINGS)


def weights_folder(wildcards, input, output):
    """Folder of the pretrained networks, whose content is tracked by data/weights.json."""
    return SETTINGS.weights_dir


def weights_there(wildcards):
    """Digests of the pretrained networks that are present."""
    return present.planned(SETTINGS.weights_dir, f"{RESULTS}/data/weights.json")


def perceptual_weights(wildcards):
    """Input: list of pretrained networks, if the autoencoder uses one."""
    return [f"{RESULTS}/data/weights.json"] if SETTINGS.autoencoder.uses_perceptual_network else []


def check_raw_data():
    """Stop a run without raw data and without an index; a dry run only warns."""
    try:
        build.check_data_folders(SETTINGS)
    except LddmError as error:
        runs = workflow.executor_plugin is not None and not workflow.dryrun and not workflow.touch
        if runs and not Path(f"{RESULTS}/data/index.parquet").exists():
            raise WorkflowError(str(error))
        print(f"warning: {error}", file=sys.stderr)


def raw_data(wildcards):
    """Input of `index`: no file, but a check before the first job if `onstart` is too late or is not called."""
    planning = workflow.is_main_process and (workflow.dryrun or not MAIN)
    if planning:
        check_raw_data()
    return []


def code(*places):
    """Input: modules and templates of these packages (and single modules) of lddm, so that cheap jobs rerun when their code changes.

    Training rules do not use this, because a changed comment must not cause a long training; use --forcerun for them.
    """
    paths = [Path(lddm.__file__).parent / place for place in places]
    own = [[path] if path.suffix else [*path.rglob("*.py"), *path.rglob("templates/*")] for path in paths]
    return sorted(str(file) for files in own for file in files)


def memory(megabytes):
    """mem_mb that grows with each attempt; the profile sets the number of retries."""
    return lambda wildcards, attempt: megabytes * attempt


def minutes(count):
    """runtime that grows with each attempt, for clusters that stop a job at its time limit."""
    return lambda wildcards, attempt: count * attempt


def before_first_job():
    """Stop early if raw data are missing; create the MLflow store before jobs open it concurrently."""
    check_raw_data()
    shell("{JOB} lddm track init")


def after_last_job():
    """Send records that a tracking server has missed; never fails a run, because the records stay on disk."""
    shell("{JOB} lddm track sync {RESULTS:q} || true")
