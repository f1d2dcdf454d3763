# Real compressed files, decoded pixels: the models and the codecs they are compared with.


rule evaluate_model:
    input:
        code=code("evaluate"),
        # config.json carries the hash of the weights.
        config=f"{EXPERIMENT}/models/{{model}}/model/config.json",
        weights=ancient(f"{EXPERIMENT}/models/{{model}}/model/model.safetensors"),
        test_record=TEST_RECORD,
    output:
        summary=f"{EXPERIMENT}/{TESTSET}/{{model}}/summary.json",
        per_image=f"{EXPERIMENT}/{TESTSET}/{{model}}/per_image.csv",
        bitstreams=directory(f"{EXPERIMENT}/{TESTSET}/{{model}}/bitstreams"),
        reconstructions=directory(f"{EXPERIMENT}/{TESTSET}/{{model}}/reconstructions"),
    log:
        f"{LOGS}/evaluate_model/{TESTSET}/{{model}}.log",
    benchmark:
        f"{LOGS}/benchmarks/evaluate_model/{TESTSET}/{{model}}.tsv"
    wildcard_constraints:
        model=r"\d+\.\d{4}\d*-f\d+-s\d+",
    conda:
        "../../envs/tensorflow.yaml"
    threads: 2
    params:
        out=f"{EXPERIMENT}/{TESTSET}/{{model}}",
        images=TEST_FOLDER,
        testset=TESTSET,
    shell:
        "python {input.code[0]} --model $(dirname {input.config}) --images {params.images}"
        " --testset {params.testset} --out {params.out} > {log} 2>&1"


rule evaluate_codec:
    input:
        code=code("evaluate_codec"),
        test_record=TEST_RECORD,
    output:
        summary=f"{EXPERIMENT}/{TESTSET}/codecs/{{codec}}/summary.json",
        per_image=f"{EXPERIMENT}/{TESTSET}/codecs/{{codec}}/per_image.csv",
        bitstreams=directory(f"{EXPERIMENT}/{TESTSET}/codecs/{{codec}}/bitstreams"),
    log:
        f"{LOGS}/evaluate_codec/{TESTSET}/{{codec}}.log",
    conda:
        "../../envs/tables.yaml"
    params:
        out=f"{EXPERIMENT}/{TESTSET}/codecs/{{codec}}",
        quality=codec_qualities,
        images=TEST_FOLDER,
        testset=TESTSET,
    shell:
        "python {input.code[0]} --codec {wildcards.codec} --quality {params.quality}"
        " --images {params.images} --testset {params.testset} --out {params.out} > {log} 2>&1"


rule evaluate:
    input:
        expand(f"{EXPERIMENT}/{TESTSET}/{{model}}/summary.json", model=MODELS),
        expand(f"{EXPERIMENT}/{TESTSET}/codecs/{{codec}}/summary.json", codec=CODECS),
