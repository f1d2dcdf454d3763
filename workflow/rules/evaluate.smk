# Real compressed files, decoded pixels: the models and the codecs they are compared with.


rule evaluate_model:
    input:
        code=code("evaluate"),
        # config.json carries the hash of the weights.
        config=f"{EXPERIMENT}/models/{{model}}/model/config.json",
        weights=ancient(f"{EXPERIMENT}/models/{{model}}/model/model.safetensors"),
        test_record=TEST_RECORD,
        images=ancient(TEST_FOLDER),
    output:
        summary=f"{EXPERIMENT}/{TESTSET}/{{model}}/summary.json",
        per_image=f"{EXPERIMENT}/{TESTSET}/{{model}}/per_image.csv",
        bitstreams=directory(f"{EXPERIMENT}/{TESTSET}/{{model}}/bitstreams"),
        reconstructions=directory(f"{EXPERIMENT}/{TESTSET}/{{model}}/reconstructions"),
    log:
        f"{LOGS}/evaluate_model/{TESTSET}/{{model}}.log",
    benchmark:
        f"{LOGS}/benchmarks/evaluate_model/{TESTSET}/{{model}}.tsv"
    conda:
        "../../envs/tensorflow.yaml"
    threads: 2
    params:
        out=subpath(output.summary, parent=True),
        model=subpath(input.config, parent=True),
        testset=TESTSET,
    message:
        "Compress and decompress the test images with {params.model}; log: {log}"
    shell:
        "python {input.code[0]} --model {params.model} --images {input.images:q}"
        " --testset {params.testset} --out {params.out} --threads {threads} > {log} 2>&1"


rule evaluate_codec:
    input:
        code=code("evaluate_codec"),
        test_record=TEST_RECORD,
        images=ancient(TEST_FOLDER),
    output:
        summary=f"{EXPERIMENT}/{TESTSET}/codecs/{{codec}}/summary.json",
        per_image=f"{EXPERIMENT}/{TESTSET}/codecs/{{codec}}/per_image.csv",
        bitstreams=directory(f"{EXPERIMENT}/{TESTSET}/codecs/{{codec}}/bitstreams"),
    log:
        f"{LOGS}/evaluate_codec/{TESTSET}/{{codec}}.log",
    conda:
        "../../envs/tables.yaml"
    params:
        out=subpath(output.summary, parent=True),
        quality=codec_qualities,
        testset=TESTSET,
    message:
        "Compress and decompress the test images with {wildcards.codec}; log: {log}"
    shell:
        "python {input.code[0]} --codec {wildcards.codec} --quality {params.quality}"
        " --images {input.images:q} --testset {params.testset} --out {params.out} > {log} 2>&1"


rule evaluate:
    input:
        expand(f"{EXPERIMENT}/{TESTSET}/{{model}}/summary.json", model=MODELS),
        expand(f"{EXPERIMENT}/{TESTSET}/codecs/{{codec}}/summary.json", codec=CODECS),
