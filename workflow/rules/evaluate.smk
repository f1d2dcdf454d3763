# Write compressed files, decode them and measure: the models, and the codecs to compare with.


rule evaluate_model:
    input:
        code=code("evaluate"),
        # config.json has the hash of the weights.
        config=f"{MODELS_FOLDER}/{{model}}/model/config.json",
        weights=ancient(f"{MODELS_FOLDER}/{{model}}/model/model.safetensors"),
        test_record=TEST.record,
        images=ancient(TEST.folder),
    output:
        summary=f"{RESULTS}/{{model}}/summary.json",
        per_image=f"{RESULTS}/{{model}}/per_image.csv",
        bitstreams=directory(f"{RESULTS}/{{model}}/bitstreams"),
        reconstructions=directory(f"{RESULTS}/{{model}}/reconstructions"),
        # The same model and pixels with its adaptive entropy coder.
        adaptive_summary=f"{RESULTS}/{{model}}/adaptive/summary.json",
        adaptive_per_image=f"{RESULTS}/{{model}}/adaptive/per_image.csv",
        adaptive_bitstreams=directory(f"{RESULTS}/{{model}}/adaptive/bitstreams"),
    log:
        f"{LOGS}/evaluate_model/{TEST.name}/{{model}}.log",
    benchmark:
        f"{LOGS}/benchmarks/evaluate_model/{TEST.name}/{{model}}.tsv"
    conda:
        "../../envs/tensorflow.yaml"
    threads: 2
    params:
        out=subpath(output.summary, parent=True),
        model=subpath(input.config, parent=True),
        testset=TEST.name,
        flags="",
    message:
        "Compress and decompress the test images with {params.model}; log: {log}"
    shell:
        "python {input.code[0]} --model {params.model} --images {input.images:q} {params.flags}"
        " --testset {params.testset} --out {params.out} --threads {threads} > {log} 2>&1"


use rule evaluate_model as evaluate_refined with:
    output:
        summary=f"{RESULTS}/{{model}}/refined/summary.json",
        per_image=f"{RESULTS}/{{model}}/refined/per_image.csv",
        bitstreams=directory(f"{RESULTS}/{{model}}/refined/bitstreams"),
        reconstructions=directory(f"{RESULTS}/{{model}}/refined/reconstructions"),
        adaptive_summary=f"{RESULTS}/{{model}}/refined/adaptive/summary.json",
        adaptive_per_image=f"{RESULTS}/{{model}}/refined/adaptive/per_image.csv",
        adaptive_bitstreams=directory(
            f"{RESULTS}/{{model}}/refined/adaptive/bitstreams"
        ),
    log:
        f"{LOGS}/evaluate_refined/{TEST.name}/{{model}}.log",
    benchmark:
        f"{LOGS}/benchmarks/evaluate_refined/{TEST.name}/{{model}}.tsv"
    params:
        flags="--refine",
    message:
        "Compress the test images with {params.model} and refined latents; log: {log}"


rule evaluate_codec:
    input:
        code=code("evaluate_codec"),
        test_record=TEST.record,
        images=ancient(TEST.folder),
    output:
        summary=f"{RESULTS}/codecs/{{codec}}/summary.json",
        per_image=f"{RESULTS}/codecs/{{codec}}/per_image.csv",
        bitstreams=directory(f"{RESULTS}/codecs/{{codec}}/bitstreams"),
    log:
        f"{LOGS}/evaluate_codec/{TEST.name}/{{codec}}.log",
    wildcard_constraints:
        codec=one_of(CODECS),
    conda:
        "../../envs/tables.yaml"
    params:
        out=subpath(output.summary, parent=True),
        quality=codec_qualities,
        testset=TEST.name,
    message:
        "Compress and decompress the test images with {wildcards.codec}; log: {log}"
    shell:
        "python {input.code[0]} --codec {wildcards.codec} --quality {params.quality}"
        " --images {input.images:q} --testset {params.testset} --out {params.out} > {log} 2>&1"


rule evaluate_external:
    input:
        code=code("evaluate_external"),
        record=external_files,
        test_record=TEST.record,
        images=ancient(TEST.folder),
    output:
        summary=f"{RESULTS}/codecs/{{codec}}/summary.json",
        per_image=f"{RESULTS}/codecs/{{codec}}/per_image.csv",
        bitstreams=directory(f"{RESULTS}/codecs/{{codec}}/bitstreams"),
    log:
        f"{LOGS}/evaluate_external/{TEST.name}/{{codec}}.log",
    wildcard_constraints:
        codec=one_of(EXTERNAL),
    conda:
        "../../envs/tables.yaml"
    params:
        out=subpath(output.summary, parent=True),
        flags=external_flags,
        testset=TEST.name,
    message:
        "Compress and decompress the test images with {wildcards.codec}; log: {log}"
    shell:
        "python {input.code[0]} --codec {wildcards.codec} {params.flags}"
        " --images {input.images:q} --testset {params.testset} --out {params.out} > {log} 2>&1"


rule evaluate:
    input:
        expand(
            f"{RESULTS}/{{model}}/{{coder}}summary.json",
            model=MODELS,
            coder=["", "adaptive/", *REFINED],
        ),
        expand(f"{RESULTS}/codecs/{{codec}}/summary.json", codec=[*CODECS, *EXTERNAL]),
