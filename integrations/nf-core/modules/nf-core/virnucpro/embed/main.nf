process VIRNUCPRO_EMBED {
    tag "$meta.id"
    label 'process_medium'

    conda "${ task.accelerator ? "${moduleDir}/environment.gpu.yml" : "${moduleDir}/environment.yml" }"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        (task.accelerator ? 'https://community-cr-prod.seqera.io/docker/registry/v2/blobs/sha256/GPU_IMAGE/data' : 'https://depot.galaxyproject.org/singularity/virnucpro:0.1.0--pyhdfd78af_0') :
        (task.accelerator ? 'community.wave.seqera.io/library/virnucpro_cuda-version_pytorch-gpu:GPU_IMAGE' : 'quay.io/biocontainers/virnucpro:0.1.0--pyhdfd78af_0') }"

    input:
    tuple val(meta), path(fasta)
    path model

    output:
    tuple val(meta), path("${prefix}.embeddings_*.safetensors"), emit: embeddings, optional: true
    tuple val(meta), path("${prefix}.ids.tsv.gz")              , emit: ids
    tuple val(meta), path("${prefix}.run.json")                , emit: run
    tuple val("${task.process}"), val('virnucpro'), eval("virnucpro --version"), topic: versions, emit: versions_virnucpro
    tuple val("${task.process}"), val('cuda'), eval('python -c "import torch; print(torch.version.cuda or \'no CUDA available\')"'), topic: versions, emit: versions_cuda

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    def chosen = model ? "--model ${model}" : ''
    def device = task.accelerator ? 'cuda' : 'cpu'
    // Nextflow escapes only some of the characters that have a meaning for the shell, and none of a sample's name.
    if (!(prefix ==~ /\w[\w.+=-]*/)) {
        error("The name of a sample has letters, digits and _ . + = - alone, got: ${prefix}")
    }
    def unsafe = [fasta, model].flatten().findAll { name -> !("${name}" ==~ /(?:[\w.+=,@%:\/-]|\\[^\n])+/) }
    if (unsafe) {
        error("Rename the input, the shell would read its name as a command or pattern: ${unsafe.join(', ')}")
    }
    if ([fasta].flatten().any { name -> "${name}".startsWith("${prefix}.embeddings") }) {
        error("An input has the name of an output, ${prefix}.embeddings...; set another ext.prefix")
    }
    """
    virnucpro embed \\
        --device $device \\
        --threads $task.cpus \\
        $chosen \\
        $args \\
        --resume \\
        --output run \\
        -- \\
        $fasta

    for file in run/*; do
        case "\$file" in
            *.tsv) gzip --no-name < "\$file" >| "${prefix}.\${file##*/}.gz" ;;
            *.safetensors | *.json) cp "\$file" "${prefix}.\${file##*/}" ;;
        esac
    done
    """

    stub:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    if (!(prefix ==~ /\w[\w.+=-]*/)) {
        error("The name of a sample has letters, digits and _ . + = - alone, got: ${prefix}")
    }
    """
    echo $args
    echo "" | gzip > ${prefix}.ids.tsv.gz
    touch ${prefix}.embeddings_00000.safetensors ${prefix}.run.json
    """
}
