"""From raw files to clips and folds.

Needs: raw data below data_root (the phantom needs none).
Makes: data/index.parquet, data/frames/ (memory-mapped frames, clips), data/splits.parquet.
Settings: index, preprocess, split.
"""


rule index:
    """List every video and still image of the configured sources, with label, patient, licence and checksum."""
    output:
        f"{RESULTS}/data/index.parquet",
    log:
        f"{LOGS}/index.log",
    conda:
        "../envs/lddm.yaml"
    threads: 2
    resources:
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        settings=stage("index"),
        data_root=SETTINGS.data_root,
        record=RECORDS,
    shell:
        "lddm index --settings {params.settings:q} --data-root {params.data_root:q}"
        " --out {output:q} --record {params.record:q} > {log:q} 2>&1"


rule preprocess:
    """Decode, resample and square the frames once; cut clips; exclude what is broken or doubled, with a reason."""
    input:
        index=rules.index.output,
    output:
        frames=f"{FRAMES}/frames.npy",
        videos=f"{FRAMES}/videos.parquet",
        clips=f"{FRAMES}/clips.parquet",
        meta=f"{FRAMES}/meta.json",
    log:
        f"{LOGS}/preprocess.log",
    conda:
        "../envs/lddm.yaml"
    threads: 2
    resources:
        mem_mb=memory(4000),
        runtime=minutes(120),
    params:
        settings=stage("index", "preprocess"),
        data_root=SETTINGS.data_root,
        out_dir=output_folder,
        record=RECORDS,
    shell:
        "lddm preprocess --settings {params.settings:q} --index {input.index:q} --data-root {params.data_root:q}"
        " --out-dir {params.out_dir:q} --workers {threads} --record {params.record:q} > {log:q} 2>&1"


rule split:
    """Deal patients and clusters of duplicates into stratified folds; fail loudly on a leak."""
    input:
        frames=rules.preprocess.output,
    output:
        f"{RESULTS}/data/splits.parquet",
    log:
        f"{LOGS}/split.log",
    conda:
        "../envs/lddm.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(10),
    params:
        settings=stage("split"),
        frames=frames_folder,
        record=RECORDS,
    shell:
        "lddm split --settings {params.settings:q} --frames {params.frames:q}"
        " --out {output:q} --record {params.record:q} > {log:q} 2>&1"
