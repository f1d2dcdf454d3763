# From archives to training and validation lists.


rule builtin_photographs:
    input:
        code=code("builtin_photographs"),
    output:
        archive=f"{BUILTIN}/train.tar",
        record=f"{BUILTIN}/train.sha256",
        test_images=directory(f"{BUILTIN}/test"),
        test_record=f"{BUILTIN}/test.sha256",
    log:
        "logs/builtin_photographs.log",
    conda:
        "../../envs/tables.yaml"
    params:
        out=subpath(output.archive, parent=True),
    message:
        "Write the photographs of scikit-image to {params.out}; log: {log}"
    shell:
        "python {input.code[0]} --out {params.out} > {log} 2>&1"


rule download_kodak:
    input:
        code=code("fetch_kodak", KODAK_HASHES),
        hashes=ancient(str(KODAK_HASHES.relative_to(ROOT))),
    output:
        folder=directory(KODAK),
        record=f"{KODAK}.sha256",
    log:
        "logs/download_kodak.log",
    conda:
        "../../envs/tables.yaml"
    message:
        "Download the 24 Kodak images to {output.folder}; log: {log}"
    shell:
        "python {input.code[0]} --out {output.folder} --hashes {input.hashes} > {log} 2>&1"
        " && cp {input.hashes} {output.record}"


if TEST.archive:

    rule unpack_test_images:
        input:
            code=code("unpack_test_images"),
            record=TEST.archive_record,
            archive=ancient(TEST.archive),
        output:
            images=directory(TEST.folder),
            # Stands for the images in the inputs of other rules.
            record=TEST.record,
        log:
            f"{LOGS}/unpack_test_images.log",
        localrule: True
        conda:
            "../../envs/tables.yaml"
        message:
            "Unpack the test images of {input.archive}; log: {log}"
        shell:
            "python {input.code[0]} {input.archive:q} --out {output.images}"
            " --record {output.record} > {log} 2>&1"


rule extract_archive:
    input:
        code=code("extract"),
        record=SOURCE_RECORD,
        archives=ancient([source for source in SOURCES if not is_url(source)]),
    output:
        manifest=f"{DATASET}/manifest.csv",
        summary=f"{DATASET}/dataset.json",
        images=directory(f"{DATASET}/images"),
    log:
        f"{LOGS}/extract_archive.log",
    benchmark:
        f"{LOGS}/benchmarks/extract_archive.tsv"
    conda:
        "../../envs/tables.yaml"
    # More threads would wait for the one that reads and writes.
    threads: 4
    params:
        flags=experiment.flags(EXTRACTION | {"sha256": config["train_archive_sha256"]}),
        leave_out=sources.OUTPUT_FOLDERS,
        sources=SOURCES,
        out=subpath(output.manifest, parent=True),
    message:
        "Decode the images of {params.sources} to {params.out}; log: {log}"
    shell:
        "python {input.code[0]} {params.sources:q} --out {params.out} {params.flags}"
        " --threads {threads} --download_dir work/downloads"
        " --leave_out {params.leave_out:q} > {log} 2>&1"


rule split_images:
    input:
        code=code("split"),
        dataset=f"{DATASET}/dataset.json",
        manifest=ancient(f"{DATASET}/manifest.csv"),
        test_record=TEST.record,
        test_images=ancient(TEST.folder),
        training_test_record=TRAINING_TEST_RECORD,
        training_test=ancient(TRAINING_TEST),
    output:
        train=f"{EXPERIMENT}/split/train.csv",
        val=f"{EXPERIMENT}/split/val.csv",
        summary=f"{EXPERIMENT}/split/split.json",
    log:
        f"{LOGS}/split_images.log",
    conda:
        "../../envs/tables.yaml"
    params:
        flags=experiment.flags(
            {key: config["data"][key] for key in ("val_split", "seed")}
        ),
        out=subpath(output.summary, parent=True),
    message:
        "Split the images into training and validation; log: {log}"
    shell:
        "python {input.code[0]} --manifest {input.manifest} --out {params.out} {params.flags}"
        " --test_images {input.test_images:q} {input.training_test:q} > {log} 2>&1"


rule extract:
    input:
        rules.extract_archive.output,


rule split:
    input:
        rules.split_images.output,
