"""Ablation: classifiers trained on real videos with and without synthetic ones.

Needs: data/frames/, data/splits.parquet, the animated stills in fold-k/synthetic/<generator>/stills/; the regime real is tested
on the animated test clips in fold-k/synthetic/<generator>/heldout/, too.
Makes: fold-k/classification/<classifier>/<regime>/seed-<s>.json with a probability for each test video;
fold-k/sweep/<classifier>/<regime>/videos-<n>_share-<s>/seed-<s>.json, the same for the sweep points.
Settings: classification, sweep.
"""


rule classify:
    """Train one classifier in one regime with all seeds, and predict the test videos."""
    input:
        settings=classifier_settings,
        frames=rules.preprocess.output,
        splits=rules.split.output,
        synthetic=regime_manifests,
        copies=regime_copies,
        pseudo_labels=pseudo_labels,
        tested_on=animated_test_clips,
    output:
        expand(
            f"{FOLD}/classification/{{classifier}}/{{regime}}/seed-{{seed}}.json",
            seed=SEEDS,
            allow_missing=True,
        ),
    log:
        f"{LOGS}/classify/fold-{{fold}}_{{classifier}}_{{regime}}.log",
    benchmark:
        f"{BENCHMARKS}/classify/fold-{{fold}}_{{classifier}}_{{regime}}.tsv"
    conda:
        "../envs/lddm.yaml"
    threads: 1
    resources:
        mem_mb=memory(6000),
        runtime=minutes(12 * 60),
        gpu=1,
    params:
        job=job,
        frames=frames_folder,
        synthetic=synthetic_option,
        copies=option("copies"),
        pseudo_labels=option("pseudo_labels"),
        tested_on=tested_on_option,
        state=below("fold-{fold}/state/classification/{classifier}/{regime}"),
        out_dir=output_folder,
        cache=below("cache/inputs"),
        record=below("records"),
    shell:
        "{params.job} lddm classify --settings {input.settings:q} --classifier {wildcards.classifier}"
        " --regime {wildcards.regime:q} --frames {params.frames:q} --splits {input.splits:q}"
        " --fold {wildcards.fold} --state {params.state:q} {params.synthetic}"
        " {params.copies} {params.pseudo_labels} {params.tested_on} --cache {params.cache:q} --out-dir {params.out_dir:q} --record {params.record:q} > {log:q} 2>&1"


use rule classify as classify_sweep with:
    output:
        expand(
            f"{FOLD}/sweep/{{classifier}}/{{regime}}/{{point}}/seed-{{seed}}.json",
            seed=SEEDS,
            allow_missing=True,
        ),
    log:
        f"{LOGS}/classify_sweep/fold-{{fold}}_{{classifier}}_{{regime}}_{{point}}.log",
    benchmark:
        f"{BENCHMARKS}/classify_sweep/fold-{{fold}}_{{classifier}}_{{regime}}_{{point}}.tsv"
    params:
        job=job,
        frames=frames_folder,
        synthetic=synthetic_option,
        copies=option("copies"),
        pseudo_labels=option("pseudo_labels"),
        tested_on=tested_on_option,
        state=below("fold-{fold}/state/sweep/{classifier}/{regime}/{point}"),
        out_dir=output_folder,
        cache=below("cache/inputs"),
        record=below("records"),
